//! Waiting, by the paused clock: when, in what order, and what is left behind.

use std::{future::Future, task::Poll, time::Duration};

use relent::{Limiter, Rate, limiter::Refused};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn is_shared<T: Send + Sync>(_: &T) {}

/// Polls once.
pub(super) fn now<F: Future>(future: F) -> Poll<F::Output> {
    task::spawn(future).poll()
}

#[tokio::test(start_paused = true)]
async fn the_burst_is_there_at_once_and_then_it_flows() {
    let limiter = Limiter::per_second(10).burst(3);
    let start = Instant::now();
    let mut at = Vec::new();
    for _ in 0..6 {
        limiter.ready().await;
        at.push(start.elapsed().as_millis());
    }
    assert_eq!(at, [0, 0, 0, 100, 200, 300]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_fit_is_refused_at_once_and_takes_nothing() {
    let limiter = Limiter::per_second(10).burst(2);
    limiter.acquire(2).await.unwrap();
    let start = Instant::now();
    let refused = limiter.acquire(2).within(ms(199)).await.unwrap_err();
    assert!(matches!(refused, Refused::TooFar { ready_in, allowed, .. } if ready_in == ms(200) && allowed == ms(199)));
    assert_eq!(refused.to_string(), "would be ready in 200ms, and 199ms is allowed");
    let refused = limiter.acquire(3).within(ms(1_000_000)).await.unwrap_err();
    assert!(matches!(refused, Refused::OverBurst { asked: 3, burst: 2, .. }));
    assert_eq!(refused.to_string(), "3 permits at once are more than the burst of 2");
    assert_eq!(limiter.try_acquire(1).unwrap_err().ready_in(), Some(ms(100)));
    assert_eq!(start.elapsed(), ms(0));
    limiter.acquire(2).within(ms(200)).await.unwrap();
    assert_eq!(start.elapsed(), ms(200));
    limiter.acquire(1).by(start + ms(300)).await.unwrap();
    assert!(limiter.acquire(1).by(start).await.is_err());
    assert_eq!(start.elapsed(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn none_overtakes() {
    let limiter = Limiter::per_second(10).burst(5);
    limiter.acquire(5).await.unwrap();
    let mut large = task::spawn(limiter.acquire(5));
    assert_pending!(large.poll());
    advance(ms(400)).await;
    assert_eq!(limiter.waiters(), 1);
    assert_eq!(limiter.available(), 0);
    assert!(limiter.try_acquire(1).is_err(), "four are there, for the one that waits");
    let mut small = task::spawn(limiter.acquire(1));
    assert_pending!(small.poll());
    advance(ms(100)).await;
    assert_ready!(large.poll()).unwrap();
    assert_pending!(small.poll());
    advance(ms(100)).await;
    assert_ready!(small.poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_leaves_no_trace() {
    let limiter = Limiter::per_second(10);
    limiter.ready().await;
    let mut first = task::spawn(limiter.ready());
    let mut second = task::spawn(limiter.ready());
    let mut third = task::spawn(limiter.ready());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    advance(ms(50)).await;
    drop(first);
    assert!(second.is_woken() && third.is_woken(), "both have moved up");
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    advance(ms(50)).await;
    assert!(second.is_woken());
    assert_ready!(second.poll());
    assert!(!third.is_woken(), "it knows its turn");
    advance(ms(100)).await;
    assert_ready!(third.poll());
    assert_eq!(limiter.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_dropped_while_it_is_granted_gives_it_to_the_next() {
    let limiter = Limiter::per_second(10);
    limiter.ready().await;
    let mut first = task::spawn(limiter.ready());
    let mut second = task::spawn(limiter.ready());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    advance(ms(100)).await;
    assert!(first.is_woken());
    assert_eq!(limiter.waiters(), 1, "the first has it, and does not know");
    drop(first);
    assert!(second.is_woken());
    assert_ready!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_polled_or_leaked_takes_its_turn_and_no_more() {
    let limiter = Limiter::per_second(10);
    limiter.ready().await;
    let mut idle = task::spawn(limiter.ready());
    assert_pending!(idle.poll());
    let mut leaked = Box::pin(limiter.ready());
    assert_pending!(task::spawn(leaked.as_mut()).poll());
    std::mem::forget(leaked);
    let start = Instant::now();
    limiter.ready().await;
    assert_eq!(start.elapsed(), ms(300));
    limiter.ready().await;
    assert_eq!(start.elapsed(), ms(400));
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_or_is_aborted_does_not_hold_up_the_others() {
    let limiter = Limiter::per_second(10);
    limiter.ready().await;
    let start = Instant::now();
    let panics = tokio::spawn({
        let limiter = limiter.clone();
        async move {
            limiter.ready().await;
            panic!("on purpose");
        }
    });
    tokio::task::yield_now().await;
    let aborted = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.ready().await }
    });
    tokio::task::yield_now().await;
    let last = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.ready().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(limiter.waiters(), 3);
    aborted.abort();
    last.await.unwrap();
    assert!(panics.await.unwrap_err().is_panic());
    assert_eq!(start.elapsed(), ms(200));
}

#[test]
fn those_of_a_runtime_that_went_away_leave_the_line() {
    let limiter = Limiter::new(Rate::every(ms(20)).unwrap(), 1);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let gone = runtime();
    gone.block_on(async {
        limiter.ready().await;
        for _ in 0..10_000 {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.ready().await });
        }
        while limiter.waiters() < 9_000 {
            tokio::task::yield_now().await;
        }
    });
    drop(gone);
    assert_eq!(limiter.waiters(), 0);
    // Ten thousand turns would be minutes.
    let start = std::time::Instant::now();
    runtime().block_on(limiter.ready());
    assert!(start.elapsed() < ms(10_000));
}

#[tokio::test(start_paused = true)]
async fn a_new_rate_plans_all_anew() {
    let limiter = Limiter::new(Rate::per_hour(1), 1);
    limiter.ready().await;
    let start = Instant::now();
    let mut all: Vec<_> = (0..50).map(|_| task::spawn(limiter.ready())).collect();
    for one in &mut all {
        assert_pending!(one.poll());
    }
    let mut bounded = task::spawn(limiter.acquire(1).within(Duration::from_secs(100 * 3600)));
    assert_pending!(bounded.poll());
    limiter.set_rate(Rate::per_second(1000));
    assert!(all.iter().all(task::Spawn::is_woken));
    for (index, one) in all.iter_mut().enumerate() {
        one.await;
        assert_eq!(start.elapsed(), ms(index as u64 + 1));
    }
    limiter.set_rate(Rate::per_hour(1));
    assert!(bounded.is_woken());
    assert_pending!(bounded.poll());
    limiter.set_rate(Rate::ZERO);
    let refused = assert_ready!(bounded.poll()).unwrap_err();
    assert!(matches!(refused, Refused::TooFar { ready_in: Duration::MAX, .. }), "{refused}");
    assert_eq!(refused.ready_in(), None);
    assert_eq!(limiter.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_is_the_burst_and_waits_for_a_better_one() {
    let limiter = Limiter::new(Rate::ZERO, 2);
    limiter.acquire(2).await.unwrap();
    assert_eq!(limiter.acquire(1).within(Duration::from_secs(1)).await.unwrap_err().ready_in(), None);
    let mut waits = task::spawn(limiter.ready());
    assert_pending!(waits.poll());
    advance(Duration::from_secs(86_400 * 365)).await;
    assert_pending!(waits.poll());
    limiter.set_rate(Rate::per_second(1));
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    advance(ms(1000)).await;
    assert_ready!(waits.poll());
}

#[tokio::test(start_paused = true)]
async fn the_burst_can_change_and_those_in_line_keep_their_places() {
    let limiter = Limiter::per_second(10).burst(5);
    limiter.acquire(5).await.unwrap();
    let start = Instant::now();
    let mut four = task::spawn(limiter.acquire(4));
    assert_pending!(four.poll());
    limiter.set_burst(2);
    assert!(matches!(limiter.acquire(3).await, Err(Refused::OverBurst { burst: 2, .. })));
    four.await.unwrap();
    assert_eq!(start.elapsed(), ms(400));
    advance(ms(100_000)).await;
    assert_eq!(limiter.available(), 2);
    limiter.set_burst(0);
    assert_eq!(limiter.available(), 0);
    assert!(limiter.try_acquire(1).is_err());
    let start = Instant::now();
    limiter.ready().await;
    limiter.ready().await;
    assert_eq!(start.elapsed(), ms(200), "nothing is saved up, waiting helps");
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_no_wait_and_can_be_ended() {
    let limiter = Limiter::unlimited();
    limiter.acquire(u32::MAX).await.unwrap();
    limiter.acquire(u32::MAX).within(ms(0)).await.unwrap();
    assert_eq!(limiter.available(), u32::MAX);
    limiter.set_burst(1);
    limiter.set_rate(Rate::per_second(1));
    limiter.ready().await;
    assert!(limiter.try_acquire(1).is_err());
    let mut waits = task::spawn(limiter.ready());
    assert_pending!(waits.poll());
    limiter.set_rate(Rate::UNLIMITED);
    assert!(waits.is_woken());
    assert_ready!(waits.poll());
}

#[tokio::test(start_paused = true)]
async fn a_reservation_holds_its_place_and_gives_back() {
    let limiter = Limiter::per_second(10).burst(2);
    let held = limiter.reserve(2).unwrap();
    assert_eq!(held.ready_in(), ms(0));
    let mut next = limiter.reserve(1).unwrap();
    let last = limiter.reserve(2).unwrap();
    assert_eq!((next.ready_in(), last.ready_in()), (ms(100), ms(300)));
    assert!(limiter.reserve(3).is_err());
    drop(held);
    assert_eq!((next.ready_in(), last.ready_in()), (ms(0), ms(100)));
    next.ready().await;
    drop(next);
    drop(last);
    assert_eq!(limiter.available(), 1, "what is used does not come back");
    // Spent in list: its turn is taken, and no task waits for it.
    limiter.try_acquire(1).unwrap();
    limiter.reserve(1).unwrap().spend();
    let start = Instant::now();
    limiter.ready().await;
    assert_eq!(start.elapsed(), ms(200));
}

#[test]
fn it_is_polled_to_the_end_only_once() {
    let limiter = Limiter::unlimited();
    let mut ready = task::spawn(limiter.ready());
    assert_ready!(ready.poll());
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ready.poll())).unwrap_err();
    assert_eq!(again.downcast_ref::<String>().unwrap(), "`Ready` polled after completion");
    let mut acquire = task::spawn(limiter.acquire(1));
    assert_ready!(acquire.poll()).unwrap();
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| acquire.poll())).unwrap_err();
    assert_eq!(again.downcast_ref::<String>().unwrap(), "`Acquire` polled after completion");
}

#[test]
fn what_it_is_shows() {
    let limiter = Limiter::per_second(5).burst(10);
    limiter.try_acquire(7).unwrap();
    assert_eq!(format!("{limiter:?}"), "Limiter { rate: 5/s, burst: 10, available: 3, waiters: 0 }");
    assert_eq!(
        format!("{:?}", Limiter::unlimited()),
        "Limiter { rate: unlimited, burst: 4294967295, available: 4294967295, waiters: 0 }"
    );
    is_shared(&limiter);
    is_shared(&limiter.acquire(1));
    assert!(size_of_val(&limiter.acquire(1)) <= 48, "{}", size_of_val(&limiter.acquire(1)));
}
