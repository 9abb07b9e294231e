//! For tests of your own code (feature `test-util`).

pub mod etcd;
mod membership;
pub mod proxy;
