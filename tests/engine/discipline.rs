//! How runs are polled and poll: no spinning, no lost wake, no starvation.

use std::{
    cell::Cell,
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use relent::{Backoff, Stop, retry};
use tokio_test::{assert_pending, assert_ready, task};

const MS: Duration = Duration::from_millis(1);

/// One poll of the operation for a wake of the task, and every `Pending` is followed by a wake.
#[tokio::test(start_paused = true)]
async fn one_poll_for_a_wake() {
    let polls = Cell::new(0);
    let mut run = task::spawn(
        retry(|_| {
            let mut sleep = Box::pin(tokio::time::sleep(10 * MS));
            let polls = &polls;
            poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                sleep.as_mut().poll(cx).map(|()| Err::<(), _>("no"))
            })
        })
        .backoff(Backoff::fixed(5 * MS))
        .attempt_timeout(50 * MS)
        .max_attempts(5)
        .into_future(),
    );
    let mut wakes = 0;
    while run.poll().is_pending() {
        let before = polls.get();
        // Nothing else is there to wake it: if no wake comes, this test does not end.
        while !run.is_woken() {
            tokio::time::advance(MS).await;
        }
        wakes += 1;
        assert!(polls.get() == before, "it is polled by its task alone");
    }
    assert_eq!(polls.get(), 10, "each attempt once when it starts and once when it is woken");
    assert_eq!(wakes, 5 + 4);
}

/// The operation's future is made when its attempt starts, never before the wait.
#[tokio::test(start_paused = true)]
async fn the_operation_is_called_when_its_attempt_starts() {
    let calls = Cell::new(0);
    let mut run = task::spawn(
        retry(|_| {
            calls.set(calls.get() + 1);
            async { Err::<(), _>("no") }
        })
        .backoff(Backoff::fixed(10 * MS))
        .max_attempts(2)
        .into_future(),
    );
    assert_eq!(calls.get(), 0);
    assert_pending!(run.poll());
    assert_eq!(calls.get(), 1);
    tokio::time::advance(10 * MS).await;
    assert_ready!(run.poll()).unwrap_err();
    assert_eq!(calls.get(), 2);
}

/// An operation that always fails at once, without a pause: others run meanwhile, and the bound holds. The one test on
/// the real clock, since a paused one stands still while nothing waits.
#[tokio::test]
async fn a_run_without_pauses_lets_others_run_and_ends_in_time() {
    let began = Instant::now();
    let others = tokio::spawn(async {
        for turn in 0_u64.. {
            tokio::task::yield_now().await;
            if turn == 10 {
                return;
            }
        }
    });
    let gave_up = retry(|_| async { Err::<(), _>("no") })
        .backoff(Backoff::fixed(Duration::ZERO))
        .finish_within(50 * MS)
        .await
        .unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Deadline);
    assert!(others.is_finished(), "the other task ran in between");
    assert!((50 * MS..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(gave_up.elapsed() >= 50 * MS);
}

/// The same on the paused clock, with an operation that lets time pass.
#[tokio::test(start_paused = true)]
async fn a_run_without_pauses_ends_at_its_bound_exactly() {
    let gave_up = retry(|_| async {
        tokio::time::sleep(3 * MS).await;
        Err::<(), _>("no")
    })
    .backoff(Backoff::fixed(Duration::ZERO))
    .finish_within(50 * MS)
    .await
    .unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (17, 50 * MS));
    assert_eq!(*gave_up.stop(), Stop::Deadline);
}

/// Three retries without a pause never touch the timer, whose least sleep is a millisecond.
#[tokio::test(start_paused = true)]
async fn no_pause_is_no_sleep() {
    let began = tokio::time::Instant::now();
    let mut left = 3;
    retry(|_| {
        left -= 1;
        let done = left < 0;
        async move { if done { Ok(()) } else { Err("no") } }
    })
    .backoff(Backoff::fixed(Duration::ZERO))
    .await
    .unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    // No runtime at all is needed as long as nothing waits.
    let mut run = task::spawn(retry(|_| async { Ok::<_, ()>(1) }).into_future());
    assert!(std::thread::spawn(move || matches!(run.poll(), Poll::Ready(Ok(1)))).join().unwrap());
}
