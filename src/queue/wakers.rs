//! What is woken when the queue has changed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
    thread,
};

/// Wakers to be called once the lock is free.
#[must_use]
#[derive(Default)]
pub(super) struct Wakers {
    pub(super) consumer: Option<Waker>,
    pub(super) waiters: Vec<(u64, Waker)>,
}

impl Wakers {
    /// Wakes all of them, those behind one that panics as well. The panic goes on.
    pub(super) fn wake(self) {
        if let Err(panic) = self.try_wake() {
            resume_unwind(panic);
        }
    }

    /// The same; `Err` is the panic.
    pub(super) fn try_wake(self) -> thread::Result<()> {
        let wakers = self.consumer.into_iter().chain(self.waiters.into_iter().map(|(_, waker)| waker));
        let mut first = None;
        for waker in wakers {
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            first = first.or(woken.err());
        }
        first.filter(|_| !thread::panicking()).map_or(Ok(()), Err)
    }
}
