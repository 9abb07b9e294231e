//! The limiters before what a queue starts.

use std::task::Context;

use crate::{
    error::Stop,
    limiter::{Limiters, QueuedPermits, Readiness},
    policy::nanos::FOREVER,
};

/// Limiters, and the wait for a permit of each while there is something to start.
#[derive(Debug)]
pub(super) struct Throttle {
    limiters: Limiters,
    waiting: Option<QueuedPermits>,
}

impl Throttle {
    pub(super) fn new(limiters: Limiters) -> Self {
        Self { limiters, waiting: None }
    }

    /// Whether something may start. The first call joins the waiters.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Readiness {
        self.join().poll_acquire(cx)
    }

    /// Joins the waiters, if it has not.
    pub(super) fn join(&mut self) -> &mut QueuedPermits {
        let Self { limiters, waiting } = self;
        waiting.get_or_insert_with(|| match limiters.enqueue(FOREVER) {
            Ok(waiting) => waiting,
            Err(refused) => unreachable!("one permit can always be waited for: {refused}"),
        })
    }

    /// The end of what waits for a limiter without a share of its fleet's rate.
    pub(super) fn no_share(&self) -> Option<Stop> {
        self.limiters.no_share().and_then(Stop::no_share)
    }

    /// Something starts: the permits are used.
    pub(super) fn consume(&mut self) {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.consume();
        }
    }

    /// The limiters grant nothing to any waiter for so many nanoseconds.
    pub(super) fn pause(&self, nanos: u64) {
        self.limiters.pause(nanos);
    }

    /// There is nothing to start: the queue waits no more.
    pub(super) fn leave(&mut self) {
        self.waiting = None;
    }
}
