//! Errors of connections and files: which of them time can mend.
//!
//! ```
//! use std::time::Duration;
//! use relent::{io, retry};
//! use tokio::net::TcpStream;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//! # let address = server.local_addr().unwrap();
//! let stream = retry(async |_| TcpStream::connect(address).await)
//!     .when(io::classify)
//!     .attempt_timeout(Duration::from_secs(5))
//!     .finish_within(Duration::from_secs(60))
//!     .await;
//! # stream.unwrap();
//! # }
//! ```
//!
//! The clients that people use put an [`io::Error`](Error) below their own. [`cause`] finds it:
//!
//! ```
//! # #[derive(Debug, thiserror::Error)] #[error("error sending request")] struct ClientError(#[source] std::io::Error);
//! # async fn send() -> Result<(), ClientError> { Err(ClientError(std::io::ErrorKind::PermissionDenied.into())) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use relent::{Decision, io, retry};
//!
//! let refused = retry(async |_| send().await)
//!     .when(|error| io::cause(error).map_or(Decision::Retry, io::classify))
//!     .await
//!     .unwrap_err();
//! assert!(refused.is_fatal());
//! # }
//! ```

use std::{
    error::Error as StdError,
    io::{Error, ErrorKind},
    iter::successors,
};

use crate::{error::BoxedError, policy::schedule::attempts::Decision};

/// An error whose sources go round in a circle is followed this far.
const LEVELS: usize = 64;

/// What follows an error of this kind, for calls that may be made twice.
///
/// Fatal is what no time mends: what is not there or not allowed, a path or an argument that cannot be, data that
/// cannot be read (a certificate that is not trusted is told so). Everything else is retried: connections refused,
/// reset or timed out, networks that are down, names that are not resolved at the moment, descriptors or disk space
/// that ran out, and kinds that are not known, since a system has more of them than [`ErrorKind`] names.
///
/// A file that another process will create, or a socket that is not bound yet, is the exception: there `NotFound` is
/// worth waiting for, and [`poll`](crate::poll()) says so.
#[must_use]
pub fn classify(error: &Error) -> Decision {
    use ErrorKind::{
        AlreadyExists, ArgumentListTooLong, CrossesDevices, DirectoryNotEmpty, FileTooLarge, InvalidData,
        InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, NotSeekable, PermissionDenied,
        ReadOnlyFilesystem, TooManyLinks, Unsupported,
    };
    let is_permanent = matches!(
        error.kind(),
        NotFound
            | PermissionDenied
            | AlreadyExists
            | InvalidInput
            | InvalidData
            | InvalidFilename
            | Unsupported
            | NotADirectory
            | IsADirectory
            | DirectoryNotEmpty
            | ReadOnlyFilesystem
            | NotSeekable
            | FileTooLarge
            | CrossesDevices
            | TooManyLinks
            | ArgumentListTooLong
    );
    Decision::from(!is_permanent)
}

/// Whether this error says for sure that there was no connection, so that nothing can have been sent: a call that must
/// not be made twice may be repeated after it.
///
/// Refused connections, and addresses that are not this machine's to connect from. Other errors of connecting look like
/// those of a connection that broke off.
#[must_use]
pub fn never_sent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable)
}

/// The innermost [`io::Error`](Error) that this error is, wraps or has among its sources.
#[must_use]
pub fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    causes(error).filter_map(|error| error.downcast_ref()).last()
}

/// The error and all below it, also what an [`io::Error`](Error) or a [`BoxedError`] wraps, which is not among its
/// sources.
pub(crate) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(Some(error), |&error| {
        if let Some(boxed) = error.downcast_ref::<BoxedError>() {
            return Some(boxed.get_ref());
        }
        let wrapped = error.downcast_ref::<Error>().and_then(Error::get_ref);
        wrapped.map(|wrapped| wrapped as _).or_else(|| error.source())
    })
    .take(LEVELS)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connecting")]
    struct Connecting(#[source] Error);

    #[derive(Debug, thiserror::Error)]
    #[error("request")]
    struct Request(#[from] Connecting);

    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round")
        }
    }

    impl StdError for Circle {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&Circle)
        }
    }

    #[test]
    fn the_innermost_is_found_however_it_is_wrapped() {
        let kind = |error: &(dyn StdError + 'static)| cause(error).map(Error::kind);
        let refused = || Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(kind(&refused()), Some(ErrorKind::ConnectionRefused));
        assert_eq!(kind(&Request(Connecting(refused()))), Some(ErrorKind::ConnectionRefused));
        assert_eq!(kind(&Error::other(refused())), Some(ErrorKind::ConnectionRefused));
        assert_eq!(kind(&Error::other(Request(Connecting(refused())))), Some(ErrorKind::ConnectionRefused));
        assert_eq!(kind(&Error::new(ErrorKind::TimedOut, "slow")), Some(ErrorKind::TimedOut));
        assert_eq!(kind(&fmt::Error), None);
        assert_eq!(kind(&Circle), None);
    }

    #[tokio::test]
    async fn it_is_found_in_what_a_run_boxed() {
        let boxed = crate::retry(async |_| {
            Err::<(), Box<dyn StdError + Send + Sync>>(Request(Connecting(Error::other("x"))).into())
        })
        .max_attempts(1)
        .boxed()
        .await
        .unwrap_err();
        assert_eq!(cause(boxed.last_error().unwrap()).map(Error::kind), Some(ErrorKind::Other));
    }

    #[test]
    fn what_the_system_says_is_classified() {
        for (code, retry) in [
            (rustix::io::Errno::CONNREFUSED, true),
            (rustix::io::Errno::CONNRESET, true),
            (rustix::io::Errno::PIPE, true),
            (rustix::io::Errno::TIMEDOUT, true),
            (rustix::io::Errno::HOSTUNREACH, true),
            (rustix::io::Errno::NETUNREACH, true),
            (rustix::io::Errno::NETDOWN, true),
            (rustix::io::Errno::MFILE, true),
            (rustix::io::Errno::NOBUFS, true),
            (rustix::io::Errno::NOSPC, true),
            (rustix::io::Errno::ADDRINUSE, true),
            (rustix::io::Errno::INTR, true),
            (rustix::io::Errno::NOENT, false),
            (rustix::io::Errno::ACCESS, false),
            (rustix::io::Errno::PERM, false),
            (rustix::io::Errno::INVAL, false),
            (rustix::io::Errno::EXIST, false),
            (rustix::io::Errno::ROFS, false),
            (rustix::io::Errno::NOTDIR, false),
            (rustix::io::Errno::NOSYS, false),
        ] {
            assert_eq!(classify(&Error::from(code)), Decision::from(retry), "{code}");
        }
        assert_eq!(classify(&Error::other("made by a caller")), Decision::Retry);
    }
}
