//! The key of a lock, as it is read.

use std::{sync::Arc, time::Duration};

use etcd_client::{Compare, CompareOp, ResponseHeader, Txn, TxnOp, TxnResponse};
use relent::leader::{LockError, Record};

use super::{
    classify::{CallErrorClass, Code},
    cluster::CallError,
    turns::{Failed, Turns},
};

/// A key, and the endpoints by way of which it is read and written.
#[derive(Clone)]
pub(super) struct LockKey {
    pub(super) turns: Arc<Turns>,
    pub(super) name: Arc<str>,
}

/// The key at a revision of the store.
pub(super) struct Looked {
    pub(super) turn: u64,
    pub(super) watch: etcd_client::WatchClient,
    pub(super) revision: i64,
    pub(super) seen: Option<Record<()>>,
}

impl LockKey {
    /// Reads at the endpoint whose turn it is.
    pub(super) async fn look(&self) -> Result<Looked, Failure> {
        let found = self.turns.call(async |turn| {
            let found = turn.client.kv_client().get(&*self.name, None).await?;
            Ok((turn.number, turn.client.watch_client(), found))
        });
        let (turn, watch, found) = found.await?;
        let revision = found.header().map_or(0, ResponseHeader::revision);
        let seen = found.kvs().first().map(|pair| seen(pair.mod_revision(), pair.value())).transpose()?;
        Ok(Looked { turn, watch, revision, seen })
    }

    pub(super) fn failed(&self, failure: Failure) -> LockError {
        let last = failure.is_final();
        match failure {
            Failure::NoLock => LockError::fatal(format!(
                "key {}: it holds something that is not a lock: delete it, or use another key",
                self.name
            )),
            Failure::Call(failed) => {
                let text = told(&self.name, &failed);
                if last { LockError::fatal(text) } else { LockError::unavailable(text) }
            }
        }
    }
}

/// A failed call in words: the key, the endpoint, the causes, and what to do.
pub(super) fn told(key: &str, failed: &Failed) -> String {
    let text = format!("key {key}: {}", relent::error::chain(failed));
    match advice(&failed.error) {
        Some(advice) => format!("{text}: {advice}"),
        None => text,
    }
}

/// What an operator can do about what does not pass by itself.
fn advice(error: &CallError) -> Option<&'static str> {
    if error.class() != CallErrorClass::Decided {
        return None;
    }
    match error {
        CallError::Answered { message, .. } if message.contains("database space exceeded") => {
            Some("compact and defragment etcd or raise its quota, then disarm the alarm (`etcdctl alarm disarm`)")
        }
        CallError::Answered { code: Code::DataLoss, .. } => {
            Some("replace the member whose data is corrupt (`etcdctl alarm list` names it)")
        }
        CallError::Answered { code: Code::PermissionDenied, .. } => Some(
            "grant the user a role with `readwrite` on this key (`etcdctl role grant-permission ROLE readwrite KEY`), or use another user",
        ),
        CallError::Answered { code: Code::Unauthenticated, .. } => {
            Some("check the user's name and password, or the client certificate")
        }
        CallError::Answered { code: Code::InvalidArgument, message } if message.contains("auth") => {
            Some("check the user's name and password, or the client certificate")
        }
        CallError::Untrusted(_) => {
            Some("check the certificates of both sides, and whether the endpoint's URL is https")
        }
        _ => None,
    }
}

/// Why the key could not be read or written.
pub(super) enum Failure {
    Call(Failed),
    NoLock,
}

impl Failure {
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Call(failed) => is_final(&failed.error),
            Self::NoLock => true,
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Call(failed)
    }
}

/// Puts `value` into `key` if its mod revision is `before` (0: there is no such key). Asks all endpoints, but none
/// after one that may have done it, or has refused it for good.
pub(super) async fn compare_and_put(turns: &Turns, key: &str, before: i64, value: &str) -> Result<TxnResponse, Failed> {
    let same = Compare::mod_revision(key, CompareOp::Equal, before);
    let transaction = Txn::new().when([same]).and_then([TxnOp::put(key, value, None)]);
    let mut left = turns.endpoints().len();
    loop {
        left = left.saturating_sub(1);
        match turns.call(async |turn| turn.client.kv_client().txn(transaction.clone()).await).await {
            // Nothing was done, and nothing will be: another endpoint may be asked.
            Err(failed) if left > 0 && !failed.error.in_doubt() && !is_final(&failed.error) => {}
            answer => return answer,
        }
    }
}

/// Whether it is a refusal: about settings and rights, not about the state of the cluster.
pub(super) fn is_final(error: &CallError) -> bool {
    let settings = match error {
        CallError::Answered { code, .. } => matches!(
            code,
            Code::InvalidArgument
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
                | Code::FailedPrecondition
        ),
        _ => true,
    };
    settings && error.class() == CallErrorClass::Decided
}

/// Whole nanoseconds in 64 bits. What lasts longer, for 584 years, is for ever.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn duration(nanos: u64) -> Duration {
    if nanos == u64::MAX { Duration::MAX } else { Duration::from_nanos(nanos) }
}

/// `NANOSECONDS/NUMBER HOLDER`; without a number if it was written by hand.
pub(super) fn seen(revision: i64, value: &[u8]) -> Result<Record<()>, Failure> {
    parsed(revision, value).ok_or(Failure::NoLock)
}

fn parsed(revision: i64, value: &[u8]) -> Option<Record<()>> {
    let (numbers, holder) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let (lease, mark) = match numbers.split_once('/') {
        Some((lease, mark)) => (lease, Some(u64::from_str_radix(mark, 16).ok()?)),
        None => (numbers, None),
    };
    let version = u128::try_from(revision).ok()?;
    let seen = Record::new(version, ()).held_by(holder, duration(lease.parse().ok()?), version);
    Some(match mark {
        Some(mark) => seen.marked(mark),
        None => seen,
    })
}
