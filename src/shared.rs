//! What a run shares with others: a limiter, a budget, a cancellation.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    budget::{Budget, InFlight},
    error::Stop,
    limiter::{Limiter, Refused, Ticket, Turn},
    policy::nanos::nanos,
    time::Instant,
};

/// What a run asks of the things that it shares with others. `()` shares nothing and costs nothing.
#[doc(hidden)]
pub trait Ties {
    /// A place in the limiter's queue. Dropped, it leaves no trace.
    type Ticket: fmt::Debug;

    /// Whether the run was cancelled.
    fn is_cancelled(&self) -> bool;
    /// Ready once the run is cancelled.
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Asks the limiter for one permit, to be had within `allowed`.
    fn ask(&self, allowed: Duration) -> Asked<Self::Ticket>;
    /// `None` once the permit is there; else the instant to ask again, where one is known.
    fn poll_turn(&self, ticket: &mut Self::Ticket, cx: &mut Context<'_>) -> Option<Option<Instant>>;
    /// The attempt starts: the permit is used.
    fn spend(&self, ticket: Self::Ticket);
    /// An attempt begins; if it is the first, the run counts for its budget.
    fn begin_attempt(&mut self);
    /// Whether the budget allows a retry.
    fn withdraw(&mut self) -> bool;
    /// An allowed retry is not made after all.
    fn give_back(&mut self);
    /// The run is over.
    fn end_run(&mut self);
}

/// The limiter's answer.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Asked<K> {
    /// Go ahead.
    Granted,
    /// Wait for the turn.
    Queued(K),
    /// It cannot be in time.
    Refused(Stop),
}

impl Ties for () {
    type Ticket = std::convert::Infallible;

    #[inline]
    fn is_cancelled(&self) -> bool {
        false
    }
    #[inline]
    fn poll_cancelled(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
    #[inline]
    fn ask(&self, _: Duration) -> Asked<Self::Ticket> {
        Asked::Granted
    }
    #[inline]
    fn poll_turn(&self, ticket: &mut Self::Ticket, _: &mut Context<'_>) -> Option<Option<Instant>> {
        match *ticket {}
    }
    #[inline]
    fn spend(&self, ticket: Self::Ticket) {
        match ticket {}
    }
    #[inline]
    fn begin_attempt(&mut self) {}
    #[inline]
    fn withdraw(&mut self) -> bool {
        true
    }
    #[inline]
    fn give_back(&mut self) {}
    #[inline]
    fn end_run(&mut self) {}
}

/// A limiter, a budget, a cancellation: what `.throttle(..)`, `.budget(..)` and `.cancel_on(..)` put into a builder.
#[derive(Default)]
pub struct Shared {
    cancel: Option<Cancel>,
    limiter: Option<Limiter>,
    budget: Retries,
}

struct Cancel {
    token: CancellationToken,
    /// Made when something first waits.
    wait: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// What a run has to do with its budget.
#[derive(Debug, Default)]
pub(crate) enum Retries {
    #[default]
    Unlimited,
    /// The run has not begun.
    Of(Budget),
    Running {
        run: InFlight,
        /// A retry is allowed that has not begun. Dropped now, it goes back.
        allowed: bool,
    },
}

impl Retries {
    /// An attempt begins; if it is the first, the run counts.
    #[inline]
    pub(crate) fn begin_attempt(&mut self) {
        match self {
            Self::Unlimited => {}
            Self::Of(budget) => *self = Self::Running { run: budget.begin(), allowed: false },
            Self::Running { allowed, .. } => *allowed = false,
        }
    }

    /// Whether a retry is allowed.
    #[inline]
    pub(crate) fn withdraw(&mut self) -> bool {
        let Self::Running { run, allowed } = self else { return true };
        *allowed = run.may_retry();
        *allowed
    }

    fn give_back(&mut self) {
        if let Self::Running { run, allowed } = self
            && std::mem::take(allowed)
        {
            run.give_back();
        }
    }
}

impl Drop for Retries {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Shared {
    pub(crate) fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.cancel = Some(Cancel { token, wait: None });
        self
    }

    pub(crate) fn throttle(mut self, limiter: Limiter) -> Self {
        self.limiter = Some(limiter);
        self
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budget = Retries::Of(budget);
        self
    }
}

impl From<()> for Shared {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        let budget = match &self.budget {
            Retries::Unlimited => Retries::Unlimited,
            Retries::Of(budget) => Retries::Of(budget.clone()),
            Retries::Running { run, .. } => Retries::Of(run.budget().clone()),
        };
        Self {
            cancel: self.cancel.as_ref().map(|cancel| Cancel { token: cancel.token.clone(), wait: None }),
            limiter: self.limiter.clone(),
            budget,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = match &self.budget {
            Retries::Unlimited => None,
            Retries::Of(budget) => Some(budget),
            Retries::Running { run, .. } => Some(run.budget()),
        };
        f.debug_struct("Shared")
            .field("cancel", &self.cancel.as_ref().map(|cancel| &cancel.token))
            .field("limiter", &self.limiter)
            .field("budget", &budget)
            .finish()
    }
}

/// A place in the line before a limiter.
#[doc(hidden)]
#[derive(Debug)]
pub struct Place(Ticket);

impl Ties for Shared {
    type Ticket = Place;

    #[inline]
    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.token.is_cancelled())
    }

    #[inline]
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Cancel { token, wait }) = &mut self.cancel else { return Poll::Pending };
        wait.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned())).as_mut().poll(cx)
    }

    fn ask(&self, allowed: Duration) -> Asked<Place> {
        let Some(limiter) = &self.limiter else { return Asked::Granted };
        if limiter.take(1) {
            return Asked::Granted;
        }
        match limiter.ticket(1, nanos(allowed)) {
            Ok(ticket) => Asked::Queued(Place(ticket)),
            Err(Refused::TooFar { ready_in, .. }) => Asked::Refused(Stop::Limiter { ready_in, allowed }),
            Err(_) => Asked::Refused(Stop::Limiter { ready_in: Duration::MAX, allowed }),
        }
    }

    fn poll_turn(&self, Place(ticket): &mut Place, cx: &mut Context<'_>) -> Option<Option<Instant>> {
        match ticket.poll_turn(cx) {
            Turn::Granted => None,
            Turn::At(turn) => Some(Some(turn)),
            Turn::Never => Some(None),
        }
    }

    fn spend(&self, Place(mut ticket): Place) {
        ticket.spend();
    }

    #[inline]
    fn begin_attempt(&mut self) {
        self.budget.begin_attempt();
    }

    #[inline]
    fn withdraw(&mut self) -> bool {
        self.budget.withdraw()
    }

    fn give_back(&mut self) {
        self.budget.give_back();
    }

    #[inline]
    fn end_run(&mut self) {
        self.give_back();
        if let Retries::Running { run, .. } = &self.budget {
            self.budget = Retries::Of(run.budget().clone());
        }
    }
}
