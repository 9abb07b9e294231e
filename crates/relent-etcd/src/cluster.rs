//! The few calls that membership needs of etcd, one endpoint at a time.

use std::{fmt, future::Future};

use crate::classify::{self, CallErrorClass, Code};

/// The calls that [`Members`](crate::Members) makes.
///
/// Implemented for etcd itself by `EtcdCluster` (feature `client`) and for a model of its rules by
/// `model::Model` (feature `model`). Each call goes to the one endpoint it names, is made once, and may be
/// dropped at any time: the caller has a deadline for it and decides what follows.
pub trait Cluster: Send + Sync + 'static {
    /// The endpoints that may be asked, most preferred first.
    fn endpoints(&self) -> &[String];

    /// The members as all had agreed upon them when the call was made, where this etcd can tell. `None` where its lists
    /// are only what one member happens to know (before 3.5): a [`barrier`](Self::barrier) makes such a list current,
    /// if both come from one process.
    fn agreed_members(&self, endpoint: &str) -> impl Future<Output = Result<Option<Vec<Member>>, CallError>> + Send {
        let _ = endpoint;
        async { Ok(None) }
    }

    /// Returns when this member has applied all that the cluster had agreed upon when the call was made: a read through
    /// the leader. A member without a quorum cannot answer it, and a learner refuses it.
    fn barrier(&self, endpoint: &str) -> impl Future<Output = Result<(), CallError>> + Send;

    /// The members as this member has them, which may be behind.
    fn local_members(&self, endpoint: &str) -> impl Future<Output = Result<Vec<Member>, CallError>> + Send;

    /// Adds a member; its id.
    fn add(
        &self,
        endpoint: &str,
        peer_urls: &[String],
        learner: bool,
    ) -> impl Future<Output = Result<u64, CallError>> + Send;

    /// Makes a voter of a learner.
    fn promote(&self, endpoint: &str, id: u64) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Removes a member for good.
    fn remove(&self, endpoint: &str, id: u64) -> impl Future<Output = Result<(), CallError>> + Send;

    /// How the member that answers there sees itself. `endpoint` may be any client URL of the cluster's, also one that
    /// several members advertise. A learner answers too.
    fn status(&self, endpoint: &str) -> impl Future<Output = Result<MemberStatus, CallError>> + Send;

    /// The same over a new connection, so that another may answer behind an address that several members have.
    fn status_anew(&self, endpoint: &str) -> impl Future<Output = Result<MemberStatus, CallError>> + Send {
        self.status(endpoint)
    }
}

/// A member of a cluster, as a list has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Member {
    /// Its id: another one each time it is added, also under the same URLs.
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started for the first time.
    pub client_urls: Vec<String>,
    /// A learner follows and does not vote.
    pub learner: bool,
}

impl Member {
    /// A member as a list has it.
    #[must_use]
    pub fn new(id: u64, peer_urls: Vec<String>, learner: bool) -> Self {
        Self { id, name: String::new(), peer_urls, client_urls: Vec::new(), learner }
    }

    /// Whether it has ever started. An etcd that was added and never started counts for quorum, and has no vote to
    /// give.
    #[must_use]
    pub fn started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// `voter 8e9e05c52164694d (http://10.0.0.3:2380)`
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.learner { "learner" } else { "voter" };
        write!(f, "{kind} {:x} ({})", self.id, self.peer_urls.join(","))
    }
}

/// How a member sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// The id of the leader it follows; 0 is none.
    pub leader: u64,
    /// Whether it is a learner.
    pub learner: bool,
    /// What it complains about: alarms, no leader.
    pub errors: Vec<String>,
}

impl MemberStatus {
    /// A member that follows `leader` and has no complaint.
    #[must_use]
    pub fn new(id: u64, leader: u64, learner: bool) -> Self {
        Self { id, leader, learner, errors: Vec::new() }
    }
}

/// Why a call has no answer that it could use.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Etcd said no.
    #[error("etcd answered {message:?} ({code})")]
    Answered {
        /// The gRPC code.
        code: Code,
        /// Etcd's message.
        message: String,
    },
    /// The request was not sent: nothing listens there.
    #[error("not sent: {0}")]
    NotSent(String),
    /// No answer came. The request may have been carried out, or may yet be.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The answer came from another member than was asked, or from one that is another kind of member than the list
    /// says.
    #[error("{0}")]
    OtherMember(String),
    /// The two sides do not trust each other, or the settings of the client are wrong. Nothing was asked.
    #[error("not connected: {0}")]
    Untrusted(String),
}

debug_as_display!(CallError);

impl CallError {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> CallErrorClass {
        match self {
            Self::Answered { code, message } => classify::class(*code, message),
            Self::NotSent(_) | Self::NoAnswer(_) | Self::OtherMember(_) => CallErrorClass::Elsewhere,
            Self::Untrusted(_) => CallErrorClass::Decided,
        }
    }

    /// Whether a change may have been made, or may yet be made, all the same.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        match self {
            Self::Answered { code, message } => classify::in_doubt(*code, message),
            Self::NotSent(_) | Self::OtherMember(_) | Self::Untrusted(_) => false,
            Self::NoAnswer(_) => true,
        }
    }
}
