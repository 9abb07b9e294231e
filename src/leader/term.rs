//! A term, as the work sees it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::health::LastRenewal;
use crate::{
    policy::{lease::HeldTerm, nanos},
    time::{BootClock, Sleeper, Timer},
};

/// The term that the work runs in. Clones stand for the same term.
#[derive(Clone, Debug)]
pub struct Term {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fence: u128,
    identity: Arc<str>,
    clock: BootClock,
    /// The work should end.
    lost: CancellationToken,
    /// The work has ended, or is gone.
    ended: CancellationToken,
    /// By `clock`: no other candidate can lead before. Written by the run alone, which stores 0 when the term ends.
    /// Release and Acquire: what the run did before a renewal, or before the end, is seen by what reads the new time.
    valid_until: AtomicU64,
    /// The work that was told is dropped then, at the latest. It only falls; ordered as above.
    drop_at: AtomicU64,
}

impl Term {
    /// Grows from term to term of the same lock, of all candidates, and over deletion of the lock: let what the work
    /// writes to refuse a smaller one.
    #[must_use]
    pub fn fence(&self) -> u128 {
        self.shared.fence
    }

    /// The identity of this candidate, which leads.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// Done when the work should end: the term was lost, or the run was cancelled or dropped. From then on the work has
    /// the [`stop_grace`](super::Timing::stop_grace), or the [`cancel_grace`](super::Elect::cancel_grace).
    ///
    /// # Cancel safety
    /// Safe: it may be dropped and asked again.
    pub async fn lost(&self) {
        self.shared.lost.cancelled().await;
    }

    /// Whether the work should end: it was told, or the term is over by the clock, which is read.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shared.lost.is_cancelled() || self.shared.is_over()
    }

    /// A token that is cancelled when the work should end, for code that takes one. Cancelling it ends nothing else.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.shared.lost.child_token()
    }

    /// How long no other candidate can lead, if no further renewal succeeds. Zero when the work should have ended.
    #[must_use]
    pub fn valid_for(&self) -> Duration {
        nanos::duration(self.shared.until().saturating_sub(self.shared.now()))
    }

    /// Runs a future only as long as the term is valid: for tasks that the work spawns. The clock is read before every
    /// poll; once the term is over the future is dropped and the answer is `None`.
    pub fn guard<F: Future>(&self, future: F) -> Guarded<F> {
        Guarded {
            term: self.clone(),
            told: false,
            news: self.shared.lost.clone().cancelled_owned(),
            future: Some(future),
            timer: Timer::default(),
        }
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    /// When the term is over, as things stand.
    fn until(&self) -> u64 {
        let valid_until = self.valid_until.load(Ordering::Acquire);
        valid_until.min(self.drop_at.load(Ordering::Acquire))
    }

    fn is_over(&self) -> bool {
        self.now() >= self.until()
    }
}

/// The term as the run has it. When it is dropped the term is over for all its clones, and the last renewal is cleared.
#[derive(Debug)]
pub(crate) struct TermOwner {
    term: Term,
    last_renewal: Arc<LastRenewal>,
}

impl TermOwner {
    /// `clock` is the run's.
    pub(super) fn new(
        held: HeldTerm,
        valid_until: u64,
        identity: Arc<str>,
        clock: BootClock,
        last_renewal: Arc<LastRenewal>,
    ) -> Self {
        let (lost, ended) = (CancellationToken::new(), CancellationToken::new());
        let (valid_until, drop_at) = (AtomicU64::new(valid_until), AtomicU64::new(nanos::FOREVER));
        let shared = Shared { fence: held.fence, identity, clock, lost, ended, valid_until, drop_at };
        last_renewal.renewed(clock, held.sent);
        Self { term: Term { shared: Arc::new(shared) }, last_renewal }
    }

    /// A term that lasts until it is lost or dropped, of no run.
    #[cfg(feature = "test-util")]
    pub(crate) fn detached(fence: u128, identity: Arc<str>, clock: BootClock) -> Self {
        let held = HeldTerm { fence, sent: 0, version: fence, mark: None };
        Self::new(held, nanos::FOREVER, identity, clock, Arc::default())
    }

    pub(crate) fn term(&self) -> &Term {
        &self.term
    }

    /// Tells the work that it will be dropped then.
    pub(crate) fn announce_loss(&self, drop_at: u64) {
        self.term.shared.drop_at.fetch_min(drop_at, Ordering::AcqRel);
        self.term.shared.lost.cancel();
    }

    /// The term has been renewed. Says whether it is longer than before.
    pub(super) fn extend(&self, held: HeldTerm, valid_until: u64) -> bool {
        self.last_renewal.renewed(self.term.shared.clock, held.sent);
        self.term.shared.valid_until.swap(valid_until, Ordering::AcqRel) < valid_until
    }
}

impl Drop for TermOwner {
    fn drop(&mut self) {
        let shared = &self.term.shared;
        shared.valid_until.store(0, Ordering::Release);
        shared.lost.cancel();
        shared.ended.cancel();
        self.last_renewal.cleared();
    }
}

pin_project! {
    /// A future that runs only while a term is valid: made by [`Term::guard`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Guarded<F> {
        term: Term,
        told: bool,
        // What may bring the end forward: first that the work is told, then that it has ended.
        #[pin]
        news: WaitForCancellationFutureOwned,
        #[pin]
        future: Option<F>,
        #[pin]
        timer: Timer,
    }
}

// ===== impl Guarded =====

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let shared = &this.term.shared;
        let mut polled = false;
        loop {
            if shared.is_over() {
                this.future.set(None);
                return Poll::Ready(None);
            }
            if !polled {
                polled = true;
                let future = this.future.as_mut().as_pin_mut().expect("`Guarded` polled after completion");
                if let Poll::Ready(value) = future.poll(cx) {
                    this.future.set(None);
                    return Poll::Ready(Some(value));
                }
            }
            while this.news.as_mut().poll(cx).is_ready() && !*this.told {
                *this.told = true;
                this.news.set(shared.ended.clone().cancelled_owned());
            }
            if this.timer.as_mut().poll_at(cx, shared.clock.at(shared.until())).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
