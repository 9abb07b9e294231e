//! Wakers that are called outside the lock.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
    thread,
};

use crate::policy::limit::wait_list::WakeList;

/// Wakers that are to be called. They are foreign code, neither called nor dropped under the lock, and those behind one
/// that panics are called all the same. The first panic is resumed when this is dropped.
#[derive(Default)]
pub(super) struct WakeOnDrop {
    pub(super) list: WakeList<Waker>,
    more: Vec<Waker>,
    panic: Option<Box<dyn Any + Send>>,
}

impl WakeOnDrop {
    /// Whether there is nothing to wake, and no panic to resume.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.more.is_empty() && self.panic.is_none()
    }

    pub(super) fn wake(&mut self) {
        while let Some(waker) = self.list.pop() {
            self.call(waker);
        }
        for waker in std::mem::take(&mut self.more) {
            self.call(waker);
        }
    }

    /// Resumes the panic, if there was one.
    pub(super) fn resume_panic(&mut self) {
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

impl Extend<Waker> for WakeOnDrop {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        self.more.extend(wakers);
    }
}

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.wake();
        self.resume_panic();
    }
}
