//! What can go wrong with a change of membership.

use std::fmt;

use relent::Decision;

use crate::{CallError, CallErrorClass, Code, Member, classify};

/// Why a member is not as it was asked for. Its text tells what came of a call, and then what to do; so it has no
/// source.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// A call did not give what it was made for.
    #[error("{call} at {endpoint}: {error}{}", Advice(call, error))]
    Call {
        /// `member add`, `member list`, ..
        call: &'static str,
        /// Where it was made.
        endpoint: String,
        /// What came of it.
        error: CallError,
    },
    /// The change was not sent: more than half of the voters there would be must be able to vote, and they would not.
    #[error("{change} would leave {able} of {voters} voters able to vote, {quorum} are needed: {advice}")]
    WouldLoseQuorum {
        /// The change that was asked for.
        change: String,
        /// How many voters there would be.
        voters: u32,
        /// How many of them would have started.
        able: u32,
        /// How many are needed.
        quorum: u32,
        /// What to do instead.
        advice: &'static str,
        /// Whether it may be made once the voters that there are have started.
        later: bool,
    },
    /// A learner was asked for; this is a voter, and no voter becomes a learner.
    #[error("{0} is no learner, and cannot become one: remove it first")]
    IsVoter(Box<Member>),
    /// No such member.
    #[error("no member {0} in the cluster")]
    NotFound(String),
    /// The member that was meant is gone, and another has its URL.
    #[error("member {was:x} is gone, and {now} has its url: it was removed and added again")]
    Replaced {
        /// The id of the one that was meant.
        was: u64,
        /// The one that has its URL now.
        now: Box<Member>,
    },
    /// There is a member with some of the URLs that were asked for, and not with these.
    #[error("{member} has not the peer url {}", missing.join(","))]
    UrlsDiffer {
        /// The one that there is.
        member: Box<Member>,
        /// The URLs it does not have.
        missing: Vec<String>,
    },
    /// The URLs that were asked for belong to several members.
    #[error("the peer urls belong to two members: {one} and {other}")]
    TwoMembers {
        /// One of them.
        one: Box<Member>,
        /// Another.
        other: Box<Member>,
    },
    /// It was added, and has never started. It must, before it can be promoted.
    #[error("{0} has not started yet")]
    NotStarted(Box<Member>),
    /// It is not promoted while it does not answer: a voter that does not run may cost the quorum.
    #[error("{member} is not promoted while it does not answer: {error}")]
    NotAnswering {
        /// The learner.
        member: Box<Member>,
        /// What came of asking it.
        error: CallError,
    },
}

debug_as_display!(MemberError);

/// What to do about a refusal, after a colon.
struct Advice<'a>(&'static str, &'a CallError);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, message) = match self.1 {
            CallError::Answered { code, message } => (code, message),
            CallError::Untrusted(text)
                if text.contains("fatal alert: BadCertificate")
                    || text.contains("fatal alert: CertificateRequired") =>
            {
                return f.write_str(": give the client a certificate that this etcd accepts");
            }
            _ => return Ok(()),
        };
        let known = classify::find(message).map_or("", |known| known.text);
        f.write_str(match (*code, known) {
            (_, "user name is empty") => ": give a user's name and password",
            (_, "authentication failed, invalid user ID or password") => ": check the user's name and password",
            (_, "mvcc: database space exceeded") => {
                ": compact and defragment etcd or raise its quota, then disarm the alarm (`etcdctl alarm disarm`)"
            }
            (_, "corrupt cluster") => ": replace the member whose data is corrupt (`etcdctl alarm list` names it)",
            (Code::PermissionDenied, _) if self.0.ends_with("member list") => {
                ": before etcd 3.5 a list is known to be current only after a read, so grant this user the right to read the key \
                 relent/barrier (`etcdctl role grant-permission ROLE read relent/barrier`)"
            }
            (Code::PermissionDenied, _) => ": to change members takes a user with the role root",
            _ => "",
        })
    }
}

impl MemberError {
    /// Whether a later try may mend it.
    #[must_use]
    pub fn decision(&self) -> Decision {
        let retry = match self {
            Self::Call { error, .. } => error.class() != CallErrorClass::Decided,
            Self::WouldLoseQuorum { later, .. } => *later,
            Self::NotStarted(_) | Self::NotAnswering { .. } => true,
            Self::IsVoter(_)
            | Self::NotFound(_)
            | Self::Replaced { .. }
            | Self::UrlsDiffer { .. }
            | Self::TwoMembers { .. } => false,
        };
        retry.into()
    }

    /// Whether a change may have been made, or may yet be made, all the same.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        matches!(self, Self::Call { error, .. } if error.in_doubt())
    }
}
