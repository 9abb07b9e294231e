//! A call of the ledger that is under way.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::ledger::{Ledger, LedgerError, Stored};
use crate::policy::nanos::duration;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send>>;

pub(super) enum Call {
    Read(Answer<Option<Stored>>),
    Write(Answer<u128>),
}

pub(super) enum Answered {
    Read(Result<Option<Stored>, LedgerError>),
    Written(Result<u128, LedgerError>),
}

pub(super) struct PendingCall {
    pub(super) call: Call,
    pub(super) began: u64,
    /// It is given up then.
    pub(super) deadline: u64,
}

impl Call {
    pub(super) fn read<L: Ledger>(ledger: &Arc<L>) -> Self {
        let ledger = Arc::clone(ledger);
        Self::Read(Box::pin(async move { ledger.read().await }))
    }

    pub(super) fn write<L: Ledger>(ledger: &Arc<L>, over: Option<u128>, text: String) -> Self {
        let ledger = Arc::clone(ledger);
        Self::Write(Box::pin(async move { ledger.compare_and_swap(over, text).await }))
    }
}

impl PendingCall {
    /// The answer, and the time after it. It counts only if it is in time: the clock is read once the call was polled.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: impl FnOnce() -> u64) -> Poll<(u64, Answered)> {
        let answered = match &mut self.call {
            Call::Read(read) => poll_caught(read, cx).map(Answered::Read),
            Call::Write(write) => poll_caught(write, cx).map(Answered::Written),
        };
        let now = clock();
        if now < self.deadline {
            return answered.map(|answered| (now, answered));
        }
        let error = LedgerError::timeout(duration(self.deadline.saturating_sub(self.began)));
        let answered = match self.call {
            Call::Read(_) => Answered::Read(Err(error)),
            Call::Write(_) => Answered::Written(Err(error)),
        };
        Poll::Ready((now, answered))
    }
}

/// A ledger is a user's code: one that panics has not answered.
fn poll_caught<T>(call: &mut Answer<T>, cx: &mut Context<'_>) -> Poll<Result<T, LedgerError>> {
    match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
        Ok(answer) => answer,
        Err(panic) => Poll::Ready(Err(LedgerError::unavailable(format!("the ledger panicked: {}", text(&*panic))))),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
