//! Evicting pods at their time, as the taint manager does: [`Evictor`].
//!
//! Each pod is a key of a [`TimedQueue`] that holds its UID, so a new pod of an old name is another key. An eviction asks
//! the Eviction API with the UID as a precondition and deletes the pod where that API is not there; a disruption budget
//! that says wait is waited for as told; a pod that is gone or replaced is what was wanted. Then the event is written,
//! and only when that is acknowledged is the eviction done. Whatever fails is tried again by the policy.

mod api;
mod toleration;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Pod, Taint};
use tokio_util::sync::CancellationToken;

pub use self::{
    api::{EvictError, Evicted, evict},
    toleration::{Tolerated, tolerated},
};
use crate::{
    Backoff, ConfigError, Policy,
    queue::{Cancelled, Drain, Finished, Idle, Job, Outcome, QueueHandle, Scheduled, Status, TimedQueue, When},
    time::{self, Instant},
};

/// A pod: namespace, name and UID. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    namespace: Arc<str>,
    name: Arc<str>,
    uid: Arc<str>,
}

impl PodKey {
    /// The pod of this namespace, name and UID.
    #[must_use]
    pub fn new(namespace: &str, name: &str, uid: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), uid: uid.into() }
    }

    /// The key of a pod that an API server gave; `None` if it has no namespace, name or UID.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        Some(Self::new(meta.namespace.as_deref()?, meta.name.as_deref()?, meta.uid.as_deref()?))
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{} (uid {})", self.namespace, self.name, self.uid)
    }
}

/// Why a pod is evicted, and how.
#[derive(Clone, Debug)]
pub struct Eviction {
    note: Arc<str>,
    grace: Option<u32>,
    /// Whether an attempt has evicted the pod, so that only the event is missing.
    evicted: Arc<AtomicBool>,
}

impl Eviction {
    /// An eviction with the text of its event.
    #[must_use]
    pub fn new(note: &str) -> Self {
        Self { note: note.into(), grace: None, evicted: Arc::default() }
    }

    /// Seconds that the pod has to end; unset: the pod's own.
    #[must_use]
    pub fn grace_period_seconds(mut self, seconds: u32) -> Self {
        self.grace = Some(seconds);
        self
    }

    /// The text of the event.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// Evicts pods at their time.
///
/// One attempt has 10 s; failed ones are tried again forever, 100 ms to 30 s apart, unless [`policy`](Self::policy) says
/// otherwise; a budget that says wait longer is waited for as told. Four pods are evicted side by side.
///
/// ```no_run
/// use std::time::Duration;
/// use relent::k8s::eviction::{Eviction, Evictor, PodKey};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn run(client: kube::Client) {
/// let mut evictor = Evictor::new(client, "taint-manager");
/// let evictions = evictor.handle();
/// let pod = PodKey::new("default", "web-0", "6d0f1c6e");
/// let _ = evictions.evict(pod, Eviction::new("node is going away"), Duration::from_secs(300));
/// let finished = evictor.run(CancellationToken::new(), |outcome| eprintln!("{outcome:?}")).await;
/// # drop(finished); }
/// ```
pub struct Evictor {
    client: kube::Client,
    component: Arc<str>,
    queue: TimedQueue<PodKey, Eviction>,
    concurrency: usize,
    seen: Arc<Seen>,
}

/// Since when pods are seen tainted, and when they go for it.
#[derive(Debug, Default)]
struct Seen(Mutex<HashMap<PodKey, Planned>>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, HashMap<PodKey, Planned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Planned {
    since: Instant,
    after: Duration,
}

/// What [`Evictions::observe`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Observed {
    /// Nothing is to change.
    Unchanged,
    /// The pod will be evicted then.
    Planned(Instant),
    /// The pod may stay; what was planned is cancelled.
    Stays,
    /// The pod has no namespace, name or UID.
    Nameless,
    /// The evictor takes nothing more.
    Closed,
}

impl Evictor {
    /// An evictor whose events say that they come from `component`.
    #[must_use]
    pub fn new(client: kube::Client, component: &str) -> Self {
        let policy = Policy::new()
            .backoff(Backoff::exponential(Duration::from_millis(100), Duration::from_secs(30)))
            .attempt_timeout(Duration::from_secs(10));
        let queue = TimedQueue::new().policy(&policy);
        Self { client, component: component.into(), queue, concurrency: 4, seen: Arc::default() }
    }

    /// What becomes of evictions that fail, per pod.
    #[must_use]
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.queue = self.queue.policy(policy);
        self
    }

    /// How many pods are evicted at once at most.
    ///
    /// # Errors
    /// 0 would never evict any.
    pub fn concurrency(mut self, most: usize) -> Result<Self, ConfigError> {
        if most == 0 {
            return Err(ConfigError::new("concurrency", most, "at least 1, or nothing would ever run"));
        }
        self.concurrency = most;
        Ok(self)
    }

    /// A handle, to plan and to cancel evictions.
    #[must_use]
    pub fn handle(&self) -> Evictions {
        Evictions { queue: self.queue.handle(), seen: self.seen.clone() }
    }

    /// Evicts until told to stop, or until nothing is left and nothing can come any more; what is being evicted then is
    /// seen to its end, and what waits is handed back. `notify` hears of every attempt and gets the pods back that are
    /// given up.
    ///
    /// Cancel safe: dropped, it drops the attempts in flight; their pods go back by the policy.
    pub async fn run(
        &mut self,
        stop: CancellationToken,
        mut notify: impl FnMut(Outcome<'_, PodKey, Eviction, EvictError>) + Send,
    ) -> Finished<PodKey, Eviction, EvictError> {
        let Self { client, component, queue, concurrency, seen } = self;
        let worker = |job: Job<PodKey, Eviction>| {
            let (client, component, seen) = (client.clone(), component.clone(), seen.clone());
            async move {
                attempt(&client, &component, &job.key, &job.value).await?;
                seen.lock().remove(&job.key);
                Ok(())
            }
        };
        let notify = |outcome: Outcome<'_, _, _, _>| {
            if let Outcome::GaveUp(back) = &outcome {
                seen.lock().remove(&back.key);
            }
            notify(outcome);
        };
        let work = queue.run(worker).when(EvictError::decision).notify(notify).cancel_on(stop);
        let Ok(work) = work.concurrency(*concurrency) else { unreachable!("it was checked when it was set") };
        let finished = work.await;
        for (pod, ..) in &finished.waiting {
            seen.lock().remove(pod);
        }
        finished
    }
}

/// One attempt: evict, unless that is done, then write the event.
async fn attempt(client: &kube::Client, component: &str, pod: &PodKey, eviction: &Eviction) -> Result<(), EvictError> {
    if !eviction.evicted.load(Ordering::Acquire) {
        match evict(client, pod, eviction.grace).await? {
            Evicted::Accepted | Evicted::Deleted => eviction.evicted.store(true, Ordering::Release),
            Evicted::Gone | Evicted::Replaced => return Ok(()),
        }
    }
    api::write_event(client, component, pod, &eviction.note).await
}

impl fmt::Debug for Evictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evictor")
            .field("component", &self.component)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// A handle to an [`Evictor`]. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Evictions {
    queue: QueueHandle<PodKey, Eviction>,
    seen: Arc<Seen>,
}

impl Evictions {
    /// Plans an eviction, in place of what was planned for the pod.
    pub fn evict(&self, pod: PodKey, eviction: Eviction, due: impl Into<When>) -> Scheduled<Eviction> {
        self.queue.reschedule(pod, eviction, due)
    }

    /// Plans what the taints of a pod's node ask for: eviction at once, after what the pod tolerates, or not at all.
    ///
    /// Call it whenever the pod or its node's taints have changed. The time a pod tolerates counts from the first call
    /// that saw it tainted, on the local clock; where tolerations change it counts from there still. A call that
    /// changes nothing does nothing: an eviction that waits for a disruption budget goes on waiting. A pod that was given
    /// up or handed back is planned anew, and its time counts from that call.
    pub fn observe(&self, pod: &Pod, taints: &[Taint]) -> Observed {
        let Some(key) = PodKey::of(pod) else { return Observed::Nameless };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let mut seen = self.seen.lock();
        let after = match tolerated(taints, tolerations) {
            Tolerated::Forever => {
                let planned = seen.remove(&key).is_some();
                drop(self.queue.cancel(&key));
                return if planned { Observed::Stays } else { Observed::Unchanged };
            }
            Tolerated::For(after) => after,
        };
        let old = seen.get(&key).copied();
        let planned = Planned { since: old.map_or_else(time::now, |old| old.since), after };
        if old == Some(planned) && self.queue.get(&key).is_some() {
            return Observed::Unchanged;
        }
        let due = planned.since.checked_add(after);
        let when = due.map_or(When::In(Duration::MAX), When::At);
        let note = format!("Marking for deletion Pod {}/{}", key.namespace, key.name);
        match self.queue.reschedule(key.clone(), Eviction::new(&note), when) {
            Scheduled::Closed { .. } => return Observed::Closed,
            _ => seen.insert(key, planned),
        };
        Observed::Planned(due.unwrap_or(planned.since))
    }

    /// The pod may stay. An attempt in flight is not stopped, but nothing follows it.
    pub fn cancel(&self, pod: &PodKey) -> Cancelled<Eviction> {
        self.seen.lock().remove(pod);
        self.queue.cancel(pod)
    }

    /// What is happening about a pod.
    #[must_use]
    pub fn get(&self, pod: &PodKey) -> Option<Status> {
        self.queue.get(pod)
    }

    /// How many pods wait for their eviction or are being evicted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no pod waits or is being evicted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Waits until no pod is being evicted and none is due.
    pub fn idle(&self) -> Idle<PodKey, Eviction> {
        self.queue.idle()
    }

    /// Takes nothing more and waits until all pods are evicted, each at its time.
    pub fn drain(&self) -> Drain<PodKey, Eviction> {
        self.queue.drain()
    }
}
