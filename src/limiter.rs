//! A token bucket that many share, and waiting one's turn before it.

mod acquire;
#[cfg(all(test, any(relent_loom, relent_shuttle)))]
mod interleavings;
mod leased;
mod refused;
mod reserve;
mod several;
mod shared;
mod ticket;

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use self::shared::{Held, Shared};
pub use self::{
    acquire::{Acquire, Ready},
    refused::Refused,
    reserve::Reservation,
};
pub(crate) use self::{
    several::{Limiters, Place},
    ticket::{Ticket, Turn},
};
use crate::{
    policy::{
        line::{CATCH_UP, Joined},
        nanos,
        rate::Rate,
    },
    sync::Arc,
    time::{self, Instant},
};

/// What a limiter's time is at its first use: another clock may be that far behind. 36 years.
const HEAD: u64 = 1 << 60;

/// A limit on how often something may happen, shared by all clones: a token bucket in exact integers.
///
/// It holds up to `burst` permits, is full at first, and fills at its rate. Three per second is exactly that, over any
/// span, and whatever stalls: in any span of time `w`, at most `burst + rate * (w + catch-up)` permits come out, where the
/// [catch-up](Self::catch_up) is what timers need. Under steady demand, and as long as nothing is later than that, exactly
/// `rate * w` come out, instants being whole nanoseconds. What is not collected in that time, since a thread was blocked,
/// the process stopped or a future not polled, is lost, as it would have run over a full bucket.
///
/// Waiters are granted strictly in the order in which they were first polled, whatever number of permits they ask for,
/// and nobody overtakes them. A waiter that leaves, leaves no trace: those behind move up, whichever of them is polled. One
/// that is not polled when its turn comes holds up nobody; it is the first when it is. A wait that cannot fit into its bound
/// is refused at once.
///
/// Whatever is ready at once takes part in tokio's [cooperative scheduling](tokio::task::coop): a loop around it lets other
/// tasks run.
///
/// The clock is tokio's and starts at the first use, so a limiter may be made anywhere, in a static too. Where a test with a
/// paused clock has used it ahead of time, it goes on from the time of whoever uses it next, with the permits it has.
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
    /// In the order in which they were made.
    made: u64,
    shared: Shared,
    start: OnceLock<Instant>,
    /// Of a leased one, whose clock goes on while the machine is suspended: for how long it had been when this was made.
    asleep: Option<u64>,
}

impl Limiter {
    /// One that fills at `rate` and holds `burst` permits.
    ///
    /// A rate of [`Rate::ZERO`] never fills: the burst is all there is. A burst of 0 saves nothing up: only who waits
    /// gets a permit, each as soon as it has come in.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self::made(rate, burst, CATCH_UP)
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
        Self::made(self.rate(), burst, self.inner.shared.hold().catch_up())
    }

    /// A new limiter of the same rate and burst whose permits may be collected so long after their time: 10 ms, unless this
    /// says otherwise.
    ///
    /// That is what timers and schedulers need. Where they are later, the rate is not reached; the longer this is, the more
    /// permits may come out at once after a stall: as many as the rate yields in it, on top of the burst.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// // On a machine whose threads are often late, rather up to 50 permits more at once than fewer in all.
    /// let limiter = relent::Limiter::per_second(1000).burst(10).catch_up(Duration::from_millis(50));
    /// # let _ = limiter;
    /// ```
    #[must_use]
    pub fn catch_up(self, catch_up: Duration) -> Self {
        Self::made(self.rate(), self.max_burst(), nanos::nanos(catch_up))
    }

    fn made(rate: Rate, burst: u32, catch_up: u64) -> Self {
        let made = next_number();
        let shared = Shared::new(rate, burst, catch_up);
        Self { inner: Arc::new(Inner { made, shared, start: OnceLock::new(), asleep: None }) }
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
        let now = self.monotonic();
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

    /// Takes a place in the wait list now, not at the first poll; see [`Reservation`].
    ///
    /// [`Reservation::ready`] waits for its turn and uses the permits, [`Reservation::spend`] uses them without waiting. Any
    /// other end, a drop above all, gives them back: to sleep for [`Reservation::ready_in`], and then to drop it and go, limits
    /// nothing.
    ///
    /// # Errors
    /// [`Refused::OverBurst`].
    pub fn reserve(&self, permits: u32) -> Result<Reservation, Refused> {
        self.ticket(permits, nanos::FOREVER).map(Reservation::new)
    }

    /// From now on it fills at `rate`; permits that are there stay, a fraction of one is kept to within what the new rate yields in a
    /// nanosecond. The turns of waiters are planned anew, in the same order, at a cost in proportion to their number; a wait
    /// with a bound that no longer fits is refused.
    ///
    /// One that follows its share of a [fleet](crate::fleet)'s rate goes on following it.
    pub fn set_rate(&self, rate: Rate) {
        if self.inner.asleep.is_some() {
            return;
        }
        self.inner.shared.set_rate(|| self.now(), rate);
    }

    /// From now on it holds `burst` permits: what is above is gone at once, what is missing fills at the rate. Those
    /// that already wait keep their places, also when they ask for more.
    ///
    /// One that follows its share of a [fleet](crate::fleet)'s rate goes on following it.
    pub fn set_burst(&self, burst: u32) {
        if self.inner.asleep.is_some() {
            return;
        }
        self.inner.shared.set_burst(|| self.now(), burst);
    }

    /// No permit is granted for so long: what a server asked of one caller holds for all that share the limiter. Of two
    /// pauses the later end holds.
    ///
    /// Meanwhile it fills, up to its burst. Waiters keep their places; their turns are planned anew, at a cost in proportion to
    /// their number, and a wait with a bound that no longer fits is refused ([`Refused::TooFar`]).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// use std::time::Duration;
    ///
    /// let limiter = relent::Limiter::per_second(10).burst(5);
    /// limiter.pause_for(Duration::from_secs(30));
    /// assert_eq!(limiter.try_acquire(1).unwrap_err().ready_in(), Some(Duration::from_secs(30)));
    /// # }
    /// ```
    pub fn pause_for(&self, length: Duration) {
        self.inner.shared.pause(|| self.now(), nanos::nanos(length));
    }

    /// The rate at which it fills.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.inner.shared.hold().bucket().rate()
    }

    /// The most it holds.
    #[must_use]
    pub fn max_burst(&self) -> u32 {
        self.inner.shared.hold().bucket().burst()
    }

    /// Permits that could be taken at once: none while there are waiters or it is paused, `u32::MAX` where there is no limit.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.look().available()
    }

    /// How many wait.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.look().waiting()
    }

    /// Whether it is as good as new: full, with nobody waiting, and with no other clone.
    pub(crate) fn is_idle(&self) -> bool {
        if Arc::strong_count(&self.inner) > 1 {
            return false;
        }
        let line = self.look();
        line.waiting() == 0 && line.bucket().is_full() && line.available() == line.bucket().available()
    }

    /// One of many that have the same settings, which are so new.
    pub(crate) fn of_version(version: u64, rate: Rate, burst: u32) -> Self {
        let limiter = Self::new(rate, burst);
        limiter.inner.shared.hold().set_version(version);
        limiter
    }

    /// The settings of many limiters, unless it has later ones.
    pub(crate) fn set_version(&self, version: u64, rate: Rate, burst: u32) {
        self.inner.shared.set_version(|| self.now(), version, rate, burst);
    }

    /// Takes permits for use, if they are there at once and nobody waits. Not inlined: it is what it costs, and its callers
    /// stay small.
    #[inline(never)]
    pub(crate) fn take(&self, permits: u32) -> bool {
        self.take_now(permits)
    }

    /// The same for those who do nothing else.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a tenth of the whole")]
    fn take_now(&self, permits: u32) -> bool {
        self.inner.shared.take(self.monotonic(), permits)
    }

    /// Permits that were taken and not used, however long ago.
    pub(crate) fn give_back(&self, permits: u32) {
        self.inner.shared.give_back(|| self.now(), permits, nanos::FOREVER);
    }

    /// A place in line, if the turn comes within `allowed` nanoseconds. Its permits may be there already.
    pub(crate) fn ticket(&self, permits: u32, allowed: u64) -> Result<Ticket, Refused> {
        Ticket::join(self.clone(), permits, allowed)
    }

    /// The second half of [`try_acquire`](Self::try_acquire).
    #[cold]
    fn refuse(&self, now: u64, permits: u32) -> Result<(), Refused> {
        if let Some(due) = self.inner.shared.refusal(now, permits) {
            return Err(Refused::too_far(now, due, 0));
        }
        let (joined, now) = self.inner.shared.join(|| self.now(), permits, 0);
        self.answer(joined, now, permits, 0).map(drop)
    }

    /// Joins the wait list, also if the turn is now; and what time it is.
    fn reserve_place(&self, permits: u32, allowed: u64) -> Result<(Joined, u64), Refused> {
        let (joined, now) = self.inner.shared.reserve(|| self.now(), permits, allowed);
        self.answer(joined, now, permits, allowed)
    }

    fn answer(&self, joined: Joined, now: u64, permits: u32, allowed: u64) -> Result<(Joined, u64), Refused> {
        match joined {
            Joined::TooFar(due) => Err(self.too_far(now, due, allowed)),
            Joined::OverBurst => Err(Refused::OverBurst { asked: permits, burst: self.max_burst() }),
            joined => Ok((joined, now)),
        }
    }

    /// Why a wait cannot fit: `due` and `now` since the limiter began.
    fn too_far(&self, now: u64, due: u64, allowed: u64) -> Refused {
        match self.lapsed_for().filter(|_| due == nanos::FOREVER) {
            Some(lapsed) => Refused::no_share(lapsed),
            None => Refused::too_far(now, due, allowed),
        }
    }

    fn look(&self) -> Held<'_> {
        self.inner.shared.look(|| self.now()).0
    }

    /// Nanoseconds since the first use, and a [`HEAD`].
    #[inline]
    fn now(&self) -> u64 {
        self.nanos(time::now())
    }

    /// The same for a limiter that nothing but the bucket stands in the way of: which a leased one never is.
    #[inline]
    fn monotonic(&self) -> u64 {
        self.passed(time::now())
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        let slept = self.inner.asleep.map_or(0, |before| time::asleep().saturating_sub(before));
        self.passed(now).saturating_add(slept)
    }

    #[inline]
    fn passed(&self, now: Instant) -> u64 {
        match self.inner.start.get() {
            Some(start) if *start <= now => time::between(*start, now).saturating_add(HEAD),
            start => self.before(start.copied(), now),
        }
    }

    #[cold]
    fn before(&self, start: Option<Instant>, now: Instant) -> u64 {
        let start = start.unwrap_or_else(|| *self.inner.start.get_or_init(|| now));
        HEAD.saturating_sub(time::between(now, start)).saturating_add(time::between(start, now))
    }

    /// When that is on the clock; `None` is never.
    fn instant(&self, nanos: u64) -> Option<Instant> {
        let slept = self.inner.asleep.map_or(0, |before| time::asleep().saturating_sub(before));
        let nanos = if nanos == nanos::FOREVER { nanos } else { nanos.saturating_sub(slept) };
        let start = *self.inner.start.get_or_init(time::now);
        match nanos.checked_sub(HEAD) {
            _ if nanos == nanos::FOREVER => None,
            Some(passed) => time::after(start, passed),
            None => time::before(start, HEAD.saturating_sub(nanos)),
        }
    }
}

/// In the order in which limiters are made.
fn next_number() -> u64 {
    static MADE: AtomicU64 = AtomicU64::new(0);
    MADE.fetch_add(1, Relaxed)
}

/// `Limiter { rate: 5/s, burst: 10, available: 3, waiters: 0 }`
impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.look();
        let (bucket, waiters, available) = (line.bucket().clone(), line.waiting(), line.available());
        drop(line);
        f.debug_struct("Limiter")
            .field("rate", &format_args!("{}", bucket.rate()))
            .field("burst", &bucket.burst())
            .field("available", &available)
            .field("waiters", &waiters)
            .finish()
    }
}
