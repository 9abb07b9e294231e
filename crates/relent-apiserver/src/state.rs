//! All that a server remembers, behind one lock.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    access::Access,
    fault::Plan,
    journal::Journal,
    resource::{Resource, Resources},
    store::{Key, Store},
};
use crate::time::{self, Instant};

#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) resources: Resources,
    pub(super) access: Access,
    pub(super) faults: Plan,
    pub(super) journal: Journal,
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
            faults: Plan::default(),
            journal: Journal::default(),
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

    /// How long the server has been there.
    pub(super) fn age(&self) -> Duration {
        time::now().saturating_duration_since(self.started)
    }

    /// The time so many seconds from now, as metadata has it.
    pub(super) fn stamp(&self, seconds: i64) -> String {
        let age = SignedDuration::try_from(self.age()).unwrap_or(SignedDuration::MAX);
        let at = self.epoch.saturating_add(age).and_then(|now| now.saturating_add(SignedDuration::from_secs(seconds)));
        at.unwrap_or(self.epoch).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
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

    pub(super) fn namespaces(&self) -> Arc<Resource> {
        let known = self.resources.qualified("namespaces").cloned();
        known.unwrap_or_else(|| Arc::new(Resource::new("", "v1", "Namespace", "namespaces").cluster_wide()))
    }
}
