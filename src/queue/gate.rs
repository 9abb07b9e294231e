//! The limiters before what a queue starts.

use std::task::Context;

use crate::{
    limiter::{Limiters, QueuedPermits, Readiness},
    policy::nanos::FOREVER,
};

/// Limiters and the place in their wait lists, while there is something to start.
#[derive(Debug)]
pub(super) struct Gate {
    limiters: Limiters,
    place: Option<QueuedPermits>,
}

impl Gate {
    pub(super) fn new(limiters: Limiters) -> Self {
        Self { limiters, place: None }
    }

    /// Whether something may start. The first question takes a place.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Readiness {
        let Self { limiters, place } = self;
        let place = place.get_or_insert_with(|| match limiters.enqueue(FOREVER) {
            Ok(place) => place,
            Err(refused) => unreachable!("one permit can always be waited for: {refused}"),
        });
        place.poll_acquire(cx)
    }

    /// Something starts.
    pub(super) fn spend(&mut self) {
        if let Some(mut place) = self.place.take() {
            place.consume();
        }
    }

    /// Nothing is granted to anybody for so many nanoseconds.
    pub(super) fn pause(&self, nanos: u64) {
        self.limiters.pause(nanos);
    }

    /// There is nothing to start.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }
}
