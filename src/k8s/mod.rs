//! Callers for Kubernetes.

mod lease;

pub use self::lease::LeaseLock;
