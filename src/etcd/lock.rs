//! `EtcdLock`: an election through a key of etcd.

use std::{fmt, sync::Arc, time::Duration};

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};

use crate::{
    ConfigError,
    leader::{Lock, LockError, Put, Seen},
    policy::nanos,
};

/// A key of etcd as a lock. Every write is a transaction that compares the key's mod revision with the one that was read;
/// the fence of a term is the revision of the transaction that began it, so it grows over every deletion of the key.
///
/// The key holds the holder's identity and the length of its lease; it is not attached to a lease of etcd, whose end is
/// told by etcd's clock. Candidates look every retry period; a release is not announced.
#[derive(Clone)]
pub struct EtcdLock {
    client: Client,
    key: Arc<str>,
}

impl EtcdLock {
    /// The lock in `key`.
    ///
    /// # Errors
    /// An empty key.
    pub fn new(client: Client, key: impl Into<String>) -> Result<Self, ConfigError> {
        let key: String = key.into();
        if key.is_empty() {
            return Err(ConfigError::new("key", "\"\"", "must not be empty: it is the lock"));
        }
        Ok(Self { client, key: key.into() })
    }
}

impl fmt::Debug for EtcdLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdLock").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Lock for EtcdLock {
    type Object = ();

    fn name(&self) -> String {
        self.key.to_string()
    }

    async fn read(&self) -> Result<Option<Seen<()>>, LockError> {
        let mut client = self.client.kv_client();
        let found = client.get(&*self.key, Some(GetOptions::new())).await.map_err(classed)?;
        found.kvs().first().map(|pair| seen(pair.mod_revision(), pair.value())).transpose()
    }

    async fn write(&self, over: Option<&Seen<()>>, put: Put<'_>) -> Result<Seen<()>, LockError> {
        let (holder, lease) = match put {
            Put::Take { holder, lease } | Put::Renew { holder, lease } => (holder, lease),
            Put::Release => ("", Duration::from_secs(1)),
        };
        let before = over.map_or(Ok(0), |over| i64::try_from(over.version));
        let before = before.map_err(|_| LockError::fatal("the revision is out of range"))?;
        let value = format!("{} {holder}", nanos::nanos(lease));
        let same = Compare::mod_revision(&*self.key, CompareOp::Equal, before);
        let transaction = Txn::new().when([same]).and_then([TxnOp::put(&*self.key, value.clone(), None)]);
        let answer = self.client.kv_client().txn(transaction).await.map_err(classed)?;
        if !answer.succeeded() {
            return Err(LockError::conflict("the key has changed"));
        }
        let revision = answer.header().map(etcd_client::ResponseHeader::revision);
        let revision = revision.ok_or_else(|| LockError::fatal("etcd answered without a revision"))?;
        seen(revision, value.as_bytes())
    }
}

/// `NANOSECONDS HOLDER`.
fn seen(revision: i64, value: &[u8]) -> Result<Seen<()>, LockError> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.split_once(' '));
    let parsed = text.and_then(|(lease, holder)| Some((lease.parse().ok()?, holder)));
    let (Some((lease, holder)), Ok(version)) = (parsed, u128::try_from(revision)) else {
        return Err(LockError::fatal("the key holds something that is not a lock"));
    };
    Ok(Seen { version, beat: version, holder: holder.to_owned(), lease: nanos::duration(lease), object: () })
}

fn classed(error: etcd_client::Error) -> LockError {
    use tonic::Code::{InvalidArgument, PermissionDenied, Unauthenticated, Unimplemented};
    match &error {
        etcd_client::Error::GRpcStatus(status)
            if matches!(status.code(), InvalidArgument | PermissionDenied | Unauthenticated | Unimplemented) =>
        {
            LockError::fatal(error)
        }
        _ => LockError::unavailable(error),
    }
}
