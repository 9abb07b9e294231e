//! Cancellations, several and of any kind.

use std::{cell::Cell, future::pending, task::Poll, time::Duration};

use relent::{Backoff, CancellationToken, Limiter, Policy, Rate, Stop, ensure, retry};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

/// Several tokens and futures, given in any order: either stops the run, wherever it is, and nothing starts then.
#[tokio::test(start_paused = true)]
async fn each_of_several_cancellations_stops_it() {
    for which in 0..4 {
        for place in ["before", "attempt", "pause", "limiter"] {
            let tokens: [_; 3] = std::array::from_fn(|_| CancellationToken::new());
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let limiter = Limiter::new(Rate::ZERO, u32::from(place != "limiter"));
            let run = retry(|_| async {
                if place == "attempt" {
                    pending::<()>().await;
                }
                Err::<(), _>("x")
            })
            .backoff(Backoff::fixed(60 * S))
            .cancel_on(tokens[0].clone())
            .cancel_when(async move { _ = stopped.await })
            .cancel_on(tokens[1].clone())
            .throttle(&limiter)
            .cancel_on(tokens[2].clone());
            let cancel = move || match tokens.get(which) {
                Some(token) => token.cancel(),
                None => _ = stop.send(()),
            };
            let start = Instant::now();
            let gave_up = if place == "before" {
                cancel();
                run.await
            } else {
                let later = async {
                    sleep(S).await;
                    cancel();
                };
                tokio::join!(run.into_future(), later).0
            };
            let gave_up = gave_up.unwrap_err();
            let (attempts, waited) = match place {
                "before" => (0, Duration::ZERO),
                "limiter" => (0, S),
                _ => (1, S),
            };
            let seen = (gave_up.stop(), gave_up.attempts(), start.elapsed(), limiter.waiters());
            assert_eq!(seen, (&Stop::Cancelled, attempts, waited, 0), "{which} {place}");
        }
    }
}

/// A future that cancels is not polled again once it is done, and a builder with one can be cloned if it can.
#[tokio::test(start_paused = true)]
async fn a_future_that_cancels() {
    let run = retry(async |_| Err::<(), _>("x")).cancel_when(std::future::ready(()));
    for run in [run.clone(), run] {
        let gave_up = run.await.unwrap_err();
        assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Cancelled, 0));
    }
    let once = Box::pin(async { sleep(3 * S).await });
    let mut run = Policy::new().every(S).begin::<&str>().cancel_when(once).cancel_on(CancellationToken::new());
    for _ in 0..3 {
        assert!(run.next().await.unwrap().run(async { Err::<(), _>("x") }).await.is_none());
    }
    for _ in 0..2 {
        let gave_up = run.next().await.map(drop).unwrap_err();
        assert_eq!((gave_up.stop(), gave_up.attempts(), gave_up.elapsed()), (&Stop::Cancelled, 3, 3 * S));
    }
    let ensured = ensure(|_| async { Ok::<_, &str>(None::<()>) }, |()| async { Ok::<(), &str>(()) });
    let gave_up = ensured.every(S).cancel_when(sleep(2 * S)).await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.elapsed()), (&Stop::Cancelled, 2 * S));
}

/// What cancels is asked also where the task has used up its share, which tokio's channels and timers heed.
#[tokio::test(start_paused = true)]
async fn a_spent_share_hides_no_cancellation() {
    for timer in [true, false] {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        stop.send(()).unwrap();
        let until = async move {
            if timer {
                sleep(S).await;
            } else {
                _ = stopped.await;
            }
        };
        let mut until = Box::pin(until);
        if timer {
            assert!(std::future::poll_fn(|cx| Poll::Ready(until.as_mut().poll(cx))).await.is_pending());
            sleep(2 * S).await;
        }
        let called = Cell::new(false);
        let run = retry(|_| {
            called.set(true);
            async { Ok::<_, &str>(7) }
        });
        // Nothing lets others run in between.
        let spent = async {
            for _ in 0..1_000 {
                if !tokio::task::coop::has_budget_remaining() {
                    break;
                }
                tokio::task::coop::consume_budget().await;
            }
            run.cancel_when(until).await
        };
        let gave_up = spent.await.unwrap_err();
        assert_eq!((gave_up.stop(), gave_up.attempts(), called.get()), (&Stop::Cancelled, 0, false), "{timer}");
    }
}
