//! The attempts at a key: what failed ones have left.

use super::erased::ErasedError;
use crate::{
    error::{Ending, GaveUp, Stop},
    policy::{
        nanos::{FOREVER, duration},
        queue::AttemptHistory,
        schedule::{
            Policy,
            attempts::{Attempt, Attempts, Decision},
            bounds::CutBy,
            jitter::series,
        },
    },
    run::end::{self, AttemptEnd, RunEnd},
    run::retries::Retries,
};

/// The attempts at one key, until it succeeds or is given up. Instants are queue time.
#[derive(Debug)]
pub(super) struct History {
    attempts: Attempts,
    /// When the first attempt started.
    began: u64,
    /// When the last attempt ended.
    ended: u64,
    ending: Ending,
    /// When the next attempt is planned, and the latest instant at which the bounds let it start.
    window: (u64, u64),
    /// The latest error that an attempt gave.
    error: Option<ErasedError>,
    retries: Retries,
}

impl AttemptHistory for Box<History> {
    fn window(&self) -> (u64, u64) {
        self.window
    }

    fn split_off(&mut self) -> Self {
        let History { attempts, began, ended, ending, window, ref mut error, .. } = **self;
        let error = error.take();
        Box::new(History { attempts, began, ended, ending, window, error, retries: Retries::Unlimited })
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
            window: (now, FOREVER),
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
        // When it is due is when it starts: where that was planned is of no interest.
        end::plan_first(policy, &mut Attempts::default(), None).map(drop)
    }

    /// Whether another attempt may start now, however late it is for what was planned.
    pub(super) fn may_go_on(&self, policy: &Policy, now: u64) -> Result<(), Stop> {
        end::may_start(policy, now.saturating_sub(self.began))
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts.number()
    }

    pub(super) fn start(&mut self, policy: &Policy, now: u64) -> Attempt {
        self.retries.begin_attempt();
        self.attempts.start(policy, now.saturating_sub(self.began))
    }

    /// From the attempt that runs on, the item counts for these budgets and asks them for retries; one that counts
    /// already stays with its own.
    pub(super) fn charge(&mut self, retries: &Retries) {
        if let Retries::Unlimited = self.retries {
            self.retries = retries.anew();
            self.retries.begin_attempt();
        }
    }

    /// The latest instant at which the bounds let another attempt start, in queue time.
    pub(super) fn latest_start(&self, policy: &Policy) -> u64 {
        self.began.saturating_add(policy.bounds().room(0))
    }

    /// When the attempt that runs is cut, in queue time.
    pub(super) fn cut_at(&self, policy: &Policy) -> (u64, CutBy) {
        let (at, by) = self.attempts.cut(policy);
        (self.began.saturating_add(at), by)
    }

    /// The attempt has ended without success.
    pub(super) fn end(&mut self, now: u64, ending: Ending, error: Option<ErasedError>) {
        (self.ending, self.ended) = (ending, now);
        if error.is_some() {
            self.error = error;
        }
    }

    /// What follows the attempt that has ended: when to try again, in queue time, or why not. To be asked once for
    /// each.
    pub(super) fn plan(&mut self, policy: &Policy, decision: Decision) -> Result<u64, Stop> {
        // A seed names a series for each start, or items that fail together would come back together.
        let began = self.began;
        let seed = || policy.seed().map(|seed| series(seed, began));
        let now = self.ended.saturating_sub(self.began);
        let attempt = AttemptEnd { now, ending: self.ending, decision };
        let planned = attempt.plan(policy, &mut self.attempts, seed, Some(&mut self.retries))?;
        let at = self.began.saturating_add(planned);
        self.window = (at, self.latest_start(policy));
        Ok(at)
    }

    /// No further attempt is made: what the item had to do with its budgets, to be dropped.
    pub(super) fn take_retries(&mut self) -> Retries {
        std::mem::take(&mut self.retries)
    }

    pub(super) fn last_error<E: 'static>(&self) -> Option<&E> {
        self.error.as_ref()?.downcast_ref()
    }

    /// The limiter's permit comes too late for the next attempt.
    pub(super) fn refused(
        self,
        policy: &Policy,
        now: u64,
        ready_at: u64,
        no_share: Option<Stop>,
    ) -> GaveUp<ErasedError> {
        let ready_in = if ready_at == FOREVER { FOREVER } else { ready_at.saturating_sub(now) };
        let allowed = self.latest_start(policy).saturating_sub(now);
        let stop = Stop::Limiter { ready_in: duration(ready_in), allowed: duration(allowed) };
        self.give_up_at(policy, no_share.unwrap_or(stop), now)
    }

    /// Right after an attempt.
    #[cold]
    pub(super) fn give_up(self, policy: &Policy, stop: Stop) -> GaveUp<ErasedError> {
        let ended = self.ended;
        self.give_up_at(policy, stop, ended)
    }

    #[cold]
    pub(super) fn give_up_at(mut self, policy: &Policy, stop: Stop, now: u64) -> GaveUp<ErasedError> {
        let since = |at: u64| at.saturating_sub(self.began);
        let cut_after = end::cut_after(policy, &self.attempts, self.ending, since(self.ended));
        let end = RunEnd { stop, now: since(now), ending: self.ending, cut_after };
        end.give_up(policy, &self.attempts, Some(&mut self.retries), self.error)
    }
}
