//! What a lock reports unasked.

use std::task::{Context, Poll, ready};

use crate::{
    leader::lock::{Lock, Reports, Seen},
    policy::lease::Timing,
};

/// The reports of a lock: opened when they are first asked for, and again some time after they have ended.
pub(super) struct Reported<L: Lock> {
    open: Option<Reports<L::Object>>,
    reopen_at: u64,
    /// Whether those that are open have brought anything.
    heard: bool,
}

impl<L: Lock> Default for Reported<L> {
    fn default() -> Self {
        Self { open: None, reopen_at: 0, heard: false }
    }
}

impl<L: Lock> Reported<L> {
    /// The next report: the record, or that it was deleted.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        now: u64,
        lock: &L,
        timing: &Timing,
    ) -> Poll<Option<Seen<L::Object>>> {
        if self.open.is_none() && now < self.reopen_at {
            return Poll::Pending;
        }
        let reports = self.open.get_or_insert_with(|| lock.changes());
        if let Some(report) = ready!(reports.as_mut().poll_next(cx)) {
            self.heard = true;
            return Poll::Ready(report);
        }
        self.open = None;
        // Where there are none (no right to watch, say), asking for them is not worth much.
        let pause = if std::mem::take(&mut self.heard) { timing.retry_nanos() } else { timing.lease_nanos() };
        self.reopen_at = now.saturating_add(pause);
        Poll::Pending
    }

    /// When they are to be opened again; `None` while they are open.
    pub(super) fn reopen_at(&self) -> Option<u64> {
        self.open.is_none().then_some(self.reopen_at)
    }
}
