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
    /// Since when every attempt was refused. One that has no answer ends the series: it is taken out while an attempt
    /// runs.
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

    /// An attempt begins: how far it is, and since when the attempts before were refused.
    pub(super) fn begin(&self, pod: &PodKey) -> (Progress, Option<Instant>) {
        let progress = self.progress(pod);
        self.note(pod, |progress| (progress.asked, progress.refused_since) = (true, None));
        let refused_since = progress.refused_since;
        (progress, refused_since)
    }

    /// What a failed try means, where those before it were refused since then.
    pub(super) fn failed(&self, pod: &PodKey, error: EvictError, refused: Option<Instant>, now: Instant) -> EvictError {
        if !is_refusal(error.code()) || !matches!(error, EvictError::Evict { .. }) {
            return error;
        }
        let since = refused.unwrap_or(now);
        self.note(pod, |progress| progress.refused_since = Some(since));
        let lasted = now.saturating_duration_since(since);
        if lasted >= REFUSED_FOR { error.refused_for(lasted) } else { error }
    }
}
