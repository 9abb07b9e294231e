//! A place in line, without a timer: the one who waits has his own.

use std::task::Context;

use crate::{
    limiter::{Limiter, Refused},
    policy::nanos::FOREVER,
    time::Instant,
};

/// A place in line before a limiter, or the permits it led to. Dropped, it leaves no trace: the place is gone and
/// permits go back, unless they were [spent](Ticket::spend).
#[derive(Debug)]
#[must_use]
pub(crate) struct Ticket {
    limiter: Limiter,
    /// Where it stands, while it waits.
    number: u64,
    permits: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
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

impl Ticket {
    /// Not in line yet.
    #[inline]
    pub(super) fn new(limiter: Limiter, permits: u32) -> Self {
        Self { limiter, number: 0, permits, state: State::New }
    }

    pub(super) fn is_new(&self) -> bool {
        self.state == State::New
    }

    pub(super) fn is_spent(&self) -> bool {
        self.state == State::Spent
    }

    /// A new one takes the permits, if they are there, and they are spent.
    #[inline]
    pub(super) fn spend_now(&mut self) -> bool {
        if self.state != State::New || !self.limiter.take(self.permits) {
            return false;
        }
        self.state = State::Spent;
        true
    }

    /// A new one gets in line, if the turn comes within `allowed` nanoseconds.
    pub(super) fn join(&mut self, allowed: u64) -> Result<(), Refused> {
        self.state = match self.limiter.join(self.limiter.now(), self.permits, allowed)? {
            Some(number) => {
                self.number = number;
                State::Waiting
            }
            None => State::Granted,
        };
        Ok(())
    }

    /// Whether the turn has come.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.state != State::Waiting {
            return Turn::Granted;
        }
        match self.limiter.inner.shared.turn(self.limiter.now(), self.number, cx.waker()) {
            None => {
                self.state = State::Granted;
                Turn::Granted
            }
            Some(due) => self.limiter.instant(due).map_or(Turn::Never, Turn::At),
        }
    }

    /// When the turn comes as things stand: 0 has come, `FOREVER` never. Walks along the line.
    pub(crate) fn ready_in(&self) -> u64 {
        if self.state != State::Waiting {
            return 0;
        }
        let now = self.limiter.now();
        match self.limiter.inner.shared.exact_turn(now, self.number) {
            None => 0,
            Some(FOREVER) => FOREVER,
            Some(turn) => turn.saturating_sub(now),
        }
    }

    /// The permits are used; nothing goes back. One that still waits takes its turn all the same.
    pub(crate) fn spend(&mut self) {
        if self.state == State::Waiting {
            self.limiter.inner.shared.unwatch(self.number);
        }
        self.state = State::Spent;
    }

    /// Leaves no trace, now.
    #[cold]
    pub(super) fn leave(&mut self) {
        match std::mem::replace(&mut self.state, State::Spent) {
            State::Waiting => self.limiter.inner.shared.leave(self.number, self.permits),
            State::Granted => self.limiter.give_back(self.permits),
            State::New | State::Spent => {}
        }
    }
}

impl Drop for Ticket {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.state, State::Waiting | State::Granted) {
            self.leave();
        }
    }
}
