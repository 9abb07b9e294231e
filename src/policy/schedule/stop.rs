//! Why a run ends by its policy, and what cuts an attempt.

/// Why a run ended, as far as its own policy decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyStop {
    /// The error cannot be mended.
    Fatal,
    /// All attempts were made.
    Attempts,
    /// The backoff has no further delay.
    BackoffEnded,
    /// The next start would lie beyond the start window.
    StartWindow,
    /// The next start would lie at the hard bound or beyond.
    Deadline,
}

/// What cut an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CutBy {
    /// Its own deadline, `attempt_timeout`.
    AttemptTimeout,
    /// The bound on everything, `finish_within`.
    Deadline,
    /// The token given to `cancel_on`.
    Cancelled,
}
