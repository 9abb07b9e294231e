//! A waiter that leaves, leaves no trace, whichever of those behind is polled; and one that is not polled holds up
//! none.

use std::{future::Future, pin::Pin, time::Duration};

use relent::{
    Limiter, Rate,
    limiter::{Ready, Refused},
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One a second, and the first is taken.
fn one_a_second() -> Limiter {
    let limiter = Limiter::per_second(1);
    limiter.try_acquire(1).unwrap();
    limiter
}

/// In the list, and not polled again.
fn idle(limiter: &Limiter) -> Pin<Box<Ready<'_>>> {
    let mut wait = Box::pin(limiter.ready());
    assert_pending!(task::spawn(wait.as_mut()).poll());
    wait
}

/// When it gets its permit, if it is in the list now.
async fn waits(limiter: &Limiter) -> impl Future<Output = Duration> + use<> {
    let (limiter, start) = (limiter.clone(), Instant::now());
    let task = tokio::spawn(async move {
        limiter.ready().await;
        start.elapsed()
    });
    tokio::task::yield_now().await;
    async { task.await.unwrap() }
}

#[tokio::test(start_paused = true)]
async fn behind_a_spent_reservation() {
    let limiter = one_a_second();
    limiter.reserve(1).unwrap().spend();
    let leaves = idle(&limiter);
    let last = waits(&limiter).await;
    drop(leaves);
    assert_eq!(last.await, secs(2));
}

#[tokio::test(start_paused = true)]
async fn behind_one_that_is_not_polled() {
    let limiter = one_a_second();
    let _first = idle(&limiter);
    let leave: Vec<_> = (0..10).map(|_| idle(&limiter)).collect();
    let last = waits(&limiter).await;
    drop(leave);
    assert_eq!(last.await, secs(2));
}

#[tokio::test(start_paused = true)]
async fn behind_many_that_are_not_polled_and_some_that_leave_between_them() {
    let limiter = one_a_second();
    let mut stay = Vec::new();
    let mut leave = Vec::new();
    for _ in 0..20 {
        stay.push(idle(&limiter));
        leave.push(idle(&limiter));
        limiter.reserve(1).unwrap().spend();
    }
    let last = waits(&limiter).await;
    // The others in the middle go when some of the first have had their turns, and none was polled.
    drop(leave.split_off(15));
    advance(secs(5)).await;
    drop(leave.drain(5..));
    drop(stay.drain(10..));
    let before = limiter.waiters();
    assert_eq!(last.await, secs(5 + before as u64), "all that are left before it, and itself");
}

#[tokio::test(start_paused = true)]
async fn behind_a_first_that_asked_for_more() {
    for after in [0, 1, 5, 10, 11, 22, 900] {
        let limiter = Limiter::per_second(1).burst(3);
        limiter.try_acquire(2).unwrap();
        let first = limiter.reserve(2).unwrap();
        let mut next = task::spawn(limiter.ready());
        let mut last = task::spawn(limiter.ready());
        assert_pending!(next.poll());
        assert_pending!(last.poll());
        advance(Duration::from_millis(after)).await;
        drop(first);
        assert!(next.is_woken(), "what is there is enough for it, after {after} ms");
        assert_ready!(next.poll());
        assert_pending!(last.poll());
        sleep(Duration::from_millis(1000 - after)).await;
        assert_ready!(last.poll());
    }
}

/// The first is late by so much when it leaves; those behind have what has flowed in since, and no more than that.
#[tokio::test(start_paused = true)]
async fn behind_a_first_that_comes_late_and_leaves() {
    for (late, out) in [(0, 1), (9, 10), (10, 11), (11, 1), (50, 1)] {
        let limiter = Limiter::per_second(1000);
        limiter.try_acquire(1).unwrap();
        let first = limiter.reserve(1).unwrap();
        let mut all: Vec<_> = (0..20).map(|_| task::spawn(limiter.ready())).collect();
        for wait in &mut all {
            assert_pending!(wait.poll());
        }
        advance(Duration::from_millis(1 + late)).await;
        drop(first);
        let got = all.iter_mut().filter(|wait| wait.is_woken()).filter_map(|wait| match wait.poll() {
            std::task::Poll::Ready(()) => Some(()),
            std::task::Poll::Pending => None,
        });
        assert_eq!(got.count(), out, "{late} ms late");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_leaked_ones() {
    let limiter = one_a_second();
    std::mem::forget(Box::leak(Box::new(limiter.clone())).reserve(1).unwrap());
    std::mem::forget(idle(&limiter));
    let leaves = idle(&limiter);
    let last = waits(&limiter).await;
    drop(leaves);
    assert_eq!(last.await, secs(3));
}

#[tokio::test(start_paused = true)]
async fn behind_a_branch_of_a_select_that_does_something_else() {
    let limiter = one_a_second();
    let busy = tokio::spawn({
        let limiter = limiter.clone();
        async move {
            let mut ready = std::pin::pin!(limiter.ready());
            tokio::select! {
                biased;
                () = ready.as_mut() => unreachable!(),
                () = async {} => sleep(secs(10)).await,
            }
            let start = Instant::now();
            ready.await;
            start.elapsed()
        }
    });
    tokio::task::yield_now().await;
    let leave: Vec<_> = (0..3).map(|_| idle(&limiter)).collect();
    let next = waits(&limiter).await;
    let last = waits(&limiter).await;
    drop(leave);
    assert_eq!((next.await, last.await), (secs(2), secs(3)));
    assert_eq!(busy.await.unwrap(), Duration::ZERO, "no task asked for seven seconds");
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_late_is_the_first() {
    let limiter = one_a_second();
    let start = Instant::now();
    let late = idle(&limiter);
    let second = waits(&limiter).await;
    let third = waits(&limiter).await;
    assert_eq!(second.await, secs(2));
    late.await;
    assert_eq!(start.elapsed(), secs(3), "its own second was lost");
    assert_eq!(third.await, secs(4), "it was not the first");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_put_off_is_refused_before_its_bound() {
    let limiter = one_a_second();
    let mut late = task::spawn(limiter.ready());
    assert_pending!(late.poll());
    let next = tokio::spawn({
        let (limiter, start) = (limiter.clone(), Instant::now());
        async move { (limiter.acquire(1).within(Duration::from_millis(2500)).await, start.elapsed()) }
    });
    sleep(Duration::from_millis(1900)).await;
    assert_ready!(late.poll(), "the rest of the second has run over");
    let (refused, at) = next.await.unwrap();
    assert!(matches!(refused, Err(Refused::TooFar { .. })), "the next permit is there at 2.9 s: {refused:?}");
    assert_eq!(at, secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_not_kept_beyond_the_catch_up() {
    let limiter = one_a_second().catch_up(secs(3));
    limiter.try_acquire(1).unwrap();
    let mut late = task::spawn(limiter.ready());
    assert_pending!(late.poll());
    advance(secs(4)).await;
    assert_ready!(late.poll());
    assert!(limiter.try_acquire(1).is_ok(), "the others flowed in meanwhile");
    let mut later = task::spawn(limiter.ready());
    assert_pending!(later.poll());
    advance(Duration::from_millis(4_001)).await;
    assert_eq!(limiter.waiters(), 0, "its permit was there from the first to the fourth second");
    assert_eq!(limiter.available(), 1);
    assert_ready!(later.poll());
    assert_eq!(limiter.available(), 0, "it took another");
}

#[tokio::test(start_paused = true)]
async fn what_was_held_long_is_worth_nothing_and_what_cannot_flow_in_all() {
    let limiter = Limiter::per_second(1).burst(3);
    let held: Vec<_> = (0..3).map(|_| limiter.reserve(1).unwrap()).collect();
    advance(secs(3)).await;
    limiter.acquire(3).await.unwrap();
    drop(held);
    assert_eq!(limiter.available(), 0, "three in three seconds are out");
    let limiter = Limiter::new(Rate::ZERO, 1).catch_up(Duration::MAX);
    let held = limiter.reserve(1).unwrap();
    let mut next = task::spawn(limiter.ready());
    assert_pending!(next.poll());
    advance(secs(1000)).await;
    drop(held);
    assert!(next.is_woken());
    assert_ready!(next.poll());
}

#[tokio::test(start_paused = true)]
async fn two_hundred_thousand_leave_in_no_time() {
    let limiter = Limiter::new(Rate::ZERO, 1);
    limiter.try_acquire(1).unwrap();
    for reversed in [false, true] {
        let mut all: Vec<_> = (0..200_000).map(|_| limiter.reserve(1).unwrap()).collect();
        assert_eq!(limiter.waiters(), 200_000);
        if reversed {
            all.reverse();
        }
        all.truncate(1);
        assert_eq!(limiter.waiters(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_uses_its_permits_when_it_is_ready() {
    let limiter = Limiter::per_second(10);
    let start = Instant::now();
    for _ in 0..10 {
        limiter.reserve(1).unwrap().ready().await;
    }
    assert_eq!(start.elapsed(), Duration::from_millis(900));
    // A wait that is dropped keeps the place.
    let mut held = limiter.reserve(1).unwrap();
    assert_pending!(task::spawn(held.ready()).poll());
    let behind = limiter.reserve(1).unwrap();
    assert_eq!(behind.ready_in(), Duration::from_millis(200));
    held.ready().await;
    assert_eq!(start.elapsed(), Duration::from_millis(1000));
    assert_eq!(held.ready_in(), Duration::ZERO);
    let again = tokio::spawn(async move { held.ready().await }).await.unwrap_err();
    assert_eq!(again.into_panic().downcast_ref::<&str>().unwrap(), &"`Reservation` ready after its permits were used");
    // One that cannot be ready in time leaves at once.
    let refused = limiter.reserve(1).unwrap().within(Duration::from_millis(199)).unwrap_err();
    assert!(matches!(refused, Refused::TooFar { ready_in, allowed, .. }
        if (ready_in, allowed) == (Duration::from_millis(200), Duration::from_millis(199))));
    assert_eq!(limiter.waiters(), 1);
    assert!(limiter.reserve(1).unwrap().within(Duration::from_millis(200)).is_ok());
}
