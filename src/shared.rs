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
    /// Whether there is anything that could cancel it.
    fn may_be_cancelled(&self) -> bool;
    /// Ready once the run is cancelled.
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Asks the limiter for one permit, to be had within `allowed`.
    fn ask(&self, allowed: Duration) -> Asked<Self::Ticket>;
    /// `None` once the permit is there; else the instant to ask again, where one is known.
    fn poll_turn(&self, ticket: &mut Self::Ticket, cx: &mut Context<'_>) -> Option<Option<Instant>>;
    /// The attempt starts: the permit is used.
    fn spend(&self, ticket: Self::Ticket);
    /// What the run has to do with its budgets, if it may have one.
    fn retries(&mut self) -> Option<&mut Retries>;
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
    fn may_be_cancelled(&self) -> bool {
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
    fn retries(&mut self) -> Option<&mut Retries> {
        None
    }
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

/// What a run, or an item of a queue, has to do with its budgets.
#[doc(hidden)]
#[derive(Default)]
#[non_exhaustive]
pub enum Retries {
    /// Every retry is allowed.
    #[default]
    Unlimited,
    /// The run has not begun.
    Of(Budget),
    /// The run counts for its budget.
    #[non_exhaustive]
    Running {
        /// For as long as it runs.
        run: InFlight,
        /// A retry is allowed that has not begun. Dropped now, it goes back.
        allowed: bool,
    },
    /// Two budgets, and each must allow it.
    Both(Box<[Self; 2]>),
}

impl Retries {
    /// Asks this budget too.
    pub(crate) fn and(self, budget: Budget) -> Self {
        match self {
            Self::Unlimited => Self::Of(budget),
            first => Self::Both(Box::new([first, Self::Of(budget)])),
        }
    }

    /// An attempt begins; if it is the first, the run counts.
    #[inline]
    pub(crate) fn begin_attempt(&mut self) {
        match self {
            Self::Unlimited => {}
            Self::Of(budget) => *self = Self::Running { run: budget.begin(), allowed: false },
            Self::Running { allowed, .. } => *allowed = false,
            Self::Both(both) => both.iter_mut().for_each(Self::begin_attempt),
        }
    }

    /// Whether a retry is allowed. One that is allowed already and was not made is not asked for again.
    #[inline]
    pub(crate) fn withdraw(&mut self) -> bool {
        match self {
            Self::Unlimited | Self::Of(_) => true,
            Self::Running { run, allowed } => {
                *allowed = *allowed || run.may_retry();
                *allowed
            }
            Self::Both(both) => {
                let [first, second] = &mut **both;
                let allowed = first.withdraw() && second.withdraw();
                if !allowed {
                    first.give_back();
                }
                allowed
            }
        }
    }

    /// A retry that was allowed is not made.
    pub(crate) fn give_back(&mut self) {
        match self {
            Self::Unlimited | Self::Of(_) => {}
            Self::Running { run, allowed } => {
                if std::mem::take(allowed) {
                    run.give_back();
                }
            }
            Self::Both(both) => both.iter_mut().for_each(Self::give_back),
        }
    }

    /// The run is over: it no longer counts, and could begin anew.
    #[inline]
    pub(crate) fn end_run(&mut self) {
        match self {
            Self::Unlimited | Self::Of(_) => {}
            Self::Running { .. } => {
                self.give_back();
                *self = self.anew();
            }
            Self::Both(both) => both.iter_mut().for_each(Self::end_run),
        }
    }

    /// The same for a run that has not begun.
    pub(crate) fn anew(&self) -> Self {
        match self {
            Self::Unlimited => Self::Unlimited,
            Self::Of(budget) => Self::Of(budget.clone()),
            Self::Running { run, .. } => Self::Of(run.budget().clone()),
            Self::Both(both) => Self::Both(Box::new([both[0].anew(), both[1].anew()])),
        }
    }

    fn budgets(&self, list: &mut fmt::DebugList<'_, '_>) {
        match self {
            Self::Unlimited => {}
            Self::Of(budget) => _ = list.entry(budget),
            Self::Running { run, .. } => _ = list.entry(run.budget()),
            Self::Both(both) => both.iter().for_each(|each| each.budgets(list)),
        }
    }
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        self.budgets(&mut list);
        list.finish()
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
        self.budget = std::mem::take(&mut self.budget).and(budget);
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
        Self {
            cancel: self.cancel.as_ref().map(|cancel| Cancel { token: cancel.token.clone(), wait: None }),
            limiter: self.limiter.clone(),
            budget: self.budget.anew(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("cancel", &self.cancel.as_ref().map(|cancel| &cancel.token))
            .field("limiter", &self.limiter)
            .field("budget", &self.budget)
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
    fn may_be_cancelled(&self) -> bool {
        self.cancel.is_some()
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
    fn retries(&mut self) -> Option<&mut Retries> {
        Some(&mut self.budget)
    }
}
