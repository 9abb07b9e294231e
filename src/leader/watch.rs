//! Following an election without taking part.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;

use super::lock::{Lock, LockError, Reports, Seen};
use crate::time::{self, Alarm, Instant, Timer};

/// Follows who holds `lock`: a stream that begins with the present holder and goes on with every change of holder, in
/// order. It hears of changes where the lock reports them, and looks every 2 s besides; a look that has no answer within 5 s
/// is given up, and reported as an error.
///
/// Holding the record is not the same as leading: a holder that has crashed stays in it until another takes over.
pub fn watch<L: Lock>(lock: L) -> Watch<L> {
    Watch {
        lock: Arc::new(lock),
        every: Duration::from_secs(2),
        last: None,
        reading: None,
        changes: None,
        look_at: None,
        timer: Box::pin(Timer::default()),
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The holder; `None` when nobody does.
    pub holder: Option<String>,
    /// The version of the record by which this was seen.
    pub version: u128,
}

/// Follows an election: made by [`watch`].
#[must_use = "streams do nothing unless polled"]
pub struct Watch<L: Lock> {
    lock: Arc<L>,
    every: Duration,
    last: Option<Leader>,
    /// A look that is under way, and when it is given up.
    reading: Option<(Reading<L>, Option<Instant>)>,
    changes: Option<Changes<L>>,
    look_at: Option<Instant>,
    timer: Pin<Box<Timer>>,
}

const PATIENCE: Duration = Duration::from_secs(5);

type Reading<L> = Pin<Box<dyn Future<Output = Result<Option<Seen<<L as Lock>::Object>>, LockError>> + Send>>;
pub(super) type Changes<L> = Reports<<L as Lock>::Object>;

impl<L: Lock> Watch<L> {
    /// How often to look when nothing is heard. Default: every 2 s.
    pub fn every(mut self, period: Duration) -> Self {
        self.every = period;
        self
    }

    /// The next change of holder.
    ///
    /// # Errors
    /// The lock could not be read; asking again goes on.
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
            let report = this.changes.as_mut().map_or(Poll::Pending, |changes| changes.as_mut().poll_next(cx));
            let seen = match report {
                Poll::Ready(Some(seen)) => Some(seen),
                // It is opened again with the next look.
                Poll::Ready(None) => {
                    this.changes = None;
                    None
                }
                Poll::Pending => None,
            };
            let seen = match (seen, this.reading.as_mut()) {
                (Some(seen), _) => seen,
                (None, Some((reading, until))) => {
                    let answer = match reading.as_mut().poll(cx) {
                        Poll::Ready(answer) => answer,
                        Poll::Pending if this.timer.as_mut().poll_at(cx, *until).is_pending() => return Poll::Pending,
                        Poll::Pending => Err(LockError::timeout(PATIENCE)),
                    };
                    this.reading = None;
                    this.look_at = time::now().checked_add(this.every);
                    match answer {
                        Ok(seen) => seen,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
                (None, None) => {
                    let due = match this.look_at {
                        None => this.last.is_none(),
                        at => this.timer.as_mut().poll_at(cx, at).is_ready(),
                    };
                    if !due {
                        return Poll::Pending;
                    }
                    let lock = Arc::clone(&this.lock);
                    this.changes.get_or_insert_with(|| this.lock.changes());
                    this.reading =
                        Some((Box::pin(async move { lock.read().await }), time::now().checked_add(PATIENCE)));
                    continue;
                }
            };
            let version = seen.as_ref().map_or(0, |seen| seen.version);
            let holder = seen.map(|seen| seen.holder).filter(|holder| !holder.is_empty());
            let leader = Leader { holder, version };
            // A report may be older than what was read.
            let newer = this.last.as_ref().is_none_or(|last| version == 0 || version > last.version);
            let other = this.last.as_ref().is_none_or(|last| last.holder != leader.holder);
            if newer && other {
                this.last = Some(leader.clone());
                return Poll::Ready(Some(Ok(leader)));
            }
        }
    }
}
