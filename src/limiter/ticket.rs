//! A place in line, without a timer: the one who waits has his own.

use std::task::Context;

use crate::{limiter::Limiter, time::Instant};

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
    /// `number`: in line; `None`: with the permits.
    pub(super) fn new(limiter: Limiter, number: Option<u64>, permits: u32) -> Self {
        let state = if number.is_some() { State::Waiting } else { State::Granted };
        Self { limiter, number: number.unwrap_or(0), permits, state }
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
            Some(crate::policy::nanos::FOREVER) => crate::policy::nanos::FOREVER,
            Some(turn) => turn.saturating_sub(now),
        }
    }

    /// The permits are used; nothing goes back. One that still waits takes its turn all the same.
    pub(crate) fn spend(mut self) {
        if self.state == State::Waiting {
            self.limiter.inner.shared.unwatch(self.number);
        }
        self.state = State::Spent;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.state {
            State::Waiting => self.limiter.inner.shared.leave(self.number, self.permits),
            State::Granted => self.limiter.give_back(self.permits),
            State::Spent => {}
        }
    }
}
