//! A place in line, held.

use std::{future::poll_fn, pin::pin, task::ready, time::Duration};

use crate::{
    limiter::{Ticket, Turn},
    policy::nanos,
    time::{Alarm, Timer},
};

/// Permits now or in turn; made by [`Limiter::reserve`](crate::Limiter::reserve).
///
/// The place in line is taken when it is made, not when it is awaited. Dropped, it leaves no trace: the place is gone,
/// permits it got go back. [`spend`](Self::spend) makes them yours for good.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), relent::Refused> {
/// use std::time::Duration;
///
/// let limiter = relent::Limiter::per_second(10).burst(3);
/// let held = limiter.reserve(2)?;
/// assert!(held.ready_in().is_zero());
/// let mut next = limiter.reserve(3)?;
/// assert_eq!(next.ready_in(), Duration::from_millis(200));
/// drop(held); // its two go back, and `next` moves up
/// next.ready().await;
/// next.spend();
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

    /// How long until its turn, as things stand: zero if it has come, `Duration::MAX` if it never comes. It gets shorter
    /// when others leave. Takes time in proportion to the line ahead.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        nanos::duration(self.ticket.ready_in())
    }

    /// Waits for its turn. The permits still go back if it is dropped unspent afterwards.
    ///
    /// # Cancel safety
    /// The place in line stays when the wait is dropped.
    pub async fn ready(&mut self) {
        let mut timer = pin!(Timer::default());
        poll_fn(|cx| {
            loop {
                let turn = match self.ticket.poll_turn(cx) {
                    Turn::Granted => return std::task::Poll::Ready(()),
                    Turn::At(turn) => Some(turn),
                    Turn::Never => None,
                };
                ready!(timer.as_mut().poll_at(cx, turn));
            }
        })
        .await;
    }

    /// The permits are used. If its turn has not come yet, they are used when it does: those behind wait for it.
    pub fn spend(mut self) {
        self.ticket.spend();
    }
}
