//! A request for permits of a key, and what becomes of it.

use crate::limiter::{Limiter, Refused};

/// What became of a request for permits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tried {
    Taken,
    /// They will be there in so many nanoseconds.
    ReadyIn(u64),
    /// It takes more to tell.
    Unknown,
}

/// The answer to a request for permits, if it takes more to tell.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    Refused(Refused),
    /// The key has a limiter of its own, that is to be asked outside the lock.
    Ask(Limiter),
}

/// A key that is looked for.
#[derive(Debug)]
pub(super) struct Wanted<'a, Q: ?Sized> {
    pub(super) key: &'a Q,
    pub(super) hash: u64,
}

impl<Q: ?Sized> Clone for Wanted<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Wanted<'_, Q> {}
