//! The members of an etcd cluster, and changing them so that it is done once and known to be done.
//!
//! | I want to | |
//! |---|---|
//! | know the members, all of them and as of now | [`Members::list`] |
//! | have a member, and know that it is one | [`Members::ensure_joined`], [`ensure_learner`](Members::ensure_learner), [`ensure_voter`](Members::ensure_voter), [`ensure_promoted`](Members::ensure_promoted) |
//! | have a member gone | [`Members::ensure_removed`] |
//! | wait until all are well | [`Members::wait_healthy`] |
//! | hold leadership by a key | `EtcdLock` |
//! | know what an error of a call means for the next one | [`classify`] |
//! | test all of this without etcd | `model` (feature `model`) |
//!
//! [`Members`] works over [`Cluster`], the few calls it needs: `EtcdCluster` makes them with
//! [`etcd_client`](https://docs.rs/etcd-client), the model plays them by etcd's rules.
//!
//! # Features
//!
//! `client`, on by default: etcd itself, `EtcdCluster` and `EtcdLock`. It needs `protoc` and its standard includes
//! (Debian: `protobuf-compiler` and `libprotobuf-dev`) when it is built. `model`: the model, which needs neither.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// `unwrap()` and `fn main() -> Result` show an error by `Debug`: it says there what a person reads.
macro_rules! debug_as_display {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}

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
mod key;
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
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use self::{client::EtcdCluster, ledger::EtcdLedger, lock::EtcdLock};

/// Its code blocks are compiled.
#[cfg(all(doctest, feature = "model"))]
#[doc = include_str!("../README.md")]
struct Readme;
