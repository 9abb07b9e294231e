//! Membership of an etcd cluster.

pub mod classify;
mod cluster;
mod peer_url;

pub use self::{
    classify::{Class, Code},
    cluster::{CallError, Cluster, Member, Status},
    peer_url::PeerUrls,
};
