//! Following an election without taking part.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;

use super::lock::{Lock, LockError, Record, RecordStream};
use crate::time::{self, Instant, Sleeper, Timer};

/// Follows the holder of `lock`: a stream that begins with the present holder and goes on with every change of holder,
/// in order. It hears of changes where the lock reports them, and hardly reads then; elsewhere it reads every 2 s.
///
/// What is older than what was observed before is not news, unless a read says it: then the lock's store was restored
/// from a backup, and its versions begin anew.
///
/// Holding the record is not the same as leading: a holder that has crashed stays in it until another takes over.
pub fn watch<L: Lock>(lock: L) -> Watch<L> {
    Watch {
        lock: Arc::new(lock),
        every: Duration::from_secs(2),
        last: None,
        newest: None,
        newest_before: None,
        begun: false,
        reading: None,
        reports: None,
        alarm: None,
        timer: Box::pin(Timer::default()),
    }
}

/// How long one read may take, unless a report comes in meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// While reports are open only each 30th read is made: for a connection that has died without a word.
const RARELY: u32 = 30;

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// Its identity; `None` when there is none.
    pub holder: Option<String>,
    /// The version of the record that said so; 0 where there is no record.
    pub version: u128,
}

/// Follows an election: made by [`watch`].
#[must_use = "streams do nothing unless polled"]
pub struct Watch<L: Lock> {
    lock: Arc<L>,
    every: Duration,
    last: Option<Leader>,
    /// The newest version observed: a report may be older.
    newest: Option<u128>,
    /// The newest when the read began: what the lock answers is as new at least, unless its store was restored.
    newest_before: Option<u128>,
    /// Whether there was a first read.
    begun: bool,
    reading: Option<ReadFuture<L>>,
    reports: Option<RecordStream<L::Object>>,
    /// When to give up the read, or to read again; `None`: never.
    alarm: Option<Instant>,
    timer: Pin<Box<Timer>>,
}

type LockRecord<L> = Option<Record<<L as Lock>::Object>>;
type ReadFuture<L> = Pin<Box<dyn Future<Output = Result<LockRecord<L>, LockError>> + Send>>;

impl<L: Lock> Watch<L> {
    /// How often to read where nothing is reported. Default: every 2 s. While reports are open it is 30 times as rare.
    pub fn every(mut self, period: Duration) -> Self {
        self.every = period;
        self
    }

    /// The next change of holder.
    ///
    /// # Errors
    /// The lock could not be read, or has not answered within 10 s; asking again goes on.
    ///
    /// # Cancel safety
    /// Safe: no change is lost.
    pub async fn next(&mut self) -> Result<Leader, LockError> {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await;
        next.unwrap_or_else(|| Err(LockError::unavailable("the lock is no longer reported")))
    }
}

impl<L: Lock> std::fmt::Debug for Watch<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("lock", &self.lock.name()).field("last", &self.last).finish_non_exhaustive()
    }
}

// ===== impl Watch =====

impl<L: Lock> Stream for Watch<L> {
    type Item = Result<Leader, LockError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            ready!(Timer::poll_yield(cx));
            if let Poll::Ready(seen) = this.poll_reports(cx) {
                if let Some(leader) = this.changed(seen) {
                    return Poll::Ready(Some(Ok(leader)));
                }
                continue;
            }
            match ready!(this.poll_read(cx)) {
                Ok(seen) => {
                    this.heed_restore(seen.as_ref());
                    if let Some(leader) = this.changed(seen) {
                        return Poll::Ready(Some(Ok(leader)));
                    }
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl<L: Lock> Watch<L> {
    fn poll_reports(&mut self, cx: &mut Context<'_>) -> Poll<LockRecord<L>> {
        let Some(reports) = &mut self.reports else { return Poll::Pending };
        if let Some(seen) = ready!(reports.as_mut().poll_next(cx)) {
            return Poll::Ready(seen);
        }
        // They are opened again with the next read.
        self.reports = None;
        if self.reading.is_none() {
            let soon = time::now().checked_add(self.every);
            self.alarm = [self.alarm, soon].into_iter().flatten().min();
        }
        Poll::Pending
    }

    /// Reads when it is time.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<LockRecord<L>, LockError>> {
        if self.reading.is_none() {
            if std::mem::replace(&mut self.begun, true) {
                ready!(self.timer.as_mut().poll_at(cx, self.alarm));
            }
            let lock = Arc::clone(&self.lock);
            self.reports.get_or_insert_with(|| self.lock.watch());
            self.reading = Some(Box::pin(async move { lock.read().await }));
            self.newest_before = self.newest;
            self.alarm = time::now().checked_add(ANSWERS_WITHIN);
        }
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let answer = match reading.as_mut().poll(cx) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                ready!(self.timer.as_mut().poll_at(cx, self.alarm));
                Err(LockError::timeout(ANSWERS_WITHIN))
            }
        };
        self.reading = None;
        let pause = if self.reports.is_some() { self.every.saturating_mul(RARELY) } else { self.every };
        self.alarm = time::now().checked_add(pause);
        Poll::Ready(answer)
    }

    /// Versions that go back from one read to the next are those of a store that was restored from a backup: they begin
    /// anew.
    fn heed_restore(&mut self, record: Option<&Record<L::Object>>) {
        if let Some(record) = record
            && self.newest_before.is_some_and(|before| record.version < before)
        {
            self.newest = None;
            // Those that are open may be of the store as it was.
            self.reports = None;
            self.alarm = time::now().checked_add(self.every);
        }
    }

    /// The holder, if it is another one, and the record is not older than what was observed before.
    fn changed(&mut self, seen: LockRecord<L>) -> Option<Leader> {
        let version = seen.as_ref().map(|seen| seen.version);
        if version.is_some() && version <= self.newest {
            return None;
        }
        self.newest = self.newest.max(version);
        let holder = seen.map(|seen| seen.holder).filter(|holder| !holder.is_empty());
        if self.last.as_ref().is_some_and(|last| last.holder == holder) {
            return None;
        }
        let leader = Leader { holder, version: version.unwrap_or(0) };
        self.last = Some(leader.clone());
        Some(leader)
    }
}
