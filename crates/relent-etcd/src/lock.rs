//! `EtcdLock`: an election through a key of etcd.

use std::{fmt, sync::Arc, time::Duration};

use etcd_client::{ConnectOptions, ResponseHeader};
use relent::{
    ConfigError,
    leader::{Lock, LockError, Prepared, Record, RecordStream, Write},
};

use super::{
    key::{Failure, LockKey, compare_and_put, nanos, seen},
    reports::Following,
    turns::Turns,
};

/// A key of etcd as a lock. Every write is a transaction that compares the key's mod revision with the one that was
/// read; the fence of a term is the revision of the transaction that began it, so it grows over every deletion of the
/// key (a restore of the cluster from a backup breaks that).
///
/// The key holds the length of the lease in nanoseconds, the number of the write and the holder's identity
/// (`15000000000/9f86d081884c7d65 worker-7f3a`); `0/.. ` once it was released. It is not attached to a lease of etcd,
/// whose end is told by etcd's clock. The number is random: a key that bears this identity is this candidate's only if
/// it wrote it, also if another process has the same identity by mistake. A number may be missing where the key is
/// written by hand. A candidate that leads by then loses the term with the next renewal, and the key is left alone for
/// a lease.
///
/// # Endpoints
/// All calls go to one endpoint, until one there fails or is given up unanswered: then it is the next one's turn. So a
/// member that is frozen costs a leader one [`call_timeout`](relent::leader::Timing::call_timeout), and one that refuses
/// connections costs it nothing. Name as many as there are. Clones share the connection.
///
/// # Changes
/// A watch tells candidates of a release or a deletion at once; a leader has none. It is opened again when it breaks,
/// when etcd cancels it (no leader, revisions compacted away) and when the turn passes, after pauses that grow from 100
/// ms to 5 s; what happened meanwhile is looked up. It is never the only source: candidates look where no renewal is
/// reported within 2.2 retry periods.
///
/// # Rights
/// With authentication, the user needs a role with the permission `readwrite` on this one key, and no other:
/// `etcdctl role grant-permission ROLE readwrite KEY`. Reads and the watch need the right to read, the transactions both.
/// Where a right is missing each try is a [`Trouble`](relent::leader::ElectionEvent::Trouble) in etcd's words, with what to do; a
/// term ends by its renew deadline, a campaign with an error only where not one call has succeeded for a whole lease.
///
/// # Without a quorum
/// Every read and write goes through etcd's quorum. Without one no write is confirmed: the leader's term ends by its renew
/// deadline, no other begins, and candidates go on trying; each failure is reported as a
/// [`Trouble`](relent::leader::ElectionEvent::Trouble). The loss of a minority of the members ends no term, as long as
/// an endpoint that is alive gets its turn within the renew deadline.
///
/// # Cancel safety
/// A call that is dropped leaves nothing behind in this process, and passes the turn. A write that is dropped may have been
/// done or may yet be: [`elect`](relent::leader::elect) looks before it goes on.
///
/// ```no_run
/// use etcd_client::ConnectOptions;
/// use relent::leader;
/// use relent_etcd::EtcdLock;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoints = ["http://10.0.0.1:2379", "http://10.0.0.2:2379", "http://10.0.0.3:2379"];
/// let lock = EtcdLock::new(endpoints, ConnectOptions::new(), "my-system/my-controller")?;
/// let ended = leader::elect(lock, leader::identity()).run(async |term| term.lost().await).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EtcdLock {
    key: LockKey,
}

impl EtcdLock {
    /// The lock in `key`, by way of these endpoints. Does not connect yet. TLS and a user are taken from `options`; its
    /// timeouts are best left unset, as every call has the deadline of the election.
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
            return Err(ConfigError::new("key", "\"\"", "must not be empty: it is the lock"));
        }
        Ok(Self { key: LockKey { turns: Arc::new(Turns::new(endpoints, options)?), name: key.into() } })
    }

    fn marked_write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Prepared<()> {
        let (holder, lease) = match put {
            Write::Take { holder, lease } | Write::Renew { holder, lease } => (holder, lease),
            Write::Release => ("", Duration::ZERO),
        };
        let mark = fastrand::u64(..);
        let value = format!("{}/{mark:016x} {holder}", nanos(lease));
        let before = over.map_or(Ok(0), |over| i64::try_from(over.version));
        let lock = self.key.clone();
        Prepared::new(mark, async move {
            let before = before.map_err(|_| LockError::fatal("the revision is out of range"))?;
            let answer = compare_and_put(&lock.turns, &lock.name, before, &value).await;
            let answer = answer.map_err(|failed| lock.failed(Failure::Call(failed)))?;
            if !answer.succeeded() {
                return Err(LockError::conflict("the key has changed"));
            }
            let revision = answer.header().map(ResponseHeader::revision);
            let revision = revision.ok_or_else(|| LockError::fatal("etcd answered without a revision"))?;
            seen(revision, value.as_bytes()).map_err(|failure| lock.failed(failure))
        })
    }
}

impl fmt::Debug for EtcdLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdLock")
            .field("endpoints", &self.key.turns.endpoints())
            .field("key", &self.key.name)
            .finish_non_exhaustive()
    }
}

impl Lock for EtcdLock {
    type Object = ();

    fn name(&self) -> String {
        self.key.name.to_string()
    }

    async fn read(&self) -> Result<Option<Record<()>>, LockError> {
        let mut left = self.key.turns.endpoints().len();
        loop {
            left = left.saturating_sub(1);
            match self.key.look().await {
                Ok(looked) => return Ok(looked.seen),
                Err(failure) if left == 0 || failure.is_final() => return Err(self.key.failed(failure)),
                Err(_) => {}
            }
        }
    }

    async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
        self.marked_write(over, put).into_write().await
    }

    fn prepare(&self, over: Option<&Record<()>>, put: Write<'_>) -> Option<Prepared<()>> {
        Some(self.marked_write(over, put))
    }

    fn watch(&self) -> RecordStream<()> {
        Box::pin(Following::new(self.key.clone()))
    }
}
