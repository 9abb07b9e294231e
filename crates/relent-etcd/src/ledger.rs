//! `EtcdLedger`: the record of a fleet in a key of etcd.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use etcd_client::{ConnectOptions, EventType, KeyValue, ResponseHeader, WatchStream};
use futures_core::Stream;
use relent::{
    ConfigError,
    fleet::{Ledger, LedgerError, Stored, StoredStream},
};

use super::{
    key::{compare_and_put, is_final, told},
    turns::{Failed, Turns},
};

/// A key of etcd as the ledger of a fleet: the processes that share it keep one rate together. Every write is a
/// transaction that compares the key's mod revision with the one that was read.
///
/// ```no_run
/// use std::time::Duration;
/// use etcd_client::ConnectOptions;
/// use relent::{Rate, fleet::Fleet};
/// use relent_etcd::EtcdLedger;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoints = ["http://10.0.0.1:2379", "http://10.0.0.2:2379", "http://10.0.0.3:2379"];
/// let ledger = EtcdLedger::new(endpoints, ConnectOptions::new(), "limits/partner-api")?;
/// let member = Fleet::new(ledger, "web").rate(Rate::per_second(100)).burst(200).join()?;
/// member.limiter().ready().await;
/// # Ok(()) }
/// ```
///
/// # By hand
/// - `etcdctl get limits/partner-api` shows the [record](relent::fleet#the-record).
/// - Another rate, while the fleet runs: the text that was read with the line `rate 200/s` added or changed, by
///   `etcdctl txn`, which compares `mod("limits/partner-api")` with the `mod_revision` that `get -w json` said. A plain
///   `put` may undo a write that came in between: then the sum of the shares may be above the rate for a refresh
///   period, and a member begins anew.
/// - Before a first deployment: `printf 'relent fleet 1\nsettled\n' | etcdctl put limits/partner-api` spares it the
///   `max_ttl` in which nothing is granted.
/// - After the *cluster* was restored from a backup: `etcdctl del limits/partner-api`.
///
/// # Endpoints, rights, no quorum
/// As with [`EtcdLock`](crate::EtcdLock): one endpoint at a time, until a call there fails or is given up; the permission `readwrite` on
/// this one key; without a quorum nothing is read or written, and shares lapse.
///
/// # Cancel safety
/// A call that is dropped leaves nothing behind in this process. A write that is dropped may have been done or may yet be: the fleet uses
/// the lesser share until it knows.
#[derive(Clone)]
pub struct EtcdLedger {
    turns: Arc<Turns>,
    key: Arc<str>,
}

impl EtcdLedger {
    /// The record in `key`, by way of these endpoints. Does not connect yet. TLS and a user are taken from `options`;
    /// its timeouts are best left unset, as every call has the deadline of the fleet.
    ///
    /// # Errors
    /// No endpoint, or one that is no URL; an empty key.
    pub fn new<U: Into<String>>(
        endpoints: impl IntoIterator<Item = U>,
        options: ConnectOptions,
        key: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let key: String = key.into();
        if key.is_empty() {
            return Err(ConfigError::new("key", "\"\"", "must not be empty: it holds the record"));
        }
        Ok(Self { turns: Arc::new(Turns::new(endpoints, options)?), key: key.into() })
    }

    fn failed(&self, failed: &Failed) -> LedgerError {
        LedgerError::unavailable(told(&self.key, failed))
    }

    async fn open(self) -> Option<Open> {
        let key = Arc::clone(&self.key);
        let opened = self.turns.call(async |turn| {
            let stream = turn.client.watch_client().watch(&*key, None).await?;
            Ok((turn.number, stream))
        });
        let (number, stream) = opened.await.ok()?;
        Some(Open { ledger: self, number, stream, reports: Vec::new() })
    }
}

impl fmt::Debug for EtcdLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdLedger")
            .field("endpoints", &self.turns.endpoints())
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Ledger for EtcdLedger {
    fn name(&self) -> String {
        self.key.to_string()
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        let mut left = self.turns.endpoints().len();
        loop {
            left = left.saturating_sub(1);
            match self.turns.call(async |turn| turn.client.kv_client().get(&*self.key, None).await).await {
                Ok(found) => return found.kvs().first().map(stored).transpose(),
                Err(failed) if left == 0 || is_final(&failed.error) => return Err(self.failed(&failed)),
                Err(_) => {}
            }
        }
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        let before = over.map_or(Ok(0), i64::try_from);
        let before = before.map_err(|_| LedgerError::unavailable("the revision is out of range"))?;
        let answer = compare_and_put(&self.turns, &self.key, before, &text).await;
        let answer = answer.map_err(|failed| self.failed(&failed))?;
        if !answer.succeeded() {
            return Err(LedgerError::conflict("the key has changed"));
        }
        let revision = answer.header().and_then(|header: &ResponseHeader| u128::try_from(header.revision()).ok());
        revision.ok_or_else(|| LedgerError::unavailable("etcd answered without a revision"))
    }

    /// Ends when the watch breaks; what happened meanwhile is read.
    fn watch(&self) -> StoredStream {
        let ledger = self.clone();
        Box::pin(Reports { next: Box::pin(async move { ledger.open().await?.next().await }) })
    }
}

fn stored(pair: &KeyValue) -> Result<Stored, LedgerError> {
    let text = String::from_utf8(pair.value().to_vec()).map_err(LedgerError::unavailable)?;
    Ok(Stored::new(u128::try_from(pair.mod_revision()).unwrap_or(0), text))
}

/// A watch that is open.
struct Open {
    ledger: EtcdLedger,
    number: u64,
    stream: WatchStream,
    /// What has come in and was not reported yet, the latest first.
    reports: Vec<Stored>,
}

type Next = dyn Future<Output = Option<(Stored, Open)>> + Send;

struct Reports {
    next: Pin<Box<Next>>,
}

impl Open {
    async fn next(mut self) -> Option<(Stored, Self)> {
        loop {
            if let Some(report) = self.reports.pop() {
                return Some((report, self));
            }
            let heard = self.ledger.turns.during(self.number, self.stream.message()).await;
            let Some(Ok(Some(heard))) = heard.map(|heard| heard.map(|heard| heard.filter(|heard| !heard.canceled())))
            else {
                self.ledger.turns.pass(self.number);
                return None;
            };
            let puts = heard.events().iter().rev().filter(|event| event.event_type() == EventType::Put);
            self.reports.extend(puts.filter_map(|event| event.kv().and_then(|pair| stored(pair).ok())));
        }
    }
}

impl Stream for Reports {
    type Item = Stored;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Stored>> {
        let Some((report, open)) = ready!(self.next.as_mut().poll(cx)) else {
            self.next = Box::pin(async { None });
            return Poll::Ready(None);
        };
        self.next = Box::pin(open.next());
        Poll::Ready(Some(report))
    }
}
