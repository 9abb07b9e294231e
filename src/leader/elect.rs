//! `elect`: campaign for a lock, work while it is held.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    election::Election,
    event::ElectionEvent,
    health::Health,
    lock::Lock,
    settings::Settings,
    term::Term,
    work::{EachTerm, OneTerm},
};
use crate::{
    policy::{lease::Timing, nanos::nanos},
    run::cancel::Cancel,
};

/// A campaign for `lock` under `identity`.
///
/// The identity should be unique among all processes, and for each run of a process: host name and a random part, say
/// ([`identity`](super::identity())). An election takes a record that bears its identity, and that it did not write,
/// for another's: two processes of one identity do not lead at once, but neither can tell from the record which of them
/// does.
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
    Elect { lock, settings: Settings::new(identity.into()) }
}

/// A campaign to be: made by [`elect`], run by [`run`](Elect::run).
#[derive(Debug)]
#[must_use = "a campaign does nothing until it is run"]
pub struct Elect<L> {
    lock: L,
    settings: Settings,
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

    /// A candidate that creates a missing lock leads at once, instead of after one lease. Safe only where the lock is
    /// never deleted: a leader whose lock was deleted leads until its next renewal.
    pub fn lead_on_create(mut self) -> Self {
        self.settings.lead_on_create = true;
        self
    }

    /// Ends the run: a campaign at once (a write under way is awaited, and undone if it made this the leader), a term
    /// after its work has ended or the [`cancel_grace`](Self::cancel_grace) has passed, and the lock was given back.
    /// Given twice, either stops it.
    pub fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.settings.cancel = Some(match self.settings.cancel.take() {
            None => Cancel::on(token),
            Some(before) => before.and(token),
        });
        self
    }

    /// How long the work may take to end once the run was cancelled. The term is renewed meanwhile, so this may be
    /// longer than the [`stop_grace`](Timing::stop_grace), which is what a term that is lost leaves. Default: 20 s, of
    /// the 30 s that Kubernetes gives a pod to end. `Duration::MAX` waits for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::leader::{Ended, MemoryLock, elect};
    /// use tokio::time::sleep;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::leader::ElectError> {
    /// let stop = CancellationToken::new();
    /// let run = elect(MemoryLock::new(), "one").cancel_on(stop.clone()).cancel_grace(Duration::from_secs(60));
    /// let run = run.run(async |term| {
    ///     term.lost().await;
    ///     // Drains what it has begun.
    ///     sleep(Duration::from_secs(45)).await;
    /// });
    /// let cancel = async {
    ///     sleep(Duration::from_secs(10)).await;
    ///     stop.cancel();
    /// };
    /// let (ended, ()) = tokio::join!(run, cancel);
    /// assert!(matches!(ended?, Ended::Cancelled { finished: Some(()) }));
    /// # Ok(()) }
    /// ```
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.settings.cancel_grace = nanos(grace);
        self
    }

    /// The work runs in tasks of its own, which outlive the future that is dropped: then the lock is not given back,
    /// but lapses.
    pub(super) fn in_tasks(mut self, grace: u64) -> Self {
        (self.settings.in_tasks, self.settings.cancel_grace) = (true, grace);
        self
    }

    /// Goes away where another holds the lock, instead of waiting: the run ends with
    /// [`Ended::Held`](super::Ended::Held) as soon as it sees another take or renew it. A job that is started on
    /// several nodes at once is done by one of them.
    ///
    /// A record that is not renewed may be a dead process's. It is waited for as in any campaign, and taken after a
    /// lease: so the run decides within about a retry period where another leads, and within a lease where none does.
    /// Nodes whose clocks differ begin at different times: let the work, or a lock that is [not given
    /// back](Self::release_on_end), last longer than that, or the job is done twice.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::leader::{Ended, MemoryLock, elect};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::leader::ElectError> {
    /// let lock = MemoryLock::new();
    /// let job = |node| {
    ///     elect(lock.clone(), node).unless_held().run(|_| async {
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///         "the nightly report"
    ///     })
    /// };
    /// let (one, other) = tokio::join!(job("node-1"), job("node-2"));
    /// assert!(matches!(one?, Ended::Finished("the nightly report")));
    /// assert!(matches!(other?, Ended::Held { by } if by == "node-1"));
    /// # Ok(()) }
    /// ```
    pub fn unless_held(mut self) -> Self {
        self.settings.unless_held = true;
        self
    }

    /// Hears in order which candidate leads, and what goes wrong meanwhile. It is called within the run, and should be
    /// quick; send the events through a channel to have them as a stream. Given twice, both hear.
    pub fn on_event(mut self, mut listener: impl FnMut(&ElectionEvent) + Send + 'static) -> Self {
        self.settings.on_event = Some(match self.settings.on_event.take() {
            None => Box::new(listener),
            Some(mut before) => Box::new(move |event| {
                before(event);
                listener(event);
            }),
        });
        self
    }

    /// For a liveness probe: fails when this process leads, but has not renewed for a lease and `tolerance`.
    #[must_use]
    pub fn health(&self, tolerance: Duration) -> Health {
        let (last_renewal, lease) = (Arc::clone(&self.settings.last_renewal), self.settings.timing.lease_nanos());
        Health { last_renewal, lease, tolerance: nanos(tolerance) }
    }

    /// Campaign again after a term was lost.
    pub fn again(self) -> Campaigns<L> {
        Campaigns { elect: self }
    }

    /// Runs `work` once this candidate leads.
    ///
    /// The work is a part of the run: it is polled by it, told by [`Term::lost`], and dropped with it. When the term is
    /// lost it is dropped a [`stop_grace`](Timing::stop_grace) after it was told, at the latest when another candidate
    /// may begin to lead; when the run is cancelled, a [`cancel_grace`](Self::cancel_grace) after.
    ///
    /// # Errors
    /// [`ElectError`](super::ElectError): an empty identity, a lease that the lock cannot hold; a lock that refuses, if
    /// no call of this run has ever succeeded and that has lasted for a lease. All other failures, refusals included,
    /// are reported to [`on_event`](Self::on_event), and end a term by its renew deadline.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work, and leaves no task behind. The lock is not given back then: it lapses.
    ///
    /// # Panics
    /// A panic of the work goes through; the lock lapses. The future panics if it has to wait outside of a tokio runtime
    /// with time enabled, and when it is polled after completion.
    pub fn run<F, Fut>(self, work: F) -> Election<L, OneTerm<F>>
    where
        F: FnOnce(Term) -> Fut,
        Fut: Future,
    {
        Election::new(self.lock, self.settings, OneTerm::new(work))
    }
}

/// A campaign that goes on after a loss: made by [`Elect::again`].
#[derive(Debug)]
#[must_use = "a campaign does nothing until it is run"]
pub struct Campaigns<L> {
    elect: Elect<L>,
}

impl<L: Lock> Campaigns<L> {
    /// As [`Elect::run`], for one term after the other, until the work ends by itself or the run is cancelled. Losses
    /// are reported to [`on_event`](Elect::on_event). Errors, cancel safety and panics are the same.
    pub fn run<F, Fut>(self, work: F) -> Election<L, EachTerm<F>>
    where
        F: FnMut(Term) -> Fut,
        Fut: Future,
    {
        Election::new(self.elect.lock, self.elect.settings, EachTerm::new(work))
    }
}
