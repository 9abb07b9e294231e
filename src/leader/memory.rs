//! A lock in memory: for tests, and for workers of one process.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::watch;

use super::lock::{Lock, LockError, Prepared, Record, RecordStream, Write};
use crate::faults::Faults;

/// A lock in memory. Clones share it; a new one is free.
///
/// Tests can make its calls fail, hang, and succeed without saying so.
#[derive(Clone)]
pub struct MemoryLock {
    shared: Arc<MemoryRecord>,
}

struct MemoryRecord {
    /// Held for a few assignments, never across an await. Whenever it is free, `version` is that of the latest change,
    /// a deletion too.
    state: Mutex<MemoryState>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct MemoryState {
    record: Option<Stored>,
    version: u128,
    /// What happens to the next calls, and how many of them.
    faults: Faults<Fault>,
    reads: u64,
    writes: u64,
    silent: bool,
}

#[derive(Clone, Debug)]
struct Stored {
    version: u128,
    heartbeat: u128,
    holder: String,
    /// Zero once it was released.
    lease: Duration,
    mark: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Fail,
    Hang,
    AppliedButLost,
    Forbid,
}

impl MemoryLock {
    /// A lock without a holder.
    #[must_use]
    pub fn new() -> Self {
        let record = Stored { version: 1, heartbeat: 0, holder: String::new(), lease: Duration::ZERO, mark: None };
        let state = MemoryState { record: Some(record), version: 1, ..MemoryState::default() };
        Self { shared: Arc::new(MemoryRecord { state: Mutex::new(state), changed: watch::Sender::new(0) }) }
    }

    /// Removes the record, as an operator might while cleaning up.
    pub fn delete(&self) {
        self.change(|state| {
            state.version += 1;
            state.record = None;
            true
        });
    }

    /// Releases it in its holder's stead: another may take it at once, while the holder does not know yet.
    pub fn clear(&self) {
        self.change(|state| {
            state.version += 1;
            let version = state.version;
            if let Some(record) = &mut state.record {
                record.version = version;
                (record.lease, record.mark) = (Duration::ZERO, None);
                record.holder.clear();
            }
            true
        });
    }

    /// Gives it to `holder`, even if another holds it.
    pub fn give(&self, holder: &str, lease: Duration) {
        self.change(|state| {
            state.version += 1;
            let version = state.version;
            state.record = Some(Stored { version, heartbeat: version, holder: holder.to_owned(), lease, mark: None });
            true
        });
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

    /// The next `calls` calls are refused, as by a server that gives no right to them.
    pub fn forbid(&self, calls: usize) {
        self.plan(Fault::Forbid, calls);
    }

    /// From now on all calls answer as they should.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Whether changes are reported to those that watch. They are, by default. Otherwise a watch ends at once, as that
    /// of a lock without one does.
    pub fn announce(&self, announce: bool) {
        self.lock().silent = !announce;
        self.shared.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The holder; empty when there is none, `None` when the record was deleted.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        self.lock().record.as_ref().map(|record| record.holder.clone())
    }

    /// How many reads and writes there were.
    #[must_use]
    pub fn calls(&self) -> (u64, u64) {
        let state = self.lock();
        (state.reads, state.writes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MemoryState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, fault: Fault, calls: usize) {
        self.lock().faults.plan(fault, calls);
    }

    /// Announces the change, if `change` says that it was one.
    fn change(&self, change: impl FnOnce(&mut MemoryState) -> bool) {
        let mut state = self.lock();
        if change(&mut state) && !state.silent {
            drop(state);
            self.shared.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// What happens to a call before it is done.
    async fn apply_fault(fault: Option<Fault>) -> Result<(), LockError> {
        match fault {
            None | Some(Fault::AppliedButLost) => Ok(()),
            Some(Fault::Fail) => Err(LockError::unavailable("the lock is down")),
            Some(Fault::Forbid) => Err(LockError::fatal("no right to use the lock")),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

impl Default for MemoryLock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryLock").field(&*self.lock()).finish()
    }
}

fn read_back(record: &Stored) -> Record<()> {
    let mut read = Record::new(record.version, ()).held_by(record.holder.clone(), record.lease, record.heartbeat);
    read.mark = record.mark;
    read
}

/// What happens to its answer.
fn lost(fault: Option<Fault>) -> Result<(), LockError> {
    match fault {
        Some(Fault::AppliedButLost) => Err(LockError::unavailable("the answer was lost")),
        _ => Ok(()),
    }
}

impl Lock for MemoryLock {
    type Object = ();

    fn name(&self) -> String {
        "in memory".to_owned()
    }

    async fn read(&self) -> Result<Option<Record<()>>, LockError> {
        let fault = {
            let mut state = self.lock();
            state.reads += 1;
            state.faults.next()
        };
        Self::apply_fault(fault).await?;
        lost(fault)?;
        Ok(self.lock().record.as_ref().map(read_back))
    }

    async fn write(&self, over: Option<&Record<()>>, write: Write<'_>) -> Result<Record<()>, LockError> {
        self.marked_write(over, write).into_write().await
    }

    fn prepare(&self, over: Option<&Record<()>>, write: Write<'_>) -> Option<Prepared<()>> {
        Some(self.marked_write(over, write))
    }

    fn watch(&self) -> RecordStream<()> {
        Box::pin(MemoryWatch { lock: self.clone(), next: next_change(self.shared.changed.subscribe()) })
    }
}

impl MemoryLock {
    fn marked_write(&self, over: Option<&Record<()>>, write: Write<'_>) -> Prepared<()> {
        let (holder, lease) = match write {
            Write::Take { holder, lease } | Write::Renew { holder, lease } => (holder, lease),
            Write::Release => ("", Duration::ZERO),
        };
        let (lock, over, holder, mark) =
            (self.clone(), over.map(|over| over.version), holder.to_owned(), fastrand::u64(..));
        Prepared::new(mark, async move {
            let fault = {
                let mut state = lock.lock();
                state.writes += 1;
                state.faults.next()
            };
            Self::apply_fault(fault).await?;
            let mut answer = Err(LockError::conflict("the lock has changed"));
            lock.change(|state| {
                if state.record.as_ref().map(|record| record.version) != over {
                    return false;
                }
                state.version += 1;
                let version = state.version;
                let record = Stored { version, heartbeat: version, holder, lease, mark: Some(mark) };
                answer = Ok(read_back(state.record.insert(record)));
                true
            });
            lost(fault)?;
            answer
        })
    }
}

type Next = Pin<Box<dyn Future<Output = Option<watch::Receiver<u64>>> + Send>>;

struct MemoryWatch {
    lock: MemoryLock,
    next: Next,
}

fn next_change(mut changed: watch::Receiver<u64>) -> Next {
    Box::pin(async move { changed.changed().await.ok().map(|()| changed) })
}

impl Stream for MemoryWatch {
    type Item = Option<Record<()>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.lock.lock().silent {
            return Poll::Ready(None);
        }
        let Some(changed) = std::task::ready!(self.next.as_mut().poll(cx)) else { return Poll::Ready(None) };
        if self.lock.lock().silent {
            return Poll::Ready(None);
        }
        self.next = next_change(changed);
        Poll::Ready(Some(self.lock.lock().record.as_ref().map(read_back)))
    }
}
