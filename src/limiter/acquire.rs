//! Waiting for permits.

use std::{
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::future::FusedFuture;
use pin_project::pin_project;
use tokio::task::coop;

use crate::{
    limiter::{Limiter, Refused, Ticket, Turn},
    policy::nanos,
    time::{self, Alarm, Instant, Timer},
};

/// Waits for permits; made by [`Limiter::acquire`].
///
/// The place in line is taken at the first poll. A wait that cannot fit into its bound is refused then, and when its turn is
/// moved beyond the bound: at once by [`Limiter::set_rate`], at the bound at the latest by one ahead that comes for its turn
/// late.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Acquire<'a> {
    permits: u32,
    bound: Bound,
    wait: Wait<'a>,
}

/// Waits for one permit; made by [`Limiter::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Ready<'a> {
    wait: Wait<'a>,
}

#[derive(Debug)]
struct Wait<'a> {
    limiter: &'a Limiter,
    done: bool,
    /// Only while it has to wait. Apart, so that one that has not is small; dropped by hand, so that it is dropped in
    /// no time.
    place: ManuallyDrop<Option<Pin<Box<Place<'a>>>>>,
}

#[derive(Debug)]
#[pin_project]
struct Place<'a> {
    ticket: Ticket<&'a Limiter>,
    #[pin]
    timer: Timer,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    None,
    Within(u64),
    By(Instant),
}

// ===== impl Acquire =====

impl<'a> Acquire<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a Limiter, permits: u32) -> Self {
        Self { permits, bound: Bound::None, wait: Wait::new(limiter) }
    }

    /// Waits no longer than this, counted from the first poll. A turn at exactly its end is in time.
    pub fn within(mut self, allowed: Duration) -> Self {
        self.bound = Bound::Within(nanos::nanos(allowed));
        self
    }

    /// Waits no longer than until then. A turn at exactly that instant is in time.
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
        if this.wait.poll_take(this.permits, cx) {
            return Poll::Ready(Ok(()));
        }
        this.wait.poll_turn(this.permits, &mut this.bound, cx, "Acquire")
    }
}

impl FusedFuture for Acquire<'_> {
    fn is_terminated(&self) -> bool {
        self.wait.done
    }
}

// ===== impl Ready =====

impl<'a> Ready<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a Limiter) -> Self {
        Self { wait: Wait::new(limiter) }
    }
}

impl Future for Ready<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait.poll_take(1, cx) {
            return Poll::Ready(());
        }
        // One permit without a bound is refused by no rule.
        let granted = self.wait.poll_turn(1, &mut Bound::None, cx, "Ready");
        granted.map(|granted| debug_assert_eq!(granted, Ok(())))
    }
}

impl FusedFuture for Ready<'_> {
    fn is_terminated(&self) -> bool {
        self.wait.done
    }
}

// ===== impl Wait =====

impl<'a> Wait<'a> {
    #[inline]
    fn new(limiter: &'a Limiter) -> Self {
        Self { limiter, done: false, place: ManuallyDrop::new(None) }
    }

    /// One that is new takes the permits, if they are there and its task need not let others run.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn poll_take(&mut self, permits: u32, cx: &mut Context<'_>) -> bool {
        if self.done || self.place.is_some() {
            return false;
        }
        let Poll::Ready(progress) = coop::poll_proceed(cx) else { return false };
        self.done = self.limiter.take_now(permits);
        if self.done {
            progress.made_progress();
        }
        self.done
    }

    /// The rarer half of a poll: in line.
    #[cold]
    #[inline(never)]
    fn poll_turn(
        &mut self,
        permits: u32,
        bound: &mut Bound,
        cx: &mut Context<'_>,
        name: &str,
    ) -> Poll<Result<(), Refused>> {
        assert!(!self.done, "`{name}` polled after completion");
        let mut share = coop::poll_proceed(cx);
        let answer = loop {
            let Some(place) = &mut *self.place else {
                match Ticket::join(self.limiter, permits, bound.left()) {
                    Ok(ticket) => {
                        *bound = bound.begin();
                        *self.place = Some(Box::pin(Place { ticket, timer: Timer::default() }));
                        continue;
                    }
                    Err(refused) => break Err(refused),
                }
            };
            // A task that has used up its share still takes its place.
            if share.is_pending() {
                return Poll::Pending;
            }
            let place = place.as_mut().project();
            let turn = match place.ticket.poll_turn(cx) {
                Turn::Granted => {
                    place.ticket.spend();
                    break Ok(());
                }
                Turn::At(turn) => Some(turn),
                Turn::Never => None,
            };
            if let Some(refused) = bound.refusal(turn) {
                break Err(self.limiter.lapsed_for().filter(|_| turn.is_none()).map_or(refused, Refused::no_share));
            }
            ready!(place.timer.poll_at(cx, turn));
        };
        if let Poll::Ready(progress) = &mut share {
            progress.made_progress();
        }
        self.done = true;
        // One who was refused leaves the line.
        *self.place = None;
        Poll::Ready(answer)
    }
}

impl Drop for Wait<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.place.is_some() {
            leave(&mut self.place);
        }
    }
}

#[cold]
#[inline(never)]
fn leave(place: &mut Option<Pin<Box<Place<'_>>>>) {
    *place = None;
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

    /// What to say to one whose turn comes at `turn`, if that is too late.
    fn refusal(self, turn: Option<Instant>) -> Option<Refused> {
        let Self::By(bound) = self else { return None };
        if turn.is_some_and(|turn| turn <= bound) {
            return None;
        }
        let now = time::now();
        let due = turn.map_or(nanos::FOREVER, |turn| time::between(now, turn));
        Some(Refused::too_far(0, due, time::between(now, bound)))
    }
}
