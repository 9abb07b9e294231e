//! A token bucket that many share, and waiting one's turn before it.

mod acquire;
#[cfg(all(test, any(relent_loom, relent_shuttle)))]
mod interleavings;
mod reserve;
mod shared;
mod ticket;

use std::{fmt, sync::OnceLock, time::Duration};

use self::shared::Shared;
pub(crate) use self::ticket::{Ticket, Turn};
pub use self::{
    acquire::{Acquire, Ready},
    reserve::Reservation,
};
use crate::{
    policy::{line::Joined, nanos, rate::Rate},
    sync::Arc,
    time::{self, Instant},
};

/// A limit on how often something may happen, shared by all clones: a token bucket in exact integers.
///
/// It holds up to `burst` permits, is full at first, and fills at its rate. Three per second is exactly that, over any
/// span: in any span of time `w`, at most `burst + rate * w` permits are granted, and under steady demand exactly
/// `rate * w`, instants being whole nanoseconds. A permit that was granted and came back unused counts where it was
/// granted first.
///
/// Those who wait go strictly in the order in which they were first polled, whatever number of permits they ask for,
/// and nobody overtakes them. One who stops waiting leaves no trace: those behind move up. A wait that cannot fit into
/// its bound is refused at once.
///
/// The clock is tokio's and starts at the first use, so a limiter may be made anywhere, in a static too.
///
/// ```
/// use std::time::Duration;
/// use relent::{Limiter, Rate, Refused};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::per_second(5).burst(10);
/// limiter.ready().await; // one permit: the first ten are there at once
/// limiter.acquire(9).within(Duration::from_secs(1)).await?;
/// match limiter.acquire(2).within(Duration::from_millis(300)).await {
///     Err(Refused::TooFar { ready_in, .. }) => assert_eq!(ready_in, Duration::from_millis(400)),
///     other => panic!("two permits take 400 ms: {other:?}"),
/// }
/// limiter.set_rate(Rate::per_minute(5));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Limiter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Shared,
    start: OnceLock<Instant>,
}

/// Why there is no permit: the wait would be too long, or what was asked for is more than there ever is at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It would be ready, but too late. Nothing was taken.
    #[error("would be ready in {}, and {} is allowed", nanos::Measured(*.ready_in), nanos::Written(*.allowed))]
    #[non_exhaustive]
    TooFar {
        /// When it would be ready, as things stand; `Duration::MAX` is never.
        ready_in: Duration,
        /// The wait that was allowed.
        allowed: Duration,
    },
    /// More than ever are there at once. Nothing was taken.
    #[error("{asked} permits at once are more than the burst of {burst}")]
    #[non_exhaustive]
    OverBurst {
        /// The number asked for.
        asked: u32,
        /// The burst.
        burst: u32,
    },
}

impl Limiter {
    /// One that fills at `rate` and holds `burst` permits.
    ///
    /// A rate of [`Rate::ZERO`] never fills: the burst is all there is. A burst of 0 saves nothing up: only who waits
    /// gets a permit, each as soon as it has come in.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { inner: Arc::new(Inner { shared: Shared::new(rate, burst), start: OnceLock::new() }) }
    }

    /// So many per second, evenly spaced: the burst is 1, unless [`burst`](Self::burst) says otherwise.
    #[must_use]
    pub fn per_second(permits: u32) -> Self {
        Self::new(Rate::per_second(permits), 1)
    }

    /// No limit, for now: every permit is granted at once.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(Rate::UNLIMITED, u32::MAX)
    }

    /// A new limiter of the same rate that holds `burst` permits. To change one that is in use: [`set_burst`](Self::set_burst).
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self::new(self.rate(), burst)
    }

    /// Takes `permits` now, or not at all. Never overtakes anyone who waits.
    ///
    /// ```
    /// let limiter = relent::Limiter::per_second(1).burst(2);
    /// assert!(limiter.try_acquire(2).is_ok());
    /// let refused = limiter.try_acquire(1).unwrap_err();
    /// assert!(refused.ready_in().unwrap() <= std::time::Duration::from_secs(1));
    /// ```
    ///
    /// # Errors
    /// [`Refused::TooFar`] with the time at which they would be ready, and [`Refused::OverBurst`].
    #[inline]
    pub fn try_acquire(&self, permits: u32) -> Result<(), Refused> {
        let now = self.now();
        if self.inner.shared.take(now, permits) { Ok(()) } else { self.refuse(now, permits) }
    }

    /// Waits for one permit, however long it takes.
    ///
    /// # Cancel safety
    /// Dropped before it is done it has taken nothing; the place in line is lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let limiter = relent::Limiter::per_second(100);
    /// limiter.ready().await;
    /// # }
    /// ```
    #[inline]
    pub fn ready(&self) -> Ready<'_> {
        Ready::new(self)
    }

    /// Waits for `permits`, all of them at once. Without a bound ([`within`](Acquire::within), [`by`](Acquire::by)) it
    /// waits as long as it takes, and is refused only what is over the burst.
    ///
    /// # Cancel safety
    /// Dropped before it is done it has taken nothing; the place in line is lost.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), relent::Refused> {
    /// let limiter = relent::Limiter::per_second(100).burst(5);
    /// limiter.acquire(5).await?;
    /// limiter.acquire(5).within(Duration::from_millis(50)).await?;
    /// let refused = limiter.acquire(5).within(Duration::from_millis(49)).await.unwrap_err();
    /// assert_eq!(refused.to_string(), "would be ready in 50ms, and 49ms is allowed");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn acquire(&self, permits: u32) -> Acquire<'_> {
        Acquire::new(self, permits)
    }

    /// Takes a place in line now, or the permits if they are there; see [`Reservation`].
    ///
    /// # Errors
    /// [`Refused::OverBurst`].
    pub fn reserve(&self, permits: u32) -> Result<Reservation, Refused> {
        self.ticket(permits, nanos::FOREVER).map(Reservation::new)
    }

    /// From now on it fills at `rate`; permits that are there stay, a fraction of one is kept to within what the new rate yields in a
    /// nanosecond. The turns of those who wait are planned anew, in the same order, at a cost in proportion to their number; a wait
    /// with a bound that no longer fits is refused.
    pub fn set_rate(&self, rate: Rate) {
        self.inner.shared.set_rate(self.now(), rate);
    }

    /// From now on it holds `burst` permits: what is above is gone at once, what is missing fills at the rate. Those
    /// who already wait keep their places, also when they ask for more.
    pub fn set_burst(&self, burst: u32) {
        self.inner.shared.set_burst(self.now(), burst);
    }

    /// The rate at which it fills.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.inner.shared.look(0).bucket().rate()
    }

    /// The most it holds.
    #[must_use]
    pub fn max_burst(&self) -> u32 {
        self.inner.shared.look(0).bucket().burst()
    }

    /// Permits that could be taken at once: none while somebody waits, `u32::MAX` where there is no limit.
    #[must_use]
    pub fn available(&self) -> u32 {
        let line = self.inner.shared.look(self.now());
        if line.waiting() == 0 { line.bucket().available() } else { 0 }
    }

    /// How many wait.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.inner.shared.look(self.now()).waiting()
    }

    /// Whether it is as good as new: full, with nobody waiting, and with no other clone.
    pub(crate) fn is_idle(&self) -> bool {
        if Arc::strong_count(&self.inner) > 1 {
            return false;
        }
        let line = self.inner.shared.look(self.now());
        line.waiting() == 0 && line.bucket().is_full()
    }

    /// Takes permits, if they are there at once and nobody waits: for those who need no place in line.
    /// [`give_back`](Self::give_back) what is not used after all. Not inlined: it is what it costs, and its callers stay small.
    #[inline(never)]
    pub(crate) fn take(&self, permits: u32) -> bool {
        self.take_now(permits)
    }

    /// The same for those who do nothing else.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn take_now(&self, permits: u32) -> bool {
        self.inner.shared.take(self.now(), permits)
    }

    /// Permits that were taken and not used.
    pub(crate) fn give_back(&self, permits: u32) {
        self.inner.shared.give_back(permits);
    }

    /// A place in line, if the turn comes within `allowed` nanoseconds. Its permits may be there already.
    pub(crate) fn ticket(&self, permits: u32, allowed: u64) -> Result<Ticket, Refused> {
        Ticket::join(self.clone(), permits, allowed)
    }

    /// The second half of [`try_acquire`](Self::try_acquire).
    #[cold]
    fn refuse(&self, now: u64, permits: u32) -> Result<(), Refused> {
        match self.inner.shared.refusal(now, permits) {
            Some(due) => Err(Refused::too_far(now, due, 0)),
            None => self.join(now, permits, 0).map(drop),
        }
    }

    /// `None`: granted. Otherwise the number in line.
    fn join(&self, now: u64, permits: u32, allowed: u64) -> Result<Option<u64>, Refused> {
        match self.inner.shared.join(now, permits, allowed) {
            Joined::Granted => Ok(None),
            Joined::Waiting(number) => Ok(Some(number)),
            Joined::TooFar(due) => Err(Refused::too_far(now, due, allowed)),
            Joined::OverBurst => Err(Refused::OverBurst { asked: permits, burst: self.max_burst() }),
        }
    }

    /// Nanoseconds since the first use.
    #[inline]
    fn now(&self) -> u64 {
        let now = time::now();
        match self.inner.start.get() {
            Some(start) => time::between(*start, now),
            None => self.begin(now),
        }
    }

    #[cold]
    fn begin(&self, now: Instant) -> u64 {
        time::between(*self.inner.start.get_or_init(|| now), now)
    }

    /// When that is on the clock; `None` is never.
    fn instant(&self, nanos: u64) -> Option<Instant> {
        time::after(*self.inner.start.get_or_init(time::now), nanos)
    }
}

impl Refused {
    /// When what was asked for would be ready; `None` if it never would, as things stand.
    #[must_use]
    pub fn ready_in(&self) -> Option<Duration> {
        match self {
            Self::TooFar { ready_in, .. } if *ready_in < Duration::MAX => Some(*ready_in),
            _ => None,
        }
    }

    /// `due` and `now` since the limiter began.
    fn too_far(now: u64, due: u64, allowed: u64) -> Self {
        let ready_in = if due == nanos::FOREVER { due } else { due.saturating_sub(now) };
        Self::TooFar { ready_in: nanos::duration(ready_in), allowed: nanos::duration(allowed) }
    }
}

/// `Limiter { rate: 5/s, burst: 10, available: 3, waiters: 0 }`
impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.inner.shared.look(self.now());
        let (bucket, waiters) = (line.bucket().clone(), line.waiting());
        drop(line);
        let available = if waiters == 0 { bucket.available() } else { 0 };
        f.debug_struct("Limiter")
            .field("rate", &format_args!("{}", bucket.rate()))
            .field("burst", &bucket.burst())
            .field("available", &available)
            .field("waiters", &waiters)
            .finish()
    }
}
