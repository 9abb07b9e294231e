//! What runs with a policy would do, as data.

use crate::policy::{
    limit::{planned::PlannedLimiter, rate::Rate},
    nanos::{FOREVER, duration, nanos},
    plan::course::{Calls, Course, Finish},
    ratio::Ratio,
    schedule::{DELAY_FIRST, FINAL_TRY, Policy, attempts::Decision, backoff::Backoff, bounds::Bounds},
};

/// A plan without its warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forecast {
    pub(super) policy: Policy,
    /// Rate and burst.
    pub(super) limiter: Option<(Rate, u32)>,
    /// Ratio and reserve.
    pub(super) budget: Option<(Ratio, u32)>,
    pub(super) best: Course,
    /// No run makes more attempts, unless its backoff starts over.
    pub(super) most: usize,
    pub(super) longest_pauses: Course,
    pub(super) worst: Course,
    pub(super) worst_total: u64,
}

impl Forecast {
    pub(super) fn of(policy: &Policy, limiter: Option<(Rate, u32)>, budget: Option<(Ratio, u32)>) -> Self {
        let course = |calls, random| Course::of(policy, limiter, calls, random);
        let best = course(Calls::FailAtOnce, 0);
        let longest_pauses = course(Calls::FailAtOnce, u64::MAX);
        let worst = Course::worst(policy, limiter);
        let most = policy.with_most_room(limiter).unwrap_or_else(|| best.clone());
        let worst_total = policy.worst_total(limiter, &most);
        Self {
            policy: policy.clone(),
            limiter,
            budget,
            best,
            most: most.attempts(),
            longest_pauses,
            worst,
            worst_total,
        }
    }
}

impl Policy {
    /// How much later on one random grid than on another any start may come, of calls and pauses that are no shorter.
    /// (By induction over the starts: the other grid, moved on by that much, is the one; and a permit for which one
    /// asks so much later comes no more than that later.)
    pub(super) fn grid_spread(&self) -> u64 {
        self.period().filter(|_| self.has_random_grid()).map_or(0, |every| every.saturating_sub(1))
    }

    /// Calls that fail at once with the shortest pauses, in windows so much longer that no grid and no moving of the
    /// start window has room for more attempts. `None`: there are no such windows; without anything but the grid to
    /// wait for the earliest one has room for most.
    fn with_most_room(&self, limiter: Option<(Rate, u32)>) -> Option<Course> {
        let spread = if self.uses_backoff() || limiter.is_some() { self.grid_spread() } else { 0 };
        let window = self.latest_window();
        if spread == 0 && window == self.bounds.start_within {
            return None;
        }
        let mut longer = self.clone();
        longer.bounds.start_within = window.saturating_add(spread);
        longer.bounds.finish_within = longer.bounds.finish_within.saturating_add(spread);
        Some(Course::of(&longer, limiter, Calls::FailAtOnce, 0))
    }

    /// The latest end of any run; [`FOREVER`] if there is none.
    fn worst_total(&self, limiter: Option<(Rate, u32)>, most: &Course) -> u64 {
        match most.finish {
            Finish::Stops(_) if most.spans.is_empty() => 0,
            _ => {
                let bounds = Bounds { start_within: self.latest_window(), ..self.bounds };
                bounds.latest_end().min(self.worst_total_by_count(limiter, most))
            }
        }
    }

    /// The latest end of a run that no window ends: every start of a run comes the later the longer its calls and
    /// pauses take, so that calls that take all their time and the longest pauses make the last one latest.
    fn worst_total_by_count(&self, limiter: Option<(Rate, u32)>, most: &Course) -> u64 {
        let can_start_over = self.can_start_over();
        let count = match most.finish {
            // Nothing makes more attempts than calls that take no time with the shortest pauses in between.
            Finish::Stops(_) if !can_start_over => u32::try_from(most.attempts()).unwrap_or(u32::MAX),
            // It ends where the next one would have asked, which is no later than where that would have started.
            Finish::Limiter { .. } if !can_start_over => {
                u32::try_from(most.attempts()).unwrap_or(u32::MAX).saturating_add(1).min(self.max_attempts)
            }
            _ => u32::try_from(self.most_attempts()).unwrap_or(u32::MAX),
        };
        let timeout = self.bounds.attempt_timeout;
        if count == u32::MAX || timeout == FOREVER {
            return FOREVER;
        }
        let cut_pause = match self.after_cut() {
            Decision::RetryAfter(pause) => nanos(pause).min(self.most_asked()),
            _ => 0,
        };
        let asked = if self.most_asked() == FOREVER { cut_pause } else { self.most_asked() };
        let highest = if self.uses_backoff() { self.schedule().highest() } else { 0 };
        let mut slowest = self.clone();
        slowest.bounds.start_within = FOREVER;
        slowest.bounds.finish_within = FOREVER;
        slowest.flags &= !FINAL_TRY;
        slowest.max_attempts = count;
        slowest = slowest.on_cut(Decision::RetryAfter(duration(asked)));
        if can_start_over {
            slowest = slowest.backoff(Backoff::fixed(duration(highest)));
        }
        // Where there is nothing but the grid to wait for the worst one is known.
        let is_known = !slowest.uses_backoff() && asked == 0 && limiter.is_none();
        let spread = if is_known { 0 } else { slowest.grid_spread() };
        let slowest = if is_known {
            Course::worst(&slowest, limiter)
        } else {
            Course::of(&slowest, limiter, Calls::Hang, u64::MAX)
        };
        let more = u64::from(count).saturating_sub(u64::try_from(slowest.attempts()).unwrap_or(u64::MAX));
        match slowest.finish {
            Finish::Stops(_) => slowest.over().saturating_add(spread),
            Finish::GoesOn => {
                let each = timeout.saturating_add(highest.max(self.period().unwrap_or(0)).max(asked));
                let each = each.max(PlannedLimiter::interval(limiter));
                slowest.over().saturating_add(spread).saturating_add(more.saturating_mul(each))
            }
            Finish::Hangs | Finish::Waits | Finish::Starves | Finish::Limiter { .. } => FOREVER,
        }
    }

    /// No run makes more attempts; `u64::MAX` is no limit.
    pub(in crate::policy) fn most_attempts(&self) -> u64 {
        let allowed = if self.max_attempts == u32::MAX { u64::MAX } else { self.max_attempts.into() };
        let delays = match self.schedule().count() {
            _ if !self.uses_backoff() => None,
            // What has no delay at all has none after it has started over.
            Some(0) => Some(0),
            _ if self.can_start_over() || self.schedule().healthy() == Some(0) => None,
            count => count,
        };
        // The first attempt needs no delay, unless it is delayed.
        let planned = |delays: u64| delays.saturating_add(u64::from(!self.has(DELAY_FIRST)));
        allowed.min(delays.map_or(u64::MAX, planned))
    }

    /// Whether attempts may run long enough for the backoff to begin anew.
    pub(in crate::policy) fn can_start_over(&self) -> bool {
        let longest = self.bounds.attempt_timeout.min(self.bounds.finish_within);
        self.uses_backoff() && self.schedule().healthy().is_some_and(|healthy| 0 < healthy && healthy <= longest)
    }
}
