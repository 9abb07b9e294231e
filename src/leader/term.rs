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

use pin_project::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    policy::nanos,
    time::{self, Alarm, Instant, Timer},
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
    begun: Instant,
    told: CancellationToken,
    /// In nanoseconds since `begun`: nobody else can lead before.
    valid_until: AtomicU64,
    /// The work that was told is dropped then, at the latest.
    drop_at: AtomicU64,
}

impl Term {
    pub(super) fn new(fence: u128, identity: Arc<str>, begun: Instant, valid_until: u64) -> Self {
        let (valid_until, drop_at) = (AtomicU64::new(valid_until), AtomicU64::new(nanos::FOREVER));
        Self {
            shared: Arc::new(Shared { fence, identity, begun, told: CancellationToken::new(), valid_until, drop_at }),
        }
    }

    /// Grows from term to term of the same lock, whoever holds them, and over deletion of the lock: let what the work
    /// writes to refuse a smaller one.
    #[must_use]
    pub fn fence(&self) -> u128 {
        self.shared.fence
    }

    /// Who leads.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// Done when the work should end: the term was lost, or the run was cancelled. From then on the work has the
    /// [`stop_grace`](super::Timing::stop_grace).
    ///
    /// # Cancel safety
    /// Safe: it may be dropped and asked again.
    pub async fn lost(&self) {
        self.shared.told.cancelled().await;
    }

    /// Whether the work should end.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shared.told.is_cancelled()
    }

    /// A token that is cancelled when the work should end, for code that takes one. Cancelling it ends nothing else.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.shared.told.child_token()
    }

    /// How long nobody else can lead, if no further renewal succeeds. Zero when the work should have ended.
    #[must_use]
    pub fn valid_for(&self) -> Duration {
        nanos::duration(self.until().saturating_sub(time::between(self.shared.begun, time::now())))
    }

    /// Runs a future only as long as the term is valid: for tasks that the work spawns. The clock is read before every
    /// poll; once the term is over the future is dropped and the answer is `None`.
    pub fn guard<F: Future>(&self, future: F) -> Guarded<F> {
        Guarded {
            term: self.clone(),
            told: self.shared.told.clone().cancelled_owned(),
            future: Some(future),
            timer: Timer::default(),
        }
    }

    pub(super) fn tell(&self, drop_at: u64) {
        self.shared.drop_at.fetch_min(drop_at, Ordering::AcqRel);
        self.shared.told.cancel();
    }

    /// Says whether that is longer than before.
    pub(super) fn extend(&self, valid_until: u64) -> bool {
        self.shared.valid_until.swap(valid_until, Ordering::AcqRel) < valid_until
    }

    pub(super) fn over(&self) {
        self.shared.valid_until.store(0, Ordering::Release);
        self.shared.told.cancel();
    }

    fn until(&self) -> u64 {
        let valid_until = self.shared.valid_until.load(Ordering::Acquire);
        valid_until.min(self.shared.drop_at.load(Ordering::Acquire))
    }
}

/// A future that runs only while a term is valid: made by [`Term::guard`].
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Guarded<F> {
    term: Term,
    #[pin]
    told: WaitForCancellationFutureOwned,
    #[pin]
    future: Option<F>,
    #[pin]
    timer: Timer,
}

// ===== impl Guarded =====

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let shared = &this.term.shared;
        let over = |until: u64| time::between(shared.begun, time::now()) >= until;
        let until = this.term.until();
        if over(until) {
            this.future.set(None);
            return Poll::Ready(None);
        }
        let future = this.future.as_mut().as_pin_mut().expect("`Guarded` polled after completion");
        if let Poll::Ready(value) = future.poll(cx) {
            this.future.set(None);
            return Poll::Ready(Some(value));
        }
        // When the end of the term is brought forward, the token wakes this task.
        if !this.term.is_lost() {
            let _ = this.told.poll(cx).is_ready();
        }
        loop {
            let until = this.term.until();
            if this.timer.as_mut().poll_at(cx, time::after(shared.begun, until)).is_pending() {
                return Poll::Pending;
            }
            if over(this.term.until()) {
                this.future.set(None);
                return Poll::Ready(None);
            }
        }
    }
}
