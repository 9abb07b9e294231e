//! A limiter, a budget and a cancellation inside a run.

use std::time::Duration;

use relent::{Backoff, Budget, Limiter, Rate, Ratio, Stop, poll, retry};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

/// kubeadm's drained limiter: five per second, burst ten, empty; every 50 ms for 350 ms.
#[tokio::test(start_paused = true)]
async fn a_refusal_stands_beside_the_real_error() {
    let limiter = Limiter::new(Rate::per_second(5), 10);
    limiter.try_acquire(10).unwrap();
    let gave_up = retry(|_| async { Err::<(), _>("configmaps \"kube-proxy\" not found") })
        .every(50 * MS)
        .start_within(350 * MS)
        .throttle(&limiter)
        .await
        .unwrap_err();
    // The first permit is there after 200 ms, the second would be after 400.
    assert_eq!(gave_up.last_error(), Some(&"configmaps \"kube-proxy\" not found"));
    assert!(
        matches!(gave_up.stop(), Stop::Limiter { ready_in, allowed, .. } if (*ready_in, *allowed) == (150 * MS, 100 * MS))
    );
    assert_eq!(gave_up.attempts(), 1);
}

/// The wait for a permit counts towards the bounds and not towards the call's own deadline.
#[tokio::test(start_paused = true)]
async fn the_limiters_wait_is_not_the_calls() {
    let limiter = Limiter::new(Rate::per_second(1), 1);
    limiter.try_acquire(1).unwrap();
    let began = Instant::now();
    let answer = retry(|attempt| async move {
        tokio::time::sleep(20 * MS).await;
        Ok::<_, ()>(attempt.elapsed())
    })
    .attempt_timeout(30 * MS)
    .finish_within(2000 * MS)
    .throttle(&limiter)
    .await;
    assert_eq!((answer.unwrap(), began.elapsed()), (1000 * MS, 1020 * MS));
}

/// A rate that is lowered while a run queues puts its turn beyond the bounds: it is refused then, not at its deadline.
#[tokio::test(start_paused = true)]
async fn a_rate_that_falls_refuses_what_waits() {
    let limiter = Limiter::new(Rate::per_second(10), 1);
    limiter.try_acquire(1).unwrap();
    let began = Instant::now();
    let lower = async {
        tokio::time::sleep(50 * MS).await;
        limiter.set_rate(Rate::ZERO);
    };
    let run = retry(|_| async { Ok::<_, ()>(()) }).finish_within(1000 * MS).throttle(&limiter).into_future();
    let ((), end) = tokio::join!(lower, run);
    assert!(matches!(end.unwrap_err().stop(), Stop::Limiter { ready_in: Duration::MAX, .. }));
    assert_eq!((began.elapsed(), limiter.waiters()), (50 * MS, 0));
}

/// One budget for all: ten per cent of retries on a hundred first attempts, and not one more.
#[tokio::test(start_paused = true)]
async fn a_budget_bounds_the_retries_of_all_runs() {
    let budget = Budget::ratio(Ratio::percent(10)).reserve(1);
    let calls = std::cell::Cell::new(0);
    for _ in 0..100 {
        let gave_up = retry(|_| {
            calls.set(calls.get() + 1);
            async { Err::<(), _>("overloaded") }
        })
        .backoff(Backoff::fixed(MS))
        .budget(&budget)
        .await
        .unwrap_err();
        assert_eq!(*gave_up.stop(), Stop::Budget);
    }
    assert!((110..=111).contains(&calls.get()), "{}", calls.get());
}

/// A retry that the budget allowed and the limiter refused goes back to the budget.
#[tokio::test(start_paused = true)]
async fn a_refused_retry_is_not_spent() {
    let (budget, limiter) = (Budget::ratio(Ratio::ZERO).reserve(3), Limiter::new(Rate::ZERO, 1));
    let gave_up = poll(|_| async { None::<()> })
        .every(MS)
        .start_within(5 * MS)
        .budget(&budget)
        .throttle(&limiter)
        .await
        .unwrap_err();
    assert!(matches!(gave_up.stop(), Stop::Limiter { .. }));
    assert_eq!(budget.available(), 3);
}
