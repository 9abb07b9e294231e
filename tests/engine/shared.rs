//! A limiter, a budget and a cancellation inside a run.

use std::{
    future::{Future, IntoFuture, poll_fn, ready},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use relent::{Backoff, Budget, CancellationToken, Limiter, Policy, Rate, Ratio, Stop, TimedQueue, ensure, poll, retry};
use tokio::{task::coop, time::Instant};

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

/// Polled for the first time by a task that has used up its share: it is pending.
async fn first_poll<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        while let Poll::Ready(progress) = coop::poll_proceed(cx) {
            progress.made_progress();
        }
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// The waiters after that. Then it is dropped.
async fn waiters(limiter: &Limiter, future: impl Future) -> usize {
    let mut future = pin!(future);
    first_poll(future.as_mut()).await;
    limiter.waiters()
}

/// Waiters are granted in the order of their first polls, also those whose task has to let others run at once.
#[tokio::test(start_paused = true)]
async fn a_task_that_has_used_up_its_share_takes_its_place() {
    let (limiter, other) = (Limiter::per_second(1), Limiter::per_second(1));
    limiter.try_acquire(1).unwrap();
    other.try_acquire(1).unwrap();
    let run = retry(async |_| Ok::<_, &str>(1)).throttle(&limiter).into_future();
    assert_eq!(waiters(&limiter, run).await, 1);
    let run = retry(async |_| Ok::<_, &str>(1)).throttle(&other).throttle(&limiter).into_future();
    assert_eq!(waiters(&other, run).await, 1);
    let run = poll(async |_| Some(1)).throttle(&limiter).into_future();
    assert_eq!(waiters(&limiter, run).await, 1);
    let run = ensure(async |_| Ok::<_, &str>(Some(1)), async |()| Ok::<(), &str>(())).throttle(&limiter);
    assert_eq!(waiters(&limiter, run.into_future()).await, 1);
    let mut cursor = Policy::new().begin::<&str>().throttle(&limiter);
    assert_eq!(waiters(&limiter, cursor.next()).await, 1);
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let run = queue.run(async |_| Ok::<(), &str>(())).throttle(&limiter).into_future();
    assert_eq!(waiters(&limiter, run).await, 1);
    assert_eq!((limiter.waiters(), other.waiters()), (0, 0), "all were dropped");
    assert!(cursor.next().await.unwrap().run(ready(Ok(()))).await.is_some());
}

/// It hears of a wait only if there is one, and is heeded if it is cancelled, too late or refused before others have
/// run.
#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_task_that_let_others_run_in_its_place() {
    let began = Instant::now();
    for (what, want) in [
        ("free", "Started Succeeded at 0"),
        ("drained", "Waiting Started Succeeded at 1"),
        ("cancelled", "GaveUp at 0"),
        ("late", "GaveUp at 9"),
        ("refused", "GaveUp at 0"),
    ] {
        let rate = if what == "refused" { Rate::ZERO } else { Rate::per_second(1) };
        let (limiter, token) = (Limiter::new(rate, 1), CancellationToken::new());
        if matches!(what, "drained" | "refused") {
            limiter.try_acquire(1).unwrap();
        }
        let (now, mut heard) = (Instant::now(), String::new());
        let run =
            retry(async |_| Ok::<_, &str>(1)).throttle(&limiter).finish_within(5000 * MS).cancel_on(token.clone());
        let mut run = pin!(
            run.notify(|event| {
                heard.push_str(format!("{event:?}").split([' ', '(']).next().unwrap());
                heard.push(' ');
            })
            .into_future()
        );
        first_poll(run.as_mut()).await;
        match what {
            "cancelled" => token.cancel(),
            "late" => tokio::time::advance(9000 * MS).await,
            _ => tokio::task::yield_now().await,
        }
        let _ = run.await;
        assert_eq!(format!("{heard}at {}", now.elapsed().as_secs()), want, "{what}");
        assert_eq!(limiter.waiters(), 0);
    }
    assert_eq!(began.elapsed(), 10_000 * MS);
}

/// However many cancel it, and whichever does; however many budgets it asks. (The stack of a test is 2 MB.)
#[tokio::test(start_paused = true)]
async fn thousands_of_tokens_and_budgets() {
    const MANY: usize = 10_000;
    let tokens: Vec<_> = (0..MANY).map(|_| CancellationToken::new()).collect();
    let budgets: Vec<_> = (0..MANY).map(|_| Budget::ratio(Ratio::ZERO).reserve(3)).collect();
    let mut run = retry(|_| ready(Err::<(), _>("x"))).every(100 * MS).cancel_on(CancellationToken::new());
    for (token, budget) in tokens.iter().zip(&budgets) {
        run = run.cancel_on(token.clone()).budget(budget);
    }
    let gave_up = run.clone().await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Budget, 4));
    assert!(budgets.iter().all(|budget| budget.available() == 0));
    let cancel = async {
        tokio::time::sleep(50 * MS).await;
        tokens[MANY / 2].cancel();
    };
    let (gave_up, ()) = tokio::join!(run.max_attempts(9).delay_first().into_future(), cancel);
    assert!(gave_up.unwrap_err().is_cancelled());
}

/// One budget given twice, as by a profile and by a call that narrows it, is one.
#[tokio::test(start_paused = true)]
async fn a_budget_given_twice_is_asked_once() {
    let (budget, other) = (Budget::ratio(Ratio::ZERO).reserve(3), Budget::in_flight(Ratio::ONE).reserve(0));
    let mut available = Vec::new();
    let run = retry(|_| {
        available.push(other.available());
        ready(Err::<(), _>("x"))
    });
    let run = run.every(MS).budget(&budget).budget(&other).budget(&budget.clone()).budget(&other);
    assert_eq!(run.await.unwrap_err().attempts(), 4);
    assert_eq!(available, [1, 0, 0, 0]);
}
