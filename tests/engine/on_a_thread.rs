//! Runs that block their thread: what other runs of that thread leave behind.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use relent::{Backoff, blocking};

/// Fails so often, then gives `answer`.
fn failing<T>(times: u32, answer: T) -> impl FnMut(relent::Attempt) -> Result<T, u32>
where
    T: Copy,
{
    move |attempt| if attempt.number() > times { Ok(answer) } else { Err(attempt.number()) }
}

/// A waker that outlives its run wakes the thread once too often, which ends no pause.
#[cfg(feature = "test-util")]
#[test]
fn a_waker_of_a_run_that_is_over() {
    let hour = Duration::from_secs(3600);
    let clock = relent::testing::VirtualClock::new();
    let kept = RefCell::new(None::<Waker>);
    let keep = poll_fn(|cx| {
        kept.replace(Some(cx.waker().clone()));
        Poll::<()>::Pending
    });
    let first = blocking::retry(failing(1, 7)).backoff(Backoff::fixed(hour)).cancel_when(keep).call();
    assert_eq!((first.unwrap(), clock.elapsed()), (7, hour));

    let waker = kept.take().expect("the future was polled");
    let mut answers = failing(3, 8);
    let second = blocking::retry(|attempt| {
        waker.wake_by_ref();
        answers(attempt)
    })
    .backoff(Backoff::fixed(hour))
    .call();
    assert_eq!((second.unwrap(), clock.elapsed()), (8, 4 * hour));
}

/// The same on the clock of the machine: a thread that is woken early goes on to wait.
#[test]
fn a_thread_that_is_woken_early() {
    let waits = Duration::from_millis(60);
    let kept = RefCell::new(None::<Waker>);
    let keep = poll_fn(|cx| {
        kept.replace(Some(cx.waker().clone()));
        Poll::<()>::Pending
    });
    let first =
        blocking::retry(failing(1, ())).backoff(Backoff::fixed(Duration::from_millis(1))).cancel_when(keep).call();
    assert!(first.is_ok());

    let waker = kept.take().expect("the future was polled");
    let ended = Cell::new(None);
    let second = blocking::retry(|attempt| {
        if let Some(ended) = ended.replace(Some(std::time::Instant::now())) {
            assert!(ended.elapsed() >= waits, "a pause was cut short");
        }
        waker.wake_by_ref();
        failing(2, ())(attempt)
    })
    .backoff(Backoff::fixed(waits))
    .call();
    assert!(second.is_ok());
}

#[cfg(feature = "test-util")]
#[test]
fn a_run_within_an_attempt() {
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    let clock = relent::testing::VirtualClock::new();
    let outer = blocking::retry(|attempt| {
        let inner = blocking::retry(failing(2, 5)).backoff(Backoff::fixed(minute)).call();
        assert_eq!(inner.unwrap(), 5);
        failing(2, 9)(attempt)
    })
    .backoff(Backoff::fixed(hour))
    .call();
    assert_eq!((outer.unwrap(), clock.elapsed()), (9, 2 * hour + 6 * minute));
}
