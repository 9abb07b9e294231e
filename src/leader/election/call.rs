//! The calls of the lock, one at a time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::state::{AnswerFuture, Election, LockCall, LockRecord, view};
use crate::{
    leader::{
        error::ElectError,
        event::ElectionEvent,
        lock::{Lock, LockError, Prepared, Write},
        work::TermWork,
    },
    policy::{
        lease::{ReadResult, WriteResult, WriteStep},
        nanos::duration,
    },
};

impl<L: Lock, W: TermWork> Election<L, W> {
    pub(super) fn read(self: Pin<&mut Self>, now: u64) {
        let lock = Arc::clone(&self.lock);
        self.call(None, now, Box::pin(async move { lock.read().await }));
    }

    pub(super) fn write(mut self: Pin<&mut Self>, write: WriteStep, now: u64) {
        let over = match write.over() {
            None => None,
            Some(version) => match &self.latest {
                Some(record) if record.version == version => Some(record.clone()),
                // What is known has been overtaken by a report: the write would be refused.
                _ => {
                    let refused = async { Err(LockError::conflict("the lock has changed")) };
                    return self.call(Some(write), now, Box::pin(refused));
                }
            },
        };
        let (holder, lease) = (Arc::clone(&self.settings.identity), self.settings.timing.lease());
        let put = put(write, &holder, lease);
        if let Some(prepared) = self.lock.prepare(over.as_ref(), put) {
            self.as_mut().project().lease.set_write_mark(prepared.mark());
            let answer = async move { Prepared::into_write(prepared).await.map(Some) };
            return self.call(Some(write), now, Box::pin(answer));
        }
        let (lock, holder) = (Arc::clone(&self.lock), Arc::clone(&holder));
        let answer = async move { lock.write(over.as_ref(), self::put(write, &holder, lease)).await.map(Some) };
        self.call(Some(write), now, Box::pin(answer));
    }

    fn call(self: Pin<&mut Self>, write: Option<WriteStep>, now: u64, answer: AnswerFuture<L>) {
        let deadline = self.lease.give_up_at(now);
        let this = self.project();
        *this.overtaken = false;
        *this.call = Some(LockCall { write, sent: now, deadline, answer });
    }

    /// Takes in the answer of the call under way, or that there was none by its deadline.
    ///
    /// # Errors
    /// The lock refuses, and that is its last word.
    pub(super) fn poll_call(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: u64) -> Poll<Result<(), ElectError>> {
        let this = self.as_mut().project();
        let Some(call) = this.call else { return Poll::Pending };
        let answer = match call.answer.as_mut().poll(cx) {
            Poll::Pending if now >= call.deadline => {
                Err(LockError::timeout(duration(call.deadline.saturating_sub(call.sent))))
            }
            answer => ready!(answer),
        };
        let (write, sent) = (call.write, call.sent);
        *this.call = None;
        Poll::Ready(match answer {
            Ok(record) => {
                self.answered(write, sent, now, record);
                Ok(())
            }
            Err(error) => self.failed(write, sent, now, error),
        })
    }

    fn answered(mut self: Pin<&mut Self>, write: Option<WriteStep>, sent: u64, now: u64, record: LockRecord<L>) {
        let this = self.as_mut().project();
        let view = record.as_ref().map(|record| view(record, &this.settings.identity));
        this.refusals.answered();
        // What was reported since the call began may be newer.
        let reported = this.latest.as_ref().filter(|_| *this.overtaken).map_or(0, |record| record.version);
        if record.as_ref().is_none_or(|record| record.version >= reported) {
            *this.latest = record;
        }
        match (write, view) {
            (Some(write), Some(view)) => {
                this.lease.on_written(write, sent, now, WriteResult::Done { version: view.version });
            }
            (Some(write), None) => this.lease.on_written(write, sent, now, WriteResult::Unknown),
            (None, view) => this.lease.on_read(now, view.into()),
        }
        self.as_mut().note_holder();
        self.apply_term(now);
    }

    fn failed(
        mut self: Pin<&mut Self>,
        write: Option<WriteStep>,
        sent: u64,
        now: u64,
        error: LockError,
    ) -> Result<(), ElectError> {
        let this = self.as_mut().project();
        match write {
            // A conflict too: a client or a proxy that repeats a write on its own hears of one when its first try was
            // done.
            Some(write) => this.lease.on_written(write, sent, now, WriteResult::Unknown),
            None => this.lease.on_read(now, ReadResult::Failed),
        }
        // Another was faster: that is to be expected, and told only where the term ends by it.
        if error.is_conflict() && write.is_some() {
            this.refusals.answered();
            if this.term.is_some() {
                *this.last_error = Some(error);
            }
            return Ok(());
        }
        *this.last_error = Some(error.clone());
        let last_word = if error.is_fatal() {
            this.refusals.refused(now, this.settings.timing.lease_nanos())
        } else {
            this.refusals.unanswered();
            false
        };
        let campaigns = this.term.is_none() && this.end.is_none();
        if campaigns && last_word {
            let doing = if write.is_some() { "write" } else { "read" };
            return Err(ElectError::Lock { doing, lock: this.lock.name(), source: error });
        }
        self.tell(&ElectionEvent::Trouble(error));
        Ok(())
    }

    /// Waits for the answer no longer: whatever was written, the next read will show it.
    pub(super) fn give_up_call(self: Pin<&mut Self>, now: u64) {
        let this = self.project();
        match this.call.take() {
            Some(LockCall { write: Some(write), sent, .. }) => {
                this.lease.on_written(write, sent, now, WriteResult::Unknown);
            }
            Some(LockCall { write: None, .. }) => this.lease.on_read(now, ReadResult::Failed),
            None => {}
        }
    }
}

/// What is written.
fn put(write: WriteStep, holder: &str, lease: Duration) -> Write<'_> {
    match write {
        WriteStep::Release { .. } => Write::Release,
        WriteStep::Renew { .. } => Write::Renew { holder, lease },
        WriteStep::Create | WriteStep::Acquire { .. } => Write::Take { holder, lease },
    }
}
