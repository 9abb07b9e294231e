//! Which pod, why it is evicted, and what came of it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use k8s_openapi::api::core::v1::Pod;
use relent::ConfigError;

use crate::name;

/// What evicting a pod came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evicted {
    /// The Eviction API took it: the pod ends within its grace period.
    Accepted,
    /// There is no Eviction API; the pod was deleted.
    Deleted,
    /// The pod is not there any more.
    Gone,
    /// There is a pod of this name, but another one.
    Replaced,
    /// The pod is being deleted already, and has the grace period that it was given then: nothing was sent.
    Terminating,
}

/// A pod: namespace, name and UID. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    namespace: Arc<str>,
    name: Arc<str>,
    uid: Arc<str>,
}

impl PodKey {
    /// The pod of this namespace, name and UID. They are checked where the key is used.
    #[must_use]
    pub fn new(namespace: &str, name: &str, uid: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), uid: uid.into() }
    }

    /// The key of a pod that an API server gave; `None` if it has no namespace, name or UID.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let key = Self::new(meta.namespace.as_deref()?, meta.name.as_deref()?, meta.uid.as_deref()?);
        key.check().is_ok().then_some(key)
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

    /// Without a UID whatever pod has the name would be evicted, and a name that is part of a path would name something
    /// else.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        name::check("pod namespace", &self.namespace)?;
        name::check("pod name", &self.name)?;
        if self.uid.is_empty() {
            return Err(ConfigError::new("pod uid", "\"\"", "it must not be empty"));
        }
        Ok(())
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{} (uid {})", self.namespace, self.name, self.uid)
    }
}

/// Why a pod is evicted, and how. One value serves any number of pods.
#[derive(Clone, Debug)]
pub struct Eviction {
    note: Arc<str>,
    pub(super) grace: Option<u32>,
    /// What it came to: of the value that was given for one pod, and its clones.
    outcome: Arc<OnceLock<Told>>,
}

/// What an eviction came to, and why its event was not written.
type Told = (Option<Evicted>, Option<Arc<str>>);

impl Eviction {
    /// An eviction with the text of its event.
    #[must_use]
    pub fn new(note: &str) -> Self {
        Self { note: note.into(), grace: None, outcome: Arc::default() }
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

    /// What it came to: in the value that [`ItemEvent`](relent::queue::ItemEvent) hands back. `None`: the pod was not
    /// evicted.
    #[must_use]
    pub fn outcome(&self) -> Option<Evicted> {
        self.outcome.get().and_then(|(evicted, _)| *evicted)
    }

    /// Why the event was not written: in the value that [`ItemEvent`](relent::queue::ItemEvent) hands back. `None` if
    /// it was, or if there was none to write.
    #[must_use]
    pub fn event_error(&self) -> Option<&str> {
        self.outcome.get().and_then(|(_, error)| error.as_deref())
    }

    /// Notes what it came to. Once: what is over is over.
    pub(super) fn tell(&self, evicted: Option<Evicted>, event_error: Option<Arc<str>>) {
        let _ = self.outcome.set((evicted, event_error));
    }

    /// What was asked for, and nothing of what became of it.
    pub(super) fn anew(mut self) -> Self {
        self.outcome = Arc::default();
        self
    }
}
