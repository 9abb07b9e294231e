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
    time::{self, Instant, Timer},
};

/// Waits for permits; made by [`Limiter::acquire`].
///
/// The place in line is taken at the first poll. A wait that cannot fit into its bound is refused then, and when
/// [`Limiter::set_rate`] moves its turn beyond the bound.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
#[pin_project]
pub struct Acquire {
    permits: u32,
    bound: Bound,
    state: State,
    #[pin]
    timer: Timer,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    None,
    Within(u64),
    By(Instant),
}

#[derive(Debug)]
enum State {
    Start(Limiter),
    Waiting(Ticket),
    Done,
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
    pub(super) fn new(limiter: Limiter, permits: u32) -> Self {
        Self { permits, bound: Bound::None, state: State::Start(limiter), timer: Timer::default() }
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
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let progress = ready!(coop::poll_proceed(cx));
        let mut this = self.project();
        if let State::Start(limiter) = &*this.state {
            let answer = match limiter.inner.shared.take(limiter.now(), *this.permits) {
                true => Ok(None),
                false => limiter.ticket(*this.permits, this.bound.left()).map(Some),
            };
            match answer {
                Ok(Some(ticket)) => {
                    *this.bound = this.bound.begin();
                    *this.state = State::Waiting(ticket);
                }
                granted_or_refused => {
                    *this.state = State::Done;
                    progress.made_progress();
                    return Poll::Ready(granted_or_refused.map(drop));
                }
            }
        }
        let answer = ready!(wait(this.state, *this.bound, this.timer.as_mut(), cx));
        progress.made_progress();
        Poll::Ready(answer)
    }
}

/// The rarer half of the poll.
fn wait(state: &mut State, bound: Bound, mut timer: Pin<&mut Timer>, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
    let State::Waiting(ticket) = state else { panic!("`Acquire` polled after completion") };
    loop {
        let turn = match ticket.poll_turn(cx) {
            Turn::Granted => {
                if let State::Waiting(ticket) = std::mem::replace(state, State::Done) {
                    ticket.spend();
                }
                return Poll::Ready(Ok(()));
            }
            Turn::At(turn) => Some(turn),
            Turn::Never => None,
        };
        if let Some(refused) = bound.refusal(turn) {
            *state = State::Done;
            return Poll::Ready(Err(refused));
        }
        ready!(timer.as_mut().poll_at(cx, turn));
    }
}

impl FusedFuture for Acquire {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

// ===== impl Ready =====

impl Ready {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self { acquire: Acquire::new(limiter, 1) }
    }
}

impl Future for Ready {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        assert!(!self.is_terminated(), "`Ready` polled after completion");
        // One permit without a bound is refused by no rule.
        self.project().acquire.poll(cx).map(|granted| debug_assert_eq!(granted, Ok(())))
    }
}

impl FusedFuture for Ready {
    fn is_terminated(&self) -> bool {
        self.acquire.is_terminated()
    }
}
