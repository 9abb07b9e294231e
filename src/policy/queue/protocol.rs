//! What goes into the delay queue, and what comes out.

/// What becomes of an entry that waits, or follows a run, when another is given for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOccupied {
    /// The entry that is there stays.
    Keep,
    /// The new one takes its place.
    Replace,
    /// The earlier one stays; the one that is there if both are due at once.
    KeepEarlier,
    /// The new one takes its place, and what failed before is forgotten: the count of failures as well as the pause.
    Reset,
}

/// What the failed attempts at a key have left. It stays with the key, whichever value is tried next.
pub trait AttemptHistory: Sized {
    /// When the next attempt may start, from the first instant (the end of the pause) to the last (the bounds).
    fn window(&self) -> (u64, u64);

    /// The history goes on with a newer value. Returns what is left for the one that it replaces, the error above all.
    #[must_use]
    fn split_off(&mut self) -> Self;
}

/// What giving work for a key did. A key and a value that were not taken stay with the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inserted<V, T> {
    /// Nothing waited for this key and it did not run: it waits now.
    New,
    /// What waits for this key stays.
    Kept {
        /// When the entry that stays is due.
        due: u64,
    },
    /// What waited for this key is replaced; the old value comes back.
    Moved {
        /// When the old entry was due.
        from: u64,
        /// When the new one is: not before the pause is over, if it waited for another try.
        due: u64,
        /// The old entry's value.
        value: V,
        /// What its failed attempts left, unless the new entry goes on with it.
        history: Option<T>,
    },
    /// The key is running: this follows once the run has ended. What was to follow comes back, if anything was.
    AfterRun {
        /// Due time and value of what was to follow until now.
        replaced: Option<(u64, V)>,
    },
}

/// What cancelling a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled<K, V, T> {
    /// There was nothing to cancel.
    Absent,
    /// What waited is taken out.
    Removed(Removed<K, V, T>),
    /// The key is running. That run goes on, and nothing follows it: neither what was to follow nor another try.
    Running {
        /// Due time and value of what was to follow.
        next: Option<(u64, V)>,
    },
}

/// An entry that was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed<K, V, T> {
    /// The key.
    pub key: K,
    /// When it was due.
    pub due: u64,
    /// The value.
    pub value: V,
    /// What failed attempts left, if it waited for another try.
    pub history: Option<T>,
}

impl<K, V, T> Removed<K, V, T> {
    /// An entry that was taken out.
    #[must_use]
    pub fn new(key: K, due: u64, value: V, history: Option<T>) -> Self {
        Self { key, due, value, history }
    }
}

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It waits.
    Scheduled {
        /// Until then.
        due: u64,
    },
    /// It runs, and nothing follows.
    Running,
    /// It runs, and something follows.
    RunningWithNext {
        /// When that is due.
        due: u64,
    },
}

/// What followed the end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterRun<K, V, T> {
    /// The key is gone.
    Gone {
        /// The key, as it was first given.
        key: K,
    },
    /// The key waits for its next try.
    Again,
    /// What was given for the key during the run waits now.
    Next {
        /// When it is due: not before the pause is over, if the run failed.
        due: u64,
        /// The value that was to be tried again, and what the failed attempts left for it.
        superseded: Option<(V, T)>,
    },
    /// It was to be tried again, but the key was cancelled during the run: it is gone.
    Cancelled {
        /// The key, as it was first given.
        key: K,
        /// The value.
        value: V,
        /// What the failed attempts left.
        history: T,
    },
}

/// A key that has begun to run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started<K, V, T> {
    /// The run, to be ended with [`KeyedDelayQueue::end`](super::KeyedDelayQueue::end).
    pub run: RunningKey,
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// What failed attempts left, if this is another try.
    pub history: Option<T>,
    /// When it was due.
    pub due: u64,
}

/// A run of a key that has begun and not ended. There is one at most for each key.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a key runs until its run is ended"]
pub struct RunningKey {
    /// Where the key was when the run began.
    pub(super) slot: u32,
    pub(super) number: u64,
}

impl RunningKey {
    pub(super) fn into_parts(self) -> (u32, u64) {
        (self.slot, self.number)
    }
}
