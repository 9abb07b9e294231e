//! A place in the wait list, held.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use tokio::task::coop;

use crate::{
    limiter::{Refused, Ticket, Turn},
    policy::nanos,
    time::{Sleeper, Timer},
};

/// Permits in turn; made by [`Limiter::reserve`](crate::Limiter::reserve).
///
/// The place in the wait list is taken when it is made, not when it is awaited. [`ready`](Self::ready) waits for the turn and
/// uses the permits, [`spend`](Self::spend) uses them unseen. Dropped before, it leaves no trace: the place is gone, permits
/// that were not used go back. So who sleeps for [`ready_in`](Self::ready_in) and goes has to `spend` it first.
///
/// A turn that has come is kept for the limiter's [catch-up](crate::Limiter::catch_up). One that comes for it later is the first
/// in the list, and waits for the next permits.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), relent::Refused> {
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
    ticket: Ticket,
}

impl Reservation {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self { ticket }
    }

    /// The same, if its turn comes within `allowed` from now, as things stand. A turn at exactly its end is in time.
    ///
    /// # Errors
    /// [`Refused::TooFar`]; the place is given up.
    pub fn within(self, allowed: Duration) -> Result<Self, Refused> {
        let (ready_in, nanos) = (self.ticket.ready_in(), nanos::nanos(allowed));
        if ready_in > nanos { Err(Refused::too_far(0, ready_in, nanos)) } else { Ok(self) }
    }

    /// How long until its turn, as things stand: zero if it has come or was used, `Duration::MAX` if it never comes. It gets
    /// shorter when others leave. Takes time in proportion to the list ahead.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        nanos::duration(self.ticket.ready_in())
    }

    /// Waits for its turn and uses the permits: nothing goes back any more.
    ///
    /// # Cancel safety
    /// Nothing is used and the place stays when the wait is dropped.
    ///
    /// # Panics
    /// If the permits have been used already. In a wait, outside of a runtime with a timer.
    pub async fn ready(&mut self) {
        assert!(!self.ticket.is_spent(), "`Reservation` ready after its permits were used");
        let mut timer = pin!(Timer::default());
        poll_fn(|cx| {
            let progress = ready!(coop::poll_proceed(cx));
            loop {
                let turn = match self.ticket.poll_turn(cx) {
                    Turn::Granted => break,
                    Turn::At(turn) => Some(turn),
                    Turn::Never => None,
                };
                ready!(timer.as_mut().poll_at(cx, turn));
            }
            progress.made_progress();
            self.ticket.spend();
            Poll::Ready(())
        })
        .await;
    }

    /// The permits are used. If its turn has not come yet, they are used when it does: those behind wait for it.
    pub fn spend(mut self) {
        self.ticket.spend();
    }
}
