//! What wakes a run.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    run::controls::Control,
    time::{Instant, Sleeper},
};

pin_project! {
    /// A sleep, and the wait for a cancellation: all that has to stay where it is between two polls.
    #[derive(Debug)]
    pub(crate) struct Alarm<T, G: Control> {
        #[pin]
        sleep: T,
        #[pin]
        cancelled: G::Wait,
    }
}

impl<T: Default, G: Control> Default for Alarm<T, G> {
    #[inline]
    fn default() -> Self {
        Self { sleep: T::default(), cancelled: G::Wait::default() }
    }
}

impl<T: Sleeper, G: Control> Alarm<T, G> {
    /// Ready at `at`, or later; `None` is never.
    #[inline]
    pub(super) fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        self.project().sleep.poll_at(cx, at)
    }

    /// Ready once the run that shares these is cancelled.
    #[inline]
    pub(super) fn poll_cancelled(self: Pin<&mut Self>, ties: &mut G, cx: &mut Context<'_>) -> Poll<()> {
        ties.poll_cancelled(self.project().cancelled, cx)
    }

    /// Nothing is slept for any more: the next sleep may be in another runtime.
    #[cfg(feature = "stream")]
    pub(crate) fn disarm_sleep(self: Pin<&mut Self>) {
        self.project().sleep.disarm();
    }

    /// Neither is waited for any more.
    #[inline]
    pub(super) fn disarm(self: Pin<&mut Self>, ties: &mut G) {
        let this = self.project();
        this.sleep.disarm();
        ties.stop_waiting(this.cancelled);
    }
}
