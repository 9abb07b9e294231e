//! Membership of an etcd cluster.

pub mod classify;
#[cfg(feature = "etcd")]
mod client;
mod cluster;
mod peer_url;

#[cfg(feature = "etcd")]
pub use self::client::EtcdCluster;
pub use self::{
    classify::{Class, Code},
    cluster::{CallError, Cluster, Member, Status},
    peer_url::PeerUrls,
};
