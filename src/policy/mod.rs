//! Pure decisions: every rule of timing, as functions of the data they are given.
//!
//! Nothing in here reads a clock, sleeps, spawns or waits. Time is a number of nanoseconds since the run (the limiter,
//! the queue) began, so that a history can be written down, replayed, simulated and fuzzed. The verbs ask, and wait.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic))]

pub mod attempts;
pub mod backoff;
pub mod bounds;
pub mod bucket;
pub mod budget;
pub mod ensure;
mod gate;
pub mod jitter;
pub mod lease;
pub mod line;
pub(crate) mod nanos;
pub mod parked;
pub mod plan;
pub mod quorum;
pub mod rate;
pub mod ratio;
#[cfg(feature = "serde")]
mod serde;
pub mod stall;
mod text;
mod timeline;
pub mod timetable;
pub mod warning;

use std::time::Duration;

use self::{
    attempts::Decision,
    backoff::Backoff,
    bounds::Bounds,
    nanos::{FOREVER, duration, nanos},
};

/// The settings of a run that are data: cadence, bounds, attempts.
///
/// One value, shared by many runs: `retry(op).policy(&policy)`, `begin` for a loop of your
/// own, `plan` to see what it would do. It reads and writes as text (`every 50ms, start_within 350ms`)
/// and, with the feature `serde`, as a map (`{"every": "50ms", "start_within": "350ms"}`).
///
/// With neither a backoff nor a period set, the cadence is the verb's own: [`Backoff::default`] for `retry`, every
/// second for `poll`.
///
/// Durations of 584 years and more are forever: such a bound is no bound.
///
/// ```
/// use std::time::Duration;
/// use relent::Policy;
///
/// let policy = Policy::new()
///     .every(Duration::from_millis(50))
///     .start_within(Duration::from_millis(350))
///     .attempt_timeout(Duration::from_secs(10));
/// assert_eq!(policy, "every 50ms, start_within 350ms, attempt_timeout 10s".parse()?);
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Policy {
    bounds: Bounds,
    backoff: Backoff,
    /// Counts if `SET_EVERY` is set.
    every: u64,
    max_attempts: u32,
    /// The settings that are on or off.
    flags: u32,
}

const SET_BACKOFF: u32 = 1;
const SET_EVERY: u32 = 2;
const DELAY_FIRST: u32 = 4;
const FINAL_TRY: u32 = 8;
const CUT_IS_FATAL: u32 = 16;

impl Policy {
    /// Nothing set: the cadence of the verb, no bounds.
    #[inline]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::NONE,
            backoff: Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10)),
            every: FOREVER,
            max_attempts: u32::MAX,
            flags: 0,
        }
    }

    /// The pause from the end of one attempt to the start of the next.
    #[inline]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        if self.backoff.more.is_none() && backoff.more.is_none() {
            self.backoff = backoff;
        } else {
            self.replace_backoff(backoff);
        }
        self.flags |= SET_BACKOFF;
        self
    }

    /// Puts in another backoff and keeps the settings that are the policy's own.
    #[inline(never)]
    fn replace_backoff(&mut self, backoff: Backoff) {
        let (after_cut, most_asked) = (self.cut_pause(), self.most_asked());
        self.backoff = backoff;
        self.set_cut_pause(after_cut);
        self.set_most_asked(most_asked);
    }

    /// Attempts start on a grid of this period, laid at the first start. A tick that passes while an attempt runs is
    /// skipped, never made up for. With a backoff as well, the later of the two counts.
    #[inline]
    pub fn every(mut self, period: Duration) -> Self {
        self.every = nanos(period);
        self.flags |= SET_EVERY;
        self
    }

    /// The deadline of each call. One that still runs after it is cut, that is dropped: a failed attempt whose outcome
    /// is unknown.
    #[inline]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.bounds.attempt_timeout = nanos(timeout);
        self
    }

    /// Attempts may start up to and including this long after the run began. One in flight is left to finish.
    #[inline]
    pub fn start_within(mut self, window: Duration) -> Self {
        self.bounds.start_within = nanos(window);
        self
    }

    /// The hard bound on everything: waits, limiter, attempts. An attempt in flight is cut there.
    #[inline]
    pub fn finish_within(mut self, bound: Duration) -> Self {
        self.bounds.finish_within = nanos(bound);
        self
    }

    /// At most so many attempts. 0 is none: the run ends at once and says so.
    #[inline]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// One last attempt at exactly the end of the start window; without a window, at `finish_within - attempt_timeout`.
    /// Has no effect otherwise. Unless set, a run whose next start is not admitted ends at once.
    #[inline]
    pub fn final_try(mut self) -> Self {
        self.flags |= FINAL_TRY;
        self
    }

    /// Waits one step of the cadence before the first attempt, which otherwise starts at once.
    #[inline]
    pub fn delay_first(mut self) -> Self {
        self.flags |= DELAY_FIRST;
        self
    }

    /// What follows an attempt that its own deadline cut. `Fatal` is for calls that must not run twice. Default: retry.
    pub fn on_cut(mut self, decision: impl Into<Decision>) -> Self {
        let (pause, fatal) = match decision.into() {
            Decision::Retry => (0, 0),
            Decision::RetryAfter(pause) => (nanos(pause), 0),
            Decision::Fatal => (0, CUT_IS_FATAL),
        };
        self.set_cut_pause(pause);
        self.flags = self.flags & !CUT_IS_FATAL | fatal;
        self
    }

    /// At most this much of what a server asks for with `RetryAfter` is waited. Default: all of it, within the bounds.
    #[inline]
    pub fn max_retry_after(mut self, most: Duration) -> Self {
        self.set_most_asked(nanos(most));
        self
    }

    /// The pause after a cut; where the rare settings live, so that a run is no larger for it.
    #[inline]
    fn cut_pause(&self) -> u64 {
        self.backoff.more.as_ref().map_or(0, |more| more.after_cut)
    }

    #[inline]
    fn set_cut_pause(&mut self, pause: u64) {
        if pause != self.cut_pause() {
            self.backoff.change(|more| more.after_cut = pause);
        }
    }

    /// The most that is waited of what a server asks for.
    #[inline]
    fn most_asked(&self) -> u64 {
        self.backoff.more.as_ref().and_then(|more| more.max_retry_after).unwrap_or(FOREVER)
    }

    fn set_most_asked(&mut self, most: u64) {
        if most != self.most_asked() {
            self.backoff.change(|more| more.max_retry_after = (most != FOREVER).then_some(most));
        }
    }

    /// The same with `every` as its cadence, unless it has one.
    pub(crate) fn or_every(self, period: Duration) -> Self {
        if self.has(SET_EVERY | SET_BACKOFF) { self } else { self.every(period) }
    }

    /// The same with a deadline for each call, where none is set.
    #[cfg(feature = "k8s")]
    pub(crate) fn or_attempt_timeout(self, timeout: Duration) -> Self {
        if self.bounds.attempt_timeout == FOREVER { self.attempt_timeout(timeout) } else { self }
    }

    #[inline]
    const fn has(&self, any_of: u32) -> bool {
        self.flags & any_of != 0
    }

    /// Whether pauses are the backoff's business: it was set, or nothing else was.
    #[inline]
    const fn uses_backoff(&self) -> bool {
        self.flags & (SET_BACKOFF | SET_EVERY) != SET_EVERY
    }

    /// The period of the grid, if there is one.
    #[inline]
    fn period(&self) -> Option<u64> {
        self.has(SET_EVERY).then_some(self.every)
    }

    /// The bounds.
    #[inline]
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// How many attempts there may be.
    pub(crate) fn attempts_allowed(&self) -> u32 {
        self.max_attempts
    }

    /// Whether the first attempt already needs to know the time.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        let Bounds { attempt_timeout, start_within, finish_within } = self.bounds;
        // All bits set is no bound.
        attempt_timeout & start_within & finish_within != FOREVER || self.has(SET_EVERY | DELAY_FIRST)
    }

    /// Whether anything but a cancellation can cut an attempt.
    #[inline]
    pub(crate) fn cuts(&self) -> bool {
        self.bounds.attempt_timeout & self.bounds.finish_within != FOREVER
    }

    /// Whether the first thing to happen is an attempt.
    #[inline]
    pub(crate) fn starts_at_once(&self) -> bool {
        self.max_attempts > 0 && !self.has(DELAY_FIRST)
    }

    /// The seed of the random series, if one was set.
    #[inline]
    pub(crate) fn seed(&self) -> Option<u64> {
        self.backoff.seeded()
    }

    /// What follows an attempt that was cut.
    pub(crate) fn after_cut(&self) -> Decision {
        match self.cut_pause() {
            _ if self.has(CUT_IS_FATAL) => Decision::Fatal,
            0 => Decision::Retry,
            pause => Decision::RetryAfter(duration(pause)),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_that_reach_584_years_are_one_and_the_same_forever() {
        let forever = |pause| Policy::new().on_cut(Decision::RetryAfter(pause));
        assert_eq!(forever(Duration::from_nanos(u64::MAX)), forever(Duration::MAX));
        assert_eq!(forever(Duration::from_secs(1 << 60)), forever(Duration::MAX));
    }
}
