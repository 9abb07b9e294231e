//! Writes in doubt: their answer was lost, so they may take effect yet, or took effect unobserved.
//!
//! Every write that acquires or renews carries a mark, a random number that is stored in the record. If a record turns
//! up that bears this candidate's identity and the mark of a write in doubt, then that write took effect, and the
//! record is this candidate's own. With any other mark it is of another process with the same identity.
//!
//! All writes in doubt are over one version. The lock takes at most one write over a version, so at most one of them
//! takes effect; and once the lock is seen with another version, those that have not taken effect never will.
//!
//! An example: the lock has version 7, written by this candidate.
//!
//! | what happens | in doubt | |
//! |---|---|---|
//! | a renewal over 7 with mark a is sent; no answer | over 7: a | it may take effect at any time |
//! | it is tried again over 7 with mark b; no answer | over 7: b, a | one of the two, or none |
//! | a read shows version 8, this identity, mark a | none | the first one took effect: the term goes on with version 8; b never will |
//! | or: a read shows version 8, this identity, mark z | none | another process with this identity: the term is lost |
//! | or: a read shows version 7 | over 7: b, a | nothing has changed: both may still take effect |

/// So many marks are remembered. The oldest is forgotten first, and counts as another's if it turns up.
const MOST: usize = 8;

/// The marks of the writes in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct InDoubt {
    /// The version that all of them are over; `None`: they create the lock.
    over: Option<u128>,
    /// The newest first.
    marks: [Option<u64>; MOST],
}

impl InDoubt {
    /// The outcome of a write over this version is unknown; `None` is a creation.
    pub(super) fn add(&mut self, over: Option<u128>, mark: u64) {
        if self.over != over {
            *self = Self { over, ..Self::default() };
        }
        self.marks.rotate_right(1);
        if let Some(newest) = self.marks.first_mut() {
            *newest = Some(mark);
        }
    }

    pub(super) fn contains(&self, mark: u64) -> bool {
        self.marks.contains(&Some(mark))
    }

    /// A state of the lock was observed. Writes over a version that is gone take effect no more.
    pub(super) fn observe_version(&mut self, version: Option<u128>) {
        if self.over != version {
            self.clear();
        }
    }

    /// What became of them is known, or does not matter any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn forget_creations(&mut self) {
        if self.over.is_none() {
            self.clear();
        }
    }
}
