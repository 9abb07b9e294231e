//! The times of an election, and the proof that they fit together.

use std::{fmt, time::Duration};

use crate::policy::{
    config_error::ConfigError,
    nanos::{Written, duration, nanos},
    ratio::Ratio,
};

/// The times of an election. An invalid set cannot exist: construction says which rule it breaks, with the numbers.
///
/// All of it is measured on each process's own monotonic clock; no clock is ever compared with another. A term counts
/// from the moment at which its last confirmed renewal was *sent*. The work is told to stop at `send + renew_deadline`,
/// and is dropped a [`stop_grace`](Self::stop_grace) later, at the latest at `send + lease * (1 - 2 * drift)`. A
/// candidate lets a full `lease` pass after it has seen the last renewal. The renewal cannot be seen before it was
/// sent, and for clocks whose rates are off by no more than `drift` each,
/// `(1 - 2 * drift) / (1 - drift) < 1 / (1 + drift)`: a new term starts only after the old one has ended.
///
/// ```
/// use std::time::Duration;
/// use relent::leader::Timing;
///
/// let timing = Timing::new(Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(2))?;
/// assert_eq!(timing, Timing::default());
///
/// let error = Timing::new(Duration::from_secs(15), Duration::from_secs(20), Duration::from_secs(2)).unwrap_err();
/// assert_eq!(error.to_string(), "renew_deadline 20s: must be less than lease * (1 - 2 * clock_drift), here 13.5s of a lease of 15s");
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    lease: u64,
    renew_deadline: u64,
    retry_period: u64,
    stop_grace: Option<u64>,
    call_timeout: Option<u64>,
    clock_drift: Ratio,
}

impl Timing {
    /// `lease`: how long a renewal keeps others out. `renew_deadline`: how long a leader goes on after its last
    /// confirmed renewal was sent. `retry_period`: from one renewal to the next, and (with jitter, up to 2.2 times it)
    /// from one read of a candidate to the next.
    ///
    /// # Errors
    /// A time of zero; a renew deadline that is less than 2.2 retry periods (no second try), or that leaves no time
    /// before the lease of others may run out, clock drift included.
    pub fn new(lease: Duration, renew_deadline: Duration, retry_period: Duration) -> Result<Self, ConfigError> {
        Self::with_clock_drift(lease, renew_deadline, retry_period, Ratio::percent(5))
    }

    /// The same for clocks that are off by another [drift](Self::clock_drift): the better they are, the longer a renew
    /// deadline may be.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Ratio, leader::Timing};
    ///
    /// let [lease, deadline, period] = [15, 14, 2].map(Duration::from_secs);
    /// assert!(Timing::new(lease, deadline, period).is_err());
    /// assert!(Timing::with_clock_drift(lease, deadline, period, Ratio::percent(1)).is_ok());
    /// ```
    pub fn with_clock_drift(
        lease: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
        clock_drift: Ratio,
    ) -> Result<Self, ConfigError> {
        Self {
            lease: nanos(lease),
            renew_deadline: nanos(renew_deadline),
            retry_period: nanos(retry_period),
            stop_grace: None,
            call_timeout: None,
            clock_drift,
        }
        .checked()
    }

    /// How long the work may take to end once it was told that its term is over. Default: all the time there is,
    /// `lease * (1 - 2 * drift) - renew_deadline`.
    ///
    /// # Errors
    /// A grace that does not fit between the renew deadline and the end of the lease.
    pub fn stop_grace(mut self, grace: Duration) -> Result<Self, ConfigError> {
        self.stop_grace = Some(nanos(grace));
        self.checked()
    }

    /// How long one call of the lock may take. Default: half of `renew_deadline - retry_period`.
    ///
    /// # Errors
    /// Zero; or so long that a hanging renewal would leave no time for another before the renew deadline.
    pub fn call_timeout(mut self, timeout: Duration) -> Result<Self, ConfigError> {
        self.call_timeout = Some(nanos(timeout));
        self.checked()
    }

    /// How far the rate of each process's clock may be off, one way or the other. Default: 5 %.
    ///
    /// # Errors
    /// A drift that leaves no room between renew deadline and lease.
    pub fn clock_drift(mut self, drift: Ratio) -> Result<Self, ConfigError> {
        self.clock_drift = drift;
        self.checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let times =
            [("lease", self.lease), ("renew_deadline", self.renew_deadline), ("retry_period", self.retry_period)];
        for (setting, time) in times {
            if time == 0 {
                return Err(wrong(setting, time, "must be greater than zero"));
            }
        }
        let (valid, deadline) = (self.valid_nanos(), self.renew_deadline);
        if deadline >= valid {
            let (valid, lease) = (written(valid), written(self.lease));
            let rule = format!("must be less than lease * (1 - 2 * clock_drift), here {valid} of a lease of {lease}");
            return Err(wrong("renew_deadline", deadline, rule));
        }
        if deadline < self.longest_pause() {
            let (least, period) = (written(self.longest_pause()), written(self.retry_period));
            let rule = format!("must be at least 2.2 * retry_period, here {least} for a period of {period}");
            return Err(wrong("renew_deadline", deadline, rule));
        }
        let grace = self.grace_nanos();
        if deadline.saturating_add(grace) > valid {
            let (deadline, valid) = (written(deadline), written(valid));
            let rule = format!(
                "renew_deadline + stop_grace must be at most lease * (1 - 2 * clock_drift), here {deadline} + grace against {valid}: \
                 a new leader could start before the old one has stopped"
            );
            return Err(wrong("stop_grace", grace, rule));
        }
        let call = self.call_nanos();
        if call == 0 {
            return Err(wrong("call_timeout", call, "must be greater than zero"));
        }
        if self.retry_period.saturating_add(call) >= deadline {
            let (period, deadline) = (written(self.retry_period), written(deadline));
            let rule = format!(
                "retry_period + call_timeout must be less than renew_deadline, here {period} + timeout against {deadline}: \
                 a renewal that hangs would be the last one"
            );
            return Err(wrong("call_timeout", call, rule));
        }
        Ok(self)
    }

    /// How long a renewal keeps others out.
    #[must_use]
    pub fn lease(&self) -> Duration {
        duration(self.lease)
    }

    /// How long a leader goes on after its last confirmed renewal was sent.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        duration(self.renew_deadline)
    }

    /// From one renewal to the next.
    #[must_use]
    pub fn retry_period(&self) -> Duration {
        duration(self.retry_period)
    }

    /// What these times amount to: takeover after a crash and after a release, and the safety margin.
    #[must_use]
    pub fn explain(&self) -> Explained {
        Explained { timing: *self }
    }

    pub(crate) fn lease_nanos(&self) -> u64 {
        self.lease
    }

    pub(super) fn deadline_nanos(&self) -> u64 {
        self.renew_deadline
    }

    pub(crate) fn retry_nanos(&self) -> u64 {
        self.retry_period
    }

    /// `lease * (1 - 2 * drift)`, rounded down.
    pub(super) fn valid_nanos(&self) -> u64 {
        let twice = u128::from(self.clock_drift.numerator()).saturating_mul(2);
        let below = u128::from(self.clock_drift.denominator().get());
        let lost = u128::from(self.lease).saturating_mul(twice).div_ceil(below);
        self.lease.saturating_sub(u64::try_from(lost).unwrap_or(u64::MAX))
    }

    pub(super) fn grace_nanos(&self) -> u64 {
        self.stop_grace.unwrap_or_else(|| self.valid_nanos().saturating_sub(self.renew_deadline))
    }

    /// Public for simulations: how long one call of the lock may take, in nanoseconds.
    #[doc(hidden)]
    #[must_use]
    pub fn call_nanos(&self) -> u64 {
        self.call_timeout.unwrap_or_else(|| self.renew_deadline.saturating_sub(self.retry_period).div_ceil(2))
    }

    /// The longest time from one read of a candidate to the next: 2.2 retry periods, rounded up.
    pub(super) fn longest_pause(&self) -> u64 {
        let tenth = u128::from(self.retry_period).saturating_mul(22).div_ceil(10);
        u64::try_from(tenth).unwrap_or(u64::MAX)
    }

    /// `time` on a clock that runs too slowly, in true time, rounded up.
    fn slow(&self, time: u64) -> u64 {
        let below = u128::from(self.clock_drift.denominator().get());
        let rate = below.saturating_sub(self.clock_drift.numerator().into());
        let stretched = u128::from(time).saturating_mul(below).checked_add(rate.saturating_sub(1));
        stretched.and_then(|time| time.checked_div(rate)).and_then(|time| u64::try_from(time).ok()).unwrap_or(u64::MAX)
    }

    /// `time` on a clock that runs too fast, in true time, rounded down.
    fn fast(&self, time: u64) -> u64 {
        let below = u128::from(self.clock_drift.denominator().get());
        let rate = below.saturating_add(self.clock_drift.numerator().into());
        let shrunk = u128::from(time).saturating_mul(below).checked_div(rate);
        shrunk.and_then(|time| u64::try_from(time).ok()).unwrap_or(u64::MAX)
    }
}

/// A lease of 15 s, a renew deadline of 10 s, a retry period of 2 s: what Kubernetes' own components use.
impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: 15_000_000_000,
            renew_deadline: 10_000_000_000,
            retry_period: 2_000_000_000,
            stop_grace: None,
            call_timeout: None,
            clock_drift: Ratio::percent(5),
        }
    }
}

/// What a [`Timing`] amounts to, as times and as text. The times are true time for the slowest clock that the
/// [`clock_drift`](Timing::clock_drift) allows.
///
/// ```
/// let explained = relent::leader::Timing::default().explain();
/// assert_eq!(explained.after_crash().as_secs(), 33);
/// assert_eq!(explained.after_release().as_secs(), 17);
/// assert_eq!(explained.safety_margin().as_millis(), 75);
/// println!("{explained}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    timing: Timing,
}

impl Explained {
    /// The longest time without a leader after the leading process has died, while the lock answers each call within
    /// the call timeout: up to 2.2 retry periods until a candidate reads, its lease, and three calls.
    #[must_use]
    pub fn after_crash(&self) -> Duration {
        duration(self.timing.slow(self.local(self.timing.lease)))
    }

    /// The longest time from a release to the next term when nothing announces changes: up to 2.2 retry periods, and
    /// three calls. A lock that can be watched (a Lease, etcd, memory) is taken over as soon as the news arrives.
    #[must_use]
    pub fn after_release(&self) -> Duration {
        duration(self.timing.slow(self.local(0)))
    }

    /// The shortest time from the moment at which the old leader's work is dropped to the start of a new term.
    #[must_use]
    pub fn safety_margin(&self) -> Duration {
        let timing = &self.timing;
        let stopped = timing.slow(timing.renew_deadline.saturating_add(timing.grace_nanos()));
        duration(timing.fast(timing.lease).saturating_sub(stopped))
    }

    fn local(&self, lease: u64) -> u64 {
        let calls = self.timing.call_nanos().saturating_mul(3);
        self.timing.longest_pause().saturating_add(lease).saturating_add(calls)
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timing { renew_deadline, clock_drift, .. } = self.timing;
        let (told, dropped) = (written(renew_deadline), renew_deadline.saturating_add(self.timing.grace_nanos()));
        writeln!(
            f,
            "work is told to stop {told} after the last confirmed renewal was sent, dropped after {}",
            written(dropped)
        )?;
        writeln!(f, "takeover after a crash: within {}", Written(self.after_crash()))?;
        writeln!(
            f,
            "takeover after a release: within {}, at once where changes are announced",
            Written(self.after_release())
        )?;
        write!(f, "safety margin: {} with clocks off by {clock_drift} each", Written(self.safety_margin()))
    }
}

fn written(time: u64) -> Written {
    Written(duration(time))
}

fn wrong(setting: &'static str, time: u64, rule: impl Into<String>) -> ConfigError {
    ConfigError::new(setting, written(time), rule)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn each_rule_is_named_with_its_numbers() {
        let said = |lease, deadline, period| Timing::new(S(lease), S(deadline), S(period)).unwrap_err().to_string();
        assert_eq!(said(0, 10, 2), "lease 0ns: must be greater than zero");
        assert_eq!(said(15, 0, 2), "renew_deadline 0ns: must be greater than zero");
        assert_eq!(said(15, 10, 0), "retry_period 0ns: must be greater than zero");
        assert_eq!(said(0, 0, 0), "lease 0ns: must be greater than zero");
        let room = "must be less than lease * (1 - 2 * clock_drift), here";
        assert_eq!(said(15, 15, 2), format!("renew_deadline 15s: {room} 13.5s of a lease of 15s"));
        // The Go rule set lets this one pass; it overlaps by a second.
        assert_eq!(said(11, 10, 2), format!("renew_deadline 10s: {room} 9.9s of a lease of 11s"));
        assert_eq!(
            said(15, 10, 5),
            "renew_deadline 10s: must be at least 2.2 * retry_period, here 11s for a period of 5s"
        );

        let good = Timing::new(S(15), S(10), S(2)).unwrap();
        let grace = good.stop_grace(S(4)).unwrap_err();
        assert_eq!(
            grace.to_string(),
            "stop_grace 4s: renew_deadline + stop_grace must be at most lease * (1 - 2 * clock_drift), here 10s + grace \
             against 13.5s: a new leader could start before the old one has stopped"
        );
        let call = good.call_timeout(S(8)).unwrap_err();
        assert_eq!(
            call.to_string(),
            "call_timeout 8s: retry_period + call_timeout must be less than renew_deadline, here 2s + timeout against \
             10s: a renewal that hangs would be the last one"
        );
        assert_eq!(good.call_timeout(S(0)).unwrap_err().setting(), "call_timeout");
        assert_eq!(good.clock_drift(Ratio::percent(17)).unwrap_err().setting(), "renew_deadline");
        assert_eq!(good.clock_drift(Ratio::whole(u32::MAX)).unwrap_err().setting(), "renew_deadline");
        // A grace that was allowed is checked again when the drift grows.
        let tight = good.stop_grace(Duration::from_millis(3_500)).unwrap();
        assert_eq!(tight.clock_drift(Ratio::percent(6)).unwrap_err().setting(), "stop_grace");
    }

    #[test]
    fn what_operators_use_is_accepted() {
        assert_eq!(Timing::new(S(15), S(10), S(2)).unwrap(), Timing::default());
        let patient = Timing::new(S(137), S(107), S(26)).unwrap();
        assert_eq!(patient.grace_nanos(), 16_300_000_000);
        assert!(Timing::new(Duration::MAX, S(10), S(2)).is_ok());
        assert!(Timing::new(Duration::from_nanos(100), Duration::from_nanos(50), Duration::from_nanos(10)).is_ok());
    }

    #[test]
    fn explained_in_words() {
        let text = Timing::default().explain().to_string();
        assert_eq!(
            text,
            "work is told to stop 10s after the last confirmed renewal was sent, dropped after 13.5s\n\
             takeover after a crash: within 33.052631579s\n\
             takeover after a release: within 17.263157895s, at once where changes are announced\n\
             safety margin: 75.187969ms with clocks off by 1/20 each"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        /// Whatever is accepted leaves a new leader no instant with the old one, for the worst pair of clocks.
        #[test]
        fn an_accepted_timing_is_safe(lease: u64, deadline: u64, retry: u64, drift in 0_u32..600, scale in 0_u32..64) {
            let (lease, deadline, retry) = (lease >> scale, deadline >> scale, retry >> scale);
            let timing = Timing::new(duration(lease), duration(deadline), duration(retry));
            let Ok(timing) = timing.and_then(|timing| timing.clock_drift(Ratio::per_mille(drift))) else { return Ok(()) };
            // Old leader on a slow clock, new leader on a fast one; both in units of 1/1000 of the drift's parts.
            let old = u128::from(timing.renew_deadline.saturating_add(timing.grace_nanos())) * u128::from(1000 + drift);
            let new = u128::from(timing.lease) * u128::from(1000 - drift);
            prop_assert!(old <= new, "{timing:?}");
            prop_assert!(timing.grace_nanos() > 0 && timing.call_nanos() > 0);
        }
    }
}
