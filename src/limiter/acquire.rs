//! Waiting for permits.

use std::{
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
/// The place in line is taken at the first poll. A wait that cannot fit into its bound is refused then, and when
/// [`Limiter::set_rate`] moves its turn beyond the bound.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
#[pin_project]
pub struct Acquire {
    /// Spent: done.
    ticket: Ticket,
    bound: Bound,
    #[pin]
    timer: Timer,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    None,
    Within(u64),
    By(Instant),
}

/// Waits for one permit; made by [`Limiter::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
#[pin_project]
pub struct Ready {
    #[pin]
    acquire: Acquire,
}

// ===== impl Acquire =====

impl Acquire {
    #[inline]
    pub(super) fn new(limiter: Limiter, permits: u32) -> Self {
        Self { ticket: Ticket::new(limiter, permits), bound: Bound::None, timer: Timer::default() }
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

    /// The rarer half of the poll: in line.
    #[inline(never)]
    fn wait(self: Pin<&mut Self>, cx: &mut Context<'_>, name: &str) -> Poll<Result<(), Refused>> {
        let progress = ready!(coop::poll_proceed(cx));
        let mut this = self.project();
        assert!(!this.ticket.is_spent(), "`{name}` polled after completion");
        if this.ticket.is_new() {
            if let Err(refused) = this.ticket.join(this.bound.left()) {
                progress.made_progress();
                this.ticket.spend();
                return Poll::Ready(Err(refused));
            }
            *this.bound = this.bound.begin();
        }
        let answer = loop {
            let turn = match this.ticket.poll_turn(cx) {
                Turn::Granted => {
                    this.ticket.spend();
                    break Ok(());
                }
                Turn::At(turn) => Some(turn),
                Turn::Never => None,
            };
            if let Some(refused) = this.bound.refusal(turn) {
                this.ticket.leave();
                break Err(refused);
            }
            ready!(this.timer.as_mut().poll_at(cx, turn));
        };
        progress.made_progress();
        Poll::Ready(answer)
    }
}

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

impl Future for Acquire {
    type Output = Result<(), Refused>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.as_mut().project().ticket.spend_now() {
            return Poll::Ready(Ok(()));
        }
        self.wait(cx, "Acquire")
    }
}

impl FusedFuture for Acquire {
    fn is_terminated(&self) -> bool {
        self.ticket.is_spent()
    }
}

// ===== impl Ready =====

impl Ready {
    #[inline]
    pub(super) fn new(limiter: Limiter) -> Self {
        Self { acquire: Acquire::new(limiter, 1) }
    }
}

impl Future for Ready {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut acquire = self.project().acquire;
        if acquire.as_mut().project().ticket.spend_now() {
            return Poll::Ready(());
        }
        // One permit without a bound is refused by no rule.
        acquire.wait(cx, "Ready").map(|granted| debug_assert_eq!(granted, Ok(())))
    }
}

impl FusedFuture for Ready {
    fn is_terminated(&self) -> bool {
        self.acquire.is_terminated()
    }
}
