//! Callers for Kubernetes.

pub mod eviction;
