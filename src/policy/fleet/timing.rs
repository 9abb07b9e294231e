//! The times of a member.

use std::time::Duration;

use crate::policy::{
    config_error::ConfigError,
    nanos::{self, Written},
    ratio::Ratio,
};

/// The least ttl: 100 ms. Below it, a refresh hardly fits between two others.
const LEAST_TTL: u64 = 100_000_000;
/// 10 s.
const TTL: u64 = 10_000_000_000;
/// 30 s.
const MAX_TTL: u64 = 30_000_000_000;

/// How long a share lives. An invalid one cannot exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    ttl: u64,
    /// The longest that any member of the fleet may have, also of another version of the program.
    max_ttl: u64,
    drift: Ratio,
}

impl Default for Timing {
    fn default() -> Self {
        Self { ttl: TTL, max_ttl: MAX_TTL, drift: Ratio::percent(5) }
    }
}

impl Timing {
    /// With another ttl.
    ///
    /// # Errors
    /// One that breaks a rule.
    pub fn ttl(mut self, ttl: Duration) -> Result<Self, ConfigError> {
        self.ttl = nanos::nanos(ttl);
        if self.ttl < LEAST_TTL {
            return Err(wrong("ttl", ttl, "must be at least 100ms"));
        }
        if self.ttl > self.max_ttl {
            let most = Written(nanos::duration(self.max_ttl));
            let rule =
                format!("must be at most max_ttl, here {most}: so long a lost record is learned; set max_ttl first");
            return Err(wrong("ttl", ttl, rule));
        }
        Ok(self)
    }

    /// With another longest ttl.
    ///
    /// # Errors
    /// One that breaks a rule.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Result<Self, ConfigError> {
        self.max_ttl = nanos::nanos(max_ttl);
        if self.max_ttl < self.ttl {
            let least = Written(nanos::duration(self.ttl));
            return Err(wrong("max_ttl", max_ttl, format!("must be at least ttl, here {least}")));
        }
        if max_ttl > Duration::from_secs(86_400) {
            return Err(wrong("max_ttl", max_ttl, "must be at most 24h"));
        }
        Ok(self)
    }

    /// With another bound on how far clocks run too fast or too slow.
    ///
    /// # Errors
    /// One that breaks a rule.
    pub fn clock_drift(mut self, drift: Ratio) -> Result<Self, ConfigError> {
        self.drift = drift;
        let (above, below) = (u64::from(drift.numerator()), u64::from(drift.denominator().get()));
        if above.saturating_mul(6) > below {
            let rule = "must be at most 1/6: a share has to outlive two refreshes on any clock";
            return Err(ConfigError::new("clock_drift", drift, rule));
        }
        Ok(self)
    }

    /// The ttl in nanoseconds, as long as the fleet is small.
    #[must_use]
    pub fn ttl_nanos(&self) -> u64 {
        self.ttl
    }

    /// The longest, in nanoseconds.
    #[must_use]
    pub fn max_ttl_nanos(&self) -> u64 {
        self.max_ttl
    }

    /// How far a clock may be off.
    #[must_use]
    pub fn drift(&self) -> Ratio {
        self.drift
    }

    /// How long a share of this ttl may be used after its refresh was sent: `ttl * (1 - 2 * drift)`, rounded down.
    #[must_use]
    pub fn valid(&self, ttl: u64) -> u64 {
        let twice = u128::from(self.drift.numerator()).saturating_mul(2);
        let lost = u128::from(ttl).saturating_mul(twice).div_ceil(self.drift.denominator().get().into());
        ttl.saturating_sub(u64::try_from(lost).unwrap_or(u64::MAX))
    }

    /// From one refresh to the next: there are 3.3 in a ttl.
    #[must_use]
    pub fn period(ttl: u64) -> u64 {
        Ratio::new(10, 33).map_or(ttl, |ratio| ratio.of(ttl))
    }

    /// The ttl of one of so many members, where a call takes so long: refreshes of all go through one record, one after
    /// the other, so their period is 13 round trips for each at least. And whether that is longer than the fleet
    /// allows.
    #[must_use]
    pub fn stretched(&self, members: u64, round_trip: u64) -> (u64, bool) {
        let period = members.saturating_mul(round_trip).saturating_mul(13);
        let ttl = period.saturating_mul(33).checked_div(10).unwrap_or(period);
        (ttl.clamp(self.ttl, self.max_ttl), ttl > self.max_ttl)
    }

    /// `time` on a clock that runs too slowly, in true time, rounded up.
    #[must_use]
    pub fn slow(&self, time: u64) -> u64 {
        let below = u128::from(self.drift.denominator().get());
        let rate = below.saturating_sub(self.drift.numerator().into()).max(1);
        u64::try_from(u128::from(time).saturating_mul(below).div_ceil(rate)).unwrap_or(u64::MAX)
    }
}

fn wrong(setting: &'static str, time: Duration, rule: impl Into<String>) -> ConfigError {
    ConfigError::new(setting, Written(time), rule)
}
