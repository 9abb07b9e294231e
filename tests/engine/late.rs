//! Stalls: whatever comes late, nothing starts at the hard bound or later, and the real error stays.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use relent::{
    Backoff, Budget, CancellationToken, GaveUp, Last, Limiter, Policy, Progress, Rate, Ratio, Stop, ensure,
    events::{Event, Wait},
    poll, retry, settle,
};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

/// A blocked thread, SIGSTOP, a suspended machine: the clock jumps in the middle of whatever runs.
fn stall(jump: Duration) {
    let advance = pin!(tokio::time::advance(jump));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}

/// Polls the future until it waits, jumps, and lets it go on.
async fn stalled<F: Future>(future: F, jump: Duration) -> F::Output {
    let mut future = pin!(future);
    assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await, "it does not wait");
    stall(jump);
    future.await
}

fn late<E: Copy + PartialEq + std::fmt::Debug>(gave_up: &GaveUp<E>, attempts: u32, error: Option<E>) {
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Deadline, attempts));
    assert_eq!(gave_up.last_error(), error.as_ref());
    assert_eq!(gave_up.elapsed(), 100 * S, "it says how late it has become");
}

#[tokio::test(start_paused = true)]
async fn a_late_timer_revokes_what_the_hard_bound_admitted() {
    let run = retry(|_| async { Err::<(), _>("x") }).backoff(Backoff::fixed(9 * S)).finish_within(10 * S);
    let gave_up = stalled(run.into_future(), 100 * S).await.unwrap_err();
    late(&gave_up, 1, Some("x"));
    assert_eq!(gave_up.last(), Last::Failed(&"x"));

    let run = poll(|_| async { None::<()> }).every(9 * S).finish_within(10 * S);
    let gave_up = stalled(run.into_future(), 100 * S).await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Deadline, 1));

    let run = settle(|_| async { Progress::<(), &str>::Waiting("w".into()) }).every(9 * S).finish_within(10 * S);
    let gave_up = stalled(run.into_future(), 100 * S).await.unwrap_err();
    late(&gave_up, 1, None);

    let run = ensure(|_| async { Err::<Option<()>, _>("x") }, |()| async { Ok::<(), &str>(()) });
    let gave_up = stalled(run.every(9 * S).finish_within(10 * S).into_future(), 100 * S).await.unwrap_err();
    late(&gave_up, 1, Some("x"));

    let run = retry(|_| async { Ok::<_, ()>(()) }).every(9 * S).delay_first().finish_within(10 * S);
    let gave_up = stalled(run.into_future(), 100 * S).await.unwrap_err();
    late(&gave_up, 0, None);
    assert_eq!(gave_up.last(), Last::NotStarted);
}

/// At its very end, too; one nanosecond before, it starts.
#[tokio::test(start_paused = true)]
async fn the_hard_bound_itself_is_too_late() {
    let starts = |jump| async move {
        let run = retry(|attempt| async move { if attempt.number() == 1 { Err("x") } else { Ok(()) } });
        stalled(run.backoff(Backoff::fixed(9 * S)).finish_within(10 * S).into_future(), jump).await.is_ok()
    };
    assert!(starts(Duration::new(9, 999_999_999)).await);
    assert!(!starts(10 * S).await);
}

#[tokio::test(start_paused = true)]
async fn a_late_timer_does_not_revoke_what_the_start_window_admitted() {
    let run = retry(|attempt| async move { if attempt.number() == 1 { Err("x") } else { Ok(attempt.elapsed()) } });
    let run = run.backoff(Backoff::fixed(4 * S)).start_within(5 * S);
    assert_eq!(stalled(run.into_future(), 100 * S).await.unwrap(), 100 * S);
}

#[tokio::test(start_paused = true)]
async fn a_final_try_that_comes_late() {
    let run = || {
        let calls = retry(|attempt| async move { if attempt.number() == 1 { Err("x") } else { Ok(()) } });
        calls.backoff(Backoff::fixed(20 * S)).final_try()
    };
    let without_window = run().attempt_timeout(S).finish_within(10 * S);
    late(&stalled(without_window.into_future(), 100 * S).await.unwrap_err(), 1, Some("x"));
    let with_both = run().start_within(5 * S).finish_within(10 * S);
    late(&stalled(with_both.into_future(), 100 * S).await.unwrap_err(), 1, Some("x"));
    let with_window = run().start_within(5 * S);
    stalled(with_window.into_future(), 100 * S).await.unwrap();
}

/// The permit goes back, and so does the retry.
#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_late() {
    let limiter = Limiter::new(Rate::every(9 * S).unwrap(), 1);
    let budget = Budget::ratio(Ratio::ZERO).reserve(3);
    let run = retry(|_| async { Err::<(), _>("x") })
        .backoff(Backoff::fixed(Duration::ZERO))
        .finish_within(10 * S)
        .budget(&budget)
        .throttle(&limiter)
        .into_future();
    let mut run = pin!(run);
    let gave_up = stalled(run.as_mut(), 100 * S).await.unwrap_err();
    late(&gave_up, 1, Some("x"));
    assert_eq!((limiter.waiters(), limiter.available(), budget.available()), (0, 1, 3));
}

/// A task that has used up its share yields, and does not come back for a long time.
#[tokio::test(start_paused = true)]
async fn a_yield_that_takes_long() {
    let calls = Cell::new(0);
    let fails = || async { Err::<(), _>(calls.replace(calls.get() + 1)) };
    let mut run = pin!(retry(|_| fails()).backoff(Backoff::fixed(Duration::ZERO)).finish_within(10 * S).into_future());
    assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await, "it yields");
    let before = calls.get();
    stall(100 * S);
    let gave_up = run.await.unwrap_err();
    late(&gave_up, before, Some(before - 1));
    assert_eq!(calls.get(), before);
}

/// Wherever a callback stalls: in the classifier, in the listener.
#[tokio::test(start_paused = true)]
async fn a_callback_that_takes_long() {
    for place in ["when", "ended", "waiting"] {
        for pause in [Duration::ZERO, S] {
            if place == "waiting" && pause.is_zero() {
                continue;
            }
            let calls = Cell::new(0);
            let stall_in = |here| {
                if here == place {
                    stall(100 * S);
                }
            };
            let listen = |event: &Event<'_, &str>| match event {
                Event::Ended { .. } => stall_in("ended"),
                Event::Waiting(Wait::Pause(_)) => stall_in("waiting"),
                _ => {}
            };
            let gave_up = retry(|_| {
                calls.set(calls.get() + 1);
                async { Err::<(), _>("x") }
            })
            .backoff(Backoff::fixed(pause))
            .finish_within(10 * S)
            .when(|_| {
                stall_in("when");
                true
            })
            .notify(listen)
            .await
            .unwrap_err();
            late(&gave_up, 1, Some("x"));
            assert_eq!(calls.get(), 1, "{place} {pause:?}");
        }
    }
}

/// The caller of a cursor takes its time: before the next attempt, or between `next` and `attempt`.
#[tokio::test(start_paused = true)]
async fn a_cursor_whose_caller_takes_long() {
    for pause in [Duration::ZERO, S] {
        let mut run = Policy::new().backoff(Backoff::fixed(pause)).finish_within(10 * S).begin();
        assert!(run.next().await.unwrap().run(async { Err::<(), _>("x") }).await.is_none());
        stall(100 * S);
        late(&run.next().await.map(drop).unwrap_err(), 1, Some("x"));
    }
    let mut run = Policy::new().finish_within(10 * S).begin::<&str>();
    let next = run.next().await.unwrap();
    stall(100 * S);
    let began = Cell::new(false);
    assert!(next.run(async { Ok(began.replace(true)) }).await.is_none());
    assert!(!began.get(), "nothing starts at the hard bound or later");
    let gave_up = run.next().await.map(drop).unwrap_err();
    late(&gave_up, 1, None);
    assert!(matches!(gave_up.last(), Last::NotCalled));
}

/// The same call of a thread, which has a clock of its own.
#[cfg(feature = "test-util")]
#[test]
fn a_blocking_run_whose_listener_takes_long() {
    let clock = relent::testing::VirtualClock::new();
    let calls = Cell::new(0);
    let gave_up = relent::blocking::retry(|_| {
        calls.set(calls.get() + 1);
        Err::<(), _>("x")
    })
    .backoff(Backoff::fixed(Duration::ZERO))
    .finish_within(10 * S)
    .notify(|event: &Event<'_, &str>| {
        if let Event::Ended { .. } = event {
            clock.advance(100 * S);
        }
    })
    .call()
    .unwrap_err();
    late(&gave_up, 1, Some("x"));
    assert_eq!(calls.get(), 1);
}

/// Where no pause is made, what an attempt is told of the time is true from the second one on.
#[tokio::test(start_paused = true)]
async fn elapsed_is_true_from_the_second_attempt_on() {
    let zero = Duration::ZERO;
    for backoff in [Backoff::fixed(zero), Backoff::steps([zero; 4]), Backoff::exponential(zero, zero)] {
        let (began, seen) = (Cell::new(None), RefCell::new(Vec::new()));
        let gave_up = retry(|attempt| {
            if attempt.number() == 2 {
                began.set(Some(Instant::now() - attempt.elapsed()));
            }
            seen.borrow_mut().push((attempt.elapsed(), began.get().map(|began| began.elapsed())));
            stall(S);
            async { Err::<(), _>("x") }
        })
        .backoff(backoff)
        .max_attempts(5)
        .await
        .unwrap_err();
        let expected: Vec<_> = (0..4).map(|n| (n * S, Some(n * S))).collect();
        assert_eq!(seen.take()[1..], expected);
        assert_eq!(gave_up.elapsed(), 4 * S);
    }
}

/// A call that hangs without a bound is not told as one that took no time.
#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_is_told_so() {
    let slow = retry(|_| async {
        sleep(30 * S).await;
        Err::<(), _>("x")
    });
    assert_eq!(slow.max_attempts(1).await.unwrap_err().elapsed(), 30 * S);
}

/// A listener takes its time in whatever it hears, and the next attempt follows without a pause: it says when it
/// starts.
#[tokio::test(start_paused = true)]
async fn an_attempt_knows_the_time_whatever_the_listener_did() {
    // Without a bound the clock starts when the first attempt has failed.
    for (slow, expected) in [("Started", [0, 0, 7]), ("Ended", [0, 7, 14]), ("never", [0, 0, 0])] {
        let elapsed = RefCell::new(Vec::new());
        let run = retry(async |attempt| {
            elapsed.borrow_mut().push(attempt.elapsed().as_secs());
            Err::<(), _>("x")
        });
        let run = run.backoff(Backoff::fixed(Duration::ZERO)).max_attempts(3).notify(|event| {
            let name = format!("{event:?}");
            if name.starts_with(slow) {
                stall(7 * S);
            }
        });
        assert_eq!(run.await.unwrap_err().attempts(), 3);
        assert_eq!(*elapsed.borrow(), expected, "slow in {slow}");
    }
}

/// The time of a run begins with the first error at the latest: what `when` takes to judge it counts, in a run that has
/// no bound and no listener.
#[tokio::test(start_paused = true)]
async fn a_slow_when_is_in_what_an_attempt_knows_as_elapsed() {
    let slow = Duration::from_millis(70);
    let elapsed = Cell::new(Duration::ZERO);
    let judge = |_: &&str| {
        futures_util::FutureExt::now_or_never(tokio::time::advance(slow));
        true
    };
    let attempt = async |attempt: relent::Attempt| {
        elapsed.set(attempt.elapsed());
        if attempt.number() < 2 { Err("busy") } else { Ok(()) }
    };
    retry(attempt).backoff(Backoff::fixed(Duration::ZERO)).when(judge).await.unwrap();
    assert_eq!(elapsed.get(), slow);
    let mut attempts = Policy::new().backoff(Backoff::fixed(Duration::ZERO)).begin().when(judge);
    assert_eq!(attempts.next().await.unwrap().run(async { Err::<(), _>("busy") }).await, None);
    assert_eq!(attempts.next().await.unwrap().info().elapsed(), slow);
}

/// A listener that hears of the start of an attempt may cancel the run, or take until the hard bound is over: the call
/// is not begun.
#[tokio::test(start_paused = true)]
async fn what_the_listener_of_a_start_ends_is_not_called() {
    for cancels in [true, false] {
        let (token, called) = (CancellationToken::new(), Cell::new(0));
        let heard = RefCell::new(Vec::new());
        let run = retry(|_| {
            called.set(called.get() + 1);
            async { Err::<(), _>("x") }
        });
        let run = run.backoff(Backoff::fixed(S)).finish_within(5 * S).cancel_on(token.clone()).notify(|event| {
            let name = format!("{event:?}");
            heard.borrow_mut().push(name.split([' ', '(']).next().unwrap().to_owned());
            if matches!(event, Event::Started(attempt) if attempt.number() == 2) {
                if cancels { token.cancel() } else { stall(10 * S) }
            }
        });
        let gave_up = run.await.unwrap_err();
        assert_eq!(gave_up.stop(), if cancels { &Stop::Cancelled } else { &Stop::Deadline });
        assert_eq!((called.get(), gave_up.attempts(), gave_up.last_error()), (1, 2, Some(&"x")));
        assert_eq!(*heard.borrow(), ["Started", "Ended", "Waiting", "Started", "Ended", "GaveUp"]);
    }
}
