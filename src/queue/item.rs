//! A value in the queue, with what its earlier attempts left.

use std::any::Any;

use crate::{
    budget::Budget,
    error::{End, Ending, GaveUp, Stop},
    policy::{
        Policy,
        attempts::{Attempt, Attempts, Decision, Next},
        bounds::CutBy,
        jitter::series,
        nanos::{FOREVER, duration},
    },
    shared::Retries,
};

/// A value, and the run of attempts at it once there was one.
#[derive(Debug)]
pub(super) struct Item<V> {
    pub(super) value: V,
    pub(super) history: Option<Box<History>>,
}

/// The attempts at one item. Instants are queue time.
#[derive(Debug)]
pub(super) struct History {
    attempts: Attempts,
    /// When the first attempt started.
    began: u64,
    /// When the last attempt ended.
    ended: u64,
    ending: Ending,
    /// The latest error that an attempt gave.
    error: Option<Box<dyn Any + Send>>,
    retries: Retries,
}

impl<V> Item<V> {
    pub(super) fn new(value: V) -> Self {
        Self { value, history: None }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.history.as_ref().map_or(0, |history| history.attempts.number())
    }

    /// How long it may wait for a limiter, in queue time. Before its first attempt it may wait as long as it takes.
    pub(super) fn latest_start(&self, policy: &Policy) -> u64 {
        self.history.as_ref().map_or(FOREVER, |history| history.latest_start(policy))
    }
}

impl History {
    /// No attempt yet.
    pub(super) fn new(now: u64) -> Self {
        Self {
            attempts: Attempts::default(),
            began: now,
            ended: now,
            ending: Ending::NotStarted,
            error: None,
            retries: Retries::Unlimited,
        }
    }

    /// The first attempt, which started then and still runs.
    pub(super) fn first(policy: &Policy, started: u64) -> (Self, Attempt) {
        let mut history = Self::new(started);
        let attempt = history.start(policy, started);
        (history, attempt)
    }

    /// Whether the policy allows any attempt at all.
    pub(super) fn may_begin(policy: &Policy) -> Result<(), Stop> {
        match Attempts::default().first(policy, || 0) {
            Next::Stop(ended) => Err(ended.into()),
            Next::Start(_) => Ok(()),
        }
    }

    pub(super) fn start(&mut self, policy: &Policy, now: u64) -> Attempt {
        self.retries.begin_attempt();
        self.attempts.start(policy, now.saturating_sub(self.began))
    }

    /// From the attempt that runs on, the item counts for this budget and asks it for retries; one that counts already
    /// stays with its own.
    pub(super) fn charge(&mut self, budget: &Budget) {
        if let Retries::Unlimited = self.retries {
            self.retries = Retries::Of(budget.clone());
            self.retries.begin_attempt();
        }
    }

    /// The latest instant at which the bounds let another attempt start, in queue time.
    fn latest_start(&self, policy: &Policy) -> u64 {
        self.began.saturating_add(policy.bounds().room(0))
    }

    /// When the attempt that runs is cut, in queue time.
    pub(super) fn cut_at(&self, policy: &Policy) -> (u64, CutBy) {
        let (at, by) = self.attempts.cut(policy);
        (self.began.saturating_add(at), by)
    }

    /// The attempt has ended without success: when to try again, in queue time, or why not.
    pub(super) fn end(
        &mut self,
        policy: &Policy,
        now: u64,
        ending: Ending,
        decision: Decision,
        error: Option<Box<dyn Any + Send>>,
    ) -> Result<u64, Stop> {
        (self.ending, self.ended) = (ending, now);
        if error.is_some() {
            self.error = error;
        }
        if ending == Ending::Cut(CutBy::Deadline) {
            return Err(Stop::Deadline);
        }
        // A seed names a series for each start, or items that fail together would come back together.
        let number = self.attempts.number().into();
        let random =
            || policy.seed().map_or_else(|| fastrand::u64(..), |seed| series(series(seed, self.began), number));
        match self.attempts.end(policy, now.saturating_sub(self.began), decision, random) {
            Next::Start(_) if !self.retries.withdraw() => Err(Stop::Budget),
            Next::Start(at) => Ok(self.began.saturating_add(at)),
            Next::Stop(ended) => Err(ended.into()),
        }
    }

    pub(super) fn last_error<E: 'static>(&self) -> Option<&E> {
        self.error.as_ref()?.downcast_ref()
    }

    /// The limiter's turn comes too late for the next attempt.
    pub(super) fn refused<E: 'static>(self, policy: &Policy, now: u64, turn: u64) -> GaveUp<E> {
        let ready_in = if turn == FOREVER { FOREVER } else { turn.saturating_sub(now) };
        let allowed = self.latest_start(policy).saturating_sub(now);
        let stop = Stop::Limiter { ready_in: duration(ready_in), allowed: duration(allowed) };
        self.give_up_at(policy, stop, now)
    }

    /// Right after an attempt.
    #[cold]
    pub(super) fn give_up<E: 'static>(self, policy: &Policy, stop: Stop) -> GaveUp<E> {
        let ended = self.ended;
        self.give_up_at(policy, stop, ended)
    }

    #[cold]
    fn give_up_at<E: 'static>(self, policy: &Policy, stop: Stop, now: u64) -> GaveUp<E> {
        let Self { attempts, began, ended, ending, error, .. } = self;
        let bounds = policy.bounds();
        let cut_after = match ending {
            Ending::Cut(CutBy::AttemptTimeout) => bounds.attempt_timeout,
            Ending::Cut(CutBy::Deadline) => bounds.finish_within.saturating_sub(attempts.started()),
            _ => ended.saturating_sub(began).saturating_sub(attempts.started()),
        };
        let elapsed = now.saturating_sub(began);
        let bound = if stop == Stop::StartWindow { bounds.start_within } else { bounds.finish_within };
        let end = End { stop, attempts: attempts.number(), elapsed, bound, cut_after, ending };
        GaveUp::new(end, error.and_then(|error| error.downcast().ok()).map(|error| *error))
    }
}
