//! A request for permits in the wait list, without a timer: what polls it has one.

use std::{borrow::Borrow, task::Context};

use crate::{
    limiter::{Limiter, Refused},
    policy::{limit::wait_list::WaiterId, nanos::FOREVER},
    time::Instant,
};

/// A waiter of a limiter, or the permits it was granted. Dropped, it leaves no trace: the waiter is removed and permits
/// go back, unless they were [consumed](QueuedPermit::consume). `L` is a limiter, owned or borrowed.
#[derive(Debug)]
#[must_use]
pub(crate) struct QueuedPermit<L: Borrow<Limiter> = Limiter> {
    limiter: L,
    state: State,
}

/// The number of permits is in it for the sake of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        permits: u32,
        id: WaiterId,
    },
    /// Collected, and granted at that time.
    Granted {
        permits: u32,
        at: u64,
    },
    Consumed,
}

/// The answer of a [`QueuedPermit`] that is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The permits are there, and collected: start at once, or drop it.
    Granted,
    /// Poll it again at this instant. The waker is called if it is to be another one.
    At(Instant),
    /// As things stand, never. The waker is called when that changes.
    Never,
}

impl<L: Borrow<Limiter>> QueuedPermit<L> {
    /// Joins the wait list, if the permits will be there within `allowed` nanoseconds. They may be there already.
    pub(super) fn enqueue(limiter: L, permits: u32, allowed: u64) -> Result<Self, Refused> {
        let (admission, now) = limiter.borrow().semaphore.reserve(permits, allowed);
        let state = match limiter.borrow().admitted(admission, now, permits, allowed)? {
            Some(id) => State::Waiting { permits, id },
            None => State::Granted { permits, at: now },
        };
        Ok(Self { limiter, state })
    }

    /// Whether the permits are granted, and then they are collected.
    pub(crate) fn poll_acquire(&mut self, cx: &mut Context<'_>) -> Readiness {
        let State::Waiting { permits, id } = self.state else { return Readiness::Granted };
        let semaphore = &self.limiter.borrow().semaphore;
        match semaphore.poll_acquire(id, permits, cx.waker()) {
            Ok(at) => {
                self.state = State::Granted { permits, at };
                Readiness::Granted
            }
            Err(ready_at) => semaphore.clock.instant(ready_at).map_or(Readiness::Never, Readiness::At),
        }
    }

    pub(super) fn limiter(&self) -> &Limiter {
        self.limiter.borrow()
    }

    /// Its id, while it waits.
    pub(super) fn id(&self) -> Option<WaiterId> {
        match self.state {
            State::Waiting { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Holds the grant that it has, or will have, under this id until then, since that of another limiter is not there;
    /// `None` is as long as it takes. Those behind it wait until then.
    pub(super) fn hold(&mut self, id: WaiterId, until: Option<Instant>) {
        let semaphore = &self.limiter.borrow().semaphore;
        let until = until.map_or(FOREVER, |until| semaphore.clock.nanos(until));
        let (permits, collected) = match self.state {
            State::Granted { permits, at } => (permits, Some((permits, at))),
            State::Waiting { permits, .. } => (permits, None),
            State::Consumed => return,
        };
        semaphore.hold(id, collected, until);
        self.state = State::Waiting { permits, id };
    }

    /// In how many nanoseconds it is granted, as things stand: 0 is now, `FOREVER` never. Walks along the list.
    pub(crate) fn ready_in(&self) -> u64 {
        let State::Waiting { permits, id } = self.state else { return 0 };
        match self.limiter.borrow().semaphore.waiter_ready_at(id, permits) {
            (FOREVER, _) => FOREVER,
            (ready_at, now) => ready_at.saturating_sub(now),
        }
    }

    /// The permits are used; nothing goes back. Those of one that still waits are used when it is granted.
    pub(crate) fn consume(&mut self) {
        if let State::Waiting { id, .. } = self.state {
            self.limiter.borrow().semaphore.consume(id);
        }
        self.state = State::Consumed;
    }

    pub(super) fn is_granted(&self) -> bool {
        matches!(self.state, State::Granted { .. })
    }

    pub(super) fn is_consumed(&self) -> bool {
        self.state == State::Consumed
    }
}

impl<L: Borrow<Limiter>> Drop for QueuedPermit<L> {
    fn drop(&mut self) {
        let semaphore = &self.limiter.borrow().semaphore;
        match self.state {
            State::Waiting { id, .. } => semaphore.remove(id),
            State::Granted { permits, at } if permits > 0 => semaphore.refund(permits, at),
            _ => {}
        }
    }
}
