//! What etcd's answers mean for a change of membership: one table.
//!
//! The gRPC code does not tell "already done" from "try later" (both come as `FailedPrecondition`), and it differs
//! between versions of etcd. The message decides; the code only where the message is not known.

use std::fmt;

/// A gRPC status code, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are those of the gRPC specification")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl From<i32> for Code {
    /// A number that is no code is `Unknown`.
    fn from(number: i32) -> Self {
        let codes = [
            Self::Ok,
            Self::Cancelled,
            Self::Unknown,
            Self::InvalidArgument,
            Self::DeadlineExceeded,
            Self::NotFound,
            Self::AlreadyExists,
            Self::PermissionDenied,
            Self::ResourceExhausted,
            Self::FailedPrecondition,
            Self::Aborted,
            Self::OutOfRange,
            Self::Unimplemented,
            Self::Internal,
            Self::Unavailable,
            Self::DataLoss,
            Self::Unauthenticated,
        ];
        usize::try_from(number).ok().and_then(|at| codes.get(at).copied()).unwrap_or(Self::Unknown)
    }
}

/// `Unavailable`, ..
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallErrorClass {
    /// The cluster cannot do it now; asked again later it may.
    Later,
    /// This member cannot do it; ask another.
    Elsewhere,
    /// It may be what we wanted, done by an earlier try of ours or by another client: the list of members tells.
    Look,
    /// It was refused, and will be again.
    Decided,
}

/// One message of etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Its text, after `etcdserver: `.
    pub text: &'static str,
    /// The gRPC code it is sent with (by some versions or calls with another: see the text first).
    pub code: Code,
    /// What to do about it.
    pub class: CallErrorClass,
    /// Whether the change may have been made, or may yet be made, although etcd answered this.
    pub in_doubt: bool,
}

const fn message(class: CallErrorClass, code: Code, text: &'static str) -> Message {
    Message { text, code, class, in_doubt: false }
}

const fn doubtful(class: CallErrorClass, code: Code, text: &'static str) -> Message {
    Message { text, code, class, in_doubt: true }
}

/// Every message etcd 3.4 to 3.6 may send in answer to a call about members, and to the reads that go with it.
pub const MESSAGES: &[Message] = &[
    message(CallErrorClass::Later, Code::Unavailable, "unhealthy cluster"),
    message(CallErrorClass::Later, Code::FailedPrecondition, "too many learner members in cluster"),
    message(
        CallErrorClass::Later,
        Code::FailedPrecondition,
        "can only promote a learner member which is in sync with leader",
    ),
    // Sent without a code of its own.
    message(CallErrorClass::Later, Code::Unknown, "re-configuration failed due to not enough started members"),
    message(CallErrorClass::Later, Code::Unavailable, "no leader"),
    message(CallErrorClass::Later, Code::FailedPrecondition, "not leader"),
    message(CallErrorClass::Later, Code::Unavailable, "not capable"),
    message(CallErrorClass::Later, Code::ResourceExhausted, "too many requests"),
    message(CallErrorClass::Later, Code::Unauthenticated, "invalid auth token"),
    message(CallErrorClass::Later, Code::InvalidArgument, "revision of auth store is old"),
    doubtful(CallErrorClass::Later, Code::Unavailable, "leader changed"),
    doubtful(CallErrorClass::Later, Code::Unavailable, "request timed out"),
    doubtful(CallErrorClass::Later, Code::Unavailable, "request timed out, possibly due to previous leader failure"),
    doubtful(CallErrorClass::Later, Code::Unavailable, "request timed out, possibly due to connection lost"),
    doubtful(
        CallErrorClass::Later,
        Code::Unavailable,
        "request timed out, waiting for the applied index took too long",
    ),
    doubtful(CallErrorClass::Elsewhere, Code::Unavailable, "server stopped"),
    // FailedPrecondition from 3.6 on.
    message(CallErrorClass::Elsewhere, Code::Unavailable, "rpc not supported for learner"),
    message(CallErrorClass::Look, Code::FailedPrecondition, "Peer URLs already exists"),
    message(CallErrorClass::Look, Code::FailedPrecondition, "member ID already exist"),
    message(CallErrorClass::Look, Code::NotFound, "member not found"),
    message(CallErrorClass::Look, Code::FailedPrecondition, "can only promote a learner member"),
    message(CallErrorClass::Decided, Code::InvalidArgument, "given member URLs are invalid"),
    message(CallErrorClass::Decided, Code::PermissionDenied, "permission denied"),
    message(CallErrorClass::Decided, Code::InvalidArgument, "authentication failed, invalid user ID or password"),
    message(CallErrorClass::Decided, Code::FailedPrecondition, "authentication is not enabled"),
    message(CallErrorClass::Decided, Code::InvalidArgument, "invalid auth management"),
    message(CallErrorClass::Decided, Code::InvalidArgument, "user name is empty"),
    message(CallErrorClass::Decided, Code::FailedPrecondition, "user name not found"),
    message(CallErrorClass::Decided, Code::FailedPrecondition, "role is not granted to the user"),
    message(CallErrorClass::Decided, Code::InvalidArgument, "request is too large"),
    message(CallErrorClass::Decided, Code::ResourceExhausted, "mvcc: database space exceeded"),
    message(CallErrorClass::Decided, Code::DataLoss, "corrupt cluster"),
    message(CallErrorClass::Decided, Code::FailedPrecondition, "cluster has a downgrade job in progress"),
];

/// The entry for a message as it came, if etcd's table has it.
///
/// ```
/// use relent_etcd::{CallErrorClass, classify};
///
/// let message = classify::find("etcdserver: too many learner members in cluster").unwrap();
/// assert_eq!(message.class, CallErrorClass::Later);
/// ```
#[must_use]
pub fn find(message: &str) -> Option<&'static Message> {
    let text = message.trim().trim_start_matches("etcdserver: ");
    MESSAGES.iter().find(|known| known.text == text)
}

/// The class of an answer: by its message, and by its code if that is not known.
#[must_use]
pub fn class(code: Code, message: &str) -> CallErrorClass {
    if let Some(known) = find(message) {
        return known.class;
    }
    match code {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss => CallErrorClass::Decided,
        Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => CallErrorClass::Look,
        _ => CallErrorClass::Later,
    }
}

/// Whether the change may have been made, or may yet be made, although this was the answer.
#[must_use]
pub fn in_doubt(code: Code, message: &str) -> bool {
    match find(message) {
        Some(known) => known.in_doubt,
        None => matches!(
            code,
            Code::Unknown
                | Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::Internal
                | Code::Unavailable
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_in_the_table_once() {
        for message in MESSAGES {
            let same = MESSAGES.iter().filter(|other| other.text == message.text).count();
            assert_eq!(same, 1, "{}", message.text);
            assert_eq!(find(&format!("etcdserver: {}", message.text)), Some(message));
            assert_eq!(class(Code::Unknown, message.text), message.class, "the message goes before the code");
        }
    }

    #[test]
    fn a_longer_message_is_not_its_beginning() {
        let ready = "etcdserver: can only promote a learner member which is in sync with leader";
        let learner = "etcdserver: can only promote a learner member";
        assert_eq!(class(Code::FailedPrecondition, ready), CallErrorClass::Later);
        assert_eq!(class(Code::FailedPrecondition, learner), CallErrorClass::Look);
    }

    #[test]
    fn the_unknown_goes_by_its_code() {
        assert_eq!(class(Code::Unavailable, "transport error"), CallErrorClass::Later);
        assert_eq!(class(Code::from(99), "raft: stopped"), CallErrorClass::Later);
        assert_eq!(class(Code::Unimplemented, "unknown service"), CallErrorClass::Decided);
        assert_eq!(class(Code::FailedPrecondition, "news"), CallErrorClass::Look);
        assert!(in_doubt(Code::Unavailable, "connection reset"));
        assert!(!in_doubt(Code::Unavailable, "etcdserver: unhealthy cluster"));
        assert!(in_doubt(Code::Unavailable, "etcdserver: request timed out"));
        for (number, code) in (0..17).map(|number| (number, Code::from(number))) {
            assert_eq!(code as i32, number);
        }
    }
}
