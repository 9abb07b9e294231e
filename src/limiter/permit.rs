//! A place in the wait list, without a timer: its holder has one.

use std::{borrow::Borrow, task::Context};

use crate::{
    limiter::{Limiter, Refused},
    policy::{limit::wait_list::Joined, nanos::FOREVER},
    time::Instant,
};

/// A place in the wait list of a limiter, or the permits it led to. Dropped, it leaves no trace: the place is gone and
/// permits go back, unless they were [spent](Ticket::spend). `L` is a limiter, owned or borrowed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ticket<L: Borrow<Limiter> = Limiter> {
    limiter: L,
    /// Waiting: its number. Granted: when its turn came.
    value: u64,
    permits: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Collected.
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
    /// Joins the wait list, if the turn comes within `allowed` nanoseconds. It may have come already.
    pub(super) fn join(limiter: L, permits: u32, allowed: u64) -> Result<Self, Refused> {
        let (value, state) = match limiter.borrow().reserve_place(permits, allowed)? {
            (Joined::Waiting(number), _) => (number, State::Waiting),
            (_, now) => (now, State::Granted),
        };
        Ok(Self { limiter, value, permits, state })
    }

    /// Whether the turn has come. Granted, it was collected: start at once, or drop it.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.state != State::Waiting {
            return Turn::Granted;
        }
        let limiter = self.limiter.borrow();
        match limiter.inner.shared.turn(|| limiter.now(), self.value, self.permits, cx.waker()) {
            Ok(since) => {
                (self.value, self.state) = (since, State::Granted);
                Turn::Granted
            }
            Err(due) => limiter.instant(due).map_or(Turn::Never, Turn::At),
        }
    }

    pub(super) fn limiter(&self) -> &Limiter {
        self.limiter.borrow()
    }

    /// Its number in the wait list, while it waits.
    pub(super) fn number(&self) -> u64 {
        self.value
    }

    /// Holds the turn it has, or will have, under this number until then, since that of another limiter has not come; `None` is as
    /// long as it takes. Those behind wait until then.
    pub(super) fn hold(&mut self, number: u64, until: Option<Instant>) {
        let limiter = self.limiter.borrow();
        let until = until.map_or(FOREVER, |until| limiter.nanos(until));
        let collected = (self.state == State::Granted).then_some((self.permits, self.value));
        limiter.inner.shared.hold_turn(|| limiter.now(), number, collected, until);
        (self.value, self.state) = (number, State::Waiting);
    }

    /// When the turn comes as things stand: 0 has come, `FOREVER` never. Walks along the list.
    pub(crate) fn ready_in(&self) -> u64 {
        if self.state != State::Waiting {
            return 0;
        }
        let limiter = self.limiter.borrow();
        match limiter.inner.shared.exact_turn(|| limiter.now(), self.value, self.permits) {
            (FOREVER, _) => FOREVER,
            (turn, now) => turn.saturating_sub(now),
        }
    }

    /// The permits are used; nothing goes back. One that still waits takes its turn all the same.
    pub(crate) fn spend(&mut self) {
        if self.state == State::Waiting {
            self.limiter.borrow().inner.shared.spend(self.value);
        }
        self.state = State::Spent;
    }

    pub(super) fn is_granted(&self) -> bool {
        self.state == State::Granted
    }

    pub(super) fn is_spent(&self) -> bool {
        self.state == State::Spent
    }
}

impl<L: Borrow<Limiter>> Drop for Ticket<L> {
    fn drop(&mut self) {
        let limiter = self.limiter.borrow();
        match self.state {
            State::Waiting => limiter.inner.shared.leave(|| limiter.now(), self.value),
            State::Granted if self.permits > 0 => {
                limiter.inner.shared.give_back(|| limiter.now(), self.permits, self.value);
            }
            _ => {}
        }
    }
}
