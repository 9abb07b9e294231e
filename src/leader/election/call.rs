//! The calls of the lock, one at a time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{Leading, record};
use crate::{
    leader::{
        error::ElectError,
        event::Change,
        lock::{Lock, LockError, Prepared, Put, Seen},
        work::Work,
    },
    policy::{
        lease::{Write, Wrote},
        nanos::duration,
    },
};

/// A call of the lock that is under way.
pub(super) struct Call<L: Lock> {
    /// What is written; `None`: it only looks.
    write: Option<Write>,
    sent: u64,
    pub(super) deadline: u64,
    answer: Answer<L>,
}

type Answer<L> = Pin<Box<dyn Future<Output = Result<Known<L>, LockError>> + Send>>;
type Known<L> = Option<Seen<<L as Lock>::Object>>;

impl<L: Lock> Call<L> {
    pub(super) fn is_write(&self) -> bool {
        self.write.is_some()
    }
}

impl<L: Lock, W: Work> Leading<L, W> {
    pub(super) fn look(self: Pin<&mut Self>, now: u64) {
        let lock = Arc::clone(&self.lock);
        self.call(None, now, Box::pin(async move { lock.read().await }));
    }

    pub(super) fn write(mut self: Pin<&mut Self>, write: Write, now: u64) {
        let over = match write.over() {
            None => None,
            Some(version) => match &self.seen {
                Some(seen) if seen.version == version => Some(seen.clone()),
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
            self.as_mut().project().lease.marked(prepared.mark());
            let answer = async move { Prepared::into_write(prepared).await.map(Some) };
            return self.call(Some(write), now, Box::pin(answer));
        }
        let (lock, holder) = (Arc::clone(&self.lock), Arc::clone(&holder));
        let answer = async move { lock.write(over.as_ref(), self::put(write, &holder, lease)).await.map(Some) };
        self.call(Some(write), now, Box::pin(answer));
    }

    fn call(self: Pin<&mut Self>, write: Option<Write>, now: u64, answer: Answer<L>) {
        let deadline = self.lease.give_up_at(now);
        let this = self.project();
        *this.overtaken = false;
        *this.call = Some(Call { write, sent: now, deadline, answer });
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
            Ok(seen) => {
                self.answered(write, sent, now, seen);
                Ok(())
            }
            Err(error) => self.failed(write, sent, now, error),
        })
    }

    fn answered(mut self: Pin<&mut Self>, write: Option<Write>, sent: u64, now: u64, seen: Known<L>) {
        let this = self.as_mut().project();
        let record = seen.as_ref().map(|seen| record(seen, &this.settings.identity));
        this.refusals.answered();
        // What was reported since the call began may be newer.
        let reported = this.seen.as_ref().filter(|_| *this.overtaken).map_or(0, |seen| seen.version);
        if seen.as_ref().is_none_or(|seen| seen.version >= reported) {
            *this.seen = seen;
        }
        match (write, record) {
            (Some(write), Some(record)) => this.lease.wrote(write, sent, now, Wrote::Done { version: record.version }),
            (Some(write), None) => this.lease.wrote(write, sent, now, Wrote::Unknown),
            (None, record) => this.lease.looked(now, Some(record)),
        }
        self.as_mut().note_holder();
        self.follow_tenure(now);
    }

    fn failed(
        mut self: Pin<&mut Self>,
        write: Option<Write>,
        sent: u64,
        now: u64,
        error: LockError,
    ) -> Result<(), ElectError> {
        let this = self.as_mut().project();
        let answer = if error.is_conflict() { Wrote::Refused } else { Wrote::Unknown };
        match write {
            Some(write) => this.lease.wrote(write, sent, now, answer),
            None => this.lease.looked(now, None),
        }
        // Somebody was faster: a part of the game.
        if error.is_conflict() {
            this.refusals.answered();
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
        self.hear(&Change::Trouble(error));
        Ok(())
    }

    /// Waits for the answer no longer: whatever was written, the next look will show it.
    pub(super) fn give_up_call(self: Pin<&mut Self>, now: u64) {
        let this = self.project();
        match this.call.take() {
            Some(Call { write: Some(write), sent, .. }) => this.lease.wrote(write, sent, now, Wrote::Unknown),
            Some(Call { write: None, .. }) => this.lease.looked(now, None),
            None => {}
        }
    }
}

/// What is written.
fn put(write: Write, holder: &str, lease: Duration) -> Put<'_> {
    match write {
        Write::Release { .. } => Put::Release,
        Write::Renew { .. } => Put::Renew { holder, lease },
        Write::Create | Write::Acquire { .. } => Put::Take { holder, lease },
    }
}
