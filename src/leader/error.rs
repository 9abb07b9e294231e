//! How elections end.

use std::{fmt, time::Duration};

use super::lock::LockError;
use crate::{ConfigError, policy::nanos::Written};

/// How a run ended that did not fail.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ended<R> {
    /// The work ended by itself; the lock was given back if that was asked for.
    Finished(R),
    /// The term was lost.
    Lost {
        /// Why.
        why: Loss,
        /// What the work answered, if it ended before it had to be dropped.
        finished: Option<R>,
    },
    /// The run was cancelled, before or during a term.
    Cancelled {
        /// What the work answered, if there was a term and it ended before it had to be dropped.
        finished: Option<R>,
    },
    /// The work has ended, but the lock could not be given back: it lapses after a lease.
    Unreleased {
        /// What the work answered, if it was not dropped.
        finished: Option<R>,
        /// Why the lock could not be given back.
        error: LockError,
    },
}

impl<R> Ended<R> {
    /// What the work answered, however the run ended.
    #[must_use]
    pub fn into_finished(self) -> Option<R> {
        match self {
            Self::Finished(value) => Some(value),
            Self::Lost { finished, .. } | Self::Cancelled { finished } | Self::Unreleased { finished, .. } => finished,
        }
    }
}

/// Why a term was lost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// No renewal was confirmed in time.
    Deadline {
        /// The renew deadline.
        after: Duration,
        /// The last failure of the lock.
        last: Option<LockError>,
    },
    /// The lock bears another identity.
    TakenOver {
        /// Whose.
        by: String,
    },
    /// Somebody released the lock in this candidate's stead.
    Cleared,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { after, last: Some(last) } => {
                write!(f, "no renewal was confirmed within {}: {last}", Written(*after))
            }
            Self::Deadline { after, last: None } => write!(f, "no renewal was confirmed within {}", Written(*after)),
            Self::TakenOver { by } => write!(f, "{by} has taken over"),
            Self::Cleared => f.write_str("somebody else released the lock"),
        }
    }
}

/// Why an election could not go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElectError {
    /// A setting that cannot be.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The lock refuses for good, and there is no term.
    #[error("cannot {doing} lock {lock}: {source}")]
    Lock {
        /// What was tried.
        doing: &'static str,
        /// The lock.
        lock: String,
        /// Its answer.
        source: LockError,
    },
}
