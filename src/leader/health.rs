//! Whether a leader still renews: for a liveness probe.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    policy::nanos::{self, Measured, Written},
    time::BootClock,
};

/// Tells a liveness probe whether this process claims leadership without renewing it: its run is stuck, starved or
/// blocked, and restarting the process is the cure.
#[derive(Clone, Debug)]
pub struct Health {
    pub(super) last_renewal: Arc<LastRenewal>,
    pub(super) lease: u64,
    pub(super) tolerance: u64,
}

/// A leader that has not renewed for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealthy {
    since: Duration,
    lease: Duration,
    tolerance: Duration,
}

impl Unhealthy {
    /// How long ago the last confirmed renewal was sent.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, lease, tolerance } = *self;
        let (since, lease, tolerance) = (Measured(since), Written(lease), Written(tolerance));
        write!(f, "the last renewal was {since} ago, the lease is {lease} and the tolerance {tolerance}")
    }
}

impl Error for Unhealthy {}

/// When the last confirmed renewal of the term that runs was sent.
#[derive(Debug, Default)]
pub(super) struct LastRenewal {
    /// The run's.
    clock: OnceLock<BootClock>,
    /// One more than the nanoseconds; 0 is: no term runs. Release and Acquire: a probe that reads a time finds the
    /// clock set.
    sent: AtomicU64,
}

impl LastRenewal {
    pub(super) fn renewed(&self, clock: BootClock, sent: u64) {
        self.clock.get_or_init(|| clock);
        self.sent.store(sent.saturating_add(1), Ordering::Release);
    }

    pub(super) fn cleared(&self) {
        self.sent.store(0, Ordering::Release);
    }
}

impl Health {
    /// Fine while no term runs, and as long as the last confirmed renewal is not older than lease and tolerance
    /// together.
    ///
    /// # Errors
    /// [`Unhealthy`], with the times.
    pub fn check(&self) -> Result<(), Unhealthy> {
        let sent = self.last_renewal.sent.load(Ordering::Acquire);
        let (Some(clock), Some(sent)) = (self.last_renewal.clock.get(), sent.checked_sub(1)) else { return Ok(()) };
        let since = clock.now().saturating_sub(sent);
        if since <= self.lease.saturating_add(self.tolerance) {
            return Ok(());
        }
        let [since, lease, tolerance] = [since, self.lease, self.tolerance].map(nanos::duration);
        Err(Unhealthy { since, lease, tolerance })
    }
}
