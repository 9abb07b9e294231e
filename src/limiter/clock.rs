//! The time of a limiter, in nanoseconds.

use std::sync::OnceLock;

use crate::{
    policy::nanos,
    time::{self, Instant},
};

/// What a limiter's time is at its first use: another clock may be that far behind. 36 years.
pub(super) const HEAD: u64 = 1 << 60;

/// What time it is, as the policy counts it.
pub(crate) trait Now {
    /// In nanoseconds. Later calls give no earlier times, unless the clock is another one.
    fn now(&self) -> u64;

    /// The same for a try that takes nothing where the clock may be another one.
    #[inline]
    fn fast_now(&self) -> u64 {
        self.now()
    }
}

/// The clock of limiters: nanoseconds since the first use, and a [`HEAD`].
#[derive(Clone, Debug, Default)]
pub(crate) struct LimiterClock {
    start: OnceLock<Instant>,
    /// Of a clock that goes on while the machine is suspended: for how long it had been when this was made.
    asleep_before: Option<u64>,
}

impl Now for LimiterClock {
    #[inline]
    fn now(&self) -> u64 {
        if self.asleep_before.is_none() { self.fast_now() } else { self.nanos(time::now()) }
    }

    #[inline]
    fn fast_now(&self) -> u64 {
        // Short, since it is half of what a permit costs: all that is rare is elsewhere, and reads the clock again.
        let passed = self.start.get().and_then(|start| time::now().checked_duration_since(*start));
        let nanos = passed.and_then(|passed| {
            // Signed, so that these are below 2^63, and HEAD is 2^60.
            let seconds = passed.as_secs().cast_signed().checked_mul(1_000_000_000)?.cast_unsigned();
            Some(seconds.wrapping_add(passed.subsec_nanos().into()).wrapping_add(HEAD))
        });
        match nanos {
            Some(nanos) => nanos,
            None => self.passed_of_any(),
        }
    }
}

impl LimiterClock {
    /// One that goes on while the machine is suspended, where the platform has a clock that does.
    pub(crate) fn boot() -> Self {
        Self { start: OnceLock::new(), asleep_before: Some(time::asleep()) }
    }

    /// For how long the machine has been suspended, if that counts.
    #[inline]
    fn asleep(&self) -> u64 {
        self.asleep_before.map_or(0, |before| time::asleep().saturating_sub(before))
    }

    #[cold]
    #[inline(never)]
    fn passed_of_any(&self) -> u64 {
        self.passed(time::now())
    }

    /// That instant, in nanoseconds.
    pub(crate) fn nanos(&self, instant: Instant) -> u64 {
        self.passed(instant).saturating_add(self.asleep())
    }

    /// The same without suspensions.
    fn passed(&self, instant: Instant) -> u64 {
        let start = *self.start.get_or_init(|| instant);
        match instant.checked_duration_since(start) {
            Some(passed) => nanos::nanos(passed).saturating_add(HEAD),
            None => HEAD.saturating_sub(time::between(instant, start)),
        }
    }

    /// When that is on the clock; `None` is never.
    pub(crate) fn instant(&self, nanos: u64) -> Option<Instant> {
        let start = *self.start.get_or_init(time::now);
        let nanos = if nanos == nanos::FOREVER { nanos } else { nanos.saturating_sub(self.asleep()) };
        match nanos.checked_sub(HEAD) {
            _ if nanos == nanos::FOREVER => None,
            Some(passed) => time::after(start, passed),
            None => time::before(start, HEAD.saturating_sub(nanos)),
        }
    }
}
