//! A token bucket that many share, and waiting for its permits.

mod acquire;
mod adaptive;
mod clock;
#[cfg(all(test, any(relent_loom, relent_shuttle)))]
pub(crate) mod interleavings;
mod lapse;
mod leased;
mod permit;
mod refused;
mod reserve;
mod semaphore;
mod several;
mod wake;

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::Waker,
    time::Duration,
};

pub use self::{
    acquire::{Acquire, Ready},
    adaptive::{Adaptive, AdaptiveListener},
    lapse::Lapse,
    refused::Refused,
    reserve::Reservation,
};
pub(crate) use self::{
    acquire::{AcquireInner, One, PermitSource, Several},
    clock::{LimiterClock, Now},
    lapse::Standing,
    permit::{QueuedPermit, Readiness},
    several::{Limiters, QueuedPermits},
};
use self::{
    lapse::Leased,
    semaphore::{Guard, RateSemaphore},
};
pub use crate::keyed::{KeyedAcquire, KeyedReady};
use crate::{
    policy::{
        limit::{
            bucket::Bucket,
            packed::Missing,
            rate::Rate,
            wait_list::{Admission, CATCH_UP, WaitList, WaiterId},
        },
        nanos,
    },
    sync::Arc,
};

/// A limit on how often something may happen, shared by all clones: a token bucket in exact integers.
///
/// It holds up to `burst` permits, is full at first, and fills at its rate. Three per second is exactly that, over any
/// span, and whatever stalls: in any span of time `w`, at most `burst + rate * (w + catch-up)` permits come out, where
/// the [catch-up](Self::catch_up) is what timers need. Under steady demand, and as long as nothing is later than that,
/// exactly `rate * w` come out, instants being whole nanoseconds. What is not collected in that time, since a thread
/// was blocked, the process stopped or a future not polled, is in the bucket again, and runs over as more comes in.
///
/// Waiters are granted strictly in the order in which they were first polled, whatever number of permits they ask for,
/// and none is overtaken. A waiter that leaves, leaves no trace: those behind move up, whichever of them is polled. One
/// that is not polled when its permits are there holds up no other; it is the first when it is. A wait that cannot fit
/// into its bound is refused at once.
///
/// Whatever is ready at once takes part in tokio's [cooperative scheduling](tokio::task::coop): a loop around it lets
/// other tasks run.
///
/// The clock is tokio's and starts at the first use, so a limiter may be made anywhere, in a static too. Where a test
/// with a paused clock has used it ahead of time, it goes on from the time of its next user, with the permits it has.
///
/// ```
/// use std::time::Duration;
/// use relent::{Limiter, Rate, limiter::Refused};
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
    semaphore: Arc<RateSemaphore>,
}

impl Limiter {
    /// One that fills at `rate` and holds `burst` permits.
    ///
    /// A rate of [`Rate::ZERO`] never fills: the burst is all there is. A burst of 0 saves nothing up: only
    /// waiters get permits, each as soon as it has come in.
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

    /// A new limiter of the same rate that holds `burst` permits. To change one that is in use:
    /// [`set_burst`](Self::set_burst).
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self::made(self.rate(), burst, self.semaphore.lock().catch_up())
    }

    /// A new limiter of the same rate and burst whose permits may be collected so long after their time: 10 ms, unless
    /// this says otherwise.
    ///
    /// That is what timers and schedulers need. Where they are later, the rate is not reached; the longer this is, the
    /// more permits may come out at once after a stall: as many as come in at the rate in that time, on top of the
    /// burst.
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
        Self::of(WaitList::new(rate, burst, catch_up), LimiterClock::default(), 0, None)
    }

    fn of(list: WaitList<Waker>, clock: LimiterClock, version: u64, leased: Option<Box<Leased>>) -> Self {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        // Relaxed: the number itself is all that is shared.
        let created = CREATED.fetch_add(1, Relaxed);
        let mut semaphore = RateSemaphore::new(list, clock, created, version);
        semaphore.leased = leased;
        Self { semaphore: Arc::new(semaphore) }
    }

    /// Takes `permits` now, or not at all. It never overtakes a waiter.
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
        match self.semaphore.try_take(self.semaphore.fast_now(), permits) {
            Ok(()) => Ok(()),
            Err((word, missing)) => self.refused(word, missing, permits),
        }
    }

    /// Waits for one permit, however long it takes.
    ///
    /// # Cancel safety
    /// Dropped before it is done it has taken nothing; its place in the order is lost.
    ///
    /// # Panics
    /// In a wait, outside of a runtime with a timer. Polled after completion.
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
    /// Dropped before it is done it has taken nothing; its place in the order is lost.
    ///
    /// # Panics
    /// In a wait, outside of a runtime with a timer. Polled after completion.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), relent::limiter::Refused> {
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

    /// Joins the wait list now, not at the first poll; see [`Reservation`].
    ///
    /// [`Reservation::ready`] waits for the permits and uses them, [`Reservation::spend`] uses them without waiting.
    /// Any other end, a drop above all, gives them back: to sleep for [`Reservation::ready_in`], and then to drop it
    /// and go on, limits nothing.
    ///
    /// # Errors
    /// [`Refused::OverBurst`].
    pub fn reserve(&self, permits: u32) -> Result<Reservation, Refused> {
        self.enqueue(permits, nanos::FOREVER).map(Reservation::new)
    }

    /// From now on it fills at `rate`; permits that are there stay, a fraction of one is kept to within what comes in
    /// at the new rate in a nanosecond. Waiters are planned anew, in the same order, at a cost in proportion to their
    /// number; a wait with a bound that no longer fits is refused.
    ///
    /// One that follows its share of a [fleet](crate::fleet)'s rate goes on following it.
    pub fn set_rate(&self, rate: Rate) {
        if self.is_leased() {
            return;
        }
        self.semaphore.set_rate(rate);
    }

    /// From now on it holds `burst` permits: what is above is gone at once, what is missing fills at the rate. Those
    /// that already wait keep their order, also when they ask for more.
    ///
    /// One that follows its share of a [fleet](crate::fleet)'s rate goes on following it.
    pub fn set_burst(&self, burst: u32) {
        if self.is_leased() {
            return;
        }
        self.semaphore.set_burst(burst);
    }

    /// No permit is granted for so long: what a server asked of one caller holds for all that share the limiter. Of two
    /// pauses the later end holds.
    ///
    /// Meanwhile it fills, up to its burst. Waiters keep their order and are planned anew, at a cost in proportion to
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
        self.semaphore.pause(nanos::nanos(length));
    }

    /// The rate at which it fills.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.semaphore.lock().bucket().rate()
    }

    /// The most it holds.
    #[must_use]
    pub fn max_burst(&self) -> u32 {
        self.semaphore.lock().bucket().burst()
    }

    /// Permits that could be taken at once: none while there are waiters or it is paused, `u32::MAX` where there is no
    /// limit.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.lock_and_grant().available()
    }

    /// How many wait.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.lock_and_grant().waiting()
    }

    /// The limiter of a key whose bucket was packed: of a set of limiters with these settings and this clock.
    pub(crate) fn promoted(bucket: Bucket, paused_until: u64, clock: &LimiterClock, version: u64) -> Self {
        Self::of(WaitList::of(bucket, CATCH_UP, paused_until), clock.clone(), version, None)
    }

    /// Its bucket, if it can be packed again: no other clone is left, no task waits, nothing is paused. Calls no
    /// foreign code.
    pub(crate) fn demoted(&mut self) -> Option<Bucket> {
        // Without another clone there is no waiter that has a waker.
        Arc::get_mut(&mut self.semaphore)?;
        self.semaphore.idle_bucket()
    }

    /// Takes over the settings of a set of limiters, unless it has later ones, and a pause of them all, unless it has a
    /// longer one.
    pub(crate) fn adopt(&self, version: u64, settings: &Bucket, paused_until: u64) {
        self.semaphore.adopt(version, settings, paused_until);
    }

    /// Takes permits, if they are there at once and no task waits. Not inlined: its callers stay small.
    #[inline(never)]
    pub(crate) fn try_take(&self, permits: u32) -> bool {
        self.semaphore.try_take(self.semaphore.fast_now(), permits).is_ok()
    }

    /// Permits that were taken and not used, however long ago.
    pub(crate) fn give_back(&self, permits: u32) {
        self.semaphore.refund(permits, nanos::FOREVER);
    }

    /// Joins the wait list, if the permits will be there within `allowed` nanoseconds. They may be there already.
    pub(crate) fn enqueue(&self, permits: u32, allowed: u64) -> Result<QueuedPermit, Refused> {
        QueuedPermit::enqueue(self.clone(), permits, allowed)
    }

    /// The second half of [`try_acquire`](Self::try_acquire).
    #[cold]
    #[inline(never)]
    fn refused(&self, word: u64, missing: Missing, permits: u32) -> Result<(), Refused> {
        match self.semaphore.ready_in(word, missing, permits) {
            Some(wait) => Err(Refused::not_for(wait)),
            None => self.try_acquire_locked(permits),
        }
    }

    #[cold]
    #[inline(never)]
    fn try_acquire_locked(&self, permits: u32) -> Result<(), Refused> {
        let (admission, now) = self.semaphore.enqueue(permits, 0);
        self.admitted(admission, now, permits, 0).map(drop)
    }

    /// The waiter, if one was admitted to the list.
    fn admitted(
        &self,
        admission: Admission,
        now: u64,
        permits: u32,
        allowed: u64,
    ) -> Result<Option<WaiterId>, Refused> {
        match admission {
            Admission::Granted => Ok(None),
            Admission::Waiting(id) => Ok(Some(id)),
            Admission::TooFar(ready_at) => Err(self.no_share().unwrap_or(Refused::too_far(now, ready_at, allowed))),
            Admission::OverBurst => Err(Refused::OverBurst { asked: permits, burst: self.max_burst() }),
        }
    }

    fn lock_and_grant(&self) -> Guard<'_> {
        self.semaphore.lock_and_grant().0
    }
}

/// `Limiter { rate: 5/s, burst: 10, available: 3, waiters: 0 }`
impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.lock_and_grant();
        let (bucket, waiters, available) = (list.bucket().clone(), list.waiting(), list.available());
        drop(list);
        f.debug_struct("Limiter")
            .field("rate", &format_args!("{}", bucket.rate()))
            .field("burst", &bucket.burst())
            .field("available", &available)
            .field("waiters", &waiters)
            .finish()
    }
}
