//! The changes of a lock's key, as long as there is a listener.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use futures_core::Stream;
use relent::{Backoff, Jitter, backoff::Delays, leader::Record};

use super::key::{LockKey, Looked, seen};
use crate::time;

/// A watch that is opened again whenever it ends: a stream of what is in the key.
///
/// Each time it looks first, and then watches from the revision after that: nothing is missed, and a revision that was
/// compacted meanwhile is never asked for twice.
pub(super) struct Following {
    next: Pin<Box<Next>>,
}

type Report = Option<Record<()>>;
/// The next report, and the watch to go on with.
type Next = dyn Future<Output = Option<(Report, Watch)>> + Send;

struct Watch {
    lock: LockKey,
    at: At,
    delays: Delays,
    /// What has come in and was not reported yet, the latest first.
    reports: Vec<Report>,
}

enum At {
    /// After this pause, look.
    Look(Duration),
    /// Watch from the revision after that of the look.
    Open(Box<Looked>),
    Hear {
        turn: u64,
        stream: Box<WatchStream>,
    },
}

// ===== impl Following =====

impl Following {
    pub(super) fn new(lock: LockKey) -> Self {
        let watch = Watch { lock, at: At::Look(Duration::ZERO), delays: delays(), reports: Vec::new() };
        Self { next: Box::pin(watch.next()) }
    }
}

impl Stream for Following {
    type Item = Report;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some((report, watch)) = ready!(self.next.as_mut().poll(cx)) else {
            self.next = Box::pin(async { None });
            return Poll::Ready(None);
        };
        self.next = Box::pin(watch.next());
        Poll::Ready(Some(report))
    }
}

impl Watch {
    /// The next report; `None` where no watch will ever get a right to the key.
    async fn next(mut self) -> Option<(Report, Self)> {
        loop {
            if let Some(report) = self.reports.pop() {
                return Some((report, self));
            }
            self.at = match std::mem::replace(&mut self.at, At::Look(Duration::ZERO)) {
                At::Look(after) => {
                    time::pause(after).await;
                    let turns = &self.lock.turns;
                    match time::within(ANSWERS_WITHIN, turns.during(turns.number(), Box::pin(self.lock.look())))
                        .await
                        .flatten()
                    {
                        Some(Ok(looked)) => {
                            self.reports.push(looked.seen.clone());
                            At::Open(Box::new(looked))
                        }
                        Some(Err(failure)) if failure.is_final() => return None,
                        _ => self.again(),
                    }
                }
                At::Open(looked) => {
                    let Looked { turn, mut watch, revision, .. } = *looked;
                    let options = WatchOptions::new().with_start_revision(revision.saturating_add(1));
                    let opened = self.lock.turns.during(turn, watch.watch(&*self.lock.name, Some(options)));
                    match time::within(ANSWERS_WITHIN, opened).await.flatten() {
                        Some(Ok(stream)) => At::Hear { turn, stream: Box::new(stream) },
                        _ => self.elsewhere(turn),
                    }
                }
                At::Hear { turn, mut stream } => {
                    match self.lock.turns.during(turn, stream.message()).await {
                        Some(Ok(Some(heard))) if !heard.canceled() => {
                            self.report(&heard);
                            At::Hear { turn, stream }
                        }
                        // The member is fine, the revision is not: the next look has a newer one.
                        Some(Ok(Some(heard))) if heard.compact_revision() > 0 => self.again(),
                        _ => self.elsewhere(turn),
                    }
                }
            };
        }
    }

    fn report(&mut self, heard: &WatchResponse) {
        let states = heard.events().iter().rev().filter_map(|event| match (event.event_type(), event.kv()) {
            (EventType::Delete, _) => Some(None),
            // What is no lock is found by the next look, which has an error to say so.
            (EventType::Put, pair) => pair.and_then(|pair| seen(pair.mod_revision(), pair.value()).ok()).map(Some),
        });
        let before = self.reports.len();
        self.reports.extend(states);
        if self.reports.len() > before {
            // It works.
            self.delays = delays();
        }
    }

    fn again(&mut self) -> At {
        At::Look(self.delays.next().unwrap_or(LONGEST))
    }

    /// The connection is broken, or the member does not follow a leader.
    fn elsewhere(&mut self, turn: u64) -> At {
        self.lock.turns.pass(turn);
        self.again()
    }
}

const LONGEST: Duration = Duration::from_secs(5);

fn delays() -> Delays {
    Backoff::exponential(Duration::from_millis(100), LONGEST).jitter(Jitter::Equal).iter()
}

/// How long an answer may take: a member that stands still gives none.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
