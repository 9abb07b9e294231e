//! A limiter that one run has to itself, as data.

use crate::policy::{
    limit::{bucket::Bucket, rate::Rate},
    nanos::FOREVER,
};

/// A bucket that no other run asks.
#[derive(Debug)]
pub(in crate::policy) struct PlannedLimiter {
    bucket: Option<Bucket>,
}

/// The permit would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct TooFar {
    pub(in crate::policy) ready_in: u64,
}

impl PlannedLimiter {
    /// Full, or without a limiter.
    pub(in crate::policy) fn new(limiter: Option<(Rate, u32)>) -> Self {
        Self { bucket: limiter.map(|(rate, burst)| Bucket::new(rate, burst)) }
    }

    /// When a permit is there that is asked for at `now` and may take `allowed`; [`FOREVER`] is never.
    pub(in crate::policy) fn pass(&mut self, now: u64, allowed: u64) -> Result<u64, TooFar> {
        let Some(bucket) = &mut self.bucket else { return Ok(now) };
        bucket.refill(now);
        bucket.clamp();
        if bucket.try_take(1) {
            return Ok(now);
        }
        let ready_at = bucket.ready_at(1);
        let ready_in = if ready_at == FOREVER { FOREVER } else { ready_at.saturating_sub(now) };
        if ready_in > allowed {
            return Err(TooFar { ready_in });
        }
        bucket.refill(ready_at);
        // It is there: that is what `ready_at` says.
        bucket.try_take(1);
        Ok(ready_at)
    }

    /// After one permit the next never takes longer.
    pub(in crate::policy) fn interval(limiter: Option<(Rate, u32)>) -> u64 {
        limiter.map_or(0, |(rate, _)| Bucket::new(rate, 0).ready_at(1))
    }
}
