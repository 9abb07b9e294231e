//! What a lock reports of its record, unasked.

use std::task::{Context, Poll, ready};

use crate::{
    leader::lock::{Lock, Record, RecordStream},
    policy::lease::Timing,
};

/// The watch of a lock: opened when it is first asked for, and again some time after it has ended.
pub(super) struct RecordWatch<L: Lock> {
    open: Option<RecordStream<L::Object>>,
    reopen_at: u64,
    /// Whether the one that is open has reported anything.
    reported: bool,
}

impl<L: Lock> Default for RecordWatch<L> {
    fn default() -> Self {
        Self { open: None, reopen_at: 0, reported: false }
    }
}

impl<L: Lock> RecordWatch<L> {
    /// The next report: the record, or that it was deleted.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        now: u64,
        lock: &L,
        timing: &Timing,
    ) -> Poll<Option<Record<L::Object>>> {
        if self.open.is_none() && now < self.reopen_at {
            return Poll::Pending;
        }
        let stream = self.open.get_or_insert_with(|| lock.watch());
        if let Some(report) = ready!(stream.as_mut().poll_next(cx)) {
            self.reported = true;
            return Poll::Ready(report);
        }
        self.open = None;
        // Where nothing can be watched (no right to it, say), asking again is not worth much.
        let pause = if std::mem::take(&mut self.reported) { timing.retry_nanos() } else { timing.lease_nanos() };
        self.reopen_at = now.saturating_add(pause);
        Poll::Pending
    }

    /// When it is to be opened again; `None` while it is open.
    pub(super) fn reopen_at(&self) -> Option<u64> {
        self.open.is_none().then_some(self.reopen_at)
    }
}
