//! `LeaseLock`: an election through a Lease, in the format of client-go.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, TryFutureExt, future};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Error,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
    core::Status,
};

use relent::{
    ConfigError,
    leader::{Lock, LockError, Prepared, Record, RecordStream, Write},
};

use crate::{ApiError, name, target, time};

/// A Lease as a lock. Candidates in Go (client-go, controller-runtime) and in Rust contend for the same one.
///
/// One write renews it; a candidate that waits for it has a watch open, a leader has none. Every write carries `uid`
/// and `resourceVersion` of the Lease that was read; the fence of a term is the `resourceVersion` of the write that
/// began it (integers that grow over all Leases of a cluster, KEP-5504; a restore of the cluster from a backup breaks
/// that). Durations are whole seconds in a Lease: a fraction is rounded up. `renewTime` and `acquireTime` are written
/// for others to read; no decision of this crate looks at them, except whether they changed.
///
/// # Rights
/// The verbs `get`, `create`, `update` and `watch` on `leases` of the API group `coordination.k8s.io`, in the namespace of the
/// Lease; neither `list` nor `patch` nor `delete`. All but `create` may be limited to its name:
///
/// ```yaml
/// kind: Role
/// apiVersion: rbac.authorization.k8s.io/v1
/// metadata: {name: my-controller-election, namespace: my-system}
/// rules:
/// - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
/// - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, update, watch], resourceNames: [my-controller]}
/// ```
///
/// Where `get`, `create` or `update` is missing, each try is a [`Trouble`](relent::leader::ElectionEvent::Trouble) in
/// the server's own words, with what to do; a term ends by its renew deadline. A campaign ends with an error only where
/// not one call has succeeded for a whole lease: an API server that has just started refuses for a moment what it will
/// allow, and rights or a namespace may come later. Without `watch` an election works; a release is then noticed by
/// looking, within 2.2 retry periods.
///
/// # Whose Lease it is
/// A Lease that bears this identity is this candidate's only if it wrote it: by the `resourceVersion` of its last write, or, where
/// the answer was lost or others have changed labels or annotations, by holder, `acquireTime`, `renewTime` and `leaseTransitions`
/// as it wrote them, to the microsecond. So two processes that by mistake have one identity (a pod of a StatefulSet deleted by force
/// whose node comes back) never lead at once.
///
/// # Changed by hand
/// - `holderIdentity` emptied, or the whole `spec` removed: not a release, which sets `leaseDurationSeconds` to 1. The
///   leader's term is lost with its next renewal, the others leave the Lease alone for a lease. (Candidates in Go take
///   it at once, beside the leader; to move leadership, end the leader's process.)
/// - `holderIdentity` changed: the leader's term is lost with its next renewal; one lease later a candidate leads.
/// - `leaseDurationSeconds` shortened or removed: nothing. Candidates of this crate wait for their own lease at least,
///   and the next renewal puts it right. (Candidates in Go wait only as long as it says: lengthen a lease in all
///   processes, not in the Lease.)
/// - The Lease deleted: its leader lays it down again with its next renewal; otherwise a candidate leads one lease
///   later.
/// - `renewTime`, `acquireTime`, `leaseTransitions` changed: the leader's term is lost, as if by another process of its
///   identity.
/// - Labels, annotations and the like: nothing; they are kept.
///
/// # Cancel safety
/// A call that is dropped leaves nothing behind in this process. A write that is dropped may have been done or may yet be:
/// [`elect`](relent::leader::elect) looks before it goes on.
///
/// ```no_run
/// use relent::leader;
/// use relent_k8s::LeaseLock;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let lock = LeaseLock::new(kube::Client::try_default().await?, "my-system", "my-controller")?;
/// let ended = leader::elect(lock, leader::identity()).run(async |term| term.lost().await).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LeaseLock {
    api: Api<Lease>,
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
}

impl LeaseLock {
    /// The Lease `name` in `namespace`. It is created when it is missing; the namespace is not.
    ///
    /// # Errors
    /// What cannot be a namespace or the name of a Lease.
    pub fn new(client: Client, namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, ConfigError> {
        let (namespace, name) = (namespace.into(), name.into());
        name::check("lease namespace", &namespace)?;
        name::check("lease name", &name)?;
        let api = Api::namespaced(client, &namespace);
        Ok(Self { api, namespace, name, labels: BTreeMap::new() })
    }

    /// A label that every write of this candidate puts on the Lease.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The Lease is laid out before it is sent: what a later read has to show, if it was written, is known by then.
    fn marked_write(&self, over: Option<&Record<Lease>>, put: Write<'_>) -> Prepared<Lease> {
        let mut lease = over.map_or_else(|| self.blank(), |over| over.object.clone());
        lease.metadata.managed_fields = None;
        if !self.labels.is_empty() {
            lease.metadata.labels.get_or_insert_default().extend(self.labels.clone());
        }
        fill(&mut lease, put);
        let mark = lease.spec.as_ref().map_or(0, mark);
        let (lock, creates) = (self.clone(), over.is_none());
        Prepared::new(mark, async move {
            let params = PostParams::default();
            let answer = if creates {
                lock.api.create(&params, &lease).await
            } else {
                lock.api.replace(&lock.name, &params, &lease).await
            };
            match answer {
                Ok(lease) => lock.seen(lease),
                // It was deleted since it was read.
                Err(Error::Api(status)) if !creates && lock.is_absent(&status) => {
                    Err(LockError::conflict(lock.told(Error::Api(status))))
                }
                Err(error) => Err(lock.failed(error)),
            }
        })
    }

    fn blank(&self) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: None }
    }

    /// Only a 404 that names the Lease means that it is not there: a server that has just started, or something in
    /// between, may answer `404 page not found`.
    fn is_absent(&self, status: &Status) -> bool {
        status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == self.name)
    }

    /// To `kube` any JSON object is a Lease, without a name.
    fn seen(&self, lease: Lease) -> Result<Record<Lease>, LockError> {
        if lease.metadata.name.as_deref() == Some(&*self.name) {
            return seen(lease);
        }
        Err(self.failed(target::other_object()))
    }

    fn told(&self, error: Error) -> LeaseError {
        let error = ApiError::of(error, "leases", &self.name, Some(&self.namespace));
        LeaseError { lease: self.name(), name: self.name.clone(), error }
    }

    fn failed(&self, error: Error) -> LockError {
        let code = if let Error::Api(status) = &error { status.code } else { 0 };
        let error = self.told(error);
        match code {
            409 => LockError::conflict(error),
            408 | 429 => LockError::unavailable(error),
            400..500 => LockError::fatal(error),
            _ => LockError::unavailable(error),
        }
    }
}

/// What a call of a [`LeaseLock`] failed with: the [cause](LockError::cause) of its [`LockError`]s. Its text names the
/// Lease, and says all that [`ApiError`] has to say.
pub struct LeaseError {
    lease: String,
    name: String,
    error: ApiError,
}

impl LeaseError {
    /// The error of the call.
    #[must_use]
    pub fn get_ref(&self) -> &ApiError {
        &self.error
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.error.to_string();
        if text.contains(&format!("\"{}\"", self.name)) {
            return f.write_str(&text);
        }
        write!(f, "lease {}: {text}", self.lease)
    }
}

debug_as_display!(LeaseError);

impl std::error::Error for LeaseError {}

impl fmt::Debug for LeaseLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseLock")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Lock for LeaseLock {
    type Object = Lease;

    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn admits(&self, lease: Duration) -> Result<(), ConfigError> {
        match seconds(lease) {
            Some(_) => Ok(()),
            None => {
                Err(ConfigError::new("lease", format_args!("{lease:?}"), "a Lease holds at most 2147483647 seconds"))
            }
        }
    }

    async fn read(&self) -> Result<Option<Record<Lease>>, LockError> {
        match self.api.get(&self.name).await {
            Ok(lease) => self.seen(lease).map(Some),
            Err(Error::Api(status)) if self.is_absent(&status) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn write(&self, over: Option<&Record<Lease>>, put: Write<'_>) -> Result<Record<Lease>, LockError> {
        self.marked_write(over, put).into_write().await
    }

    fn prepare(&self, over: Option<&Record<Lease>>, put: Write<'_>) -> Option<Prepared<Lease>> {
        Some(self.marked_write(over, put))
    }

    fn watch(&self) -> RecordStream<Lease> {
        let (api, lock) = (self.api.clone(), self.clone());
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let events = async move { api.watch(&params, "0").await }.try_flatten_stream();
        // Any error ends the stream: it is opened again.
        let events = events
            .take_while(|event| future::ready(matches!(event, Ok(event) if !matches!(event, WatchEvent::Error(_)))));
        Box::pin(events.filter_map(move |event| {
            future::ready(match event {
                Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => lock.seen(lease).ok().map(Some),
                Ok(WatchEvent::Deleted(_)) => Some(None),
                _ => None,
            })
        }))
    }
}

/// Whole seconds, rounded up: never less than asked for.
fn seconds(lease: Duration) -> Option<i32> {
    let part = u64::from(lease.subsec_nanos() > 0);
    lease.as_secs().checked_add(part).and_then(|seconds| i32::try_from(seconds).ok())
}

/// The `leaseDurationSeconds` of a Lease that was released: client-go's, and so ours.
const RELEASED: u32 = 1;

/// Writes the record, as client-go does: a new holder counts as a transition, a release keeps the count and lasts 1 s.
fn fill(lease: &mut Lease, put: Write<'_>) {
    let first = lease.spec.is_none();
    let spec = lease.spec.get_or_insert_default();
    let now = later_than(spec);
    let (holder, length) = match put {
        Write::Take { holder, lease } | Write::Renew { holder, lease } => (holder, lease),
        Write::Release => ("", Duration::from_secs(RELEASED.into())),
    };
    let same = spec.holder_identity.as_deref() == Some(holder);
    let transitions = spec.lease_transitions.unwrap_or(0);
    match put {
        Write::Take { .. } if !same => {
            spec.lease_transitions = Some(if first { 0 } else { transitions.saturating_add(1) });
            spec.acquire_time = Some(now.clone());
        }
        Write::Release => spec.acquire_time = Some(now.clone()),
        Write::Take { .. } | Write::Renew { .. } => {
            spec.acquire_time.get_or_insert_with(|| now.clone());
        }
    }
    spec.lease_transitions.get_or_insert(transitions);
    spec.holder_identity = Some(holder.to_owned());
    // Too long a lease was refused before the campaign.
    spec.lease_duration_seconds = Some(seconds(length).unwrap_or(i32::MAX));
    spec.renew_time = Some(now);
}

/// The wall time in microseconds, but never that of the last renewal: a write that changes nothing is none to the
/// server, and no watch would see it.
fn later_than(spec: &LeaseSpec) -> MicroTime {
    let since_1970 = time::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    let before = spec.renew_time.as_ref().map(|time| time.0.as_microsecond());
    let now = if before == Some(now) { now.saturating_add(1) } else { now };
    MicroTime(Timestamp::from_microsecond(now).unwrap_or(Timestamp::MIN))
}

fn seen(lease: Lease) -> Result<Record<Lease>, LockError> {
    let version = lease.metadata.resource_version.as_deref().unwrap_or_default();
    let Ok(version) = version.parse() else {
        let text = format!("resourceVersion {version:?} is not a whole number: there can be no fence");
        return Err(LockError::fatal(text));
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let length = u32::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
    let (mark, heartbeat) = (mark(&spec), heartbeat(lease.metadata.uid.as_deref(), &spec));
    let holder = spec.holder_identity.unwrap_or_default();
    let length = match (holder.as_str(), length) {
        ("", RELEASED) => 0,
        // Emptied by hand: the leader of before may still lead.
        ("", length) => length.max(1),
        (_, length) => length,
    };
    Ok(Record::new(version, lease).held_by(holder, Duration::from_secs(length.into()), heartbeat).marked(mark))
}

/// Tells a write from every other write of the same holder. Not by the duration: it may have been shortened by hand,
/// and it is still what this holder wrote.
fn mark(spec: &LeaseSpec) -> u64 {
    let mut hasher = DefaultHasher::new();
    spec.holder_identity.hash(&mut hasher);
    spec.lease_transitions.hash(&mut hasher);
    hash_times(spec, &mut hasher);
    hasher.finish()
}

fn hash_times(spec: &LeaseSpec, hasher: &mut DefaultHasher) {
    [&spec.acquire_time, &spec.renew_time].map(|time| time.as_ref().map(|time| time.0.as_nanosecond())).hash(hasher);
}

/// The record as a number: labels and annotations may change without being a renewal. A Lease that was deleted and
/// created again is another one, even if a creation that was sent twice has brought back every word of it.
fn heartbeat(uid: Option<&str>, spec: &LeaseSpec) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        uid.hash(&mut hasher);
        spec.holder_identity.hash(&mut hasher);
        spec.lease_duration_seconds.hash(&mut hasher);
        spec.lease_transitions.hash(&mut hasher);
        hash_times(spec, &mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
