//! What a policy would do, without doing it.

mod timeline;
pub mod warning;

use std::time::Duration;

use crate::policy::{
    limit::{
        planned::{PlannedLimiter, TooFar},
        rate::Rate,
    },
    nanos::{FOREVER, duration},
    plan::warning::Warning,
    ratio::Ratio,
    schedule::{
        DELAY_FIRST, Policy,
        attempts::{Attempts, Decision, Next, PolicyStop},
        backoff::Backoff,
        bounds::CutBy,
        jitter::series,
    },
};

/// No plan looks at more attempts than this.
const SIMULATED: usize = 1000;

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
    policy: Policy,
    /// Rate and burst.
    limiter: Option<(Rate, u32)>,
    /// Ratio and reserve.
    budget: Option<(Ratio, u32)>,
    best: Course,
    longest_pauses: Course,
    worst: Course,
    worst_total: u64,
    warnings: Vec<Warning>,
}

impl Policy {
    /// What a run would do. Without a cadence of its own the policy is planned with that of `retry`.
    pub fn plan(&self) -> Plan {
        self.plan_with(None, None)
    }

    fn plan_with(&self, limiter: Option<(Rate, u32)>, budget: Option<(Ratio, u32)>) -> Plan {
        let course = |calls, random| Course::of(self, limiter, calls, random);
        let best = course(Calls::FailAtOnce, 0);
        let longest_pauses = course(Calls::FailAtOnce, u64::MAX);
        let worst = course(Calls::Hang, u64::MAX);
        let worst_total = self.worst_total(limiter, &best);
        let policy = self.clone();
        let mut plan = Plan { policy, limiter, budget, best, longest_pauses, worst, worst_total, warnings: Vec::new() };
        plan.warnings = warning::all(&plan);
        plan
    }

    /// The latest end of any run; [`FOREVER`] if there is none.
    fn worst_total(&self, limiter: Option<(Rate, u32)>, best: &Course) -> u64 {
        match best.finish {
            Finish::Stops(_) if best.spans.is_empty() => 0,
            _ => self.bounds.latest_end().min(self.worst_total_by_count(limiter, best)),
        }
    }

    /// The latest end of a run that no window ends: every start of a run comes the later the longer its calls and
    /// pauses take, so that calls that take all their time and the longest pauses make the last one latest.
    fn worst_total_by_count(&self, limiter: Option<(Rate, u32)>, best: &Course) -> u64 {
        let can_start_over = self.can_start_over();
        let count = match best.finish {
            // Nothing makes more attempts than calls that take no time with the shortest pauses in between.
            Finish::Stops(_) if !can_start_over => u32::try_from(best.attempts()).unwrap_or(u32::MAX),
            // It ends where the next one would have asked, which is no later than where that would have started.
            Finish::Limiter { .. } if !can_start_over => {
                u32::try_from(best.attempts()).unwrap_or(u32::MAX).saturating_add(1).min(self.max_attempts)
            }
            _ => u32::try_from(self.most_attempts()).unwrap_or(u32::MAX),
        };
        let timeout = self.bounds.attempt_timeout;
        if count == u32::MAX || timeout == FOREVER {
            return FOREVER;
        }
        let cut_pause = match self.after_cut() {
            Decision::RetryAfter(pause) => crate::policy::nanos::nanos(pause).min(self.most_asked()),
            _ => 0,
        };
        let asked = if self.most_asked() == FOREVER { cut_pause } else { self.most_asked() };
        let highest = if self.uses_backoff() { self.backoff.highest() } else { 0 };
        let mut slowest = self.clone();
        slowest.bounds.start_within = FOREVER;
        slowest.bounds.finish_within = FOREVER;
        slowest.flags &= !crate::policy::schedule::FINAL_TRY;
        slowest.max_attempts = count;
        slowest = slowest.on_cut(Decision::RetryAfter(duration(asked)));
        if can_start_over {
            slowest = slowest.backoff(Backoff::fixed(duration(highest)));
        }
        let slowest = Course::of(&slowest, limiter, Calls::Hang, u64::MAX);
        let more = u64::from(count).saturating_sub(u64::try_from(slowest.attempts()).unwrap_or(u64::MAX));
        match slowest.finish {
            Finish::Stops(_) => slowest.over(),
            Finish::GoesOn => {
                let each = timeout.saturating_add(highest.max(self.period().unwrap_or(0)).max(asked));
                let each = each.max(PlannedLimiter::interval(limiter));
                slowest.over().saturating_add(more.saturating_mul(each))
            }
            Finish::Hangs | Finish::Waits | Finish::Starves | Finish::Limiter { .. } => FOREVER,
        }
    }

    /// No run makes more attempts; `u64::MAX` is no limit.
    pub(in crate::policy) fn most_attempts(&self) -> u64 {
        let allowed = if self.max_attempts == u32::MAX { u64::MAX } else { self.max_attempts.into() };
        let delays = match self.backoff.count() {
            _ if !self.uses_backoff() => None,
            // What has no delay at all has none after it has started over.
            Some(0) => Some(0),
            _ if self.can_start_over() || self.backoff.healthy() == Some(0) => None,
            count => count,
        };
        // The first attempt needs no delay, unless it is delayed.
        let planned = |delays: u64| delays.saturating_add(u64::from(!self.has(DELAY_FIRST)));
        allowed.min(delays.map_or(u64::MAX, planned))
    }

    /// Whether attempts may run long enough for the backoff to begin anew.
    pub(in crate::policy) fn can_start_over(&self) -> bool {
        let longest = self.bounds.attempt_timeout.min(self.bounds.finish_within);
        self.uses_backoff() && self.backoff.healthy().is_some_and(|healthy| 0 < healthy && healthy <= longest)
    }
}

impl Plan {
    /// The same with a limiter ([`throttle`](crate::builder::Retry::throttle)) that is full and that no other run asks: permits may
    /// come later than planned, or too late, which ends the run. A burst of 0 is a limiter that saves nothing up, much
    /// like one that others keep drained.
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
        self.policy.plan_with(Some((rate, burst)), self.budget)
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
    pub fn budgeted(self, ratio: impl Into<Ratio>, reserve: u32) -> Self {
        Self { budget: Some((ratio.into(), reserve)), ..self }
    }

    pub(in crate::policy) fn limiter(&self) -> Option<(Rate, u32)> {
        self.limiter
    }

    pub(in crate::policy) fn budget(&self) -> Option<(Ratio, u32)> {
        self.budget
    }

    /// The policy of the plan.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every call fails at once, and every pause is as short as jitter can make it. No run makes more attempts, unless
    /// its backoff starts over (`reset_after`).
    #[must_use]
    pub fn best(&self) -> &Course {
        &self.best
    }

    /// Every call fails at once, and every pause is as long as jitter can make it.
    #[must_use]
    pub fn longest_pauses(&self) -> &Course {
        &self.longest_pauses
    }

    /// Every call hangs until it is cut, and every pause is as long as jitter can make it.
    #[must_use]
    pub fn worst(&self) -> &Course {
        &self.worst
    }

    /// No run takes longer than this; `None` if nothing bounds it. With `start_within` and `attempt_timeout` it is at
    /// most their sum: a call may start at the end of the window and take all its time. Pauses that errors ask for
    /// (`RetryAfter`) are counted as `max_retry_after`; without one they are not foreseen, and can prolong a run up to
    /// what its windows allow.
    #[must_use]
    pub fn worst_total(&self) -> Option<Duration> {
        (self.worst_total != FOREVER).then_some(duration(self.worst_total))
    }

    /// Settings that defeat each other, and what is likely not meant. Most policies have none.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// One course that a run may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// Start and end of each attempt.
    pub(in crate::policy) spans: Vec<(u64, u64)>,
    /// How long each waited for the limiter before.
    pub(in crate::policy) waits: Vec<u64>,
    pub(in crate::policy) finish: Finish,
    over: u64,
}

/// How a [`Course`] goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The run stops, for this reason.
    Stops(PolicyStop),
    /// The last attempt hangs, and nothing cuts it.
    Hangs,
    /// The pause after the last attempt has no end.
    Waits,
    /// The limiter refuses the next permit: it would come too late.
    #[non_exhaustive]
    Limiter {
        /// How long it would take; `Duration::MAX` is never.
        ready_in: Duration,
        /// How long the bounds allow.
        allowed: Duration,
    },
    /// The limiter has no further permit, ever, and nothing bounds the wait for it.
    Starves,
    /// It goes on: a plan looks at the first 1000 attempts and no further.
    GoesOn,
}

/// What the calls of a course do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Calls {
    FailAtOnce,
    Hang,
}

impl Course {
    /// Every random number of the course is `random`: 0 makes the shortest pauses, `u64::MAX` the longest. With a seed they
    /// are those that a run draws.
    pub(in crate::policy) fn of(policy: &Policy, limiter: Option<(Rate, u32)>, calls: Calls, random: u64) -> Self {
        let (mut spans, mut waits) = (Vec::new(), Vec::new());
        let mut over = 0;
        let mut gate = PlannedLimiter::new(limiter);
        let mut run = Attempts::default();
        let draw = |number: u64| policy.seed().map_or(random, |seed| series(seed, number));
        let mut next = run.first(policy, || draw(0));
        let finish = loop {
            let planned = match next {
                Next::Stop(why) => break Finish::Stops(why),
                Next::Start(FOREVER) => break Finish::Waits,
                Next::Start(_) if spans.len() >= SIMULATED => break Finish::GoesOn,
                Next::Start(planned) => planned,
            };
            let allowed = policy.bounds.room(planned);
            let start = match gate.pass(planned, allowed) {
                Ok(FOREVER) => break Finish::Starves,
                Ok(start) => start,
                Err(TooFar { ready_in }) => {
                    over = planned;
                    break Finish::Limiter { ready_in: duration(ready_in), allowed: duration(allowed) };
                }
            };
            run.start(policy, start);
            let (end, by) = match calls {
                Calls::FailAtOnce => (start, None),
                Calls::Hang => {
                    let (at, by) = run.cut(policy);
                    (at, Some(by))
                }
            };
            spans.push((start, end));
            waits.push(start.saturating_sub(planned));
            over = end;
            let number = Attempts::draw_after(run.number(), policy);
            next = match by {
                _ if end == FOREVER => break Finish::Hangs,
                None => run.end(policy, end, Decision::Retry, || draw(number)),
                Some(CutBy::AttemptTimeout) => run.end(policy, end, policy.after_cut(), || draw(number)),
                Some(_) => break Finish::Stops(PolicyStop::Deadline),
            };
        };
        Self { spans, waits, finish, over }
    }

    /// How many attempts it has, 1000 at most.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.spans.len()
    }

    /// When the attempts start, from the start of the run.
    #[must_use]
    pub fn starts(&self) -> impl ExactSizeIterator<Item = Duration> + '_ {
        self.spans.iter().map(|&(start, _)| duration(start))
    }

    /// When the attempts end: at once, or when they are cut; `Duration::MAX` is never.
    #[must_use]
    pub fn ends(&self) -> impl ExactSizeIterator<Item = Duration> + '_ {
        self.spans.iter().map(|&(_, end)| duration(end))
    }

    /// How long each attempt waits for its permit before it starts; zero without a limiter.
    #[must_use]
    pub fn waits(&self) -> impl ExactSizeIterator<Item = Duration> + '_ {
        self.waits.iter().map(|&wait| duration(wait))
    }

    /// How it goes out.
    #[must_use]
    pub fn finish(&self) -> Finish {
        self.finish
    }

    /// How long it takes; `None` if it does not stop, or not within the attempts that a plan looks at.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        self.stops().then(|| duration(self.over()))
    }

    pub(in crate::policy) fn stops(&self) -> bool {
        matches!(self.finish, Finish::Stops(_) | Finish::Limiter { .. })
    }

    /// When it is over: at the end of its last attempt, or when the limiter refuses.
    pub(in crate::policy) fn over(&self) -> u64 {
        self.over
    }
}
