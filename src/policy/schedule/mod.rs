//! When attempts start, when they are cut, and when a run stops: what [`Policy`] decides.

pub mod attempts;
pub mod backoff;
pub mod bounds;
mod chain;
mod decision;
mod default_window;
mod delays;
mod guards;
pub mod jitter;
mod own_backoff;
mod rare;
mod stop;

use std::time::Duration;

use self::{
    backoff::{Backoff, Plain},
    bounds::Bounds,
    decision::Decision,
    rare::{MaybeRare, Rare},
};
use super::nanos::{FOREVER, duration, nanos};

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
#[derive(Clone, PartialEq, Eq, Hash)]
#[must_use]
pub struct Policy {
    pub(super) bounds: Bounds,
    /// Its backoff, but for what few have.
    backoff: Plain,
    /// Counts if `SET_EVERY` is set.
    pub(super) every: u64,
    pub(super) max_attempts: u32,
    /// The settings that are on or off.
    pub(super) flags: u32,
    /// What few policies have: one pointer, since each run holds its policy.
    rare: MaybeRare,
}

pub(super) const SET_BACKOFF: u32 = 1;
pub(super) const SET_EVERY: u32 = 2;
pub(super) const DELAY_FIRST: u32 = 4;
pub(super) const FINAL_TRY: u32 = 8;
const CUT_IS_FATAL: u32 = 16;
/// The start window is the builder's own, and gives way to any bound.
const DEFAULT_WINDOW: u32 = 32;
pub(super) const RANDOM_PHASE: u32 = 64;
pub(super) const SHARE_RETRY_AFTER: u32 = 128;
/// What follows a cut was said, and be it the default: it counts where this policy is put over another.
pub(super) const SET_ON_CUT: u32 = 512;
/// For tests: no setting of a run, and not written as text.
#[cfg(feature = "test-util")]
const SKIP_PAUSES: u32 = 256;

impl Policy {
    /// Nothing set: the cadence of the verb, no bounds.
    #[inline]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::NONE,
            backoff: Plain::DEFAULT,
            every: FOREVER,
            max_attempts: u32::MAX,
            flags: 0,
            rare: MaybeRare::NONE,
        }
    }

    /// The pause from the end of one attempt to the start of the next.
    #[inline]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.set_backoff(backoff);
        self.flags |= SET_BACKOFF;
        self
    }

    /// Attempts start on a grid of this period, laid at the first start. A tick that passes while an attempt runs is
    /// skipped, never made up for. With a backoff as well, the later of the two counts.
    #[inline]
    pub fn every(mut self, period: Duration) -> Self {
        self.every = nanos(period);
        self.flags |= SET_EVERY;
        self
    }

    /// Gives each run a grid of its own: the first pause is any between half of [`every`](Self::every) and one and a
    /// half, at random, and the grid is laid where it ends. Runs that begin together, as those of many instances of a
    /// program do, then never meet again at the same instants; unless set, they do for ever. Without `every` it has no
    /// effect.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Backoff, Policy};
    ///
    /// let policy: Policy = "every 10s, random_phase, attempt_timeout 1s, max_attempts 4".parse()?;
    /// let starts = |course: &relent::plan::Course| course.starts().map(|start| start.as_secs()).collect::<Vec<_>>();
    /// assert_eq!(starts(policy.plan().best()), [0, 5, 15, 25]);
    /// assert_eq!(starts(policy.plan().longest_pauses()), [0, 14, 24, 34]);
    /// # Ok::<(), relent::ConfigError>(())
    /// ```
    #[inline]
    pub fn random_phase(mut self) -> Self {
        self.flags |= RANDOM_PHASE;
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
        self.set_start_within(window);
        self
    }

    // In place, as a builder that holds a policy needs it: moved through, it would be copied twice.
    #[inline]
    pub(crate) fn set_start_within(&mut self, window: Duration) {
        self.drop_default_window();
        self.bounds.start_within = nanos(window);
    }

    /// The hard bound on everything: waits, limiter, attempts. An attempt in flight is cut there, and none starts then
    /// or later, however late a timer or a permit came.
    #[inline]
    pub fn finish_within(mut self, bound: Duration) -> Self {
        self.set_finish_within(bound);
        self
    }

    #[inline]
    pub(crate) fn set_finish_within(&mut self, bound: Duration) {
        self.drop_default_window();
        self.bounds.finish_within = nanos(bound);
    }

    /// At most so many attempts. 0 is none: the run ends at once and says so.
    #[inline]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.set_max_attempts(attempts);
        self
    }

    #[inline]
    pub(crate) fn set_max_attempts(&mut self, attempts: u32) {
        self.drop_default_window();
        self.max_attempts = attempts;
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

    /// What follows an attempt that ended without an answer: its own deadline cut it, or its owner dropped it while the
    /// run goes on. `Fatal` is for calls that must not run twice. Default: retry.
    pub fn on_cut(mut self, decision: impl Into<Decision>) -> Self {
        let (pause, fatal) = match decision.into() {
            Decision::Retry => (0, 0),
            Decision::RetryAfter(pause) => (nanos(pause), 0),
            Decision::Fatal => (0, CUT_IS_FATAL),
        };
        self.change_rare(|rare| rare.after_cut = pause);
        self.flags = self.flags & !CUT_IS_FATAL | SET_ON_CUT | fatal;
        self
    }

    /// At most this much of what a server asks for with `RetryAfter` is waited. Default: all of it, within the bounds.
    #[inline]
    pub fn max_retry_after(mut self, most: Duration) -> Self {
        let most = nanos(most);
        self.change_rare(|rare| rare.max_retry_after = (most != FOREVER).then_some(most));
        self
    }

    /// What a server asks of one run by `RetryAfter` holds for all that share its limiters: they grant nothing for so
    /// long, at most [`max_retry_after`](Self::max_retry_after), as after
    /// [`Limiter::pause_for`](crate::Limiter::pause_for), also where this run ends with that answer. Without a limiter
    /// it has no effect.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Decision, Limiter, Policy, retry};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let limiter = Limiter::per_second(100);
    /// let policy = Policy::new().share_retry_after().max_attempts(1);
    /// let too_many = retry(async |_| Err::<(), _>("429, Retry-After: 30"))
    ///     .policy(&policy)
    ///     .throttle(&limiter)
    ///     .when(|_| Decision::RetryAfter(Duration::from_secs(30)))
    ///     .await;
    /// assert!(too_many.is_err());
    /// assert_eq!(limiter.try_acquire(1).unwrap_err().ready_in(), Some(Duration::from_secs(30)));
    /// # }
    /// ```
    #[inline]
    pub fn share_retry_after(mut self) -> Self {
        self.flags |= SHARE_RETRY_AFTER;
        self
    }

    /// For how long the limiters of a run pause that heard `asked` from a server.
    pub(crate) fn pause_for_all(&self, asked: Duration) -> Option<u64> {
        self.has(SHARE_RETRY_AFTER).then(|| nanos(asked).min(self.most_asked()))
    }

    #[inline]
    fn rare(&self) -> &Rare {
        self.rare.get().unwrap_or(&Rare::NONE)
    }

    /// Changes what few policies have; nothing allocates where nothing changes, and equal policies stay equal.
    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare().clone();
        change(&mut rare);
        if rare != *self.rare() {
            self.rare = MaybeRare::new(rare);
        }
    }

    /// The pause after a cut.
    #[inline]
    fn cut_pause(&self) -> u64 {
        self.rare().after_cut
    }

    /// The most that is waited of what a server asks for.
    #[inline]
    pub(super) fn most_asked(&self) -> u64 {
        self.rare().max_retry_after.unwrap_or(FOREVER)
    }

    /// The same with `every` as its cadence, unless it has one.
    pub(crate) fn or_every(self, period: Duration) -> Self {
        if self.has(SET_EVERY | SET_BACKOFF) { self } else { self.every(period) }
    }

    #[inline]
    pub(super) const fn has(&self, any_of: u32) -> bool {
        self.flags & any_of != 0
    }

    /// Whether pauses are the backoff's business: it was set, or nothing else was.
    #[inline]
    pub(super) const fn uses_backoff(&self) -> bool {
        self.flags & (SET_BACKOFF | SET_EVERY) != SET_EVERY
    }

    /// For tests, feature `test-util`: a run with this policy decides as it would, and its pauses take no time.
    ///
    /// The run's own clock goes on by each pause: what it tells as elapsed, its bounds, ticks and the instants of its
    /// attempts count the pauses in full, so an hour of them ends by `finish_within(1 h)`, on any runtime and beside
    /// real sockets. On a paused clock it is not needed.
    ///
    /// Not skipped, and counted as it passes: what the operation itself waits for, a call that its deadline cuts, the
    /// wait for a limiter and the wait of a [`TimedQueue`](crate::TimedQueue), since others share those. Pauses of one
    /// run pass for no other: a limiter or a budget fills meanwhile only by real time. It is not part of the policy's
    /// text. A pause without an end is still waited for.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{GaveUp, Policy, retry};
    ///
    /// async fn app(policy: &Policy) -> Result<u32, GaveUp<std::io::Error>> {
    ///     retry(async |attempt| if attempt.number() < 3 { Err(std::io::Error::other("busy")) } else { Ok(7) }).policy(policy).await
    /// }
    ///
    /// # #[tokio::main] async fn main() {
    /// let production: Policy = "backoff fixed 10m, finish_within 1h".parse().unwrap();
    /// assert_eq!(app(&production.skip_pauses()).await.unwrap(), 7); // at once
    /// # }
    /// ```
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    pub fn skip_pauses(mut self) -> Self {
        self.flags |= SKIP_PAUSES;
        self
    }

    /// Whether pauses are skipped.
    #[cfg(feature = "test-util")]
    pub(crate) fn skips_pauses(&self) -> bool {
        self.has(SKIP_PAUSES)
    }

    /// The period of the grid, if there is one.
    pub(super) fn period(&self) -> Option<u64> {
        self.has(SET_EVERY).then_some(self.every)
    }

    /// Whether chance lays its grid: one that has two places, and no seed that says which.
    pub(super) fn has_random_grid(&self) -> bool {
        self.has(RANDOM_PHASE) && self.seed().is_none() && self.period().is_some_and(|every| every > 1)
    }

    /// The bounds.
    #[inline]
    #[must_use]
    pub(crate) fn bounds(&self) -> &Bounds {
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
        self.schedule().seed()
    }

    /// How long an attempt runs to be healthy, if that was set.
    #[cfg(feature = "stream")]
    pub(crate) fn healthy(&self) -> Option<u64> {
        self.schedule().healthy()
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
mod tests;
