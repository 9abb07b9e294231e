//! One run as data: what may start when, what is cut when, and why it ends.

use std::{fmt, time::Duration};

pub use super::{decision::Decision, stop::PolicyStop};
use crate::policy::{
    nanos::{FOREVER, nanos},
    schedule::{DELAY_FIRST, FINAL_TRY, Policy, RANDOM_PHASE, SET_BACKOFF, SET_EVERY, bounds::CutBy, jitter::pick},
};

/// What a run does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Start an attempt at this instant.
    Start(u64),
    /// It is over.
    Stop(PolicyStop),
}

/// One attempt, as the operation sees it. All times are of the attempt's start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    elapsed: u64,
    timeout: u64,
    finish_within: u64,
}

impl Attempt {
    /// An attempt as a run would give it to its operation, for a unit test of that operation: without bounds, at the
    /// start of the run. `number` counts from 1; 0 is read as 1.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Attempt, Policy};
    ///
    /// /// Asks a replica once the leader has failed twice, and leaves it a tenth of the time for the way back.
    /// fn target(attempt: Attempt) -> (&'static str, Option<Duration>) {
    ///     let server = if attempt.number() > 2 { "replica" } else { "leader" };
    ///     (server, attempt.timeout().map(|timeout| timeout / 10 * 9))
    /// }
    ///
    /// assert_eq!(target(Attempt::new(1)), ("leader", None));
    /// let policy: Policy = "attempt_timeout 10s, finish_within 30s".parse()?;
    /// let late = Attempt::new(3).with_policy(&policy).with_elapsed(Duration::from_secs(28));
    /// assert_eq!(late.remaining(), Some(Duration::from_secs(2)));
    /// assert_eq!(target(late), ("replica", Some(Duration::from_millis(1800))));
    /// # Ok::<(), relent::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn new(number: u32) -> Self {
        let number = if number == 0 { 1 } else { number };
        Self { number, elapsed: 0, timeout: FOREVER, finish_within: FOREVER }
    }

    /// The same, started so long after the run began.
    #[must_use]
    pub fn with_elapsed(self, elapsed: Duration) -> Self {
        Self { elapsed: nanos(elapsed), ..self }
    }

    /// The same in a run with this policy, whose `attempt_timeout` and `finish_within` it tells.
    #[must_use]
    pub fn with_policy(self, policy: &Policy) -> Self {
        Self { timeout: policy.bounds.attempt_timeout, finish_within: policy.bounds.finish_within, ..self }
    }

    /// Which attempt of the run this is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// From the start of the run to the start of this attempt. Zero in the first attempt of a run without bounds, which
    /// reads no clock; if that attempt fails without having waited, the time of such a run begins with its error.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        crate::policy::nanos::duration(self.elapsed)
    }

    /// What was left of `finish_within` when this attempt started; `None` without that bound.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.finish_within.saturating_sub(self.elapsed);
        (self.finish_within != FOREVER).then_some(Duration::from_nanos(left))
    }

    /// How long this attempt may run: `attempt_timeout` or what is left of `finish_within`, whichever is less; `None`
    /// if neither bounds it.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let own = (self.timeout != FOREVER).then_some(Duration::from_nanos(self.timeout));
        match (own, self.remaining()) {
            (Some(own), Some(left)) => Some(own.min(left)),
            (own, left) => own.or(left),
        }
    }

    /// `attempt_timeout` or `finish_within`, whichever is less: the same for every attempt of a run, however little is
    /// left; `None` if neither is set.
    ///
    /// An operation of several calls shares this out, so that one that hangs is told by itself and does not cost the
    /// whole attempt. By [`timeout`](Self::timeout) the shares would shrink at the end of a run, until healthy calls
    /// seemed to hang.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Attempt, retry};
    ///
    /// # async fn first(_: Duration) -> Result<u32, std::io::Error> { Ok(1) }
    /// # async fn second(_: u32, within: Duration) -> Result<Duration, std::io::Error> { Ok(within) }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let each = retry(async |attempt: Attempt| {
    ///     let each = attempt.limit().map_or(Duration::from_secs(5), |limit| limit / 2);
    ///     second(first(each).await?, each).await
    /// })
    /// .attempt_timeout(Duration::from_secs(4))
    /// .await;
    /// assert_eq!(each.unwrap(), Duration::from_secs(2));
    /// # }
    /// ```
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        let limit = self.timeout.min(self.finish_within);
        (limit != FOREVER).then_some(Duration::from_nanos(limit))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("elapsed", &self.elapsed())
            .field("timeout", &self.timeout())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// The progress of one run. Every instant is in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts started.
    number: u32,
    /// How far the backoff has come: [`BackoffState`], without its gap.
    step: u32,
    current: u64,
    /// Where the grid of `every` is laid: when the first attempt started. [`NO_TICK`] once the final try is planned.
    grid: u64,
    /// When the last attempt started.
    started: u64,
}

/// A grid without any further tick. No clock comes to show it, and sums that are too large are [`FOREVER`].
const NO_TICK: u64 = FOREVER.saturating_sub(1);

impl Attempts {
    /// Attempts started so far.
    #[inline]
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    #[inline]
    fn is_final(&self) -> bool {
        self.grid == NO_TICK
    }

    /// When the last attempt started.
    #[inline]
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }

    /// After so many attempts: how many starts were planned before, each with one number of the run's random series.
    #[inline]
    pub(crate) fn draw_after(number: u32, policy: &Policy) -> u64 {
        u64::from(number).saturating_sub(u64::from(!policy.has(DELAY_FIRST)))
    }

    /// Where the first attempt starts. One that is not delayed always does.
    #[inline]
    pub fn first(&mut self, policy: &Policy, random: impl FnOnce() -> u64) -> Next {
        if policy.max_attempts == 0 {
            return Next::Stop(PolicyStop::Attempts);
        }
        if !policy.has(DELAY_FIRST) {
            return Next::Start(0);
        }
        self.plan(policy, 0, 0, random)
    }

    /// An attempt starts at `now`.
    #[inline]
    pub fn start(&mut self, policy: &Policy, now: u64) -> Attempt {
        self.number = self.number.saturating_add(1);
        self.started = now;
        self.attempt(policy)
    }

    /// The attempt that has started last, as its operation sees it.
    #[inline]
    #[must_use]
    pub fn attempt(&self, policy: &Policy) -> Attempt {
        Attempt { number: self.number(), elapsed: self.started, ..Attempt::new(1) }.with_policy(policy)
    }

    /// When the attempt that runs is cut, and by what.
    #[inline]
    #[must_use]
    pub fn cut(&self, policy: &Policy) -> (u64, CutBy) {
        policy.bounds.cut(self.started)
    }

    /// Whether the number of attempts allows another one.
    #[inline]
    #[must_use]
    pub fn may_repeat(&self, policy: &Policy) -> bool {
        self.number() < policy.max_attempts
    }

    /// The attempt that runs is the first of a new run, which begins now.
    #[cfg(feature = "stream")]
    pub(crate) fn begin_anew(&mut self) {
        *self = Self { number: 1, ..Self::default() };
    }

    /// The attempt that ran has ended at `now` and this is what to do about it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    pub fn end(&mut self, policy: &Policy, now: u64, decision: Decision, random: impl FnOnce() -> u64) -> Next {
        let earliest = match decision {
            Decision::Retry => now,
            Decision::RetryAfter(pause) => now.saturating_add(nanos(pause).min(policy.most_asked())),
            Decision::Fatal => return Next::Stop(PolicyStop::Fatal),
        };
        if !self.may_repeat(policy) {
            return Next::Stop(PolicyStop::Attempts);
        }
        self.plan(policy, now, earliest, random)
    }

    /// Plans the next start: on the cadence, and not before `earliest`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    fn plan(&mut self, policy: &Policy, now: u64, earliest: u64, random: impl FnOnce() -> u64) -> Next {
        let pause = if policy.has(SET_EVERY) {
            let random = if policy.has(RANDOM_PHASE | SET_BACKOFF) { random() } else { 0 };
            self.next_on_grid(policy, now, random)
        } else if policy.is_simple() {
            Some(policy.backoff.next_simple(&mut self.current, random))
        } else {
            self.next_of_chain(policy, now, random())
        };
        let Some(pause) = pause else { return Next::Stop(PolicyStop::BackoffEnded) };
        let planned = earliest.max(now.saturating_add(pause));
        if policy.bounds.admits(planned) && !self.is_final() {
            return Next::Start(planned);
        }
        match self.plan_last(policy, earliest) {
            Some(at) => Next::Start(at),
            None => Next::Stop(policy.bounds.nearer()),
        }
    }

    /// The next delay of a backoff of any kind; `None` at its end. An attempt that ran long enough lets it start over.
    #[inline(never)]
    fn next_of_chain(&mut self, policy: &Policy, now: u64, random: u64) -> Option<u64> {
        let ran = now.saturating_sub(self.started);
        if self.number > 0 && policy.schedule().healthy().is_some_and(|healthy| ran >= healthy) {
            (self.current, self.step) = (0, 0);
        }
        policy.schedule().next_of_chain(&mut self.current, &mut self.step, random)
    }

    /// The pause until the next tick, or until the delay of the backoff is over, if there is one and that is later;
    /// `None`: the backoff has ended.
    #[inline(never)]
    fn next_on_grid(&mut self, policy: &Policy, now: u64, random: u64) -> Option<u64> {
        let with_first = policy.has(DELAY_FIRST);
        if self.number == u32::from(!with_first) && policy.has(RANDOM_PHASE) {
            self.lay_grid_in_phase(policy.every, random);
        } else if self.number == 1 && !self.is_final() {
            self.lay_grid(self.started);
        }
        let until_tick = self.tick(policy.every, now).saturating_sub(now);
        // The same number for both: the longer the phase, the longer the delay.
        let delay = if policy.uses_backoff() { self.next_of_chain(policy, now, random)? } else { 0 };
        Some(until_tick.max(delay))
    }

    /// Lays the grid so that its next tick is anywhere from half a period to one and a half after the last start.
    fn lay_grid_in_phase(&mut self, every: u64, random: u64) {
        let phase = every.div_ceil(2).saturating_add(pick(0, every.saturating_sub(1), random));
        self.lay_grid(self.started.saturating_add(phase));
    }

    /// The number that lays a random grid with a tick just before `end`, which is counted from the first start: a call
    /// that ends then waits longest for its next tick. `None`: the latest grid is the worst.
    pub(in crate::policy) fn random_just_missed(policy: &Policy, end: u64) -> Option<u64> {
        let every = policy.period().filter(|_| policy.has_random_grid() && !policy.has(DELAY_FIRST))?;
        let earliest = every.div_ceil(2);
        let missed = end.checked_sub(earliest)?.checked_sub(1)?.checked_rem(every)?;
        // The least that `pick` turns into it.
        let random = u128::from(missed).wrapping_shl(64).div_ceil(every.into());
        Some(u64::try_from(random).unwrap_or(u64::MAX))
    }

    fn lay_grid(&mut self, at: u64) {
        self.grid = if at == NO_TICK { FOREVER } else { at };
    }

    /// The cadence has no further start that is admitted: one last attempt, if it is wanted.
    #[cold]
    #[inline(never)]
    fn plan_last(&mut self, policy: &Policy, earliest: u64) -> Option<u64> {
        let last_chance = if policy.has(FINAL_TRY) { policy.bounds.last_chance() } else { policy.final_try_at() };
        let comes_yet = |&at: &u64| at >= earliest && (at > self.started || self.number() == 0);
        let last_chance = last_chance.filter(comes_yet).filter(|_| !self.is_final())?;
        self.grid = NO_TICK;
        Some(last_chance)
    }

    /// The first tick of the grid that is neither past nor the one of the last attempt.
    #[inline]
    fn tick(&self, every: u64, now: u64) -> u64 {
        if every == 0 {
            return now;
        }
        let after = |instant: u64| {
            if instant < self.grid {
                return self.grid;
            }
            let ticks = instant.saturating_sub(self.grid).checked_div(every).unwrap_or(0).saturating_add(1);
            self.grid.saturating_add(ticks.saturating_mul(every))
        };
        // At or after `now` is: after the nanosecond before.
        after(self.started.max(now.saturating_sub(1)))
    }
}
