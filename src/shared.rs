//! What a run shares with others: a limiter, a budget, a cancellation.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{error::Stop, time::Instant};

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
    /// The run makes its first attempt.
    fn deposit(&self);
    /// Whether the budget allows a retry.
    fn withdraw(&self) -> bool;
    /// An allowed retry is not made after all.
    fn give_back(&self);
    /// An attempt begins.
    fn begin_attempt(&mut self);
    /// The attempt that began has ended.
    fn end_attempt(&mut self);
}

/// The limiter's answer.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Asked<K> {
    /// Go ahead.
    Granted,
    /// Wait, for about so long.
    Queued(K, Duration),
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
    fn deposit(&self) {}
    #[inline]
    fn withdraw(&self) -> bool {
        true
    }
    #[inline]
    fn give_back(&self) {}
    #[inline]
    fn begin_attempt(&mut self) {}
    #[inline]
    fn end_attempt(&mut self) {}
}

/// A limiter, a budget, a cancellation: what `.throttle(..)`, `.budget(..)` and `.cancel_on(..)` put into a builder.
#[derive(Default)]
pub struct Shared {
    cancel: Option<Cancel>,
}

struct Cancel {
    token: CancellationToken,
    /// Made when something first waits.
    wait: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Shared {
    pub(crate) fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.cancel = Some(Cancel { token, wait: None });
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
        Self { cancel: self.cancel.as_ref().map(|cancel| Cancel { token: cancel.token.clone(), wait: None }) }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("cancel", &self.cancel.as_ref().map(|cancel| &cancel.token)).finish()
    }
}

impl Ties for Shared {
    type Ticket = std::convert::Infallible;

    #[inline]
    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.token.is_cancelled())
    }

    #[inline]
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Cancel { token, wait }) = &mut self.cancel else { return Poll::Pending };
        wait.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned())).as_mut().poll(cx)
    }

    fn ask(&self, _: Duration) -> Asked<Self::Ticket> {
        Asked::Granted
    }
    fn poll_turn(&self, ticket: &mut Self::Ticket, _: &mut Context<'_>) -> Option<Option<Instant>> {
        match *ticket {}
    }
    fn spend(&self, ticket: Self::Ticket) {
        match ticket {}
    }
    fn deposit(&self) {}
    fn withdraw(&self) -> bool {
        true
    }
    fn give_back(&self) {}
    fn begin_attempt(&mut self) {}
    fn end_attempt(&mut self) {}
}
