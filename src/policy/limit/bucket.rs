//! The token bucket, in whole numbers.
//!
//! A permit costs as many units as the rate's span has nanoseconds, and each nanosecond refills as many units as the
//! rate has permits. So 3 per second is 3 units a nanosecond at 1 000 000 000 units a permit: nothing is rounded, over
//! any span, and taking a permit is two multiplications and no division.

use crate::policy::{
    limit::{packed::Params, rate::Rate},
    nanos::FOREVER,
};

/// A rate as units per nanosecond and units per permit, in lowest terms: smaller numbers are faster. No limit is
/// nothing for nothing.
fn lowest(rate: Rate) -> (u32, u64) {
    let (mut a, mut b) = (u64::from(rate.permits()), rate.span());
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    let divided = |number: u64| number.checked_div(a).unwrap_or(0);
    if rate.is_unlimited() {
        (0, 0)
    } else {
        (u32::try_from(divided(rate.permits().into())).unwrap_or(0), divided(rate.span()))
    }
}

/// A bucket of permits: full at first, filled at its rate, never above its burst.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    burst: u32,
    /// Units that come in each nanosecond.
    refill: u32,
    /// Units in a permit; zero where there is no limit.
    cost: u64,
    /// What is in it, as of `updated_at`, in units: below 2^96 + 2^96.
    tokens: u128,
    /// What it holds at most: `burst` permits, in units.
    capacity: u128,
    /// When it was last refilled, in nanoseconds.
    updated_at: u64,
}

/// The product of 64 and 64 bits fits into 128.
#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a).wrapping_mul(u128::from(b))
}

/// Units in 2^64ths of a permit of this cost, rounded down. More permits than any bucket holds are so many that it is
/// full, however many they are.
fn fixed(units: u128, cost: u64) -> Option<u128> {
    let whole = units.checked_div(cost.into())?.min(1 << 40);
    let part = (units.checked_rem(cost.into())? << 64).checked_div(cost.into())?;
    Some(whole << 64 | part)
}

impl Bucket {
    /// A full one, at time 0.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let (refill, cost) = lowest(rate);
        let capacity = product(burst.into(), cost);
        Self { rate, burst, refill, cost, tokens: capacity, capacity, updated_at: 0 }
    }

    /// How it fills.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many permits it holds when it is full.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// When it was last refilled.
    #[must_use]
    pub fn updated_at(&self) -> u64 {
        self.updated_at
    }

    /// Lets time pass, without a clamp: what is above the burst is for those that wait. A time before the last is the
    /// last.
    #[inline]
    pub fn refill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.updated_at);
        self.updated_at = self.updated_at.max(now);
        self.tokens = self.tokens.saturating_add(product(passed, self.refill.into()));
    }

    /// What is above the burst runs over.
    #[inline]
    pub fn clamp(&mut self) {
        self.tokens = self.tokens.min(self.capacity);
    }

    /// Takes `permits` out, if that many are in.
    #[inline]
    pub fn try_take(&mut self, permits: u32) -> bool {
        match self.tokens.checked_sub(product(permits.into(), self.cost)) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    /// What is above the burst runs over, or what is above `permits` if that is more: so much a waiter that asks for it
    /// may have. Whether anything did.
    pub fn clamp_to(&mut self, permits: u32) -> bool {
        let most = self.capacity.max(product(permits.into(), self.cost));
        let spills = self.tokens > most;
        self.tokens = self.tokens.min(most);
        spills
    }

    /// Puts permits back that were taken so long ago and not used: what would have run over but for them meanwhile is
    /// taken off, and it gets no fuller than a full one, or one that holds `least`.
    pub fn refund(&mut self, permits: u32, held: u64, least: u32) {
        let price = product(permits.into(), self.cost);
        let back = price.saturating_sub(product(held, self.refill.into()));
        let most = self.capacity.max(product(least.into(), self.cost)).max(self.tokens);
        self.tokens = self.tokens.saturating_add(back).min(most);
    }

    /// Whether so many permits have come in since then.
    #[must_use]
    pub fn refills(&self, permits: u32, since: u64) -> bool {
        product(self.updated_at.saturating_sub(since), self.refill.into()) >= product(permits.into(), self.cost)
    }

    /// The first instant at which there was enough for what was paid last, if nothing but time has filled it since.
    #[must_use]
    pub fn ready_since(&self) -> u64 {
        let passed = self.tokens.checked_div(self.refill.into()).unwrap_or(0);
        self.updated_at.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The clock has gone back: what is in it stays.
    pub fn rewind(&mut self, now: u64) {
        self.updated_at = now;
    }

    /// When it will hold `permits`, if nothing is taken and nothing runs over; [`FOREVER`] is never.
    #[must_use]
    pub fn ready_at(&self, permits: u64) -> u64 {
        let missing = product(permits, self.cost).saturating_sub(self.tokens);
        if missing == 0 {
            return self.updated_at;
        }
        if self.refill == 0 {
            return FOREVER;
        }
        // Division in 64 bits is several times faster, and nearly always enough.
        let wait = match u64::try_from(missing) {
            Ok(missing) => missing.div_ceil(self.refill.into()),
            Err(_) => u64::try_from(missing.div_ceil(self.refill.into())).unwrap_or(FOREVER),
        };
        self.updated_at.saturating_add(wait)
    }

    /// Whole permits in it; `u32::MAX` where there is no limit.
    #[must_use]
    pub fn available(&self) -> u32 {
        let permits = self.tokens.checked_div(self.cost.into());
        permits.map_or(u32::MAX, |permits| u32::try_from(permits).unwrap_or(u32::MAX))
    }

    /// Whether it holds all it can.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tokens >= self.capacity
    }

    /// From now on it fills at `rate`. What is in it stays; a fraction of a permit is rounded down to what the new
    /// rate can express, which is less than it refills in a nanosecond. After no limit it is full.
    pub fn set_rate(&mut self, rate: Rate) {
        let old = self.cost;
        // Where nothing refills the old cost is as good as any, and exact.
        (self.refill, self.cost) = if rate.permits() == 0 { (0, old.max(1)) } else { lowest(rate) };
        self.rate = rate;
        self.capacity = product(self.burst.into(), self.cost);
        self.convert(old);
    }

    /// From now on it has the settings of another one, as by [`set_rate`](Self::set_rate) and
    /// [`set_burst`](Self::set_burst).
    pub fn adopt(&mut self, other: &Self) {
        let old = self.cost;
        (self.rate, self.burst) = (other.rate, other.burst);
        (self.refill, self.cost, self.capacity) = (other.refill, other.cost, other.capacity);
        self.convert(old);
    }

    /// From now on it is empty.
    pub fn drain(&mut self) {
        self.tokens = 0;
    }

    /// From now on it is full.
    pub fn fill(&mut self) {
        self.tokens = self.capacity;
    }

    /// What is in it was counted at another cost of a permit.
    fn convert(&mut self, old: u64) {
        if old != self.cost {
            let whole = self.tokens.checked_div(old.into());
            let part = self.tokens.checked_rem(old.into()).and_then(|part| u64::try_from(part).ok());
            self.tokens = match whole.zip(part) {
                Some((whole, part)) => {
                    let part = product(part, self.cost).checked_div(old.into()).unwrap_or(0);
                    whole.saturating_mul(self.cost.into()).saturating_add(part)
                }
                None => self.capacity,
            };
        }
    }

    /// What is in it, in a form that fits into one word; `None` if its numbers are too large for that. By the
    /// parameters of `former`, where they still are its own.
    #[must_use]
    pub fn pack(&self, former: Params) -> Option<(Params, u64)> {
        let params = |base| self.params(base);
        // Clamped, so not above its capacity.
        let missing = u64::try_from(self.capacity.saturating_sub(self.tokens)).ok()?;
        let pack = |params: Params| params.pack_at(self.updated_at, missing).map(|word| (params, word));
        let kept = params(former.base).filter(|same| *same == former && same.base <= self.updated_at).and_then(pack);
        kept.or_else(|| params(self.updated_at).and_then(pack))
    }

    /// The parameters of its packed form, where its numbers are not too large for one.
    pub(super) fn params(&self, base: u64) -> Option<Params> {
        Params::of(base, self.refill, self.cost, self.capacity)
    }

    /// What it lacks, if it is not above its capacity.
    pub(super) fn missing(&self) -> Option<u64> {
        u64::try_from(self.capacity.saturating_sub(self.tokens)).ok()
    }

    /// What is in it, in 2^64ths of a permit, rounded down.
    pub(super) fn level(&self) -> u128 {
        fixed(self.tokens, self.cost).unwrap_or(u128::MAX)
    }

    /// The level of a full one.
    pub(super) fn full_level(&self) -> u128 {
        if self.cost == 0 { 0 } else { u128::from(self.burst) << 64 }
    }

    /// What comes in so many nanoseconds, in 2^64ths of a permit, rounded up.
    pub(super) fn generated(&self, nanos: u64) -> u128 {
        let units = product(nanos, self.refill.into());
        fixed(units, self.cost).map_or(0, |level| level.saturating_add(u128::from(units > 0)))
    }

    /// Puts in so many 2^64ths of a permit, rounded down to its units, without a clamp.
    pub(super) fn add(&mut self, level: u128) {
        let whole = u64::try_from(level >> 64).unwrap_or(u64::MAX);
        let part = u64::try_from(level & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        let units = product(whole, self.cost).saturating_add(product(part, self.cost) >> 64);
        self.tokens = self.tokens.saturating_add(units);
    }

    /// The reverse of [`Bucket::pack`], as of the first moment at which all that was spent was there.
    pub fn unpack(&mut self, params: Params, word: u64) {
        let (at, missing) = params.unpack(word);
        self.updated_at = at;
        self.tokens = self.capacity.saturating_sub(missing.into());
    }

    /// From now on it holds `burst`. What is above it is for [`Bucket::clamp`].
    pub fn set_burst(&mut self, burst: u32) {
        self.burst = burst;
        self.capacity = product(burst.into(), self.cost);
    }
}
