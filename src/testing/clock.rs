//! A virtual clock for [`blocking`](crate::blocking).

use std::{marker::PhantomData, time::Duration};

use crate::time::{self, Instant};

/// Time that passes only when something waits for it, for the blocking runs of one thread.
///
/// While it lives, [`blocking::retry`](crate::blocking::retry()) on this thread sleeps by jumping to the instant it
/// waits for. The operation passes time with [`advance`](Self::advance).
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, blocking, testing::VirtualClock};
///
/// let clock = VirtualClock::new();
/// let gave_up = blocking::retry(|_| Err::<(), _>("no"))
///     .backoff(Backoff::fixed(Duration::from_secs(3600)))
///     .max_attempts(3)
///     .call()
///     .unwrap_err();
/// assert_eq!(gave_up.elapsed(), Duration::from_secs(7200));
/// assert_eq!(clock.elapsed(), Duration::from_secs(7200));
/// ```
#[derive(Debug)]
pub struct VirtualClock {
    began: Instant,
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl VirtualClock {
    /// Stops this thread's time.
    ///
    /// # Panics
    /// If the thread already has a virtual clock.
    #[expect(clippy::new_without_default, reason = "making one has an effect")]
    #[must_use]
    pub fn new() -> Self {
        assert!(time::virtual_now().is_none(), "this thread has a virtual clock already");
        let began = time::now();
        time::set_virtual(Some(began));
        Self { began, _thread: PhantomData }
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let now = time::virtual_now().unwrap_or(self.began);
        time::set_virtual(Some(now.checked_add(by).unwrap_or(now)));
    }

    /// How much time has passed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        time::virtual_now().unwrap_or(self.began).saturating_duration_since(self.began)
    }
}

impl Drop for VirtualClock {
    fn drop(&mut self) {
        time::set_virtual(None);
    }
}
