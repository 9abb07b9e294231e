//! The layer that limits.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use relent::{Limiter, Rate, tower::LimitLayer};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

/// Ready when it is said to be.
#[derive(Clone, Debug)]
struct Server(Arc<AtomicBool>);

impl Server {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Service<u32> for Server {
    type Response = u32;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<u32>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.0.load(Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        ready(Ok(request + 1))
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_as_far_apart_as_the_limiter_says_whichever_clone_makes_them() {
    let began = Instant::now();
    let limiter = Limiter::per_second(2).burst(3);
    let service = LimitLayer::new(&limiter).layer(Server::new());
    let mut calls = vec![];
    for number in 0..7 {
        let service = service.clone();
        calls.push(tokio::spawn(async move {
            assert_eq!(service.oneshot(number).await.unwrap(), number + 1);
            began.elapsed().as_millis()
        }));
    }
    let mut at = vec![];
    for call in calls {
        at.push(call.await.unwrap());
    }
    assert_eq!(at, [0, 0, 0, 500, 1000, 1500, 2000]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_leads_to_no_call_goes_back() {
    let limiter = Limiter::per_second(1);
    let mut first = LimitLayer::new(&limiter).layer(Server::new());
    let mut second = first.clone();
    first.ready().await.unwrap();
    let mut waits = task::spawn(second.ready());
    assert_pending!(waits.poll());
    assert_eq!((limiter.available(), limiter.waiters()), (0, 1));
    drop(first);
    assert!(waits.is_woken());
    assert_ready!(waits.poll()).unwrap();
    drop(waits);
    // Ready, it stays so, and one that waits leaves no trace.
    second.ready().await.unwrap();
    let mut third = second.clone();
    let mut waits = task::spawn(third.ready());
    assert_pending!(waits.poll());
    drop(waits);
    drop(third);
    assert_eq!(limiter.waiters(), 0);
    second.call(1).await.unwrap();
    advance(SECOND).await;
    assert_eq!(limiter.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_taken_before_the_service_inside_is_ready() {
    let limiter = Limiter::per_second(1);
    let server = Server::new();
    server.0.store(false, Relaxed);
    let mut service = LimitLayer::new(&limiter).layer(server.clone());
    let mut waits = task::spawn(service.ready());
    assert_pending!(waits.poll());
    assert_eq!((limiter.available(), limiter.waiters()), (1, 0));
    server.0.store(true, Relaxed);
    assert_ready!(waits.poll()).unwrap();
    assert_eq!(limiter.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_follows_changes_of_the_rate_and_pauses() {
    let began = Instant::now();
    let limiter = Limiter::new(Rate::ZERO, 1);
    let mut service = ServiceBuilder::new().layer(LimitLayer::new(&limiter)).service(Server::new());
    service.ready().await.unwrap().call(0).await.unwrap();
    let changes = limiter.clone();
    tokio::spawn(async move {
        sleep(10 * SECOND).await;
        changes.set_rate(Rate::per_second(1));
        changes.pause_for(5 * SECOND);
    });
    service.ready().await.unwrap().call(0).await.unwrap();
    assert_eq!(began.elapsed(), 15 * SECOND);
}

#[tokio::test]
#[should_panic(expected = "`LimitService` called before it was ready")]
async fn called_without_having_been_ready_it_panics() {
    let _ = LimitLayer::new(&Limiter::unlimited()).layer(Server::new()).call(1).await;
}

#[tokio::test]
async fn a_loop_without_a_limit_lets_others_run() {
    let mut service = LimitLayer::new(&Limiter::unlimited()).layer(Server::new());
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    tokio::spawn(async move { stopping.store(true, Relaxed) });
    while !stop.load(Relaxed) {
        service.ready().await.unwrap().call(1).await.unwrap();
    }
}

/// Clients stand in statics, and each test has a runtime of its own: one that waited in a runtime that is gone goes on.
#[test]
fn a_service_outlives_the_runtime_in_which_it_waited() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let limiter = Limiter::new(Rate::every(SECOND).unwrap(), 1);
    let mut service = LimitLayer::new(&limiter).layer(Server::new());
    for _ in 0..3 {
        runtime().block_on(async {
            while limiter.try_acquire(1).is_ok() {}
            let mut ready = task::spawn(service.ready());
            assert_pending!(ready.poll());
        });
    }
    runtime().block_on(async {
        let began = Instant::now();
        service.ready().await.unwrap().call(1).await.unwrap();
        assert!(began.elapsed() <= SECOND);
    });
}

/// A task that has used up its share takes its place in the wait list all the same.
#[tokio::test(start_paused = true)]
async fn the_place_is_taken_at_the_first_poll() {
    let limiter = Limiter::per_second(1);
    limiter.try_acquire(1).unwrap();
    let mut service = LimitLayer::new(&limiter).layer(Server::new());
    std::future::poll_fn(|cx| {
        while let Poll::Ready(progress) = tokio::task::coop::poll_proceed(cx) {
            progress.made_progress();
        }
        assert!(service.poll_ready(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(limiter.waiters(), 1);
}
