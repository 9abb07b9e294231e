//! A place in line, without a timer: the one who waits has his own.

use std::{borrow::Borrow, task::Context};

use crate::{
    limiter::{Limiter, Refused},
    policy::nanos::FOREVER,
    time::Instant,
};

/// A place in line before a limiter, or the permits it led to. Dropped, it leaves no trace: the place is gone and
/// permits go back, unless they were [spent](Ticket::spend). `L` is a limiter, its own or a borrowed one.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ticket<L: Borrow<Limiter> = Limiter> {
    limiter: L,
    /// Where it stands, while it waits.
    number: u64,
    permits: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Granted,
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
    /// Gets in line, if the turn comes within `allowed` nanoseconds. The permits may be there already.
    pub(super) fn join(limiter: L, permits: u32, allowed: u64) -> Result<Self, Refused> {
        let number = {
            let limiter = limiter.borrow();
            limiter.join(limiter.now(), permits, allowed)?
        };
        let state = if number.is_some() { State::Waiting } else { State::Granted };
        Ok(Self { limiter, number: number.unwrap_or(0), permits, state })
    }

    /// Whether the turn has come.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.state != State::Waiting {
            return Turn::Granted;
        }
        let limiter = self.limiter.borrow();
        match limiter.inner.shared.turn(limiter.now(), self.number, cx.waker()) {
            None => {
                self.state = State::Granted;
                Turn::Granted
            }
            Some(due) => limiter.instant(due).map_or(Turn::Never, Turn::At),
        }
    }

    /// When the turn comes as things stand: 0 has come, `FOREVER` never. Walks along the line.
    pub(crate) fn ready_in(&self) -> u64 {
        if self.state != State::Waiting {
            return 0;
        }
        let limiter = self.limiter.borrow();
        let now = limiter.now();
        match limiter.inner.shared.exact_turn(now, self.number) {
            None => 0,
            Some(FOREVER) => FOREVER,
            Some(turn) => turn.saturating_sub(now),
        }
    }

    /// The permits are used; nothing goes back. One that still waits takes its turn all the same.
    pub(crate) fn spend(&mut self) {
        if self.state == State::Waiting {
            self.limiter.borrow().inner.shared.unwatch(self.number);
        }
        self.state = State::Spent;
    }
}

impl<L: Borrow<Limiter>> Drop for Ticket<L> {
    fn drop(&mut self) {
        let limiter = self.limiter.borrow();
        match self.state {
            State::Waiting => limiter.inner.shared.leave(self.number, self.permits),
            State::Granted => limiter.give_back(self.permits),
            State::Spent => {}
        }
    }
}
