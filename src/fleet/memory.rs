//! A ledger in memory: for tests, and for the parts of one process.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::watch;

use super::ledger::{Ledger, LedgerError, Stored, StoredStream};
use crate::{faults::Faults, policy::fleet::Record};

/// A ledger in memory. Clones share it; a new one holds a settled record without members, since nothing can have had a
/// share of it.
///
/// Tests can make its calls fail, hang, and succeed without saying so.
#[derive(Clone)]
pub struct MemoryLedger {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held for a few assignments, never across an await. Whenever it is free, `version` is that of the latest change,
    /// a deletion too.
    state: Mutex<State>,
    /// Told of each change once the lock is free.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    text: Option<Stored>,
    version: u128,
    /// What happens to the next calls, and how many of them.
    faults: Faults<Fault>,
    calls: (u64, u64),
    silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fail,
    Hang,
    AppliedButLost,
    AppliedButConflict,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLedger {
    /// One with a settled record and no members.
    #[must_use]
    pub fn new() -> Self {
        let ledger = Self::empty();
        ledger.put(Record::settled().to_string());
        ledger
    }

    /// One without a record, as a store before the first deployment.
    #[must_use]
    pub fn empty() -> Self {
        let shared = Shared { state: Mutex::default(), changed: watch::Sender::new(()) };
        Self { shared: Arc::new(shared) }
    }

    /// What is written in it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.lock().text.as_ref().map(|stored| stored.text.clone())
    }

    /// Writes over whatever is there, as an operator would.
    pub fn put(&self, text: impl Into<String>) {
        let mut state = self.lock();
        state.version += 1;
        state.text = Some(Stored::new(state.version, text));
        drop(state);
        self.announce_change();
    }

    /// Removes the record.
    pub fn delete(&self) {
        let mut state = self.lock();
        state.version += 1;
        state.text = None;
    }

    /// The next `calls` calls fail, and do nothing.
    pub fn fail(&self, calls: usize) {
        self.plan(Fault::Fail, calls);
    }

    /// The next `calls` calls never answer, and do nothing.
    pub fn hang(&self, calls: usize) {
        self.plan(Fault::Hang, calls);
    }

    /// The next `calls` calls are done, and fail all the same.
    pub fn lose_answers(&self, calls: usize) {
        self.plan(Fault::AppliedButLost, calls);
    }

    /// The next `calls` calls are done, and writes answer that there was a conflict: something in between has tried
    /// them twice.
    pub fn repeat(&self, calls: usize) {
        self.plan(Fault::AppliedButConflict, calls);
    }

    /// From now on all calls answer as they should.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Whether changes are reported. They are, by default; otherwise the streams of reports end.
    pub fn announce(&self, announce: bool) {
        self.lock().silent = !announce;
        self.announce_change();
    }

    /// How many reads and writes there were.
    #[must_use]
    pub fn calls(&self) -> (u64, u64) {
        self.lock().calls
    }

    fn plan(&self, fault: Fault, calls: usize) {
        self.lock().faults.plan(fault, calls);
    }

    fn announce_change(&self) {
        self.shared.changed.send_modify(|()| {});
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn suffer(fault: Option<Fault>) -> Result<(), LedgerError> {
        match fault {
            Some(Fault::Fail) => Err(LedgerError::unavailable("the ledger is not available")),
            Some(Fault::Hang) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryLedger").field(&*self.lock()).finish()
    }
}

impl Ledger for MemoryLedger {
    fn name(&self) -> String {
        "in memory".to_owned()
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        let fault = {
            let mut state = self.lock();
            state.calls.0 += 1;
            state.faults.next()
        };
        Self::suffer(fault).await?;
        match fault {
            Some(Fault::AppliedButLost) => Err(LedgerError::unavailable("the answer was lost")),
            _ => Ok(self.lock().text.clone()),
        }
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        let fault = {
            let mut state = self.lock();
            state.calls.1 += 1;
            state.faults.next()
        };
        Self::suffer(fault).await?;
        let version = {
            let mut state = self.lock();
            if state.text.as_ref().map(|stored| stored.version) != over {
                return Err(LedgerError::conflict("the record has changed"));
            }
            state.version += 1;
            state.text = Some(Stored::new(state.version, text));
            state.version
        };
        self.announce_change();
        match fault {
            Some(Fault::AppliedButLost) => Err(LedgerError::unavailable("the answer was lost")),
            Some(Fault::AppliedButConflict) => Err(LedgerError::conflict("the record has changed")),
            _ => Ok(version),
        }
    }

    fn watch(&self) -> StoredStream {
        Box::pin(Changes { ledger: self.clone(), next: next_change(self.shared.changed.subscribe()) })
    }
}

type Next = Pin<Box<dyn Future<Output = Option<watch::Receiver<()>>> + Send>>;

struct Changes {
    ledger: MemoryLedger,
    next: Next,
}

fn next_change(mut changed: watch::Receiver<()>) -> Next {
    Box::pin(async move { changed.changed().await.ok().map(|()| changed) })
}

impl Stream for Changes {
    type Item = Stored;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Stored>> {
        loop {
            if self.ledger.lock().silent {
                return Poll::Ready(None);
            }
            let Some(changed) = ready!(self.next.as_mut().poll(cx)) else { return Poll::Ready(None) };
            self.next = next_change(changed);
            if let Some(stored) = self.ledger.lock().text.clone() {
                return Poll::Ready(Some(stored));
            }
        }
    }
}
