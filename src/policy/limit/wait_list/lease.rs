//! For how long a bucket may be used, and how it was.

/// Until when a bucket may be used, and how it was.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Nothing is granted at this instant or later, nothing fills, and what is in by then is gone.
    pub(super) until: u64,
    /// Since when that has been so; if it is.
    pub(super) lapsed: Option<u64>,
    /// Since when it has been usable without a break: what was granted before does not come back.
    pub(super) opened: u64,
    pub(super) usage: Usage,
}

/// What was asked of a leased bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Permits, all in all, whether they were granted or not.
    pub asked: u64,
    /// Whether anything waited or was refused since this was last read.
    pub pressed: bool,
}
