//! The token bucket, in whole numbers.
//!
//! One permit is worth as many drops as the rate's span has nanoseconds, and each nanosecond yields as many drops as
//! the rate has permits. So 3 per second is 3 drops a nanosecond at 1 000 000 000 drops a permit: nothing is rounded,
//! over any span, and an admission is two multiplications and no division.

use crate::policy::{nanos::FOREVER, parked::Measure, rate::Rate};

/// A rate as drops per nanosecond and drops per permit, in lowest terms: smaller numbers are faster. No limit is nothing
/// for nothing.
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
    /// Drops in each nanosecond.
    yields: u32,
    /// Drops in a permit; zero where there is no limit.
    span: u64,
    /// What is in it, as of `at`, in drops: below 2^96 + 2^96.
    level: u128,
    /// What it holds: `burst` permits, in drops.
    full: u128,
    /// When it was last looked at.
    at: u64,
}

/// The product of 64 and 64 bits fits into 128.
#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a).wrapping_mul(u128::from(b))
}

impl Bucket {
    /// A full one, at time 0.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let (yields, span) = lowest(rate);
        let full = product(burst.into(), span);
        Self { rate, burst, yields, span, level: full, full, at: 0 }
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

    /// When it was last looked at.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Lets time pass, without spilling what runs over: for those in line. A time before the last is the last.
    #[inline]
    pub fn flow(&mut self, now: u64) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(product(passed, self.yields.into()));
    }

    /// Spills what is above the burst.
    #[inline]
    pub fn spill(&mut self) {
        self.level = self.level.min(self.full);
    }

    /// Takes `permits` out, if that many are in.
    #[inline]
    pub fn pay(&mut self, permits: u32) -> bool {
        match self.level.checked_sub(product(permits.into(), self.span)) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }

    /// Spills what is above the burst, or above `permits` if that is more: so much a waiter may have who asks for it.
    /// Whether anything was.
    pub fn cut(&mut self, permits: u32) -> bool {
        let most = self.full.max(product(permits.into(), self.span));
        let spills = self.level > most;
        self.level = self.level.min(most);
        spills
    }

    /// Nothing is in it.
    pub fn drain(&mut self) {
        self.level = 0;
    }

    /// Puts permits back that were taken so long ago and not used: what has flowed in for them meanwhile is taken off, and it
    /// gets no fuller than a full one, or one that holds `least`.
    pub fn give_back(&mut self, permits: u32, held: u64, least: u32) {
        let price = product(permits.into(), self.span);
        let back = price.saturating_sub(product(held, self.yields.into()));
        let most = self.full.max(product(least.into(), self.span)).max(self.level);
        self.level = self.level.saturating_add(back).min(most);
    }

    /// The first instant at which there was enough for what was paid last, if nothing but time has filled it since.
    #[must_use]
    pub fn paid_at(&self) -> u64 {
        let passed = self.level.checked_div(self.yields.into()).unwrap_or(0);
        self.at.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The clock has gone back: what is in it stays.
    pub fn rewind(&mut self, now: u64) {
        self.at = now;
    }

    /// When it will hold `permits`, if nothing is taken and nothing spills; [`FOREVER`] is never.
    #[must_use]
    pub fn ready_at(&self, permits: u64) -> u64 {
        let missing = product(permits, self.span).saturating_sub(self.level);
        if missing == 0 {
            return self.at;
        }
        if self.yields == 0 {
            return FOREVER;
        }
        // Division in 64 bits is several times faster, and nearly always enough.
        let wait = match u64::try_from(missing) {
            Ok(missing) => missing.div_ceil(self.yields.into()),
            Err(_) => u64::try_from(missing.div_ceil(self.yields.into())).unwrap_or(FOREVER),
        };
        self.at.saturating_add(wait)
    }

    /// Whole permits in it; `u32::MAX` where there is no limit.
    #[must_use]
    pub fn available(&self) -> u32 {
        let permits = self.level.checked_div(self.span.into());
        permits.map_or(u32::MAX, |permits| u32::try_from(permits).unwrap_or(u32::MAX))
    }

    /// Whether it holds all it can.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.level >= self.full
    }

    /// From now on it fills at `rate`. What is in it stays; a fraction of a permit is rounded down to what the new
    /// rate can express, which is less than it yields in a nanosecond. After no limit it is full.
    pub fn set_rate(&mut self, rate: Rate) {
        let old = self.span;
        // Without a flow the old measure is as good as any, and exact.
        (self.yields, self.span) = if rate.permits() == 0 { (0, old.max(1)) } else { lowest(rate) };
        self.rate = rate;
        self.full = product(self.burst.into(), self.span);
        if old != self.span {
            let whole = self.level.checked_div(old.into());
            let part = self.level.checked_rem(old.into()).and_then(|part| u64::try_from(part).ok());
            self.level = match whole.zip(part) {
                Some((whole, part)) => {
                    let part = product(part, self.span).checked_div(old.into()).unwrap_or(0);
                    whole.saturating_mul(self.span.into()).saturating_add(part)
                }
                None => self.full,
            };
        }
    }

    /// What is in it, in a form that fits into one word; `None` if its numbers are too large for that. Kept in the
    /// measure of `former`, if that still is its measure.
    #[must_use]
    pub fn park(&self, former: Measure) -> Option<(Measure, u64)> {
        let measure = |base| Measure::of(base, self.yields, self.span, self.full);
        // Spilled, so not above full.
        let missing = u64::try_from(self.full.saturating_sub(self.level)).ok()?;
        let parked = |measure: Measure| measure.word(self.at, missing).map(|word| (measure, word));
        let kept = measure(former.base).filter(|same| *same == former && same.base <= self.at).and_then(parked);
        kept.or_else(|| measure(self.at).and_then(parked))
    }

    /// The reverse of [`Bucket::park`], as of the first moment at which all that was spent was there.
    pub fn unpark(&mut self, measure: Measure, word: u64) {
        let (at, missing) = measure.missing(word);
        self.at = at;
        self.level = self.full.saturating_sub(missing.into());
    }

    /// From now on it holds `burst`. What is above it is for [`Bucket::spill`].
    pub fn set_burst(&mut self, burst: u32) {
        self.burst = burst;
        self.full = product(burst.into(), self.span);
    }
}
