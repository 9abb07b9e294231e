//! The cursor: what its caller may do with it at any time.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use relent::{Backoff, Budget, Decision, Last, Limiter, Policy, Rate, Ratio, Stop, events::Event};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A limiter whose next permit is there in a minute.
fn drained() -> Limiter {
    let limiter = Limiter::new(Rate::every(60 * S).unwrap(), 1);
    limiter.try_acquire(1).unwrap();
    limiter
}

#[tokio::test(start_paused = true)]
async fn a_dropped_next_leaves_no_waiter_and_can_be_asked_again() {
    let limiter = drained();
    let mut run = Policy::new().begin::<()>().throttle(&limiter);
    for _ in 0..3 {
        let mut next = Box::pin(run.next());
        assert!(poll_once(next.as_mut()).is_pending());
        drop(next);
        assert_eq!(limiter.waiters(), 0);
    }
    let start = Instant::now();
    limiter.ready().await;
    assert_eq!(start.elapsed(), 60 * S, "as if the run had never asked");
    run.next().await.map(drop).unwrap();
    assert_eq!((start.elapsed(), limiter.waiters()), (120 * S, 0), "it queued anew");
}

/// Asked again much later, it asks with what is left.
#[tokio::test(start_paused = true)]
async fn a_permit_that_is_asked_for_again_has_the_rest_of_the_time() {
    let limiter = drained();
    let mut run = Policy::new().finish_within(90 * S).begin::<()>().throttle(&limiter);
    assert!(tokio::time::timeout(50 * S, run.next()).await.is_err());
    limiter.ready().await; // at 60 s
    let gave_up = run.next().await.map(drop).unwrap_err();
    assert!(matches!(gave_up.stop(), Stop::Limiter { .. }), "{gave_up:?}");
    assert_eq!((limiter.waiters(), gave_up.elapsed()), (0, 60 * S));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_in_the_limiter_stands_there_no_longer() {
    let (limiter, token) = (drained(), CancellationToken::new());
    let mut run = Policy::new().begin::<()>().throttle(&limiter).cancel_on(token.clone());
    assert!(tokio::time::timeout(S, run.next()).await.is_err());
    token.cancel();
    assert_eq!(run.next().await.map(drop).unwrap_err().stop(), &Stop::Cancelled);
    assert_eq!(limiter.waiters(), 0);
    let start = Instant::now();
    limiter.ready().await;
    assert_eq!(start.elapsed(), 59 * S);
    drop(run);
}

/// `on_cut` is about dropped attempts too: a call that must not run twice does not.
#[tokio::test(start_paused = true)]
async fn what_follows_a_dropped_attempt_is_on_cuts() {
    for while_it_runs in [true, false] {
        let mut run = Policy::new().on_cut(Decision::Fatal).begin::<()>();
        let next = run.next().await.unwrap();
        if while_it_runs {
            let mut attempt = Box::pin(next.run(std::future::pending::<Result<(), _>>()));
            assert!(poll_once(attempt.as_mut()).is_pending());
            sleep(3 * S).await;
        } else {
            drop(next);
        }
        let gave_up = run.next().await.map(drop).unwrap_err();
        assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Fatal, 1));
        assert!(matches!(gave_up.last(), Last::Cut { .. }));
    }
    let start = Instant::now();
    let pause = Policy::new().backoff(Backoff::fixed(S)).on_cut(Decision::RetryAfter(5 * S));
    let mut run = pause.begin::<()>();
    drop(run.next().await.unwrap());
    run.next().await.map(drop).unwrap();
    assert_eq!(start.elapsed(), 5 * S);
}

/// How long a dropped attempt had run is told as it was when it was noted, whenever the run ends.
#[tokio::test(start_paused = true)]
async fn a_dropped_attempt_is_told_as_it_was() {
    let token = CancellationToken::new();
    let mut run = Policy::new().backoff(Backoff::fixed(60 * S)).begin::<()>().cancel_on(token.clone());
    let next = run.next().await.unwrap();
    sleep(3 * S).await;
    drop(next);
    assert!(tokio::time::timeout(10 * S, run.next()).await.is_err());
    token.cancel();
    let gave_up = run.next().await.map(drop).unwrap_err();
    assert_eq!(gave_up.elapsed(), 13 * S);
    assert!(matches!(gave_up.last(), Last::Cut { after, .. } if after == 3 * S), "{gave_up:?}");
}

#[tokio::test(start_paused = true)]
async fn asked_again_it_says_the_same_again() {
    let heard = RefCell::new(0);
    let mut run = Policy::new().max_attempts(1).begin::<std::io::Error>().notify(|event: &Event<'_, _>| {
        *heard.borrow_mut() += u32::from(matches!(event, Event::GaveUp(_)));
    });
    assert!(run.next().await.unwrap().run(async { Err::<(), _>(std::io::Error::other("no route")) }).await.is_none());
    let first = run.next().await.map(drop).unwrap_err();
    assert!(matches!(first.last(), Last::Failed(error) if error.to_string() == "no route"));
    for _ in 0..2 {
        sleep(S).await;
        let again = run.next().await.map(drop).unwrap_err();
        assert_eq!((again.stop(), again.attempts(), again.elapsed()), (first.stop(), 1, first.elapsed()));
        assert!(matches!(again.last(), Last::FailedBefore));
        assert_eq!(
            again.to_string(),
            "gave up after 1 attempt: at most 1 attempt was allowed; last attempt failed with an error that was handed out before"
        );
    }
    drop(run);
    assert_eq!(heard.take(), 1);
}

/// What is set on a run that has begun holds from then on, and nothing starts over.
#[tokio::test(start_paused = true)]
async fn settings_on_a_run_that_has_begun() {
    let start = Instant::now();
    let (token, limiter, budget) = (CancellationToken::new(), Limiter::unlimited(), Budget::ratio(Ratio::ONE));
    let mut run = Policy::new().max_attempts(3).backoff(Backoff::fixed(S)).begin::<&str>();
    assert!(run.next().await.unwrap().run(async { Err::<(), _>("one") }).await.is_none());
    let mut run = run.cancel_on(token.clone()).throttle(&limiter);
    assert!(tokio::time::timeout(S / 2, run.next()).await.is_err());
    let mut run = run.budget(&budget).when(|error: &&str| *error != "three");
    let next = run.next().await.unwrap();
    assert_eq!((next.info().number(), start.elapsed()), (2, S), "the pause goes on");
    assert!(next.run(async { Err::<(), _>("two") }).await.is_none());
    let next = run.next().await.unwrap();
    assert!(next.run(async { Err::<(), _>("three") }).await.is_none());
    let mut run = run.cancel_on(CancellationToken::new());
    let gave_up = run.next().await.map(drop).unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts(), gave_up.last_error()), (&Stop::Fatal, 3, Some(&"three")));

    let mut run = Policy::new().max_attempts(2).begin::<&str>();
    drop(run.next().await.unwrap());
    let mut run = run.cancel_on(token.clone());
    token.cancel();
    assert_eq!(run.next().await.map(drop).unwrap_err().stop(), &Stop::Cancelled);
}

/// After a value, a new run begins: counts, clock, backoff and budget start over.
#[tokio::test(start_paused = true)]
async fn after_a_value_a_new_run_begins() {
    let budget = Budget::in_flight(Ratio::ONE).reserve(0);
    let mut run = Policy::new().max_attempts(2).backoff(Backoff::fixed(S)).begin::<&str>().budget(&budget);
    for _ in 0..2 {
        let start = Instant::now();
        assert!(run.next().await.unwrap().run(async { Err::<(), _>("x") }).await.is_none());
        assert_eq!(budget.available(), 0, "the one run in flight retries");
        let next = run.next().await.unwrap();
        assert_eq!((next.info().number(), next.info().elapsed(), start.elapsed()), (2, S, S));
        assert_eq!(next.run(async { Ok::<_, &str>(1) }).await, Some(1));
        assert_eq!(budget.available(), 0, "and no run is in flight");
        assert_eq!(start.elapsed(), S);
    }
    drop(run.next().await.unwrap());
    let gave_up = {
        drop(run.next().await.unwrap());
        run.next().await.map(drop).unwrap_err()
    };
    assert_eq!((gave_up.stop(), gave_up.last_error()), (&Stop::Attempts, None), "no error of another run");
}

/// Between `next` and `attempt` the run is cancelled: the operation is not begun.
#[tokio::test(start_paused = true)]
async fn cancelled_between_next_and_attempt() {
    let token = CancellationToken::new();
    let mut run = Policy::new().begin::<()>().cancel_on(token.clone());
    let next = run.next().await.unwrap();
    token.cancel();
    let began = std::cell::Cell::new(false);
    assert!(next.run(async { Ok(began.replace(true)) }).await.is_none());
    assert!(!began.get());
    assert_eq!(run.next().await.map(drop).unwrap_err().stop(), &Stop::Cancelled);
}

/// A loop that does not heed the end lets others run.
#[tokio::test(start_paused = true)]
async fn asked_again_and_again_it_lets_others_run() {
    let mut run = Policy::new().max_attempts(0).begin::<&str>();
    let other = tokio::spawn(async {});
    for turn in 0.. {
        if other.is_finished() {
            break;
        }
        assert!(turn < 1000, "no other has run");
        assert_eq!(run.next().await.unwrap_err().attempts(), 0);
    }
}

/// What the operation holds is let go before anything is decided or told, as in the other verbs.
#[tokio::test(start_paused = true)]
async fn what_the_operation_holds_is_let_go_first() {
    struct Held<'a>(&'a RefCell<Vec<&'static str>>);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.borrow_mut().push("let go");
        }
    }
    for answers in [true, false] {
        let heard = RefCell::new(Vec::new());
        let policy = Policy::new().attempt_timeout(S).max_attempts(1);
        let run = policy.begin::<&str>().notify(|event| {
            if let Event::Ended { .. } = event {
                heard.borrow_mut().push("told");
            }
        });
        let mut run = run.when(|_: &&str| {
            heard.borrow_mut().push("decided");
            true
        });
        let Ok(turn) = run.next().await else { panic!("it may start") };
        let held = Held(&heard);
        let operation = std::future::poll_fn(move |_| {
            let _ = &held;
            if answers { Poll::Ready(Err::<(), _>("no")) } else { Poll::Pending }
        });
        assert_eq!(turn.run(operation).await, None);
        let expected: &[_] = if answers { &["let go", "decided", "told"] } else { &["let go", "told"] };
        assert_eq!(*heard.borrow(), expected);
    }
}
