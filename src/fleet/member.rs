//! The guard of a member.

use std::{fmt, time::Duration};

use tokio::task::{AbortHandle, JoinHandle};

use super::{
    driver::Driver,
    ledger::Ledger,
    ledger::LedgerError,
    share::{Controls, MemberShare},
};
use crate::{
    error::ConfigError,
    limiter::Limiter,
    policy::{fleet::shares, limit::rate::Rate},
};

/// A member of a fleet: made by [`Fleet::join`](super::Fleet::join). It keeps the share as long as it lives.
///
/// Dropped, its limiter and all clones of it grant nothing any more, and its entry lapses after a ttl;
/// [`leave`](Self::leave) removes it.
#[must_use = "dropped, its limiter grants nothing any more"]
pub struct FleetMember {
    limiter: Limiter,
    controls: Controls,
    task: Option<JoinHandle<Result<(), LedgerError>>>,
    abort: AbortHandle,
}

impl FleetMember {
    pub(super) fn new<L: Ledger>(limiter: Limiter, controls: Controls, driver: Driver<L>) -> Self {
        let task = tokio::spawn(driver);
        Self { limiter, controls, abort: task.abort_handle(), task: Some(task) }
    }

    /// The limiter that follows the share. Clone it to wherever it is asked; all of `relent`'s words work with it.
    /// [`set_rate`](Limiter::set_rate) and [`set_burst`](Limiter::set_burst) have no effect on it.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Waits until it has a share.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ready(&self) {
        let mut share = self.controls.share.subscribe();
        // It cannot be closed: the guard has a sender, too.
        drop(share.wait_for(|share| share.burst > 0).await);
    }

    /// What it has now.
    #[must_use]
    pub fn share(&self) -> MemberShare {
        *self.controls.share.borrow()
    }

    /// From now on it states this as the rate of the whole fleet: the smallest that any member states is in force.
    ///
    /// # Errors
    /// One without a limit, or less than one permit in 11 days.
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let billionths = shares::billionths(rate);
        if rate.is_unlimited() || billionths < 1_000 {
            return Err(ConfigError::new("rate", rate, "must be a limit, and at least one permit in 11 days"));
        }
        self.controls.wanted.send_modify(|wanted| wanted.states.rate = billionths);
        Ok(())
    }

    /// From now on it states this as the burst of the whole fleet: the smallest that any member states is in force.
    ///
    /// # Errors
    /// None.
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        if burst == 0 {
            return Err(ConfigError::new("burst", 0, "must be at least 1 for each member"));
        }
        self.controls.wanted.send_modify(|wanted| wanted.states.burst = burst);
        Ok(())
    }

    /// Gives its share back: the limiter grants nothing from the first poll on, and the others have the share with
    /// their next refreshes.
    ///
    /// # Errors
    /// The ledger's last answer, if the entry could not be removed within some tries; it lapses after a ttl then.
    ///
    /// # Cancel safety
    /// Dropped, it is as if the member was dropped: the entry may or may not have been removed.
    ///
    /// # Panics
    /// Where the listener has panicked: with its panic.
    pub async fn leave(mut self) -> Result<(), LedgerError> {
        self.limiter.end_share(None);
        self.controls.wanted.send_modify(|wanted| wanted.leave = true);
        let Some(task) = self.task.take() else { return Ok(()) };
        match task.await {
            Ok(left) => left,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(LedgerError::unavailable("the member's task was cancelled")),
        }
    }
}

impl Drop for FleetMember {
    fn drop(&mut self) {
        self.abort.abort();
        // The task does the same when it is dropped, which may be later.
        self.limiter.end_share(None);
    }
}

impl fmt::Debug for FleetMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetMember")
            .field("limiter", &self.limiter)
            .field("share", &self.share())
            .finish_non_exhaustive()
    }
}

/// For how long the limiter of a member has had no share: for a liveness probe, say.
impl FleetMember {
    /// `None`: it has one, or has asked for nothing lately while others want all there is.
    #[must_use]
    pub fn no_share_for(&self) -> Option<Duration> {
        self.limiter.no_share_for()
    }
}
