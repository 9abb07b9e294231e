//! How elections end.

use std::{error::Error, fmt, time::Duration};

use super::lock::LockError;
use crate::{error::ConfigError, policy::nanos::Written};

/// How a run ended that did not fail.
#[derive(Clone, Debug)]
#[must_use = "it may be that the term was lost, or that there was none"]
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
    /// Another holds the lock, and this run was not to wait: see [`unless_held`](super::Elect::unless_held).
    Held {
        /// Whose it is.
        by: String,
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
            Self::Held { .. } => None,
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
    /// The lock was released or emptied in this candidate's stead.
    Cleared,
    /// The lock bears this candidate's identity, and this candidate did not write that: another process has the same
    /// one.
    SameIdentity {
        /// The identity.
        identity: String,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { after, last: Some(last) } => {
                write!(f, "no renewal was confirmed within {}: {last}", Written(*after))
            }
            Self::Deadline { after, last: None } => write!(f, "no renewal was confirmed within {}", Written(*after)),
            Self::TakenOver { by } => write!(f, "{by} has taken over"),
            Self::Cleared => f.write_str("another process released the lock"),
            Self::SameIdentity { identity } => {
                write!(
                    f,
                    "another process with the same identity, {identity}, has taken over: identities must be unique"
                )
            }
        }
    }
}

/// Why an election could not go on. Its text tells the whole chain of causes, so it has no source.
#[derive(Clone)]
#[non_exhaustive]
pub enum ElectError {
    /// A setting that cannot be.
    Config(ConfigError),
    /// The lock refuses: no call of this run has ever succeeded, for a whole lease.
    #[non_exhaustive]
    Lock {
        /// What was tried last.
        doing: &'static str,
        /// The lock.
        lock: String,
        /// Its answer.
        source: LockError,
    },
}

impl From<ConfigError> for ElectError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl fmt::Display for ElectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Lock { doing, lock, source } => write!(f, "cannot {doing} lock {lock}: {source}"),
        }
    }
}

/// The text: `unwrap()` and `fn main() -> Result` show it.
impl fmt::Debug for ElectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ElectError {}
