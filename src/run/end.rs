//! How an attempt ends, and how a run ends: for the runs of all verbs, of a cursor, and of the items of a queue.
//!
//! Nothing here is generic over what a user brings, so that it is compiled once. Instants are nanoseconds since the run
//! began. What a run keeps beside its [`Attempts`] is up to its owner; the owner calls, in the life of one attempt:
//!
//! ```text
//! may_start(policy, now)?                                  the clock is read: an admission does not outlive the hard bound
//! retries.begin_attempt(); attempts.start(policy, now)     the retry that was allowed is made
//! .. the attempt runs, and is over or cut ..
//! AttemptEnd { now, ending, decision }.plan(..)            what follows: the next start, with a retry withdrawn for it
//! listener: Ended, Waiting                                 only now: a panic finds everything decided
//! ```
//!
//! and at its end, whatever ends it, [`RunEnd::give_up`] (or [`Retries::end_run`] after a success).

use crate::{
    error::{End, EndStop, Ending, GaveUp, Stop},
    policy::schedule::{
        Policy,
        attempts::{Attempts, Decision, Next, PolicyStop},
        bounds::CutBy,
        jitter::series,
    },
    run::retries::Retries,
};

/// Whether an attempt that was planned in time may start at `now`: not at the hard bound or later, however late a timer
/// or a permit came.
#[inline]
pub(crate) fn may_start(policy: &Policy, now: u64) -> Result<(), Stop> {
    if policy.bounds().is_over(now) { Err(Stop::Deadline) } else { Ok(()) }
}

/// Where the first attempt is planned. `seed` names the run's series of random numbers; `None` is a series of its own.
pub(crate) fn plan_first(policy: &Policy, attempts: &mut Attempts, seed: Option<u64>) -> Result<u64, Stop> {
    match attempts.first(policy, || random(seed, 0)) {
        Next::Start(at) => Ok(at),
        Next::Stop(ended) => Err(ended.into()),
    }
}

/// An attempt has ended without a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptEnd {
    /// When.
    pub(crate) now: u64,
    /// How. [`CutBy::Cancelled`] is also an attempt that its owner dropped while the run goes on.
    pub(crate) ending: Ending,
    /// What its error says about the next one, or, if it was cut, [`Policy::after_cut`].
    pub(crate) decision: Decision,
}

impl AttemptEnd {
    /// When the next attempt starts, or why there is none. A retry is withdrawn from the budget for it, and only for
    /// it. A run whose token is cancelled does not ask. `seed` as for [`plan_first`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    pub(crate) fn plan(
        self,
        policy: &Policy,
        attempts: &mut Attempts,
        seed: impl FnOnce() -> Option<u64>,
        retries: Option<&mut Retries>,
    ) -> Result<u64, EndStop> {
        let Self { now, ending, decision } = self;
        if ending == Ending::Cut(CutBy::Deadline) {
            return Err(EndStop::Policy(PolicyStop::Deadline));
        }
        let number = attempts.number();
        match attempts.end(policy, now, decision, move || random(seed(), Attempts::draw_after(number, policy))) {
            Next::Stop(ended) => Err(EndStop::Policy(ended)),
            Next::Start(at) if retries.is_none_or(Retries::withdraw) => Ok(at),
            Next::Start(_) => Err(EndStop::Budget),
        }
    }
}

/// A run has ended without a value.
#[derive(Debug)]
pub(crate) struct RunEnd {
    /// Why.
    pub(crate) stop: Stop,
    /// When.
    pub(crate) now: u64,
    /// How its last attempt ended.
    pub(crate) ending: Ending,
    /// How long its last attempt had run when it was cut: see [`cut_after`].
    pub(crate) cut_after: u64,
}

impl RunEnd {
    /// The error of the run, with the latest real one inside. See [`close`](Self::close).
    #[cold]
    pub(crate) fn give_up<E>(
        self,
        policy: &Policy,
        attempts: &Attempts,
        retries: Option<&mut Retries>,
        error: Option<E>,
    ) -> GaveUp<E> {
        GaveUp::new(self.close(policy, attempts, retries), error, None)
    }

    /// Nothing is held any longer of what the run shares: a retry that was allowed and not made goes back. (A waiter on
    /// the limiter's list is the owner's, to be dropped first.)
    #[inline]
    pub(crate) fn close(self, policy: &Policy, attempts: &Attempts, retries: Option<&mut Retries>) -> End {
        // Here, so that a program whose runs have no budget has no code for one.
        if let Some(retries) = retries {
            retries.end_run();
        }
        let Self { stop, now, ending, cut_after } = self;
        let bounds = policy.bounds();
        let bound = if matches!(stop, Stop::StartWindow) { bounds.start_within } else { bounds.finish_within };
        End { stop, attempts: attempts.number(), elapsed: now, bound, cut_after, ending, observes: false }
    }
}

/// How long an attempt that was cut at `ended` had run: what was set, rather than how late the timer was.
pub(crate) fn cut_after(policy: &Policy, attempts: &Attempts, ending: Ending, ended: u64) -> u64 {
    let bounds = policy.bounds();
    let ran = ended.saturating_sub(attempts.started());
    match ending {
        Ending::Cut(CutBy::AttemptTimeout) => bounds.attempt_timeout.min(ran),
        Ending::Cut(CutBy::Deadline) => bounds.finish_within.saturating_sub(attempts.started()).min(ran),
        _ => ran,
    }
}

/// A number of the run's series.
#[cold]
#[inline(never)]
fn random(seed: Option<u64>, draw: u64) -> u64 {
    seed.map_or_else(|| fastrand::u64(..), |seed| series(seed, draw))
}
