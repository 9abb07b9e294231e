//! A place in the wait list, without a timer: its holder has one.

use std::{borrow::Borrow, task::Context};

use crate::{
    limiter::{Limiter, Refused},
    policy::{line::Joined, nanos::FOREVER},
    time::Instant,
};

/// A place in the wait list of a limiter, or the permits it led to. Dropped, it leaves no trace: the place is gone and
/// permits go back, unless they were [spent](Ticket::spend). `L` is a limiter, owned or borrowed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ticket<L: Borrow<Limiter> = Limiter> {
    limiter: L,
    permits: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Under this number.
    Waiting(u64),
    /// Collected; its turn came at this time.
    Granted(u64),
    Spent,
}

/// What to do about a [`Ticket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Go: the permits are there.
    Granted,
    /// Come again at this instant. The waker is called if it is to be another one.
    At(Instant),
    /// As things stand, never. The waker is called when that changes.
    Never,
}

impl<L: Borrow<Limiter>> Ticket<L> {
    /// Joins the wait list, if the turn comes within `allowed` nanoseconds. It may have come already.
    pub(super) fn join(limiter: L, permits: u32, allowed: u64) -> Result<Self, Refused> {
        let state = match limiter.borrow().reserve_place(permits, allowed)? {
            (Joined::Waiting(number), _) => State::Waiting(number),
            (_, now) => State::Granted(now),
        };
        Ok(Self { limiter, permits, state })
    }

    /// Whether the turn has come. Granted, it was collected: start at once, or drop it.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let State::Waiting(number) = self.state else { return Turn::Granted };
        let limiter = self.limiter.borrow();
        match limiter.inner.shared.turn(|| limiter.now(), number, self.permits, cx.waker()) {
            Ok(since) => {
                self.state = State::Granted(since);
                Turn::Granted
            }
            Err(due) => limiter.instant(due).map_or(Turn::Never, Turn::At),
        }
    }

    /// When the turn comes as things stand: 0 has come, `FOREVER` never. Walks along the list.
    pub(crate) fn ready_in(&self) -> u64 {
        let State::Waiting(number) = self.state else { return 0 };
        let limiter = self.limiter.borrow();
        match limiter.inner.shared.exact_turn(|| limiter.now(), number, self.permits) {
            (FOREVER, _) => FOREVER,
            (turn, now) => turn.saturating_sub(now),
        }
    }

    /// The permits are used; nothing goes back. One that still waits takes its turn all the same.
    pub(crate) fn spend(&mut self) {
        if let State::Waiting(number) = self.state {
            self.limiter.borrow().inner.shared.spend(number);
        }
        self.state = State::Spent;
    }

    pub(super) fn is_spent(&self) -> bool {
        self.state == State::Spent
    }
}

impl<L: Borrow<Limiter>> Drop for Ticket<L> {
    fn drop(&mut self) {
        let limiter = self.limiter.borrow();
        match self.state {
            State::Waiting(number) => limiter.inner.shared.leave(|| limiter.now(), number),
            State::Granted(at) if self.permits > 0 => limiter.give_back(self.permits, at),
            _ => {}
        }
    }
}
