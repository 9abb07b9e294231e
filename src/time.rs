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

use pin_project::pin_project;
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
    Instant::now()
}

/// The wall clock: for stamps that people read. No decision hangs on it.
#[cfg(feature = "k8s")]
pub(crate) fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
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
pub(crate) trait Alarm: Default {
    /// Whether time passes inside a poll, so that the clock must be read around every attempt.
    const EAGER: bool;

    /// Ready at `at`, or later; `None` is never. Asking for another instant than before re-arms it.
    fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()>;
    /// Lets others run where no pause does.
    fn poll_breathe(cx: &mut Context<'_>) -> Poll<()>;
}

/// One resettable sleep. It costs nothing until something has to wait.
#[derive(Debug, Default)]
#[pin_project]
pub(crate) struct Timer {
    #[pin]
    sleep: Option<Sleep>,
}

impl Alarm for Timer {
    const EAGER: bool = false;

    #[inline]
    fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
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

    #[inline]
    fn poll_breathe(cx: &mut Context<'_>) -> Poll<()> {
        ready!(coop::poll_proceed(cx)).made_progress();
        Poll::Ready(())
    }
}

/// Waits until then; `None` is never.
#[cfg(any(feature = "etcd", feature = "test-util"))]
pub(crate) async fn wait_until(at: Option<Instant>) {
    let mut timer = pin!(Timer::default());
    std::future::poll_fn(|cx| timer.as_mut().poll_at(cx, at)).await;
}

/// Waits so long; not at all where that is no time.
#[cfg(any(feature = "etcd", feature = "test-util"))]
pub(crate) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        wait_until(now().checked_add(duration)).await;
    }
}

/// The future's output, unless it takes longer.
#[cfg(feature = "etcd")]
pub(crate) async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut over) = (pin!(future), pin!(wait_until(now().checked_add(duration))));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| None),
    })
    .await
}

thread_local! {
    /// When the future that this thread drives wants to be polled again.
    static WAKE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The time of a virtual clock.
    #[cfg(feature = "test-util")]
    static VIRTUAL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The alarm of a run that blocks its thread: [`block_on`] sleeps until it rings.
#[derive(Debug, Default)]
pub(crate) struct ThreadAlarm;

impl Alarm for ThreadAlarm {
    const EAGER: bool = true;

    fn poll_at(self: Pin<&mut Self>, _: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        if at.is_some_and(|at| at <= now()) {
            return Poll::Ready(());
        }
        WAKE_AT.set(at);
        Poll::Pending
    }

    fn poll_breathe(_: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// Drives a future whose waits are [`ThreadAlarm`]s or wake it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
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
