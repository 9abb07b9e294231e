//! Permits that are reserved.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use tokio::task::coop;

use crate::{
    limiter::{QueuedPermit, Readiness, Refused},
    policy::nanos,
    time::{Sleeper, Timer},
};

/// Permits that are there, or will be; made by [`Limiter::reserve`](crate::Limiter::reserve).
///
/// It joins the wait list when it is made, not when it is awaited. [`ready`](Self::ready) waits for the permits and
/// uses them, [`spend`](Self::spend) uses them unseen. Dropped before, it leaves no trace: the waiter is gone, permits
/// that were not used go back. So a caller that sleeps for [`ready_in`](Self::ready_in) and then goes on has to `spend`
/// it first.
///
/// A grant is kept for the limiter's [catch-up](crate::Limiter::catch_up). After that its permits are the bucket's
/// again, where they run over as more come in; its waiter is the first in the list when it asks, and takes what is
/// there, or the next.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), relent::limiter::Refused> {
/// use std::time::Duration;
///
/// let limiter = relent::Limiter::per_second(10).burst(3);
/// let held = limiter.reserve(2)?;
/// assert!(held.ready_in().is_zero());
/// let mut next = limiter.reserve(3)?.within(Duration::from_secs(1))?;
/// assert_eq!(next.ready_in(), Duration::from_millis(200));
/// drop(held); // its two go back, and `next` moves up
/// next.ready().await;
/// assert_eq!(limiter.available(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropped, it gives back what it reserved"]
pub struct Reservation {
    permit: QueuedPermit,
}

impl Reservation {
    pub(super) fn new(permit: QueuedPermit) -> Self {
        Self { permit }
    }

    /// The same, if the permits will be there within `allowed` from now, as things stand; at exactly its end is in
    /// time.
    ///
    /// # Errors
    /// [`Refused::TooFar`] and [`Refused::NoShare`]; the waiter is gone.
    pub fn within(self, allowed: Duration) -> Result<Self, Refused> {
        let (ready_in, nanos) = (self.permit.ready_in(), nanos::nanos(allowed));
        if ready_in <= nanos {
            return Ok(self);
        }
        Err(self.permit.limiter().no_share().unwrap_or(Refused::too_far(0, ready_in, nanos)))
    }

    /// How long until the permits are there, as things stand: zero if they are, or were used, `Duration::MAX` if they
    /// never will be. It gets shorter when others leave. Takes time in proportion to the list ahead.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        nanos::duration(self.permit.ready_in())
    }

    /// Waits for the permits and uses them: nothing goes back any more.
    ///
    /// # Cancel safety
    /// Dropped, the wait has used nothing, and the waiter keeps its place in the order.
    ///
    /// # Panics
    /// If the permits have been used already. In a wait, outside of a runtime with a timer.
    pub async fn ready(&mut self) {
        assert!(!self.permit.is_consumed(), "`Reservation` ready after its permits were used");
        let mut timer = pin!(Timer::default());
        poll_fn(|cx| {
            let progress = ready!(coop::poll_proceed(cx));
            loop {
                let ready_at = match self.permit.poll_acquire(cx) {
                    Readiness::Granted => break,
                    Readiness::At(instant) => Some(instant),
                    Readiness::Never => None,
                };
                ready!(timer.as_mut().poll_at(cx, ready_at));
            }
            progress.made_progress();
            self.permit.consume();
            Poll::Ready(())
        })
        .await;
    }

    /// The permits are used. If they are not there yet, they are used when they are: those behind wait for that.
    pub fn spend(mut self) {
        self.permit.consume();
    }
}
