//! What a policy would do, without doing it.

mod course;
mod forecast;
mod timeline;
pub mod warning;

use std::time::Duration;

pub use self::course::{Course, Finish};
use self::{forecast::Forecast, warning::Warning};
use crate::policy::{
    limit::rate::Rate,
    nanos::{FOREVER, duration},
    ratio::Ratio,
    schedule::Policy,
};

/// What runs with a policy would do: when their attempts would start, why they would stop, how long they may take, and
/// which settings defeat each other.
///
/// The courses are made by the very decisions that runs are made by. As text it is a small timeline for a terminal:
///
/// ```
/// use relent::Policy;
///
/// let policy: Policy = "every 50ms, start_within 350ms, attempt_timeout 10s".parse()?;
/// let plan = policy.plan();
/// assert_eq!(plan.best().attempts(), 8);
/// assert_eq!(plan.worst().attempts(), 1);
/// assert_eq!(plan.worst_total(), Some(std::time::Duration::from_millis(10_350)));
/// assert_eq!(plan.to_string(), "\
/// every 50ms, attempt_timeout 10s, start_within 350ms
///
///   calls fail at once: 8 attempts, ended at 350ms by start_within
///   |.........|.........|.........|........|.........|.........|.........|
///   0         50ms      100ms     150ms    200ms     250ms     300ms 350ms
///
///   calls hang until they are cut: 1 attempt, ended at 10s by start_within
///   |====================================================================x
///   0                                                                  10s
///
///   at worst it takes 10.35s: a call may start at 350ms and run for 10s
///
///   warning: a call that hangs gets no second try: attempt_timeout 10s outlasts
///   start_within 350ms; an attempt_timeout of at most 350ms would give it one
/// ");
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    forecast: Forecast,
    warnings: Vec<Warning>,
}

impl Policy {
    /// What a run would do. Without a cadence of its own the policy is planned with that of `retry`.
    pub fn plan(&self) -> Plan {
        Plan::of(self, None, None)
    }
}

impl Plan {
    fn of(policy: &Policy, limiter: Option<(Rate, u32)>, budget: Option<(Ratio, u32)>) -> Self {
        let forecast = Forecast::of(policy, limiter, budget);
        let warnings = warning::all(&forecast);
        Self { forecast, warnings }
    }

    /// The same with a limiter ([`throttle`](crate::builder::Retry::throttle)) that is full and that no other run asks:
    /// permits may come later than planned, or too late, which ends the run. A burst of 0 is a limiter that saves
    /// nothing up, much like one that others keep drained.
    ///
    /// ```
    /// use relent::{Policy, Rate};
    ///
    /// let policy: Policy = "every 50ms, start_within 350ms, attempt_timeout 100ms".parse()?;
    /// let plan = policy.plan().throttled(Rate::per_second(5), 0);
    /// assert_eq!(plan.best().attempts(), 1);
    /// assert_eq!(plan.to_string(), "\
    /// every 50ms, attempt_timeout 100ms, start_within 350ms
    /// limiter: 5/s, burst 0, for this run alone
    ///
    ///   calls fail at once: 1 attempt, ended at 250ms by the limiter: the next permit
    ///   takes 200ms, and 100ms is left
    ///   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|.............!
    ///   0                                                      200ms     250ms
    ///
    ///   calls hang until they are cut: 1 attempt, ended at 300ms by the limiter: the
    ///   next permit takes 200ms, and 50ms is left
    ///   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|======================!
    ///   0                                             200ms              300ms
    ///
    ///   at worst it takes 450ms: a call may start at 350ms and run for 100ms
    ///
    ///   warning: there is never a retry: the next permit of the limiter takes 200ms,
    ///   and 100ms is left
    /// ");
    /// # Ok::<(), relent::ConfigError>(())
    /// ```
    pub fn throttled(self, rate: Rate, burst: u32) -> Self {
        Self::of(&self.forecast.policy, Some((rate, burst)), self.forecast.budget)
    }

    /// The same with a retry budget ([`Budget::ratio`](crate::Budget::ratio)). The courses of one run stay as they are,
    /// for what a budget allows depends on all runs that share it; the text says how many calls it keeps off a server
    /// on which all of them fail.
    ///
    /// ```
    /// use relent::{Policy, Ratio};
    ///
    /// let policy: Policy = "every 50ms, start_within 350ms, attempt_timeout 100ms".parse()?;
    /// let text = policy.plan().budgeted(Ratio::percent(10), 20).to_string();
    /// assert!(text.contains("when all fail, 100 runs make at most 30 retries instead of 700"));
    /// # Ok::<(), relent::ConfigError>(())
    /// ```
    pub fn budgeted(mut self, ratio: impl Into<Ratio>, reserve: u32) -> Self {
        self.forecast.budget = Some((ratio.into(), reserve));
        self
    }

    pub(in crate::policy) fn limiter(&self) -> Option<(Rate, u32)> {
        self.forecast.limiter
    }

    pub(in crate::policy) fn budget(&self) -> Option<(Ratio, u32)> {
        self.forecast.budget
    }

    /// The policy of the plan.
    pub fn policy(&self) -> &Policy {
        &self.forecast.policy
    }

    /// Every call fails at once, and every pause is as short as jitter can make it. No run makes more attempts, unless
    /// its backoff starts over (`reset_after`), or its grid happens to fit them better (`random_phase` beside a backoff
    /// or a limiter).
    #[must_use]
    pub fn best(&self) -> &Course {
        &self.forecast.best
    }

    /// Every call fails at once, and every pause is as long as jitter can make it.
    #[must_use]
    pub fn longest_pauses(&self) -> &Course {
        &self.forecast.longest_pauses
    }

    /// Every call hangs until it is cut, and every pause is as long as jitter can make it, or as a grid of
    /// `random_phase` can whose ticks the calls just miss.
    #[must_use]
    pub fn worst(&self) -> &Course {
        &self.forecast.worst
    }

    /// No run takes longer than this; `None` if nothing bounds it. With `start_within` and `attempt_timeout` it is at
    /// most their sum: a call may start at the end of the window and take all its time. Pauses that errors ask for
    /// (`RetryAfter`) are counted as `max_retry_after`; without one they are not foreseen, and can prolong a run up to
    /// what its windows allow.
    #[must_use]
    pub fn worst_total(&self) -> Option<Duration> {
        (self.forecast.worst_total != FOREVER).then_some(duration(self.forecast.worst_total))
    }

    /// Settings that defeat each other, and what is likely not meant. Most policies have none.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}
