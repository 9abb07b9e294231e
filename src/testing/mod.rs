//! For tests of your own code: feature `test-util`.

mod clock;
/// A Kubernetes API server inside this process.
#[cfg(feature = "k8s")]
pub mod kube;

pub use clock::VirtualClock;
