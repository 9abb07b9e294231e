//! Why runs stop, and what their last attempt did.

use std::time::Duration;

use crate::{
    limiter::{Lapse, Refused},
    policy::schedule::{attempts::PolicyStop, bounds::CutBy},
};

/// Why a run stopped.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The error is one that repeating cannot mend.
    Fatal,
    /// `max_attempts` were made.
    Attempts,
    /// The backoff has no further delay.
    BackoffEnded,
    /// The next attempt could not have started within `start_within`.
    StartWindow,
    /// `finish_within` is over, or the next attempt could not have started before its end.
    Deadline,
    /// The token given to `cancel_on` was cancelled, or the future given to `cancel_when` was done.
    Cancelled,
    /// The shared retry budget refused the retry.
    Budget,
    /// The limiter could not have let the attempt start in time.
    #[non_exhaustive]
    Limiter {
        /// How long the permit would have taken; `Duration::MAX` is never.
        ready_in: Duration,
        /// How long the bounds allowed to wait for it.
        allowed: Duration,
    },
    /// The limiter has no share of its [fleet](crate::fleet)'s rate, and the bounds do not allow to wait until it has
    /// one, however long that takes.
    #[non_exhaustive]
    NoShare {
        /// For how long.
        lapsed: Duration,
        /// Of which fleet, and what was wrong last.
        why: Lapse,
    },
    /// Nothing moved for as long as `stall_after` allows.
    Stalled,
    /// A `settle` could not observe, be it for errors or for calls that were cut, for as long as `tolerate_errors_for`
    /// allows.
    Unobservable,
}

impl Stop {
    /// A stable name for logs and metrics: `fatal`, `attempts`, `backoff_ended`, `start_window`, `deadline`,
    /// `cancelled`, `budget`, `limiter`, `no_share`, `stalled`, `unobservable`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Attempts => "attempts",
            Self::BackoffEnded => "backoff_ended",
            Self::StartWindow => "start_window",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Budget => "budget",
            Self::Limiter { .. } => "limiter",
            Self::NoShare { .. } => "no_share",
            Self::Stalled => "stalled",
            Self::Unobservable => "unobservable",
        }
    }

    /// What a limiter without a share of its fleet's rate makes of a run.
    pub(crate) fn no_share(refused: Refused) -> Option<Self> {
        let Refused::NoShare { lapsed, why } = refused else { return None };
        Some(Self::NoShare { lapsed, why })
    }
}

impl From<PolicyStop> for Stop {
    fn from(ended: PolicyStop) -> Self {
        match ended {
            PolicyStop::Fatal => Self::Fatal,
            PolicyStop::Attempts => Self::Attempts,
            PolicyStop::BackoffEnded => Self::BackoffEnded,
            PolicyStop::StartWindow => Self::StartWindow,
            PolicyStop::Deadline => Self::Deadline,
        }
    }
}

/// Why no attempt follows one that has ended: a [`Stop`] in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndStop {
    Policy(PolicyStop),
    Cancelled,
    Budget,
}

impl From<EndStop> for Stop {
    #[cold]
    #[inline(never)]
    fn from(ended: EndStop) -> Self {
        match ended {
            EndStop::Policy(ended) => ended.into(),
            EndStop::Cancelled => Self::Cancelled,
            EndStop::Budget => Self::Budget,
        }
    }
}

/// What the last attempt did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Last<E> {
    /// It failed with this error.
    Failed(E),
    /// It answered that the condition is not met yet.
    NotReady,
    /// It answered that the condition is not met yet, and why.
    NotReadyBecause(E),
    /// It failed with an error that an earlier [`AttemptLoop::next`](crate::builder::AttemptLoop::next) has given away.
    FailedBefore,
    /// It was dropped before it answered; what it achieved is unknown, unless it only observed.
    #[non_exhaustive]
    Cut {
        /// How long it had run.
        after: Duration,
        /// What cut it.
        by: CutBy,
    },
    /// Its call was never begun: a listener that heard of its start cancelled the run or held it up past the hard
    /// bound, or the owner of an [`AttemptLoop`](crate::builder::AttemptLoop) took as long. Nothing was done.
    NotCalled,
    /// There was none.
    NotStarted,
}

/// What a verb with more to say than `retry` and `poll` adds to its error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// From `settle`: the last progress seen.
    #[non_exhaustive]
    Settle {
        /// The text of the last observation; empty if none has told of any progress.
        on: String,
        /// For how long it had not changed.
        unchanged_for: Duration,
    },
    /// From `ensure`.
    #[non_exhaustive]
    Ensure {
        /// How often it acted.
        acts: u32,
        /// Whether an act may have been applied without an observation to tell.
        outcome_unknown: bool,
    },
    /// From a caller that reads: of what, where no error tells.
    #[non_exhaustive]
    Read {
        /// The object, in words.
        of: String,
    },
}

impl Detail {
    /// What was read, if that is known.
    pub(crate) fn read(of: Option<String>) -> Option<Self> {
        of.map(|of| Self::Read { of })
    }
}

/// How the last attempt ended, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    #[default]
    NotStarted,
    Failed,
    NotReady,
    /// Not ready, and the kept error says why.
    NotReadyBecause,
    Cut(CutBy),
    /// The run ended before the call was begun.
    NotCalled,
}

impl Ending {
    /// The same as a caller sees it, with the error that is kept.
    pub(crate) fn last<E>(self, error: Option<&E>, cut_after: Duration) -> Last<&E> {
        match (self, error) {
            (Self::Failed, Some(error)) => Last::Failed(error),
            (Self::Failed, None) => Last::FailedBefore,
            (Self::NotReadyBecause, Some(error)) => Last::NotReadyBecause(error),
            (Self::NotReadyBecause, None) | (Self::NotReady, _) => Last::NotReady,
            (Self::Cut(by), _) => Last::Cut { after: cut_after, by },
            (Self::NotCalled, _) => Last::NotCalled,
            (Self::NotStarted, _) => Last::NotStarted,
        }
    }
}

/// Everything about the end of a run but its error.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stop: Stop,
    pub(crate) attempts: u32,
    pub(crate) elapsed: u64,
    pub(crate) bound: u64,
    pub(crate) cut_after: u64,
    pub(crate) ending: Ending,
    /// What was attempted only observes: cut, it has no outcome that could be unknown.
    pub(crate) observes: bool,
}
