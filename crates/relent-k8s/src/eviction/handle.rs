//! Planning and cancelling evictions, from any thread.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, Taint};
use relent::{
    ConfigError,
    queue::{Cancelled, Idle, KeyStatus, QueueHandle, Scheduled, When},
};
use tokio::sync::watch;

use super::{EvictError, Eviction, PodKey, leaving::Leaving, plan::Planned, progress::Pods};
use crate::time::{self, Instant};

/// What [`Evictions::observe`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ObservedPod {
    /// Nothing is to change.
    Unchanged,
    /// The pod will be evicted then.
    Planned(Instant),
    /// The pod may stay; what was planned is cancelled.
    Stays,
    /// The pod is being deleted already; what was planned is cancelled.
    Terminating,
    /// The pod has no namespace, name or UID.
    Nameless,
    /// The evictor takes nothing more.
    Closed,
}

/// A handle to an [`Evictor`](super::Evictor). Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Evictions {
    pub(super) queue: QueueHandle<PodKey, Eviction>,
    pub(super) pods: Arc<Pods>,
    pub(super) leaving: watch::Receiver<Leaving>,
}

impl Evictions {
    /// Plans an eviction, in place of what was planned for the pod.
    ///
    /// # Errors
    /// The key has an empty namespace, name or UID, or a name that no pod can have. Nothing is planned then.
    pub fn evict(
        &self,
        pod: PodKey,
        eviction: Eviction,
        due: impl Into<When>,
    ) -> Result<Scheduled<Eviction>, ConfigError> {
        pod.check()?;
        Ok(self.queue.reschedule(pod, eviction.anew(), due))
    }

    /// Plans what the taints of a pod's node ask for: eviction at once, after what the pod tolerates, or not at all.
    ///
    /// Call it whenever the pod or its node's taints have changed. Each taint has its own time: from its `timeAdded`,
    /// but not from before the pod was bound to the node; where it has none, from the first call that saw it, on the
    /// local clock. Where tolerations change, the time counts from there still. A call that changes nothing does
    /// nothing: an eviction that waits for a disruption budget goes on waiting. A pod that was given up or handed back
    /// is planned anew.
    pub fn observe(&self, pod: &Pod, taints: &[Taint]) -> ObservedPod {
        let Some(key) = PodKey::of(pod) else { return ObservedPod::Nameless };
        let mut pods = self.pods.lock();
        let old = pods.get(&key).and_then(|known| known.planned.as_ref());
        let status = self.queue.get(&key);
        if pod.metadata.deletion_timestamp.is_some() {
            // What was begun is seen to its end.
            if old.is_some() && matches!(status, Some(KeyStatus::Scheduled { attempts: 0, .. })) {
                pods.remove(&key);
                drop(self.queue.cancel(&key));
            }
            return ObservedPod::Terminating;
        }
        let now = time::now();
        let Some(planned) = Planned::new(old, pod, taints, now, time::date()) else {
            let was_planned = old.is_some();
            pods.remove(&key);
            drop(self.queue.cancel(&key));
            return if was_planned { ObservedPod::Stays } else { ObservedPod::Unchanged };
        };
        let due = planned.due;
        let begun = match status {
            Some(KeyStatus::Scheduled { attempts, .. }) => attempts > 0,
            Some(_) => true,
            None => false,
        };
        // Begun, it is tried again when the policy says so.
        let goes_on = begun && due.is_some_and(|due| due <= now);
        if status.is_some() && old.is_some_and(|old| goes_on || old.due == due) {
            pods.entry(key).or_default().planned = Some(planned);
            return ObservedPod::Unchanged;
        }
        let note = format!("Marking for deletion Pod {}/{}", key.namespace(), key.name());
        let when = due.map_or(When::In(Duration::MAX), When::At);
        match self.queue.reschedule(key.clone(), Eviction::new(&note), when) {
            Scheduled::Closed { .. } => return ObservedPod::Closed,
            _ => pods.entry(key).or_default().planned = Some(planned),
        }
        ObservedPod::Planned(due.unwrap_or(now))
    }

    /// The pod may stay. An attempt in flight is not stopped, but nothing follows it.
    pub fn cancel(&self, pod: &PodKey) -> Cancelled<Eviction> {
        self.pods.forget(pod);
        self.queue.cancel(pod)
    }

    /// What is happening about a pod.
    #[must_use]
    pub fn get(&self, pod: &PodKey) -> Option<KeyStatus> {
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

    /// The pods that are evicted and not gone yet, in the order of their names: for an evictor that waits for that
    /// ([`until_gone`](super::Evictor::until_gone)).
    #[must_use]
    pub fn leaving(&self) -> Vec<PodKey> {
        self.leaving.borrow().pods()
    }

    /// Why the last look at a pod that is [leaving](Self::leaving) failed: [`EvictError::Unseen`]. `None`: it was seen
    /// to be there still, was not looked at yet, or is not leaving.
    #[must_use]
    pub fn unseen(&self, pod: &PodKey) -> Option<EvictError> {
        self.leaving.borrow().why_unseen(pod)
    }

    /// Waits until no pod is being evicted and none is due.
    pub fn idle(&self) -> Idle<PodKey, Eviction> {
        self.queue.idle()
    }

    /// Takes nothing more and waits until all pods are evicted, each at its time; and until they are gone, if the
    /// evictor was told to wait for that ([`until_gone`](super::Evictor::until_gone)).
    ///
    /// The answer is how many pods are left: 0, unless the evictor was dropped, or may not look whether its pods are
    /// gone: then [`leaving`](Self::leaving) names them, and [`unseen`](Self::unseen) says why. It works only while the
    /// evictor runs.
    ///
    /// Cancel safe: dropped, it leaves no trace but the evictor closed. It closes when this is called.
    #[must_use = "futures do nothing unless awaited or polled"]
    pub fn drain(&self) -> impl Future<Output = usize> + Send + use<> {
        let (drain, mut leaving) = (self.queue.drain(), self.leaving.clone());
        async move {
            let waiting = drain.await;
            // Also where the evictor is dropped: those that are left are counted then.
            let _ = leaving.wait_for(Leaving::is_over).await;
            let left = leaving.borrow().len();
            waiting.saturating_add(left)
        }
    }
}
