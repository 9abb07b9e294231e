//! Who is a member of an etcd cluster, and changing it so that it is done once and known to be done.
//!
//! [`Members`] has the operations. It works over [`Cluster`], the few calls they need: implemented for etcd itself with
//! [`etcd_client`](https://docs.rs/etcd-client) behind the feature `etcd`, which needs `protoc` and its standard includes
//! (Debian: `protobuf-compiler` and `libprotobuf-dev`) when it is built, and for a model of etcd's rules in
//! `testing::etcd`.

mod asking;
#[cfg(feature = "client")]
mod channel;
pub mod classify;
#[cfg(feature = "client")]
mod client;
mod cluster;
mod error;
mod intent;
#[cfg(feature = "client")]
mod ledger;
#[cfg(feature = "client")]
mod lock;
mod members;
#[cfg(feature = "model")]
#[cfg_attr(docsrs, doc(cfg(feature = "model")))]
pub mod model;
mod peer_url;
mod quorum;
#[cfg(feature = "client")]
mod reports;
mod rotation;
mod time;
#[cfg(feature = "client")]
mod turns;

pub use self::{
    classify::{CallErrorClass, Code},
    cluster::{CallError, Cluster, Member, MemberStatus},
    error::MemberError,
    intent::{MemberChange, Which},
    members::{EnsureMember, Gone, HealthCheck, MemberWork, Members, WaitHealthy},
    peer_url::PeerUrls,
    rotation::ClusterHealth,
};
#[cfg(feature = "client")]
pub use self::{client::EtcdCluster, ledger::EtcdLedger, lock::EtcdLock};
