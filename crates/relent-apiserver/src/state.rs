//! All that a server remembers, behind one lock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    fault::Plan,
    identity::Access,
    journal::Journal,
    resource::ResourceKind,
    resources::Resources,
    store::{Key, Store},
    tokens::Tokens,
    watchers::Watchers,
};
use crate::time::{self, Instant};

/// When a server that went down serves again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outage {
    /// Connections are refused until then; with `stopped`, for ever.
    pub(super) down: Option<Instant>,
    /// From then on until this time, users with limited rights are refused.
    pub(super) warming: Option<Instant>,
    pub(super) stopped: bool,
}

impl Outage {
    pub(super) fn is_down(&self) -> bool {
        self.stopped || self.down.is_some_and(|until| time::now() < until)
    }

    pub(super) fn is_warming(&self) -> bool {
        self.warming.is_some_and(|until| time::now() < until)
    }
}

/// What the containers of pods have written: by namespace, pod and container.
pub(super) type Logs = BTreeMap<(String, String, String), String>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) resources: Resources,
    pub(super) access: Access,
    pub(super) tokens: Tokens,
    pub(super) faults: Plan,
    pub(super) journal: Journal,
    pub(super) watchers: Watchers,
    /// Up to which revision watches were told of changes.
    told: u64,
    /// The garbage collector works after every write.
    pub(super) collects: bool,
    /// Up to which revision it has seen everything.
    pub(super) collected: u64,
    /// What the answer to this request says beside its body.
    pub(super) warnings: Vec<String>,
    pub(super) outage: Outage,
    /// How long the objects of a custom kind are not served once it is established.
    pub(super) initializing: Duration,
    /// How long it takes until a new definition is established.
    pub(super) establishing: Duration,
    /// Definitions that this request has made, by key and uid, which are to be established later.
    pub(super) to_establish: Vec<(Key, String)>,
    /// Custom kinds whose objects are not served before then.
    initialized: BTreeMap<String, Instant>,
    /// What the containers of pods have written.
    pub(super) logs: Logs,
    #[cfg(feature = "ws")]
    pub(super) scripts: super::scripts::Scripts,
    random: fastrand::Rng,
    /// The wall clock when the server began; what it stamps follows tokio's clock from there.
    epoch: Timestamp,
    started: Instant,
    addresses: u32,
}

impl State {
    pub(super) fn new() -> Self {
        let mut state = Self {
            store: Store::default(),
            resources: Resources::builtin(),
            access: Access::default(),
            tokens: Tokens::default(),
            faults: Plan::default(),
            journal: Journal::default(),
            watchers: Watchers::default(),
            told: 0,
            collects: false,
            collected: 0,
            warnings: Vec::new(),
            outage: Outage::default(),
            initializing: Duration::ZERO,
            establishing: Duration::ZERO,
            to_establish: Vec::new(),
            initialized: BTreeMap::new(),
            logs: Logs::default(),
            #[cfg(feature = "ws")]
            scripts: super::scripts::Scripts::default(),
            random: fastrand::Rng::new(),
            epoch: Timestamp::try_from(time::wall()).unwrap_or_default(),
            started: time::now(),
            addresses: 0,
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let mut namespace = json!({
                "kind": "Namespace", "apiVersion": "v1",
                "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
                "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
            });
            namespace["metadata"]["uid"] = state.uid().into();
            namespace["metadata"]["creationTimestamp"] = state.stamp(0).into();
            let key = Key { resource: "namespaces".into(), namespace: String::new(), name: name.to_owned() };
            state.store.put(key, &namespace);
        }
        state
    }

    /// A custom kind, by its qualified name, is established.
    pub(super) fn established(&mut self, name: &str) {
        if let Some(ready) = time::now().checked_add(self.initializing).filter(|_| !self.initializing.is_zero()) {
            self.initialized.insert(name.to_owned(), ready);
        }
    }

    /// Whether the objects of a resource are not served yet.
    pub(super) fn is_initializing(&self, resource: &ResourceKind) -> bool {
        let ready = self.initialized.get(&resource.qualified());
        ready.is_some_and(|ready| time::now() < *ready)
    }

    /// Tells the watches of what has changed since the last time.
    pub(super) fn tell(&mut self) {
        for change in self.store.since(self.told) {
            self.watchers.tell(change);
        }
        self.told = self.store.revision();
    }

    /// How long the server has been there.
    pub(super) fn age(&self) -> Duration {
        time::now().saturating_duration_since(self.started)
    }

    fn moment(&self, seconds: i64) -> Timestamp {
        let age = SignedDuration::try_from(self.age()).unwrap_or(SignedDuration::MAX);
        let at = self.epoch.saturating_add(age).and_then(|now| now.saturating_add(SignedDuration::from_secs(seconds)));
        at.unwrap_or(self.epoch)
    }

    /// The time so many seconds from now, as metadata has it.
    pub(super) fn stamp(&self, seconds: i64) -> String {
        self.moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        self.moment(0).as_second()
    }

    /// A random UUID.
    pub(super) fn uid(&mut self) -> String {
        let bits = self.random.u128(..);
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let digits = format!("{bits:032x}");
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }

    /// A name that begins with `prefix`.
    pub(super) fn generated(&mut self, prefix: &str) -> String {
        let letters = b"bcdfghjklmnpqrstvwxz2456789";
        let tail: String = (0..5).map(|_| char::from(letters[self.random.usize(..letters.len())])).collect();
        format!("{}{tail}", &prefix[..prefix.len().min(58)])
    }

    /// An address for a service; the first is 10.0.0.1.
    pub(super) fn address(&mut self) -> String {
        self.addresses = self.addresses.wrapping_add(1);
        let [_, b, c, d] = self.addresses.to_be_bytes();
        format!("10.{b}.{c}.{d}")
    }

    pub(super) fn namespaces(&self) -> Arc<ResourceKind> {
        let known = self.resources.qualified("namespaces").cloned();
        known.unwrap_or_else(|| Arc::new(ResourceKind::new("", "v1", "Namespace", "namespaces").cluster_wide()))
    }
}
