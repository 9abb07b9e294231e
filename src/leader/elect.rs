//! `elect`: campaign for a lock, work while it is held.

use std::{fmt, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    change::{Change, OnChange},
    health::{Health, Pulse},
    leading::Leading,
    lock::Lock,
    term::Term,
    work::{Many, Once},
};
use crate::policy::{lease::Timing, nanos::nanos};

/// A campaign for `lock` under `identity`.
///
/// The identity must be unique among all processes, and should be so for each run of a process: host name and a random
/// part, say. An election takes a record that bears its identity, and that it did not write, for another's.
///
/// ```
/// use relent::leader::{Ended, MemoryLock, Timing, elect};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ended = elect(MemoryLock::new(), "worker-7f3a")
///     .timing(Timing::default())
///     .run(|term| async move {
///         tokio::select! {
///             () = term.lost() => "told to stop",
///             () = tokio::time::sleep(std::time::Duration::from_secs(60)) => "done",
///         }
///     })
///     .await?;
/// assert!(matches!(ended, Ended::Finished("done")));
/// # Ok(()) }
/// ```
pub fn elect<L: Lock>(lock: L, identity: impl Into<String>) -> Elect<L> {
    let settings = Settings {
        identity: identity.into().into(),
        timing: Timing::default(),
        release_on_end: true,
        lead_on_create: false,
        cancel: None,
        tasks_grace: None,
        on_change: None,
        pulse: Arc::default(),
    };
    Elect { lock, settings }
}

/// A campaign to be: made by [`elect`], run by [`run`](Elect::run).
#[derive(Debug)]
#[must_use = "a campaign does nothing until it is run"]
pub struct Elect<L> {
    lock: L,
    settings: Settings,
}

pub(super) struct Settings {
    pub(super) identity: Arc<str>,
    pub(super) timing: Timing,
    pub(super) release_on_end: bool,
    pub(super) lead_on_create: bool,
    pub(super) cancel: Option<CancellationToken>,
    /// The work runs in tasks of its own: how long they may take to end after a cancellation, instead of the stop grace;
    /// the term is renewed meanwhile.
    pub(super) tasks_grace: Option<u64>,
    pub(super) on_change: Option<OnChange>,
    pub(super) pulse: Arc<Pulse>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, timing, release_on_end, lead_on_create, .. } = self;
        f.debug_struct("Settings")
            .field("identity", identity)
            .field("timing", timing)
            .field("release_on_end", release_on_end)
            .field("lead_on_create", lead_on_create)
            .finish_non_exhaustive()
    }
}

impl<L: Lock> Elect<L> {
    /// The times of the election. All candidates should have the same. Default: 15 s, 10 s, 2 s.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.settings.timing = timing;
        self
    }

    /// Whether the lock is given back when the work has ended. Default: yes. Otherwise it lapses after a lease.
    pub fn release_on_end(mut self, release: bool) -> Self {
        self.settings.release_on_end = release;
        self
    }

    /// Whoever creates a missing lock leads at once, instead of after one lease. Safe only where nobody ever deletes the
    /// lock: a leader whose lock was deleted leads until its next renewal.
    pub fn lead_on_create(mut self) -> Self {
        self.settings.lead_on_create = true;
        self
    }

    /// Ends the run: a campaign at once (a write under way is awaited, and undone if it made this the leader), a term
    /// after its work has ended or the [`stop_grace`](Timing::stop_grace) has passed, and the lock was given back.
    pub fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.settings.cancel = Some(token);
        self
    }

    /// The work runs in tasks of its own, which outlive the future that is dropped: then the lock is not given back, but
    /// lapses.
    pub(super) fn tasks_grace(mut self, grace: u64) -> Self {
        self.settings.tasks_grace = Some(grace);
        self
    }

    /// Hears in order who leads, and what goes wrong meanwhile. It is called within the run, and should be quick; send the
    /// changes through a channel to have them as a stream.
    pub fn on_change(mut self, listener: impl FnMut(&Change) + Send + 'static) -> Self {
        self.settings.on_change = Some(Box::new(listener));
        self
    }

    /// For a liveness probe: fails when this process leads, but has not renewed for a lease and `tolerance`.
    #[must_use]
    pub fn health(&self, tolerance: Duration) -> Health {
        let (pulse, lease) = (Arc::clone(&self.settings.pulse), self.settings.timing.lease_nanos());
        Health { pulse, lease, tolerance: nanos(tolerance) }
    }

    /// Campaign again after a term was lost.
    pub fn again(self) -> Campaigns<L> {
        Campaigns { elect: self }
    }

    /// Runs `work` once this candidate leads.
    ///
    /// The work is a part of the run: it is polled by it, told by [`Term::lost`], and dropped with it. It is dropped a
    /// [`stop_grace`](Timing::stop_grace) after it was told, at the latest when somebody else may begin to lead.
    ///
    /// # Errors
    /// [`ElectError`](super::ElectError): an empty identity, a lease that the lock cannot hold, or a lock that refuses for good.
    /// Failures that may pass are reported to [`on_change`](Self::on_change), and end a term by its renew deadline.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work, and leaves no task behind. The lock is not given back then: it lapses.
    ///
    /// # Panics
    /// A panic of the work goes through; the lock lapses.
    pub fn run<F, Fut>(self, work: F) -> Leading<L, Once<F>>
    where
        F: FnOnce(Term) -> Fut,
        Fut: Future,
    {
        Leading::new(self.lock, self.settings, Once::new(work))
    }
}

/// A campaign that goes on after a loss: made by [`Elect::again`].
#[derive(Debug)]
#[must_use = "a campaign does nothing until it is run"]
pub struct Campaigns<L> {
    elect: Elect<L>,
}

impl<L: Lock> Campaigns<L> {
    /// As [`Elect::run`], for one term after the other, until the work ends by itself or the run is cancelled. Losses are
    /// reported to [`on_change`](Elect::on_change).
    pub fn run<F, Fut>(self, work: F) -> Leading<L, Many<F>>
    where
        F: FnMut(Term) -> Fut,
        Fut: Future,
    {
        Leading::new(self.elect.lock, self.elect.settings, Many::new(work))
    }
}
