//! Pure decisions: every rule of timing, as functions of the data they are given.
//!
//! Nothing in here reads a clock, sleeps, spawns or waits. Time is a number of nanoseconds since the run (the limiter,
//! the queue) began, so that a history can be written down, replayed, simulated and fuzzed. The verbs ask, and wait.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

pub mod attempts;
pub mod backoff;
pub mod bounds;
pub mod jitter;
pub(crate) mod nanos;
pub mod ratio;
pub mod timetable;

use std::time::Duration;

use self::{
    attempts::Decision,
    backoff::Backoff,
    bounds::Bounds,
    nanos::{FOREVER, nanos},
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
/// assert_eq!(policy.clone(), policy);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Policy {
    bounds: Bounds,
    every: Option<u64>,
    max_retry_after: u64,
    backoff: Backoff,
    on_cut: Decision,
    max_attempts: u32,
    backoff_set: bool,
    delay_first: bool,
    final_try: bool,
}

impl Policy {
    /// Nothing set: the cadence of the verb, no bounds.
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::NONE,
            every: None,
            max_retry_after: FOREVER,
            backoff: Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10)),
            on_cut: Decision::Retry,
            max_attempts: u32::MAX,
            backoff_set: false,
            delay_first: false,
            final_try: false,
        }
    }

    /// The pause from the end of one attempt to the start of the next.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self.backoff_set = true;
        self
    }

    /// Attempts start on a grid of this period, laid at the first start. A tick that passes while an attempt runs is
    /// skipped, never made up for. With a backoff as well, the later of the two counts.
    pub fn every(mut self, period: Duration) -> Self {
        self.every = Some(nanos(period));
        self
    }

    /// The deadline of each call. One that still runs after it is cut, that is dropped: a failed attempt whose outcome
    /// is unknown.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.bounds.attempt_timeout = nanos(timeout);
        self
    }

    /// Attempts may start up to and including this long after the run began. One in flight is left to finish.
    pub fn start_within(mut self, window: Duration) -> Self {
        self.bounds.start_within = nanos(window);
        self
    }

    /// The hard bound on everything: waits, limiter, attempts. An attempt in flight is cut there.
    pub fn finish_within(mut self, bound: Duration) -> Self {
        self.bounds.finish_within = nanos(bound);
        self
    }

    /// At most so many attempts. 0 is none: the run ends at once and says so.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// One last attempt at exactly the end of the start window; without a window, at `finish_within - attempt_timeout`.
    /// Has no effect otherwise. Unless set, a run whose next start is not admitted ends at once.
    pub fn final_try(mut self) -> Self {
        self.final_try = true;
        self
    }

    /// Waits one step of the cadence before the first attempt, which otherwise starts at once.
    pub fn delay_first(mut self) -> Self {
        self.delay_first = true;
        self
    }

    /// What follows an attempt that its own deadline cut. `Fatal` is for calls that must not run twice. Default: retry.
    pub fn on_cut(mut self, decision: impl Into<Decision>) -> Self {
        self.on_cut = decision.into();
        self
    }

    /// At most this much of what a server asks for with `RetryAfter` is waited. Default: all of it, within the bounds.
    pub fn max_retry_after(mut self, most: Duration) -> Self {
        self.max_retry_after = nanos(most);
        self
    }

    /// The same with `every` as its cadence, unless it has one.
    pub(crate) fn or_every(mut self, period: Duration) -> Self {
        if self.every.is_none() && !self.backoff_set {
            self.every = Some(nanos(period));
        }
        self
    }

    /// Whether pauses are the backoff's business: it was set, or nothing else was.
    #[inline]
    fn uses_backoff(&self) -> bool {
        self.backoff_set || self.every.is_none()
    }

    /// The bounds.
    #[inline]
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether the first attempt already needs to know the time.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        let Bounds { attempt_timeout, start_within, finish_within } = self.bounds;
        // All bits set is no bound.
        attempt_timeout & start_within & finish_within != FOREVER || self.every.is_some() || self.delay_first
    }

    /// Whether retries come without any pause, so that an attempt that did not wait took no time.
    #[inline]
    pub(crate) fn is_immediate(&self) -> bool {
        self.backoff_set && self.backoff.is_zero()
    }

    /// The seed of the random series, if one was set.
    #[inline]
    pub(crate) fn seed(&self) -> Option<u64> {
        self.backoff.seeded()
    }

    /// What follows an attempt that was cut.
    pub(crate) fn after_cut(&self) -> Decision {
        self.on_cut
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}
