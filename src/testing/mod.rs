//! For tests of your own code: feature `test-util`.

mod clock;
#[cfg(feature = "k8s")]
pub mod kube;

pub use clock::VirtualClock;
