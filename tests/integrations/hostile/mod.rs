//! Callers, services and servers at their worst: dropped after each poll, panics anywhere, never ready, clocks that go
//! back.

use std::{
    future::{Future, IntoFuture, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
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
    Backoff, Budget, CancellationToken, GaveUp, KeyedBackoff, Limiter, Policy, Profile, Rate, Ratio, Stop,
    error::BoxedError,
    http::{Idempotency, StatusError, check},
    limiter::Adaptive,
    poll, retry,
    stream::reconnect,
    tower::{LimitLayer, RetryLayer},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep},
};
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// How a poll panics.
fn panic_of<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| poll_once(future).is_ready())).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

/// What a service does, and how often it was asked to.
#[derive(Debug, Default)]
struct Doings {
    readiness: AtomicU32,
    calls: AtomicU32,
    /// Its readiness and its calls panic, or hang.
    ready_panics: AtomicBool,
    call_panics: AtomicBool,
    never_ready: AtomicBool,
}

/// A service of which each clone has to be ready itself; every call takes half a second and fails.
#[derive(Debug, Default)]
struct Shaky {
    doings: Arc<Doings>,
    ready: bool,
    alive: Arc<()>,
}

impl Clone for Shaky {
    fn clone(&self) -> Self {
        Self { doings: self.doings.clone(), ready: false, alive: self.alive.clone() }
    }
}

impl Service<u32> for Shaky {
    type Response = u32;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.doings.readiness.fetch_add(1, Relaxed);
        assert!(!self.doings.ready_panics.load(Relaxed), "in readiness");
        if self.doings.never_ready.load(Relaxed) {
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        self.doings.calls.fetch_add(1, Relaxed);
        assert!(!self.doings.call_panics.load(Relaxed), "in a call");
        let alive = self.alive.clone();
        Box::pin(async move {
            sleep(SECOND / 2).await;
            drop(alive);
            Err("no".into())
        })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn each_second() -> Policy {
    Policy::new().backoff(Backoff::fixed(SECOND)).max_attempts(4)
}

/// What panicked is over: polled again, the call says so and asks nothing of the service, the request or the profile.
#[tokio::test(start_paused = true)]
async fn after_a_panic_wherever_it_was_a_call_of_tower_does_nothing_more() {
    for at in 0..4 {
        let service = Shaky::default();
        let doings = service.doings.clone();
        let repeats = Arc::new(AtomicU32::new(0));
        let counted = repeats.clone();
        let layer = RetryLayer::new(Profile::new(each_second())).repeat_with(move |request: &u32| {
            counted.fetch_add(1, Relaxed);
            assert!(at != 0, "in repeat");
            Some(*request)
        });
        let mut call = Box::pin(layer.layer(service).ready().await.unwrap().call(1));
        let text = match at {
            0 => "in repeat",
            1 => {
                doings.call_panics.store(true, Relaxed);
                "in a call"
            }
            // In the second attempt.
            2 => {
                assert!(poll_once(&mut call).is_pending());
                advance(SECOND).await;
                assert!(poll_once(&mut call).is_pending());
                doings.ready_panics.store(true, Relaxed);
                advance(SECOND).await;
                "in readiness"
            }
            _ => {
                assert!(poll_once(&mut call).is_pending());
                advance(SECOND).await;
                assert!(poll_once(&mut call).is_pending());
                doings.call_panics.store(true, Relaxed);
                advance(SECOND).await;
                "in a call"
            }
        };
        assert_eq!(panic_of(&mut call), text);
        doings.ready_panics.store(false, Relaxed);
        doings.call_panics.store(false, Relaxed);
        let before = (doings.readiness.load(Relaxed), doings.calls.load(Relaxed), repeats.load(Relaxed));
        assert_eq!(panic_of(&mut call), "`ResponseFuture` polled after completion", "after a panic {text}");
        let after = (doings.readiness.load(Relaxed), doings.calls.load(Relaxed), repeats.load(Relaxed));
        assert_eq!(before, after, "after a panic {text}");
    }
}

/// Dropped after any number of polls, a call leaves no permit, no place in line, no retry of the budget and no call
/// behind.
#[tokio::test(start_paused = true)]
async fn a_call_of_tower_dropped_after_any_poll_leaves_nothing() {
    let limiter = Limiter::per_second(1);
    let budget = Budget::ratio(Ratio::ZERO).reserve(100);
    for polls in 0..12 {
        let service = Shaky::default();
        let alive = service.alive.clone();
        let profile = Profile::new(each_second()).throttle(&limiter).budget(&budget);
        let mut client = RetryLayer::new(profile).layer(service);
        let mut call = Box::pin(client.ready().await.unwrap().call(1));
        let (before, calls) = (budget.available(), client_calls(&client));
        let mut over = false;
        for _ in 0..polls {
            over = over || poll_once(&mut call).is_ready();
            advance(SECOND / 4).await;
        }
        drop(call);
        assert_eq!(limiter.waiters(), 0, "{polls} polls");
        let retries = u64::from((client_calls(&client) - calls).saturating_sub(1));
        assert_eq!(budget.available(), before - retries, "{polls} polls");
        drop(client);
        assert_eq!(Arc::strong_count(&alive), 1, "{polls} polls");
        // What was not used is there for the next.
        advance(2 * SECOND).await;
        assert_eq!(limiter.available(), 1, "{polls} polls");
    }
}

fn client_calls<P, A, C>(client: &relent::tower::RetryService<Shaky, P, A, C>) -> u32
where
    relent::tower::RetryService<Shaky, P, A, C>: std::fmt::Debug,
{
    // `Debug` shows the service inside with all that it counts.
    let text = format!("{client:?}");
    let at = text.find("calls: ").expect("it shows its calls") + "calls: ".len();
    text[at..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// One that never gets ready is given up by the deadlines, stopped by a cancellation, and never called.
#[tokio::test(start_paused = true)]
async fn a_service_that_never_gets_ready_hangs_no_call() {
    let service = Shaky::default();
    let doings = service.doings.clone();
    let policy = each_second().attempt_timeout(SECOND).finish_within(5 * SECOND);
    let mut client = RetryLayer::new(Profile::new(policy)).layer(service);
    let call = client.ready().await.unwrap().call(1);
    doings.never_ready.store(true, Relaxed);
    let began = Instant::now();
    let gave_up: GaveUp<BoxedError> = call.await.unwrap_err().into_inner();
    // The first was ready before; 0.5 s, then 1.5 to 2.5, 3.5 to 4.5, and the next would start at 5.5.
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Deadline, 3));
    assert_eq!(began.elapsed(), 4 * SECOND + SECOND / 2);
    assert_eq!(doings.calls.load(Relaxed), 1);
    let token = CancellationToken::new();
    doings.never_ready.store(false, Relaxed);
    let service = Shaky { doings: doings.clone(), ..Shaky::default() };
    let mut client = RetryLayer::new(Profile::new(each_second()).cancel_on(token.clone())).layer(service);
    let mut call = Box::pin(client.ready().await.unwrap().call(1));
    token.cancel();
    let Poll::Ready(Err(gave_up)) = poll_once(&mut call) else { panic!("it goes on") };
    assert_eq!(gave_up.into_inner().stop(), &Stop::Cancelled);
    assert_eq!(doings.calls.load(Relaxed), 1, "cancelled before it was polled");
}

/// Each clone is ready for itself, whichever of them took the permits; those dropped while ready or waiting are as if
/// they had not been.
#[tokio::test(start_paused = true)]
async fn clones_of_a_limited_service_take_nothing_of_each_other() {
    let limiter = Limiter::per_second(10).burst(2);
    let service = LimitLayer::new(&limiter).layer(Shaky::default());
    let mut clones: Vec<_> = (0..6).map(|_| service.clone()).collect();
    let mut cx = Context::from_waker(Waker::noop());
    let ready: Vec<bool> = clones.iter_mut().map(|clone| clone.poll_ready(&mut cx).is_ready()).collect();
    assert_eq!(ready, [true, true, false, false, false, false]);
    // A clone of one that is ready is not.
    let mut other = clones[0].clone();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(other.call(1)))).is_err());
    drop(clones.drain(..3));
    // Two permits went back, and are granted to those that are the first now.
    assert_eq!(limiter.waiters(), 1);
    let ready: Vec<bool> = clones.iter_mut().map(|clone| clone.poll_ready(&mut cx).is_ready()).collect();
    assert_eq!(ready, [true, true, false]);
    clones[0].call(1).await.unwrap_err();
    drop(clones);
    advance(SECOND).await;
    assert_eq!((limiter.waiters(), limiter.available()), (0, 2));
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
