//! For tests of your own code: feature `test-util`.

mod clock;
pub mod etcd;
#[cfg(feature = "k8s")]
pub mod kube;
mod machine;
mod membership;
pub mod proxy;

pub use clock::VirtualClock;
pub use machine::{Machine, OnMachine};
