//! What follows an error.

use std::time::Duration;

/// What follows an error.
///
/// `bool` converts: `true` is [`Retry`](Self::Retry), `false` is [`Fatal`](Self::Fatal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// Try again when the cadence says so.
    #[default]
    Retry,
    /// Try again when the cadence says so, but not before this pause: what a server asked for. At most
    /// `max_retry_after`.
    RetryAfter(Duration),
    /// Repeating cannot mend it.
    Fatal,
}

impl From<bool> for Decision {
    fn from(retry: bool) -> Self {
        if retry { Self::Retry } else { Self::Fatal }
    }
}
