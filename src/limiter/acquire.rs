//! Waiting for permits.

use std::{
    borrow::Borrow,
    fmt,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::future::FusedFuture;
use pin_project_lite::pin_project;
use tokio::task::coop;

use crate::{
    limiter::{Limiter, QueuedPermit, Readiness, Refused},
    policy::nanos,
    time::{self, Instant, Sleeper, Timer},
};

/// Waits for permits; made by [`Limiter::acquire`].
///
/// It joins the wait list at the first poll. A wait that cannot fit into its bound is refused then, and when its
/// permits are put off beyond the bound: at once by [`Limiter::set_rate`], at the bound at the latest by a waiter ahead
/// that collects its grant late.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Acquire<'a> {
    permits: u32,
    bound: Bound,
    inner: AcquireInner<&'a Limiter>,
}

/// Waits for one permit; made by [`Limiter::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Ready<'a> {
    inner: AcquireInner<&'a Limiter>,
}

/// Where permits come from: a limiter, or that of a key.
pub(crate) trait PermitSource {
    /// A limiter whose wait list is joined.
    type Limiter: Borrow<Limiter>;

    /// What time it is for [`try_take`](Self::try_take).
    fn now(&self) -> u64;
    /// Takes permits, if they are there at once and no task waits.
    fn try_take(&self, now: u64, permits: u32) -> bool;
    /// The limiter.
    fn limiter(&self) -> Self::Limiter;
}

/// The wait of all futures that acquire permits.
pub(crate) struct AcquireInner<S: PermitSource> {
    source: S,
    done: bool,
    /// Only while it has to wait. Apart, so that a future that does not is small; dropped by hand, so that it is
    /// dropped in no time.
    queued: ManuallyDrop<Option<BoxQueued<S::Limiter>>>,
}

impl<S: PermitSource + fmt::Debug> fmt::Debug for AcquireInner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match *self.queued {
            _ if self.done => "done",
            Some(_) => "waiting",
            None => "not polled yet",
        };
        f.debug_struct("AcquireInner").field("source", &self.source).field("state", &state).finish()
    }
}

type BoxQueued<L> = Pin<Box<Queued<L>>>;

pin_project! {
    #[derive(Debug)]
    struct Queued<L: Borrow<Limiter>> {
        permit: QueuedPermit<L>,
        #[pin]
        timer: Timer,
    }
}

/// How long a wait may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    None,
    /// Nanoseconds from the first poll on.
    Within(u64),
    By(Instant),
}

// ===== impl Acquire =====

impl<'a> Acquire<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a Limiter, permits: u32) -> Self {
        Self { permits, bound: Bound::None, inner: AcquireInner::new(limiter) }
    }

    /// Waits no longer than this, counted from the first poll. Permits at exactly its end are in time.
    pub fn within(mut self, allowed: Duration) -> Self {
        self.bound = Bound::Within(nanos::nanos(allowed));
        self
    }

    /// Waits no longer than until then. Permits at exactly that instant are in time.
    pub fn by(mut self, instant: Instant) -> Self {
        self.bound = Bound::By(instant);
        self
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), Refused>;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.inner.poll_take(this.permits, cx) {
            return Poll::Ready(Ok(()));
        }
        this.inner.poll_queued(this.permits, &mut this.bound, cx, "Acquire")
    }
}

impl FusedFuture for Acquire<'_> {
    fn is_terminated(&self) -> bool {
        self.inner.done
    }
}

// ===== impl Ready =====

impl<'a> Ready<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a Limiter) -> Self {
        Self { inner: AcquireInner::new(limiter) }
    }
}

impl Future for Ready<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.poll_take(1, cx) {
            return Poll::Ready(());
        }
        self.inner.poll_one(cx, "Ready")
    }
}

impl FusedFuture for Ready<'_> {
    fn is_terminated(&self) -> bool {
        self.inner.done
    }
}

// ===== impl AcquireInner =====

impl<'a> PermitSource for &'a Limiter {
    type Limiter = &'a Limiter;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn now(&self) -> u64 {
        self.semaphore.fast_now()
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn try_take(&self, now: u64, permits: u32) -> bool {
        self.semaphore.try_take(now, permits)
    }

    fn limiter(&self) -> &'a Limiter {
        self
    }
}

impl<S: PermitSource> AcquireInner<S> {
    #[inline]
    pub(crate) fn new(source: S) -> Self {
        Self { source, done: false, queued: ManuallyDrop::new(None) }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// A new wait takes the permits, if they are there and its task need not let others run.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    pub(crate) fn poll_take(&mut self, permits: u32, cx: &mut Context<'_>) -> bool {
        if self.done || self.queued.is_some() {
            return false;
        }
        // Read before: nothing panics while the task's share is held, which then needs no room.
        let now = self.source.now();
        let Poll::Ready(progress) = coop::poll_proceed(cx) else { return false };
        self.done = self.source.try_take(now, permits);
        if self.done {
            progress.made_progress();
        }
        self.done
    }

    /// The rarer half of a poll, for one permit without a bound: no rule refuses it.
    pub(crate) fn poll_one(&mut self, cx: &mut Context<'_>, name: &str) -> Poll<()> {
        self.poll_queued(1, &mut Bound::None, cx, name).map(|granted| debug_assert_eq!(granted, Ok(())))
    }

    /// The rarer half of a poll: in the wait list.
    #[cold]
    #[inline(never)]
    pub(crate) fn poll_queued(
        &mut self,
        permits: u32,
        bound: &mut Bound,
        cx: &mut Context<'_>,
        name: &str,
    ) -> Poll<Result<(), Refused>> {
        assert!(!self.done, "`{name}` polled after completion");
        let mut share = coop::poll_proceed(cx);
        let answer = loop {
            let Some(queued) = &mut *self.queued else {
                match QueuedPermit::enqueue(self.source.limiter(), permits, bound.left()) {
                    Ok(permit) => {
                        *bound = bound.begin();
                        *self.queued = Some(Box::pin(Queued { permit, timer: Timer::default() }));
                        continue;
                    }
                    // A refusal is no reason to keep others from running.
                    Err(_) if share.is_pending() => return Poll::Pending,
                    Err(refused) => break Err(refused),
                }
            };
            // A task that has used up its share still joins the list.
            if share.is_pending() {
                return Poll::Pending;
            }
            let queued = queued.as_mut().project();
            let ready_at = match queued.permit.poll_acquire(cx) {
                Readiness::Granted => {
                    queued.permit.consume();
                    break Ok(());
                }
                Readiness::At(instant) => Some(instant),
                Readiness::Never => None,
            };
            if let Some(refused) = bound.refusal(ready_at) {
                break Err(queued.permit.limiter().no_share().unwrap_or(refused));
            }
            ready!(queued.timer.poll_at(cx, ready_at));
        };
        if let Poll::Ready(progress) = &mut share {
            progress.made_progress();
        }
        self.done = true;
        // A waiter that was refused leaves the list.
        *self.queued = None;
        Poll::Ready(answer)
    }
}

impl<S: PermitSource> Drop for AcquireInner<S> {
    #[inline]
    fn drop(&mut self) {
        if self.queued.is_some() {
            leave(&mut self.queued);
        }
    }
}

#[cold]
#[inline(never)]
fn leave<L: Borrow<Limiter>>(queued: &mut Option<BoxQueued<L>>) {
    *queued = None;
}

// ===== impl Bound =====

impl Bound {
    /// Nanoseconds left.
    fn left(self) -> u64 {
        match self {
            Self::None => nanos::FOREVER,
            Self::Within(allowed) => allowed,
            Self::By(instant) => time::between(time::now(), instant),
        }
    }

    /// The bound of a wait that begins now.
    fn begin(self) -> Self {
        match self {
            Self::Within(allowed) => time::after(time::now(), allowed).map_or(Self::None, Self::By),
            bound => bound,
        }
    }

    /// What to answer a waiter whose permits are there at `ready_at`, if that is too late.
    fn refusal(self, ready_at: Option<Instant>) -> Option<Refused> {
        let Self::By(bound) = self else { return None };
        if ready_at.is_some_and(|ready_at| ready_at <= bound) {
            return None;
        }
        let now = time::now();
        let ready_in = ready_at.map_or(nanos::FOREVER, |ready_at| time::between(now, ready_at));
        Some(Refused::too_far(0, ready_in, time::between(now, bound)))
    }
}
