//! The only file that reads a clock or sleeps. Everything goes by tokio's clock, so that a paused one sees every wait;
//! threads wait by the same clock, or by a virtual one in tests.
#![allow(clippy::disallowed_methods)]

use std::{
    cell::Cell,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
    thread::{self, Thread},
    time::Duration,
};

use pin_project_lite::pin_project;
pub(crate) use tokio::time::Instant;
use tokio::{task::coop, time::Sleep};

use crate::policy::nanos;

/// What time it is.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(feature = "test-util")]
    if let Some(now) = VIRTUAL.get() {
        return now;
    }
    #[cfg(feature = "test-util")]
    if let Some(now) = read().checked_sub(ASLEEP.get()) {
        return now;
    }
    read()
}

#[cfg(not(any(relent_loom, relent_shuttle)))]
#[inline]
fn read() -> Instant {
    Instant::now()
}

/// Where every order of events is tried, each reading is a nanosecond after the former: the same order then does the
/// same each time, however busy the machine is, and a thread may still come late with a time that it read before. All
/// threads of such a test are one to the machine.
#[cfg(any(relent_loom, relent_shuttle))]
fn read() -> Instant {
    thread_local!(static LAST: Cell<Instant> = Cell::new(Instant::now()));
    let last = LAST.get();
    let next = after(last, 1).unwrap_or(last);
    LAST.set(next);
    next
}

/// A clock that goes on while the machine is suspended, where the platform has one (Linux: `CLOCK_BOOTTIME`).
/// Elsewhere, and by a paused clock, it shows what [`now`] shows. Times are nanoseconds since its start.
///
/// The timers go by the other clock: what is due by this one may ring late by the time of a suspension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BootClock {
    begun: Instant,
    asleep_before: u64,
}

impl BootClock {
    pub(crate) fn start() -> Self {
        Self { begun: now(), asleep_before: asleep() }
    }

    pub(crate) fn now(self) -> u64 {
        between(self.begun, now()).saturating_add(self.asleep())
    }

    /// The instant at which it will show `nanos`, if the machine is not suspended until then; `None`: never.
    pub(crate) fn at(self, nanos: u64) -> Option<Instant> {
        if nanos == nanos::FOREVER { None } else { after(self.begun, nanos.saturating_sub(self.asleep())) }
    }

    fn asleep(self) -> u64 {
        asleep().saturating_sub(self.asleep_before)
    }
}

/// For how long the machine has been suspended since some time before.
pub(crate) fn asleep() -> u64 {
    #[cfg(feature = "test-util")]
    let played = nanos::nanos(ASLEEP.get());
    #[cfg(not(feature = "test-util"))]
    let played = 0;
    suspension::asleep().saturating_add(played)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod suspension {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    use rustix::time::{ClockId, clock_gettime};

    /// The two clocks are read one after the other: less than this apart is no suspension.
    const LEAST: u64 = 1_000_000;

    /// By how far the one that goes on has got ahead of the other since the first call. It never falls.
    pub(super) fn asleep() -> u64 {
        static FIRST: OnceLock<u64> = OnceLock::new();
        static MOST: AtomicU64 = AtomicU64::new(0);
        let ahead = ahead();
        let since = ahead.saturating_sub(*FIRST.get_or_init(|| ahead));
        let since = if since < LEAST { 0 } else { since };
        // Relaxed: the number itself is all that is shared.
        MOST.fetch_max(since, Ordering::Relaxed).max(since)
    }

    /// A thread may be interrupted between the two readings: of some tries the quickest counts.
    fn ahead() -> u64 {
        const QUICK: u64 = 20_000;
        let (mut quickest, mut best) = (u64::MAX, 0);
        for _ in 0..8 {
            let before = read(ClockId::Monotonic);
            let boot = read(ClockId::Boottime);
            let took = read(ClockId::Monotonic).saturating_sub(before);
            if took < quickest {
                (quickest, best) = (took, boot.saturating_sub(before));
            }
            if took <= QUICK {
                break;
            }
        }
        best
    }

    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod suspension {
    pub(super) fn asleep() -> u64 {
        0
    }
}

/// The date, for comparing with dates that servers wrote: the wall clock, moved along with tokio's where that is
/// paused.
#[cfg(feature = "http")]
pub(crate) fn date() -> std::time::SystemTime {
    let (now, real) = (now().into_std(), std::time::Instant::now());
    let (ahead, behind) = (now.saturating_duration_since(real), real.saturating_duration_since(now));
    let wall = std::time::SystemTime::now();
    wall.checked_add(ahead).and_then(|date| date.checked_sub(behind)).unwrap_or(wall)
}

/// Nanoseconds from `start` to `now`; 0 when `now` is earlier.
#[inline]
pub(crate) fn between(start: Instant, now: Instant) -> u64 {
    match now.checked_duration_since(start) {
        Some(passed) => nanos::nanos(passed),
        None => never_passed(),
    }
}

/// Keeps the exception out of the way of the rule.
#[cold]
#[inline(never)]
fn never_passed() -> u64 {
    0
}

/// The instant `nanos` after `start`; `None` when it lies beyond what a clock can show, that is: never.
#[inline]
pub(crate) fn after(start: Instant, nanos: u64) -> Option<Instant> {
    if nanos == nanos::FOREVER { None } else { start.checked_add(Duration::from_nanos(nanos)) }
}

/// The instant `nanos` before `start`, or `start` where a clock cannot show it.
pub(crate) fn before(start: Instant, nanos: u64) -> Option<Instant> {
    start.checked_sub(Duration::from_nanos(nanos)).or(Some(start))
}

/// How a run tells the time and waits for it.
pub(crate) trait Sleeper: Default {
    /// Whether time passes inside a poll, so that the clock must be read around every attempt.
    const TIME_PASSES_IN_POLL: bool;

    /// Ready at `at`, or later; `None` is never. Asking for another instant than before re-arms it.
    fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()>;
    /// Waits for no instant any more.
    fn disarm(self: Pin<&mut Self>);
    /// Lets others run where no pause does.
    fn poll_yield(cx: &mut Context<'_>) -> Poll<()>;
}

pin_project! {
    /// One resettable sleep. It costs nothing until something has to wait.
    #[derive(Debug, Default)]
    pub(crate) struct Timer {
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Sleeper for Timer {
    const TIME_PASSES_IN_POLL: bool = false;

    #[inline]
    fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        #[cfg(feature = "test-util")]
        let Some(at) = at.checked_add(ASLEEP.get()) else { return Poll::Pending };
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

    #[inline]
    fn disarm(self: Pin<&mut Self>) {
        #[inline(never)]
        fn forget(mut sleep: Pin<&mut Option<Sleep>>) {
            sleep.set(None);
        }
        if self.sleep.is_some() {
            forget(self.project().sleep);
        }
    }

    #[inline]
    fn poll_yield(cx: &mut Context<'_>) -> Poll<()> {
        ready!(coop::poll_proceed(cx)).made_progress();
        Poll::Ready(())
    }
}

/// Waits until then; `None` is never.
#[cfg(feature = "test-util")]
pub(crate) async fn wait_until(at: Option<Instant>) {
    let mut timer = pin!(Timer::default());
    std::future::poll_fn(|cx| timer.as_mut().poll_at(cx, at)).await;
}

/// Waits so long; not at all where that is no time.
#[cfg(feature = "test-util")]
pub(crate) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        wait_until(now().checked_add(duration)).await;
    }
}

thread_local! {
    /// When the future that this thread drives wants to be polled again.
    static WAKE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The time of a virtual clock.
    #[cfg(feature = "test-util")]
    static VIRTUAL: Cell<Option<Instant>> = const { Cell::new(None) };
    /// For how long the machine that is played on this thread has been suspended: so far its clock is behind.
    #[cfg(feature = "test-util")]
    static ASLEEP: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The alarm of a run that blocks its thread: [`block_on`] sleeps until it rings.
#[derive(Debug, Default)]
pub(crate) struct ThreadSleeper;

impl Sleeper for ThreadSleeper {
    const TIME_PASSES_IN_POLL: bool = true;

    fn poll_at(self: Pin<&mut Self>, _: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        if at.is_some_and(|at| at <= now()) {
            return Poll::Ready(());
        }
        WAKE_AT.set(at);
        Poll::Pending
    }

    fn disarm(self: Pin<&mut Self>) {
        WAKE_AT.set(None);
    }

    fn poll_yield(_: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// Drives a future whose waits are [`ThreadSleeper`]s or wake it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn waker() -> Waker {
        Waker::from(Arc::new(Unpark(thread::current())))
    }
    // One for all calls of a thread. One that wakes it for a call that is over wakes it for nothing.
    thread_local!(static WAKER: Waker = waker());
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| waker());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        WAKE_AT.set(None);
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        match WAKE_AT.get() {
            None => thread::park(),
            #[cfg(feature = "test-util")]
            Some(at) if VIRTUAL.get().is_some() => VIRTUAL.set(Some(at)),
            Some(at) => thread::park_timeout(at.saturating_duration_since(now())),
        }
    }
}

/// What this thread's virtual clock says, if it has one.
#[cfg(feature = "test-util")]
pub(crate) fn virtual_now() -> Option<Instant> {
    VIRTUAL.get()
}

/// Sets this thread's virtual clock, or takes it away.
#[cfg(feature = "test-util")]
pub(crate) fn set_virtual(now: Option<Instant>) {
    VIRTUAL.set(now);
}

/// Plays a machine that has been suspended for so long; answers what was played before.
#[cfg(feature = "test-util")]
pub(crate) fn set_asleep(asleep: Duration) -> Duration {
    ASLEEP.replace(asleep)
}
