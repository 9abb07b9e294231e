//! What a run shares with others: a limiter, a budget, a cancellation.

use std::{
    fmt,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::task::coop;
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    error::Stop,
    limiter::{Limiter, Limiters, QueuedPermits, Readiness, Refused},
    policy::nanos::duration,
    run::{
        cancel::{Cancel, CancelWait},
        retries::Retries,
    },
    time::Instant,
};

/// What a run asks of the things that it shares with others. `()` shares nothing and costs nothing.
#[doc(hidden)]
pub trait Control {
    /// Whether nothing is shared.
    const NOTHING: bool = false;
    /// A waiter in the limiter's wait list. Dropped, it leaves no trace.
    type Waiter: fmt::Debug;
    /// How it waits for its cancellation.
    type Wait: fmt::Debug + Default;

    /// Whether the run was cancelled. It may not go on to wait without [`poll_cancelled`](Self::poll_cancelled).
    fn is_cancelled(&mut self) -> bool;
    /// Whether there is anything that could cancel it.
    fn may_be_cancelled(&self) -> bool;
    /// Ready once the run is cancelled.
    fn poll_cancelled(&mut self, wait: Pin<&mut Self::Wait>, cx: &mut Context<'_>) -> Poll<()>;
    /// The run no longer waits for that.
    fn stop_waiting(&mut self, wait: Pin<&mut Self::Wait>) {
        _ = wait;
    }
    /// Whether an attempt may start without further ado: the run is not cancelled, and the limiter has granted a
    /// permit. If not, it is to be asked.
    /// A limiter is asked only if others have run: one that grants at once must not keep them from running.
    fn admits_at_once(&mut self, others_ran: impl FnOnce() -> bool) -> bool;
    /// Whether there is a limiter.
    fn is_limited(&self) -> bool {
        false
    }
    /// Asks the limiter for one permit, to be had within so many nanoseconds.
    fn ask(&self, allowed: u64) -> Admission<Self::Waiter>;
    /// Joins the limiter's wait list, whether the permit is there or not: the same, and others run once more before it
    /// may start.
    fn join(&self, allowed: u64) -> Admission<Self::Waiter> {
        self.ask(allowed)
    }
    /// `None` once the permit is there; else the instant to ask again, where one is known.
    fn poll_granted(&self, waiter: &mut Self::Waiter, cx: &mut Context<'_>) -> Option<Option<Instant>>;
    /// The attempt starts: the permit is used.
    fn spend(&self, waiter: Self::Waiter);
    /// The end of a run whose limiter has no share of its fleet's rate, if that is so.
    fn no_share(&self) -> Option<Stop> {
        None
    }
    /// The limiter grants nothing at all for so many nanoseconds.
    fn pause(&self, nanos: u64) {
        _ = nanos;
    }
    /// What the run has to do with its budgets, if it may have one.
    fn retries(&mut self) -> Option<&mut Retries>;
}

/// The limiter's answer.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Admission<K> {
    /// Go ahead.
    Granted,
    /// Wait for it.
    Queued(K),
    /// It cannot be in time.
    Refused(Stop),
}

impl Control for () {
    const NOTHING: bool = true;
    type Waiter = std::convert::Infallible;
    type Wait = ();

    #[inline]
    fn is_cancelled(&mut self) -> bool {
        false
    }
    #[inline]
    fn may_be_cancelled(&self) -> bool {
        false
    }
    #[inline]
    fn poll_cancelled(&mut self, _: Pin<&mut ()>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
    #[inline]
    fn admits_at_once(&mut self, _: impl FnOnce() -> bool) -> bool {
        true
    }
    #[inline]
    fn ask(&self, _: u64) -> Admission<Self::Waiter> {
        Admission::Granted
    }
    #[inline]
    fn poll_granted(&self, waiter: &mut Self::Waiter, _: &mut Context<'_>) -> Option<Option<Instant>> {
        match *waiter {}
    }
    #[inline]
    fn spend(&self, waiter: Self::Waiter) {
        match waiter {}
    }
    #[inline]
    fn retries(&mut self) -> Option<&mut Retries> {
        None
    }
}

/// A limiter, a budget, a cancellation: what `.throttle(..)`, `.budget(..)` and `.cancel_on(..)` put into a builder.
#[derive(Default)]
pub struct Controls {
    cancel: Option<Cancel>,
    limiters: Option<Limiters>,
    budget: Retries,
}

impl Controls {
    pub(crate) fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.cancel = Some(match self.cancel {
            None => Cancel::on(token),
            Some(before) => before.and(token),
        });
        self
    }

    /// With what another run shares, too.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for token in other.tokens() {
            self = self.cancel_on(token.clone());
        }
        for limiter in other.limiters() {
            self = self.throttle(limiter.clone());
        }
        self.budget = std::mem::take(&mut self.budget).and_all(other.retries_anew());
        self
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = &CancellationToken> {
        self.cancel.iter().flat_map(Cancel::tokens)
    }

    pub(crate) fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        self.limiters.iter().flat_map(Limiters::all)
    }

    /// What another run has to do with the budgets.
    pub(crate) fn retries_anew(&self) -> Retries {
        self.budget.anew()
    }

    pub(crate) fn throttle(mut self, limiter: Limiter) -> Self {
        self.limiters = Some(match self.limiters.take() {
            None => Limiters::One(limiter),
            before => Limiters::and(before, limiter),
        });
        self
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budget = std::mem::take(&mut self.budget).and(budget);
        self
    }
}

/// What more can be shared with: `.cancel_on(..)`, `.throttle(..)` and `.budget(..)` add up.
#[doc(hidden)]
pub trait Share: Control {
    /// The same with more.
    type With: Control;

    /// Adds to what is shared.
    fn share(self, set: impl FnOnce(Controls) -> Controls) -> Self::With;
}

impl Share for () {
    type With = Controls;

    fn share(self, set: impl FnOnce(Controls) -> Controls) -> Controls {
        set(Controls::default())
    }
}

impl Share for Controls {
    type With = Self;

    fn share(self, set: impl FnOnce(Self) -> Self) -> Self {
        set(self)
    }
}

impl<G: Share, F: Future> Share for Until<G, F> {
    type With = Until<G::With, F>;

    fn share(self, set: impl FnOnce(Controls) -> Controls) -> Self::With {
        Until { ties: self.ties.share(set), future: self.future, over: self.over }
    }
}

/// What a run shares, and a future that cancels it: what `.cancel_when(..)` puts into a builder.
pub struct Until<G, F> {
    ties: G,
    /// Gone once the run has ended.
    future: Option<Pin<Box<F>>>,
    /// Whether the future is done.
    over: bool,
}

impl<G, F> Until<G, F> {
    pub(crate) fn new(ties: G, future: F) -> Self {
        Self { ties, future: Some(Box::pin(future)), over: false }
    }
}

impl<G, F: Future> Until<G, F> {
    /// Whether the future is done.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        // Waiting is not work: a task that has used up its share must still see its own cancellation.
        let over = |future: &mut Pin<Box<F>>| pin!(coop::unconstrained(future.as_mut())).poll(cx).is_ready();
        self.over = self.over || self.future.as_mut().is_some_and(over);
        self.over
    }
}

impl<G: Clone, F: Clone> Clone for Until<G, F> {
    fn clone(&self) -> Self {
        Self { ties: self.ties.clone(), future: self.future.clone(), over: self.over }
    }
}

impl<G: fmt::Debug, F> fmt::Debug for Until<G, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until").field("ties", &self.ties).field("over", &self.over).finish_non_exhaustive()
    }
}

impl<G: Control, F: Future> Control for Until<G, F> {
    type Waiter = G::Waiter;
    type Wait = G::Wait;

    fn is_cancelled(&mut self) -> bool {
        // No task has to be woken: whatever waits next polls with a waker of its own.
        self.ties.is_cancelled() || self.poll_over(&mut Context::from_waker(Waker::noop()))
    }
    fn may_be_cancelled(&self) -> bool {
        true
    }
    fn poll_cancelled(&mut self, wait: Pin<&mut Self::Wait>, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_over(cx) { Poll::Ready(()) } else { self.ties.poll_cancelled(wait, cx) }
    }
    fn stop_waiting(&mut self, wait: Pin<&mut Self::Wait>) {
        self.future = None;
        self.ties.stop_waiting(wait);
    }
    fn admits_at_once(&mut self, others_ran: impl FnOnce() -> bool) -> bool {
        !self.is_cancelled() && self.ties.admits_at_once(others_ran)
    }
    fn is_limited(&self) -> bool {
        self.ties.is_limited()
    }
    fn ask(&self, allowed: u64) -> Admission<Self::Waiter> {
        self.ties.ask(allowed)
    }
    fn join(&self, allowed: u64) -> Admission<Self::Waiter> {
        self.ties.join(allowed)
    }
    fn no_share(&self) -> Option<Stop> {
        self.ties.no_share()
    }
    fn poll_granted(&self, waiter: &mut Self::Waiter, cx: &mut Context<'_>) -> Option<Option<Instant>> {
        self.ties.poll_granted(waiter, cx)
    }
    fn spend(&self, waiter: Self::Waiter) {
        self.ties.spend(waiter);
    }
    fn pause(&self, nanos: u64) {
        self.ties.pause(nanos);
    }
    fn retries(&mut self) -> Option<&mut Retries> {
        self.ties.retries()
    }
}

impl Clone for Controls {
    fn clone(&self) -> Self {
        Self { cancel: self.cancel.clone(), limiters: self.limiters.clone(), budget: self.budget.anew() }
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls")
            .field("cancel", &self.cancel)
            .field("limiters", &self.limiters.as_ref().map_or(&[][..], Limiters::all))
            .field("budget", &self.budget)
            .finish()
    }
}

/// A waiter in the wait list of a limiter.
#[doc(hidden)]
#[derive(Debug)]
pub struct Queued(QueuedPermits);

impl Control for Controls {
    type Waiter = Queued;
    type Wait = CancelWait;

    #[inline]
    fn is_cancelled(&mut self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }

    #[inline]
    fn may_be_cancelled(&self) -> bool {
        self.cancel.is_some()
    }

    #[inline]
    fn poll_cancelled(&mut self, wait: Pin<&mut CancelWait>, cx: &mut Context<'_>) -> Poll<()> {
        self.cancel.as_mut().map_or(Poll::Pending, |cancel| cancel.poll_cancelled(wait, cx))
    }

    #[inline]
    fn stop_waiting(&mut self, wait: Pin<&mut CancelWait>) {
        if let Some(cancel) = &mut self.cancel {
            cancel.stop_waiting(wait);
        }
    }

    #[inline]
    fn admits_at_once(&mut self, others_ran: impl FnOnce() -> bool) -> bool {
        !self.is_cancelled() && self.limiters.as_ref().is_none_or(|limiters| others_ran() && limiters.try_take())
    }

    fn is_limited(&self) -> bool {
        self.limiters.is_some()
    }

    fn ask(&self, allowed: u64) -> Admission<Queued> {
        if self.limiters.as_ref().is_none_or(Limiters::try_take) { Admission::Granted } else { self.join(allowed) }
    }

    fn join(&self, allowed: u64) -> Admission<Queued> {
        let Some(limiters) = &self.limiters else { return Admission::Granted };
        let refused = |ready_in| Admission::Refused(Stop::Limiter { ready_in, allowed: duration(allowed) });
        match limiters.enqueue(allowed) {
            Ok(place) => Admission::Queued(Queued(place)),
            Err(Refused::TooFar { ready_in, .. }) => refused(ready_in),
            Err(refusal) => Stop::no_share(refusal).map_or_else(|| refused(Duration::MAX), Admission::Refused),
        }
    }

    fn poll_granted(&self, Queued(waiter): &mut Queued, cx: &mut Context<'_>) -> Option<Option<Instant>> {
        match waiter.poll_acquire(cx) {
            Readiness::Granted => None,
            Readiness::At(instant) => Some(Some(instant)),
            Readiness::Never => Some(None),
        }
    }

    fn spend(&self, Queued(mut waiter): Queued) {
        waiter.consume();
    }

    fn no_share(&self) -> Option<Stop> {
        self.limiters.as_ref()?.no_share().and_then(Stop::no_share)
    }

    fn pause(&self, nanos: u64) {
        if let Some(limiters) = &self.limiters {
            limiters.pause(nanos);
        }
    }

    #[inline]
    fn retries(&mut self) -> Option<&mut Retries> {
        Some(&mut self.budget)
    }
}
