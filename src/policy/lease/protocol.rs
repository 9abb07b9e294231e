//! What goes into the state machine, and what comes out.

/// The holder of a record, as this candidate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Holder {
    /// It was released: the first candidate that comes may have it.
    Released,
    /// It bears no identity, and was not released: it was emptied, perhaps under a leader.
    Emptied,
    /// It bears this candidate's identity, which does not yet mean that this candidate wrote it.
    Own,
    /// It bears another identity.
    Other,
}

/// The record in the lock, as far as an election depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordView {
    /// Grows with every change of the lock, over its deletion as well.
    pub version: u128,
    /// Changes with every renewal and every creation of the lock, and need not change with anything else.
    pub heartbeat: u128,
    /// The holder.
    pub holder: Holder,
    /// How long others have to leave it alone, in nanoseconds.
    pub lease: u64,
    /// Tells the write that left it from every other write, if the lock can; changes of what is not the election's
    /// leave it as it is.
    pub mark: Option<u64>,
}

/// A write to the lock. `over` is the version that it must replace; without one the lock must be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteStep {
    /// Lay down a record that bears this identity; no candidate leads by it yet.
    Create,
    /// Begin a term.
    Acquire {
        /// The version that was read.
        over: u128,
    },
    /// Go on leading.
    Renew {
        /// The version that was read; `None` lays a missing lock down again.
        over: Option<u128>,
    },
    /// Give the lock back: no candidate holds it any more.
    Release {
        /// The version that was read.
        over: u128,
    },
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadResult {
    /// No answer, or an error.
    Failed,
    /// There is no record.
    Missing,
    /// There is this one.
    Found(RecordView),
}

impl From<Option<RecordView>> for ReadResult {
    fn from(record: Option<RecordView>) -> Self {
        record.map_or(Self::Missing, Self::Found)
    }
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteResult {
    /// It is done; the lock has this version now.
    Done {
        /// That version.
        version: u128,
    },
    /// The version was another one: nothing was written.
    Refused,
    /// No answer, or an error: it may have been written, or may yet be.
    Unknown,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Read the lock; the answer goes to [`Lease::on_read`](super::Lease::on_read).
    Read,
    /// Write the lock; the answer goes to [`Lease::on_written`](super::Lease::on_written).
    Write(WriteStep),
    /// Nothing before this time, unless a call ends, or something is [reported](super::Lease::on_report).
    Wait(u64),
}

/// The term that this candidate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HeldTerm {
    /// The version of the write that began it: grows from term to term, of all candidates.
    pub fence: u128,
    /// When the last confirmed renewal was sent.
    pub sent: u64,
    /// What that renewal left in the lock.
    pub version: u128,
    /// The mark by which it can be told there, if it has one.
    pub mark: Option<u64>,
}

/// Why a term was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// No renewal was confirmed in time.
    Deadline,
    /// The lock bears another identity.
    TakenOver,
    /// The lock was released or emptied in this candidate's stead.
    Cleared,
    /// The lock bears this identity, and this candidate did not write it: another process has the same one.
    SameIdentity,
}

/// How a candidacy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// The lock was given back, or was not there to give back.
    Released,
    /// The lock was not, or no longer, this candidate's to give back.
    NotHeld,
    /// The lock could not be given back in time; it lapses after a lease.
    Unreleased,
}

impl RecordView {
    /// A record of this version and this heartbeat.
    #[must_use]
    pub fn new(version: u128, heartbeat: u128, holder: Holder, lease: u64) -> Self {
        Self { version, heartbeat, holder, lease, mark: None }
    }

    /// The same, left by the write with this mark.
    #[must_use]
    pub fn marked(self, mark: Option<u64>) -> Self {
        Self { mark, ..self }
    }
}

impl WriteStep {
    /// The version that it must replace.
    #[must_use]
    pub fn over(self) -> Option<u128> {
        match self {
            Self::Create => None,
            Self::Acquire { over } | Self::Release { over } => Some(over),
            Self::Renew { over } => over,
        }
    }
}
