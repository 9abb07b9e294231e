//! An item that is not tried again.

use crate::error::GaveUp;

/// An item of the queue for which no further attempt will be made, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct GivenUp<K, V, E> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Why there is no further attempt, and what the last one did.
    pub error: GaveUp<E>,
    /// Something newer was given for the key, and goes on in its place. [`Stop::Cancelled`](crate::Stop::Cancelled)
    /// says so of the item.
    pub superseded: bool,
}

impl<K, V, E> GivenUp<K, V, E> {
    pub(super) fn new(key: K, value: V, error: GaveUp<E>) -> Self {
        Self { key, value, error, superseded: false }
    }

    pub(super) fn map_error<F>(self, f: impl FnOnce(E) -> F) -> GivenUp<K, V, F> {
        let Self { key, value, error, superseded } = self;
        GivenUp { key, value, error: error.map_error(f), superseded }
    }
}
