//! Connections that break, in the shape in which a client meets them.

use std::{error::Error, fmt, io};

use tower::BoxError;

/// A failed call without an answer. Like the errors of HTTP clients it says little itself, and keeps the cause as its
/// source.
#[derive(Debug)]
struct Broken {
    text: &'static str,
    cause: io::Error,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// Nothing listens: nothing was sent.
pub(super) fn refused() -> BoxError {
    let cause = io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused (os error 111)");
    Broken { text: "client error (Connect)", cause }.into()
}

/// The connection was cut while an answer was waited for.
pub(super) fn lost() -> BoxError {
    Broken { text: "client error (SendRequest)", cause: reset() }.into()
}

/// The connection was cut.
pub(super) fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}
