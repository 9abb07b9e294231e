//! Calls of tower, and their services.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use relent::{
    Backoff, Budget, CancellationToken, GaveUp, Limiter, Policy, Profile, Ratio, Stop,
    error::BoxedError,
    tower::{LimitLayer, RetryLayer},
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt};

use super::{SECOND, panic_of, poll_once};

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
