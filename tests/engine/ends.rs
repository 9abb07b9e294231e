//! The end of a run, whatever ends it: nothing is held any longer, whether or not its future is dropped then, and the
//! listener has heard one grammar.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    panic::AssertUnwindSafe,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use relent::{
    Backoff, Budget, Check, GaveUp, Last, Limiter, Policy, Progress, Rate, Ratio, Stop, ensure, error::CutBy,
    events::Event, poll, retry, settle,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

pub(super) fn name<E>(event: &Event<'_, E>) -> char {
    match event {
        Event::Waiting(_) => 'w',
        Event::Started(_) => 's',
        Event::Ended { .. } => 'e',
        Event::Acting { .. } => 'a',
        Event::Acted { .. } => 'b',
        Event::Succeeded { .. } => 'S',
        Event::GaveUp(_) => 'G',
        other => panic!("{:?}", std::mem::discriminant(other)),
    }
}

/// (Waiting* Started (Acting Acted)? Ended)*, then Waiting* Started (Acting Acted)? Succeeded, or Waiting* `GaveUp`.
pub(super) fn is_grammatical(heard: &str) -> bool {
    let mut state = 'w';
    for event in heard.chars() {
        state = match (state, event) {
            ('w' | 'e', 'w') => 'w',
            ('w' | 'e', 's') => 's',
            ('s', 'a') => 'a',
            ('a', 'b') => 'b',
            ('s' | 'b', 'e') => 'e',
            ('s' | 'b', 'S') | ('w' | 'e', 'G') => '.',
            _ => return false,
        };
    }
    state == '.'
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_in_the_limiter_stands_there_no_longer() {
    let limiter = Limiter::new(Rate::every(60 * S).unwrap(), 1);
    limiter.try_acquire(1).unwrap();
    let token = CancellationToken::new();
    let mut cancelled =
        pin!(retry(|_| async { Ok::<_, ()>(()) }).throttle(&limiter).cancel_on(token.clone()).into_future());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(cancelled.as_mut().poll(&mut cx).is_pending());
    token.cancel();
    assert!(matches!(cancelled.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
    assert_eq!(limiter.waiters(), 0, "its future lives on, its waiter does not");

    let mut refused = pin!(poll(|_| async { Some(()) }).finish_within(90 * S).throttle(&limiter).into_future());
    assert!(refused.as_mut().poll(&mut cx).is_pending());
    limiter.set_rate(Rate::every(600 * S).unwrap());
    assert!(matches!(refused.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
    assert_eq!(limiter.waiters(), 0);
}

/// What the listener of the end sees is what holds after it: retries and waiters are back before it hears.
#[tokio::test(start_paused = true)]
async fn everything_is_given_back_before_the_listener_hears_of_the_end() {
    for verb in ["retry", "ensure", "cursor"] {
        let (budget, limiter) = (Budget::ratio(Ratio::ZERO).reserve(1), Limiter::new(Rate::every(60 * S).unwrap(), 1));
        let told = Cell::new(None);
        let listen = |event: &Event<'_, &str>| {
            if let Event::GaveUp(_) = event {
                told.set(Some((budget.available(), limiter.waiters())));
            }
        };
        let policy = Policy::new().backoff(Backoff::fixed(S)).start_within(5 * S);
        let fails = || async { Err::<(), _>("x") };
        let stop = match verb {
            "retry" => {
                let run = retry(|_| fails()).policy(&policy).budget(&budget).throttle(&limiter).notify(listen);
                let mut run = pin!(run.into_future());
                run.as_mut().await.unwrap_err().stop().clone()
            }
            "ensure" => {
                let run = ensure(|_| async { Ok::<Option<()>, &str>(None) }, |()| fails());
                let run = run.policy(&policy).budget(&budget).throttle(&limiter).notify(listen);
                let mut run = pin!(run.into_future());
                run.as_mut().await.unwrap_err().stop().clone()
            }
            _ => {
                let mut run = policy.begin().budget(&budget).throttle(&limiter).notify(listen);
                assert!(run.next().await.unwrap().run(fails()).await.is_none());
                run.next().await.map(drop).unwrap_err().stop().clone()
            }
        };
        assert!(matches!(stop, Stop::Limiter { .. }), "{verb}");
        assert_eq!((told.get(), budget.available(), limiter.waiters()), (Some((1, 0)), 1, 0), "{verb}");
    }
}

/// Each verb, ended in each way: one grammar, and the last attempt is told to have ended.
#[tokio::test(start_paused = true)]
async fn every_end_of_every_verb_has_one_grammar() {
    type Saw = Result<Option<()>, &'static str>;
    let heard = RefCell::new(String::new());
    let mut ends = 0;
    for way in ["fatal", "attempts", "deadline", "cancelled", "timeout", "budget", "limiter", "value", "nothing"] {
        let (token, budget) =
            (CancellationToken::new(), Budget::ratio(Ratio::ZERO).reserve(u32::from(way != "budget")));
        let limiter = if way == "limiter" { Limiter::new(Rate::ZERO, 1) } else { Limiter::unlimited() };
        let mut policy = Policy::new().backoff(Backoff::fixed(S)).max_attempts(2);
        policy = match way {
            "deadline" => policy.finish_within(S / 2),
            "timeout" => policy.attempt_timeout(S / 4),
            "limiter" => policy.start_within(5 * S),
            "nothing" => policy.max_attempts(0),
            _ => policy,
        };
        let call = || async {
            match way {
                "deadline" | "timeout" => pending::<()>().await,
                "cancelled" => token.cancel(),
                "value" => return Ok(Some(())),
                _ => {}
            }
            Err("x")
        };
        macro_rules! run {
            ($run:expr) => {{
                let run = $run.policy(&policy).when(|_: &&str| way != "fatal").cancel_on(token.clone());
                let run = run.budget(&budget).throttle(&limiter);
                let end = run.notify(|event: &Event<'_, &str>| heard.borrow_mut().push(name(event))).await;
                let heard = heard.take();
                assert!(is_grammatical(&heard), "{way}: {heard} {:?}", end.map(drop));
                assert_eq!(end.is_ok(), heard.ends_with('S'), "{way}");
                assert_eq!(end.is_ok(), way == "value");
                ends += 1;
            }};
        }
        run!(retry(|_| call()));
        run!(poll(|_| call()));
        run!(settle(|_| async { call().await.map(|_| Progress::Done(())) }));
        run!(ensure(|_| call(), |()| async { Ok::<(), &str>(()) }));
        let acted = Cell::new(false);
        let so = || async { Saw::Ok((acted.get() && way == "value").then_some(())) };
        run!(ensure(
            |_| so(),
            |()| {
                acted.set(true);
                async { call().await.map(drop) }
            }
        ));
    }
    assert_eq!(ends, 45);
}

/// The reason of "not yet" is heard, when an attempt has ended and at the end.
#[tokio::test(start_paused = true)]
async fn the_reason_of_not_yet_is_heard() {
    let heard = RefCell::new(Vec::new());
    let listen = |event: &Event<'_, &'static str>| {
        if let Event::Ended { last, .. } = event {
            heard.borrow_mut().push(format!("{last:?}"));
        }
    };
    let check = |_| async { Check::<(), _>::NotYetBecause("has not started yet") };
    let gave_up = poll(check).max_attempts(2).notify(listen).await.unwrap_err();
    assert_eq!(gave_up.last(), Last::NotReadyBecause(&"has not started yet"));
    let look = |_| async { relent::Observed::<(), (), _>::NotYetBecause("has not started yet") };
    let run = ensure(look, |()| async { Ok::<(), &str>(()) }).every(S).finish_within(S);
    assert_eq!(run.notify(listen).await.unwrap_err().last(), gave_up.last());
    assert_eq!(heard.take(), ["NotReadyBecause(\"has not started yet\")"; 3]);
}

/// Only calls that do something have an outcome that can be unknown.
#[tokio::test(start_paused = true)]
async fn of_observations_it_is_not_said_that_the_outcome_is_unknown() {
    let policy = Policy::new().attempt_timeout(S).max_attempts(1);
    let cut = |last: Last<&&str>| matches!(last, Last::Cut { by: CutBy::AttemptTimeout, .. });
    let says =
        |gave_up: GaveUp<&str>| (cut(gave_up.last()), gave_up.sentence().to_string().contains("outcome unknown"));
    let write = retry(|_| pending::<Result<(), &str>>()).policy(&policy).await;
    assert_eq!(says(write.unwrap_err()), (true, true));
    let read = poll(|_| pending::<Result<Option<()>, &str>>()).policy(&policy).await;
    assert_eq!(says(read.unwrap_err()), (true, false));
    let watch = settle(|_| pending::<Progress<(), &str>>()).policy(&policy).await;
    assert_eq!(says(watch.unwrap_err()), (true, false));
    let look = |_| pending::<Result<Option<()>, &str>>();
    let run = ensure(look, |()| async { Ok::<(), &str>(()) }).policy(&policy).finish_within(2 * S);
    assert_eq!(says(run.await.unwrap_err()), (false, false), "cut by the deadline");
}

/// Whatever panics, and wherever: nothing that is shared stays taken, and a run that goes on does not decide anew.
#[tokio::test(start_paused = true)]
async fn a_panic_leaves_what_is_shared_consistent() {
    for place in ["call", "operation", "when", "started", "ended", "waiting", "gave up"] {
        for zero in [true, false] {
            let budget = Budget::in_flight(Ratio::ONE).reserve(1);
            let limiter = Limiter::per_second(1).burst(3);
            let at = |here: &str| assert!(here != place, "{here}");
            let pause = if zero { Duration::ZERO } else { S };
            let mut run = Box::pin(
                retry(|attempt| {
                    if attempt.number() == 2 {
                        at("call");
                    }
                    async move {
                        sleep(S).await;
                        if attempt.number() == 2 {
                            at("operation");
                        }
                        Err::<(), _>("x")
                    }
                })
                .backoff(Backoff::fixed(pause))
                .max_attempts(2)
                .when(|_| {
                    at("when");
                    true
                })
                .notify(|event: &Event<'_, &str>| match event {
                    Event::Started(attempt) if attempt.number() == 2 => at("started"),
                    Event::Ended { .. } => at("ended"),
                    Event::Waiting(_) => at("waiting"),
                    Event::GaveUp(_) => at("gave up"),
                    _ => {}
                })
                .budget(&budget)
                .throttle(&limiter)
                .into_future(),
            );
            let panicked = AssertUnwindSafe(run.as_mut()).catch_unwind().await.is_err();
            assert_eq!(panicked, place != "waiting" || !zero, "{place}");
            // Polled once more it panics again or goes on, and is consistent either way.
            if panicked {
                let _ = AssertUnwindSafe(run.as_mut()).catch_unwind().now_or_never();
            }
            drop(run);
            assert_eq!((budget.available(), limiter.waiters()), (1, 0), "{place}");
        }
    }
}

/// The cursor survives what panics in it: the retry that was allowed is the one that is made, and the error is kept.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_listener_does_not_decide_twice() {
    for place in ["ended", "waiting", "when"] {
        let budget = Budget::ratio(Ratio::ZERO).reserve(5);
        let armed = Cell::new(true);
        let at = |here: &str| assert!(here != place || !armed.replace(false), "{here}");
        let policy = Policy::new().backoff(Backoff::steps([S, 2 * S, 4 * S]));
        let mut run = policy
            .begin::<&str>()
            .budget(&budget)
            .when(|_: &&str| {
                at("when");
                true
            })
            .notify(|event: &Event<'_, &str>| match event {
                Event::Ended { .. } => at("ended"),
                Event::Waiting(_) => at("waiting"),
                _ => {}
            });
        let start = Instant::now();
        let attempt = run.next().await.unwrap().run(async { Err::<(), _>("x") });
        assert!(AssertUnwindSafe(attempt).catch_unwind().await.is_err(), "{place}");
        let next = run.next().await.unwrap();
        assert_eq!((next.info().number(), start.elapsed()), (2, S), "{place}: one step of the backoff");
        assert_eq!(budget.available(), 4, "{place}: one retry");
        drop(next);
        run.next().await.map(drop).unwrap();
        assert_eq!((start.elapsed(), budget.available()), (3 * S, 3), "{place}");
    }
}

/// An end that was decided when its listener panicked is said when the cursor is asked again, and nothing else starts.
#[tokio::test(start_paused = true)]
async fn an_end_that_a_panic_hid_is_said_again() {
    for place in ["ended", "gave up", "succeeded"] {
        let armed = Cell::new(true);
        let at = |here: &str| assert!(here != place || !armed.replace(false), "{here}");
        let mut run = Policy::new().max_attempts(1).begin::<&str>().notify(|event: &Event<'_, &str>| match event {
            Event::Ended { .. } => at("ended"),
            Event::GaveUp(_) => at("gave up"),
            Event::Succeeded { .. } => at("succeeded"),
            _ => {}
        });
        let next = run.next().await.unwrap();
        let answer = if place == "succeeded" { Ok(()) } else { Err("x") };
        let attempt = AssertUnwindSafe(next.run(async { answer })).catch_unwind().await;
        assert_eq!(attempt.is_err(), place != "gave up");
        if place == "succeeded" {
            assert_eq!(run.next().await.unwrap().info().number(), 1, "a new run");
            continue;
        }
        if place == "gave up" {
            assert!(AssertUnwindSafe(run.next()).catch_unwind().await.is_err());
        }
        let gave_up = run.next().await.map(drop).unwrap_err();
        assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Attempts, 1));
        let kept = if place == "ended" { Last::Failed(&"x") } else { Last::FailedBefore };
        assert_eq!(gave_up.last(), kept, "{place}");
    }
}

/// What a run shares may be used by its own callbacks.
#[tokio::test(start_paused = true)]
async fn callbacks_may_use_what_is_shared() {
    let (limiter, budget) = (Limiter::per_second(10), Budget::ratio(Ratio::ONE));
    let gave_up = retry(|_| async {
        limiter.ready().await;
        let _ = budget.begin().may_retry();
        Err::<(), _>("x")
    })
    .throttle(&limiter)
    .budget(&budget)
    .max_attempts(3)
    .notify(|_: &Event<'_, &str>| {
        let _ = (limiter.available(), format!("{limiter:?} {budget:?}"), limiter.try_acquire(1));
        limiter.set_rate(Rate::per_second(10));
    })
    .await
    .unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Attempts, 3));
}

/// Two budgets, and each must allow a retry; the refusal of one takes nothing from the other.
#[tokio::test(start_paused = true)]
async fn two_budgets() {
    let (wide, narrow) = (Budget::ratio(Ratio::ZERO).reserve(5), Budget::ratio(Ratio::ZERO).reserve(2));
    for (first, second) in [(&wide, &narrow), (&narrow, &wide)] {
        let before = wide.available();
        let gave_up = retry(|_| async { Err::<(), _>("x") }).budget(first).budget(second).await.unwrap_err();
        let made = gave_up.attempts() - 1;
        assert_eq!((gave_up.stop(), wide.available()), (&Stop::Budget, before - u64::from(made)));
        assert_eq!(narrow.available(), 0);
    }
    assert_eq!(wide.available(), 3);
    let run = retry(|_| async { Err::<(), _>("x") }).budget(&wide).budget(&Budget::in_flight(Ratio::ONE)).every(S);
    assert!(tokio::time::timeout(S / 2, run).await.is_err());
    assert_eq!(wide.available(), 3, "dropped in the pause, the retry goes back");
}

/// A seed names one series: what the iterator gives is what a run waits, delayed first or not.
#[tokio::test(start_paused = true)]
async fn a_seed_gives_a_run_the_series_of_the_iterator() {
    for backoff in [Backoff::exponential(S, 60 * S), Backoff::decorrelated(S, 60 * S), Backoff::fibonacci(S, 60 * S)] {
        let backoff = backoff.seed(7);
        let delays: Vec<_> = backoff.iter().take(4).collect();
        for delayed in [false, true] {
            let pauses = RefCell::new(Vec::new());
            let policy = Policy::new().backoff(backoff.clone()).max_attempts(5 - u32::from(delayed));
            let policy = if delayed { policy.delay_first() } else { policy };
            let listen = |event: &Event<'_, &str>| {
                if let Event::Waiting(relent::events::Wait::Pause(pause)) = event {
                    pauses.borrow_mut().push(*pause);
                }
            };
            retry(async |_| Err::<(), _>("x")).policy(&policy).notify(listen).await.unwrap_err();
            assert_eq!(pauses.take(), delays, "{policy}");
        }
    }
}
