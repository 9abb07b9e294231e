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
    inner: AcquireInner<&'a Limiter, Several>,
}

/// Waits for one permit; made by [`Limiter::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Ready<'a> {
    inner: AcquireInner<&'a Limiter, One>,
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

/// What is asked for.
pub(crate) trait Request: Copy {
    fn permits(self) -> u32;
    fn bound(self) -> Bound;
}

/// One permit, however long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct One;

/// Permits within a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Several {
    permits: u32,
    bound: Bound,
}

/// The wait of all futures that acquire permits.
pub(crate) struct AcquireInner<S: PermitSource, R> {
    source: S,
    request: R,
    done: bool,
    /// Only while it has to wait. Apart, so that a future that does not is small; dropped by hand, so that it is
    /// dropped in no time.
    queued: ManuallyDrop<Option<BoxQueued<S::Limiter>>>,
}

impl<S: PermitSource + fmt::Debug, R: fmt::Debug> fmt::Debug for AcquireInner<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match *self.queued {
            _ if self.done => "done",
            Some(_) => "waiting",
            None => "not polled yet",
        };
        f.debug_struct("AcquireInner")
            .field("source", &self.source)
            .field("request", &self.request)
            .field("state", &state)
            .finish()
    }
}

type BoxQueued<L> = Pin<Box<Queued<L>>>;

pin_project! {
    #[derive(Debug)]
    struct Queued<L: Borrow<Limiter>> {
        permit: QueuedPermit<L>,
        // The end of its bound, if it has one.
        until: Option<Instant>,
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
        Self { inner: AcquireInner::new(limiter, Several::new(permits)) }
    }

    /// Waits no longer than this, counted from the first poll. Permits at exactly its end are in time.
    pub fn within(mut self, allowed: Duration) -> Self {
        self.inner.request_mut().within(allowed);
        self
    }

    /// Waits no longer than until then. Permits at exactly that instant are in time.
    pub fn by(mut self, instant: Instant) -> Self {
        self.inner.request_mut().by(instant);
        self
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), Refused>;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.poll_acquire(cx, "Acquire")
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
        Self { inner: AcquireInner::new(limiter, One) }
    }
}

impl Future for Ready<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_ready(cx, "Ready")
    }
}

impl FusedFuture for Ready<'_> {
    fn is_terminated(&self) -> bool {
        self.inner.done
    }
}

// ===== impl Request =====

impl Request for One {
    #[inline]
    fn permits(self) -> u32 {
        1
    }

    fn bound(self) -> Bound {
        Bound::None
    }
}

impl Several {
    #[inline]
    pub(crate) fn new(permits: u32) -> Self {
        Self { permits, bound: Bound::None }
    }

    pub(crate) fn within(&mut self, allowed: Duration) {
        self.bound = Bound::Within(nanos::nanos(allowed));
    }

    pub(crate) fn by(&mut self, instant: Instant) {
        self.bound = Bound::By(instant);
    }
}

impl Request for Several {
    #[inline]
    fn permits(self) -> u32 {
        self.permits
    }

    fn bound(self) -> Bound {
        self.bound
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
        self.semaphore.try_take(now, permits).is_ok()
    }

    fn limiter(&self) -> &'a Limiter {
        self
    }
}

impl<S: PermitSource, R: Request> AcquireInner<S, R> {
    #[inline]
    pub(crate) fn new(source: S, request: R) -> Self {
        Self { source, request, done: false, queued: ManuallyDrop::new(None) }
    }

    /// What is asked for.
    pub(crate) fn request(&self) -> &R {
        &self.request
    }

    /// The same, to be changed before the first poll.
    pub(crate) fn request_mut(&mut self) -> &mut R {
        &mut self.request
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    pub(crate) fn poll_acquire(&mut self, cx: &mut Context<'_>, name: &str) -> Poll<Result<(), Refused>> {
        if self.poll_take(cx) { Poll::Ready(Ok(())) } else { self.poll_queued(cx, name) }
    }

    /// The same for one permit without a bound: no rule refuses it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, name: &str) -> Poll<()> {
        if self.poll_take(cx) {
            return Poll::Ready(());
        }
        self.poll_queued(cx, name).map(|granted| debug_assert_eq!(granted, Ok(())))
    }

    /// A new wait takes the permits, if they are there and its task need not let others run.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn poll_take(&mut self, cx: &mut Context<'_>) -> bool {
        if self.done || self.queued.is_some() {
            return false;
        }
        // Read before: nothing panics while the task's share is held, which then needs no room.
        let now = self.source.now();
        let Poll::Ready(progress) = coop::poll_proceed(cx) else { return false };
        self.done = self.source.try_take(now, self.request.permits());
        if self.done {
            progress.made_progress();
        }
        self.done
    }

    /// The rarer half of a poll: in the wait list.
    #[cold]
    #[inline(never)]
    fn poll_queued(&mut self, cx: &mut Context<'_>, name: &str) -> Poll<Result<(), Refused>> {
        assert!(!self.done, "`{name}` polled after completion");
        let (permits, bound) = (self.request.permits(), self.request.bound());
        let mut share = coop::poll_proceed(cx);
        let answer = loop {
            let Some(queued) = &mut *self.queued else {
                match QueuedPermit::enqueue(self.source.limiter(), permits, bound.left()) {
                    Ok(permit) => {
                        let (until, timer) = (bound.until(), Timer::default());
                        *self.queued = Some(Box::pin(Queued { permit, until, timer }));
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
            if let Some(refused) = queued.until.and_then(|until| refusal(until, ready_at)) {
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

impl<S: PermitSource, R> Drop for AcquireInner<S, R> {
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

    /// Its end for a wait that begins now.
    fn until(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Within(allowed) => time::after(time::now(), allowed),
            Self::By(instant) => Some(instant),
        }
    }
}

/// What to answer a waiter with a bound whose permits are there at `ready_at`, if that is too late.
fn refusal(until: Instant, ready_at: Option<Instant>) -> Option<Refused> {
    if ready_at.is_some_and(|ready_at| ready_at <= until) {
        return None;
    }
    let now = time::now();
    let ready_in = ready_at.map_or(nanos::FOREVER, |ready_at| time::between(now, ready_at));
    Some(Refused::too_far(0, ready_in, time::between(now, until)))
}
