//! Callers, services and servers at their worst: dropped after each poll, panics anywhere, never ready, clocks that go
//! back.

mod calls;

use std::{
    future::{Future, IntoFuture, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use ::http::{
    HeaderMap, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use futures_core::Stream;
use futures_util::{StreamExt, stream};
use relent::{
    Backoff, Budget, KeyedBackoff, Limiter, Rate, Ratio, Stop,
    http::{Idempotency, StatusError, check},
    limiter::Adaptive,
    poll, retry,
    stream::reconnect,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep},
};

const SECOND: Duration = Duration::from_secs(1);

fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// How a poll panics.
fn panic_of<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| poll_once(future).is_ready())).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

fn headers(retry_after: &str, date: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
    if let Some(date) = date {
        headers.insert(DATE, date.parse().unwrap());
    }
    headers
}

/// What a server asks for, however long, and whatever date it has, neither panics nor shortens a pause nor passes a
/// cap.
#[tokio::test(start_paused = true)]
async fn a_server_of_another_century_is_waited_for_as_long_as_is_allowed() {
    let years = |years: u64| Duration::from_secs(years * 365 * 86_400);
    let dates = [
        None,
        Some("Thu, 01 Jan 1970 00:00:00 GMT"),
        Some("Wed, 31 Dec 1969 23:59:59 GMT"),
        Some("Fri, 31 Dec 9999 23:59:59 GMT"),
        Some("yesterday"),
    ];
    let asked = [
        "18921600000",
        "99999999999999999999999999",
        "0",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
    ];
    for date in dates {
        for asks in asked {
            let refused: StatusError = check(StatusCode::SERVICE_UNAVAILABLE, &headers(asks, date)).unwrap_err();
            let long = asks.len() > 8 && !asks.contains("1969") && (!asks.contains(',') || date != dates[3]);
            match refused.retry_after() {
                Some(after) if long => assert!(after > years(500), "{asks} at {date:?}: {after:?}"),
                // A date before 1970 is none.
                after => assert!(after.is_none_or(|after| after.is_zero()), "{asks} at {date:?}: {after:?}"),
            }
            let calls = AtomicU32::new(0);
            let run = || {
                let call = async |_| -> Result<(), StatusError> {
                    calls.fetch_add(1, Relaxed);
                    Err(refused)
                };
                retry(call).classify(Idempotency::Idempotent).backoff(Backoff::fixed(SECOND)).max_attempts(3)
            };
            let began = Instant::now();
            let gave_up = run().max_retry_after(7 * SECOND).await.unwrap_err();
            let pause = if long { 7 * SECOND } else { SECOND };
            assert_eq!((gave_up.stop(), began.elapsed()), (&Stop::Attempts, 2 * pause), "{asks} at {date:?}");
            let gave_up = run().finish_within(60 * SECOND).await.unwrap_err();
            let stop = if long { Stop::Deadline } else { Stop::Attempts };
            assert_eq!(gave_up.stop(), &stop, "{asks} at {date:?}");
            // Without any bound it waits, and does not run over.
            calls.store(0, Relaxed);
            let waits = tokio::time::timeout(100 * SECOND, run().into_future()).await;
            assert_eq!((waits.is_err(), calls.load(Relaxed)), (long, if long { 1 } else { 3 }), "{asks} at {date:?}");
        }
    }
    let now = SystemTime::now();
    assert!(now > SystemTime::UNIX_EPOCH, "of the wall clock itself nothing was changed");
}

type Link = Pin<Box<dyn Stream<Item = Result<u32, String>> + Send>>;

/// Dropped after any number of polls a stream leaves nothing, and what it yielded until then is what it yields
/// otherwise.
#[tokio::test(start_paused = true)]
async fn a_stream_dropped_after_any_poll_leaves_nothing() {
    let limiter = Limiter::per_second(1);
    let budget = Budget::ratio(Ratio::ZERO).reserve(50);
    let alive = Arc::new(());
    let mut longest = Vec::new();
    for polls in (0..24).rev() {
        let held = alive.clone();
        let connect = move |attempt: relent::Attempt| {
            let held = held.clone();
            async move {
                sleep(SECOND / 4).await;
                let items = stream::iter([Ok(attempt.number()), Err("reset".to_owned())]);
                Ok::<Link, String>(Box::pin(items.inspect(move |_| drop(held.clone()))))
            }
        };
        let builder = reconnect(connect).backoff(Backoff::fixed(SECOND)).throttle(&limiter).budget(&budget);
        let mut stream = Box::pin(builder.into_stream());
        let mut told = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            match stream.as_mut().poll_next(&mut cx) {
                Poll::Ready(Some(item)) => told.push(format!("{:?}", item.unwrap())),
                Poll::Ready(None) => panic!("it goes on for ever"),
                Poll::Pending => advance(SECOND / 2).await,
            }
        }
        drop(stream);
        assert_eq!(limiter.waiters(), 0, "{polls} polls");
        assert_eq!(Arc::strong_count(&alive), 1, "{polls} polls");
        if longest.is_empty() {
            longest.clone_from(&told);
        }
        assert_eq!(told, longest[..told.len()], "{polls} polls");
        advance(5 * SECOND).await;
        assert_eq!(limiter.available(), 1, "{polls} polls");
    }
    assert!(longest.len() > 8, "{longest:?}");
}

/// The words that change the error change nothing else: polled after its end each panics by its own name.
#[tokio::test(start_paused = true)]
async fn polled_after_completion_mapped_runs_panic_by_their_own_names() {
    let mut boxed = Box::pin(retry(async |_| Err::<(), _>("no")).max_attempts(1).boxed().into_future());
    assert!(poll_once(&mut boxed).is_ready());
    let text = panic_of(&mut boxed);
    assert!(text.ends_with("polled after completion"), "{text}");
    let failing = async |_| Err::<Option<()>, _>(std::io::Error::other("no"));
    let mut chained = Box::pin(poll(failing).max_attempts(1).chained().into_future());
    assert!(poll_once(&mut chained).is_ready());
    let text = panic_of(&mut chained);
    assert!(text.ends_with("polled after completion"), "{text}");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A rate that follows a server outlives a runtime whose clock was ahead, by hours or from its very beginning.
#[test]
fn an_adaptive_limiter_goes_on_under_the_next_clock() {
    for made_ahead in [false, true] {
        let limiter = Limiter::per_second(64);
        let made = Mutex::new(None);
        let make = || Adaptive::new(&limiter, 1..=64).unwrap();
        runtime().block_on(async {
            if !made_ahead {
                *made.lock().unwrap() = Some(make());
            }
            advance(3600 * SECOND).await;
            made.lock().unwrap().get_or_insert_with(make).too_many();
        });
        let adaptive = made.lock().unwrap().take().unwrap();
        assert_eq!(limiter.rate(), Rate::per_second(32));
        runtime().block_on(async {
            advance(2 * SECOND).await;
            adaptive.too_many();
            assert_eq!(limiter.rate(), Rate::per_second(16), "made ahead: {made_ahead}");
            adaptive.too_many();
            assert_eq!(limiter.rate(), Rate::per_second(16), "at most one step in an interval");
            advance(SECOND).await;
            adaptive.succeeded();
            assert_eq!(limiter.rate(), Rate::per_second(17), "made ahead: {made_ahead}");
        });
    }
}

/// A key's pause lasts as long as it is, under whatever clock.
#[test]
fn a_keyed_backoff_goes_on_under_the_next_clock() {
    for made_ahead in [false, true] {
        let pauses = KeyedBackoff::new(Backoff::fixed(10 * SECOND), 60 * SECOND);
        runtime().block_on(async {
            if !made_ahead {
                assert_eq!(pauses.failed(&1), Some(10 * SECOND));
            }
            advance(3600 * SECOND).await;
            assert_eq!(pauses.failed(&1), Some(10 * SECOND));
        });
        runtime().block_on(async {
            assert!(pauses.ready_in(&1) <= 10 * SECOND);
            advance(4 * SECOND).await;
            assert!(pauses.ready_in(&1) <= 6 * SECOND, "made ahead: {made_ahead}: {:?}", pauses.ready_in(&1));
            advance(6 * SECOND).await;
            assert_eq!(pauses.ready_in(&1), Duration::ZERO, "made ahead: {made_ahead}");
            advance(61 * SECOND).await;
            assert_eq!(pauses.failures(&1), 0, "made ahead: {made_ahead}");
        });
    }
    drop(pending::<()>());
}
