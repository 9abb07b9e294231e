//! For tests of your own code.

/// A Kubernetes API server inside this process.
#[cfg(feature = "k8s")]
pub mod kube;
