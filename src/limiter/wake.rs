//! Wakers that are called outside the lock.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
    thread,
};

use crate::policy::limit::wait_list::Told;

/// Those that are to be woken. A waker is somebody else's code: it is neither called nor dropped under the lock, and those
/// behind one that panics are woken all the same. The first panic goes on when this is dropped.
#[derive(Default)]
pub(super) struct Wake {
    pub(super) told: Told<Waker>,
    more: Vec<Waker>,
    panic: Option<Box<dyn Any + Send>>,
}

impl Wake {
    /// Whether there is nobody to wake, and no panic to go on with.
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.more.is_empty() && self.panic.is_none()
    }

    pub(super) fn wake(&mut self) {
        while let Some(waker) = self.told.pop() {
            self.call(waker);
        }
        for waker in std::mem::take(&mut self.more) {
            self.call(waker);
        }
    }

    /// Goes on with the panic, if there was one.
    pub(super) fn go_on(&mut self) {
        if let Some(panic) = self.panic.take()
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }

    fn call(&mut self, waker: Waker) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            self.panic.get_or_insert(panic);
        }
    }
}

impl Extend<Waker> for Wake {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        self.more.extend(wakers);
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.wake();
        self.go_on();
    }
}
