//! The only file that reads a clock or sleeps. Everything goes by tokio's clock, so that a paused one sees every wait.
#![allow(clippy::disallowed_methods)]

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;
pub(crate) use tokio::time::Instant;
use tokio::{task::coop, time::Sleep};

use crate::policy::nanos;

/// What time it is.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock: for stamps that people read. No decision hangs on it.
#[cfg(all(feature = "k8s", feature = "test-util"))]
pub(crate) fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Nanoseconds from `start` to `now`; 0 when `now` is earlier.
#[inline]
pub(crate) fn between(start: Instant, now: Instant) -> u64 {
    nanos::nanos(now.saturating_duration_since(start))
}

/// The instant `nanos` after `start`; `None` when it lies beyond what a clock can show, that is: never.
#[inline]
pub(crate) fn after(start: Instant, nanos: u64) -> Option<Instant> {
    if nanos == nanos::FOREVER { None } else { start.checked_add(Duration::from_nanos(nanos)) }
}

/// One resettable sleep. It costs nothing until something has to wait.
#[derive(Debug, Default)]
#[pin_project]
pub(crate) struct Timer {
    #[pin]
    sleep: Option<Sleep>,
}

impl Timer {
    /// Ready at `at`, or later; `None` is never. Asking for another instant than before re-arms it.
    #[inline]
    pub(crate) fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        let mut this = self.project();
        match this.sleep.as_mut().as_pin_mut() {
            Some(sleep) if sleep.deadline() == at => {}
            Some(sleep) => sleep.reset(at),
            None => this.sleep.set(Some(tokio::time::sleep_until(at))),
        }
        match this.sleep.as_mut().as_pin_mut() {
            // Waiting is not work: a task that has used up its share must still see its own deadline.
            Some(sleep) => pin!(coop::unconstrained(sleep)).poll(cx),
            None => Poll::Ready(()),
        }
    }
}
