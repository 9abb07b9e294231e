//! A name that no other candidate has.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// The name of this host and a random part: unique for each call, so that a process that is started again is not taken
/// for the one before it. The host is the environment's `HOSTNAME` (a pod's name, in Kubernetes), or what the system
/// says.
#[must_use]
pub fn identity() -> String {
    let named = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let named = named.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    // Keys of hash maps come from the system's source of randomness.
    let random = RandomState::new().build_hasher().finish();
    format!("{}_{random:016x}", named.as_deref().unwrap_or("host"))
}
