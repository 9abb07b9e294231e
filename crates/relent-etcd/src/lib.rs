//! Who is a member of an etcd cluster, and changing it so that it is done once and known to be done.
//!
//! [`Members`] has the operations. It works over [`Cluster`], the few calls they need: implemented for etcd itself with
//! [`etcd_client`](https://docs.rs/etcd-client) behind the feature `etcd`, which needs `protoc` and its standard includes
//! (Debian: `protobuf-compiler` and `libprotobuf-dev`) when it is built, and for a model of etcd's rules in
//! `testing::etcd`.

mod asking;
#[cfg(feature = "etcd")]
mod channel;
pub mod classify;
#[cfg(feature = "etcd")]
mod client;
mod cluster;
mod error;
mod intent;
#[cfg(feature = "etcd")]
mod lock;
mod members;
mod peer_url;
#[cfg(feature = "etcd")]
mod reports;
mod rotation;
#[cfg(feature = "etcd")]
mod turns;

pub use self::{
    classify::{Class, Code},
    cluster::{CallError, Cluster, Member, Status},
    error::MemberError,
    intent::{Step, Which},
    members::{EnsureMember, Gone, HealthCheck, MemberWork, Members, WaitHealthy},
    peer_url::PeerUrls,
    rotation::Health,
};
#[cfg(feature = "etcd")]
pub use self::{client::EtcdCluster, lock::EtcdLock};
