//! What is known of each pod while it is the evictor's: kept by UID, and forgotten with its entry.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{EvictError, Evicted, PodKey, api::is_refusal, plan::Planned};
use crate::time::Instant;

/// A refusal is believed once it has lasted so long: a server that was started anew refuses every user at first.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// What is known of the pods.
#[derive(Debug, Default)]
pub(super) struct Pods(Mutex<HashMap<PodKey, Known>>);

/// What is known of one.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The plan that its node's taints made.
    pub(super) planned: Option<Planned>,
    pub(super) progress: Progress,
}

/// How far its eviction has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// It was asked for, by an attempt whose answer may have been lost.
    pub(super) asked: bool,
    /// It is evicted; only the event may be missing.
    pub(super) evicted: Option<Evicted>,
    /// The event was tried, by an attempt that may have been cut then: it is not tried again.
    pub(super) event_tried: bool,
    pub(super) event_error: Option<Arc<str>>,
    refused_since: Option<Instant>,
}

impl Pods {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<PodKey, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self, pod: &PodKey) -> Progress {
        self.lock().get(pod).map(|known| known.progress.clone()).unwrap_or_default()
    }

    pub(super) fn note(&self, pod: &PodKey, note: impl FnOnce(&mut Progress)) {
        note(&mut self.lock().entry(pod.clone()).or_default().progress);
    }

    pub(super) fn forget(&self, pod: &PodKey) -> Known {
        self.lock().remove(pod).unwrap_or_default()
    }

    /// What a failed try means, after those before it.
    pub(super) fn failed(&self, pod: &PodKey, error: EvictError, now: Instant) -> EvictError {
        let mut since = now;
        let refused = is_refusal(error.code()) && matches!(error, EvictError::Evict { .. });
        self.note(pod, |progress| {
            progress.refused_since = refused.then(|| progress.refused_since.unwrap_or(now));
            since = progress.refused_since.unwrap_or(now);
        });
        let lasted = now.saturating_duration_since(since);
        if lasted >= REFUSED_FOR { error.refused_for(lasted) } else { error }
    }
}
