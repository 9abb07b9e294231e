//! One course that a run may take.

use std::{cmp::Ordering, time::Duration};

use crate::policy::{
    limit::{
        planned::{PlannedLimiter, TooFar},
        rate::Rate,
    },
    nanos::{FOREVER, duration},
    schedule::{
        Policy,
        attempts::{Attempts, Decision, Next, PolicyStop},
        bounds::CutBy,
        jitter::series,
    },
};

/// No plan looks at more attempts than this.
const SIMULATED: usize = 1000;

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
    /// Every random number of the course is `random`: 0 makes the shortest pauses, `u64::MAX` the longest. With a seed
    /// they are those that a run draws.
    pub(in crate::policy) fn of(policy: &Policy, limiter: Option<(Rate, u32)>, calls: Calls, random: u64) -> Self {
        Self::drawing(policy, limiter, calls, random, random)
    }

    /// Every call hangs until it is cut, and the pauses are as long as chance can make them. The latest grid of
    /// `random_phase` is not always the worst: behind a tick that a call just misses the pause is a whole period.
    pub(in crate::policy) fn worst(policy: &Policy, limiter: Option<(Rate, u32)>) -> Self {
        let on_latest = Self::of(policy, limiter, Calls::Hang, u64::MAX);
        let first_end = on_latest.spans.first().map_or(0, |&(start, end)| end.saturating_sub(start));
        match Attempts::random_just_missed(policy, first_end) {
            Some(random) => {
                let on_missed = Self::drawing(policy, limiter, Calls::Hang, random, u64::MAX);
                if on_missed.is_later_than(&on_latest) { on_missed } else { on_latest }
            }
            None => on_latest,
        }
    }

    /// Whether the last start that both have is later, or, at the same time, the next one too late.
    fn is_later_than(&self, other: &Self) -> bool {
        let attempts = self.spans.len().min(other.spans.len());
        let starts = |course: &Self| course.spans.get(..attempts).and_then(<[_]>::last).map(|&(start, _)| start);
        match starts(self).cmp(&starts(other)) {
            Ordering::Greater => true,
            Ordering::Equal => self.spans.len() < other.spans.len(),
            Ordering::Less => false,
        }
    }

    /// The first number that is drawn, which lays a random grid, and all others.
    fn drawing(policy: &Policy, limiter: Option<(Rate, u32)>, calls: Calls, first: u64, others: u64) -> Self {
        let (mut spans, mut waits) = (Vec::new(), Vec::new());
        let mut over = 0;
        let mut gate = PlannedLimiter::new(limiter);
        let mut run = Attempts::default();
        let draw =
            |number: u64| policy.seed().map_or(if number == 0 { first } else { others }, |seed| series(seed, number));
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
