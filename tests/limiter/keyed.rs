//! A limiter per key.

use std::time::Duration;

use relent::{KeyedLimiter, Limiter, Rate, limiter::Refused, retry};
use tokio::{
    runtime::Builder,
    time::{Instant, advance},
};
use tokio_test::{assert_pending, task};

#[tokio::test(start_paused = true)]
async fn keys_know_nothing_of_each_other() {
    let keyed: KeyedLimiter<String> = KeyedLimiter::new(Rate::per_second(10), 1);
    let start = Instant::now();
    for key in ["a", "b", "c"] {
        keyed.ready(key).await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    keyed.ready("b").await;
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    keyed.set_rate(Rate::per_second(1));
    keyed.set_burst(2);
    keyed.ready("b").await;
    assert_eq!(start.elapsed(), Duration::from_millis(1100));
    assert_eq!(keyed.get("d").available(), 2);
    assert_eq!((keyed.rate(), keyed.max_burst()), (Rate::per_second(1), 2));
    // None of these fills up again, and is forgotten.
    let used: KeyedLimiter<u32> = KeyedLimiter::new(Rate::ZERO, 2);
    (0..4).for_each(|key| used.try_acquire(&key, 1).unwrap());
    assert_eq!(format!("{used:?}"), "KeyedLimiter { rate: 0, burst: 2, keys: 4, .. }");
}

#[test]
fn settings_that_change_at_once_end_the_same_for_all_keys() {
    for round in 2..300 {
        let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(1), 1);
        let held: Vec<_> = (0..50).map(|key| keyed.get(&key)).collect();
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let set = |rate: u32, burst: u32| {
                let (keyed, barrier) = (&keyed, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    keyed.set_rate(Rate::per_second(rate));
                    keyed.set_burst(burst);
                });
            };
            set(round, 2);
            set(1_000_000 + round, 3);
            set(2_000_000 + round, 4);
            barrier.wait();
            // Keys that come meanwhile.
            (100..150).for_each(|key| _ = keyed.get(&key));
        });
        let fresh = keyed.get(&1000);
        let setting = (fresh.rate(), fresh.max_burst());
        let all = held.iter().cloned().chain((100..150).map(|key| keyed.get(&key)));
        assert!(all.into_iter().all(|limiter| (limiter.rate(), limiter.max_burst()) == setting), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn wakers_may_use_the_keys_while_a_setting_changes() {
    use std::{
        future::Future,
        pin::pin,
        sync::{Arc, LazyLock},
        task::{Context, Wake, Waker},
    };

    static KEYED: LazyLock<KeyedLimiter<u32>> = LazyLock::new(|| KeyedLimiter::new(Rate::per_hour(1), 1));
    struct Nosy;
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            KEYED.set_burst(7);
            KEYED.forget_idle();
        }
    }
    let limiter = KEYED.get(&1);
    limiter.try_acquire(1).unwrap();
    let mut wait = pin!(limiter.ready());
    let waker = Waker::from(Arc::new(Nosy));
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    KEYED.set_rate(Rate::per_second(1));
    assert_eq!((limiter.max_burst(), limiter.rate()), (7, Rate::per_second(1)));
    wait.await;
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_a_key_go_in_order_and_leave_no_trace() {
    let keyed: KeyedLimiter<String> = KeyedLimiter::new(Rate::per_second(10), 2);
    let start = Instant::now();
    keyed.acquire("a", 2).await.unwrap();
    let (mut first, mut second) = (task::spawn(keyed.acquire("a", 2)), task::spawn(keyed.ready("a")));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_eq!(keyed.try_acquire("a", 1).unwrap_err().ready_in(), Some(Duration::from_millis(400)));
    let refused = keyed.acquire("a", 1).within(Duration::from_millis(399)).await.unwrap_err();
    assert_eq!(refused.to_string(), "would be ready in 400ms, and 399ms is allowed");
    drop(first);
    assert!(second.is_woken(), "it moves up");
    second.await;
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    keyed.acquire("a", 1).by(start + Duration::from_millis(200)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(200));
    assert!(matches!(keyed.acquire("a", 3).await, Err(Refused::OverBurst { asked: 3, burst: 2, .. })));
    // The key may be of another type than those that are kept, and a run is throttled by one.
    let run = retry(async |_| Ok::<_, std::io::Error>(())).throttle(&keyed.get("a"));
    run.await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(300));
}

#[test]
fn a_clock_that_is_behind_shuts_no_key_and_opens_none() {
    let runtime = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (ahead, behind) = (runtime(), runtime());
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(100), 10);
    ahead.block_on(async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        keyed.acquire(&0, 10).await.unwrap();
        keyed.acquire(&1, 10).await.unwrap();
        keyed.set_rate(Rate::per_second(200));
        keyed.pause_for(Duration::from_millis(5));
    });
    behind.block_on(async {
        let start = Instant::now();
        for key in 0..3 {
            assert!(keyed.try_acquire(&key, 1).is_err(), "{key}: what was left of the pause is left");
        }
        for key in 0..2 {
            for _ in 0..20 {
                keyed.acquire(&key, 1).within(Duration::from_millis(20)).await.unwrap();
            }
        }
        // The first in 20 * 5 ms; the second had filled up to its burst meanwhile.
        let ms = start.elapsed().as_millis();
        assert!((145..=160).contains(&ms), "{ms}");
        // A key that nothing has looked at since may have the rest of the pause before it still.
        keyed.set_burst(5);
        keyed.acquire(&7, 5).within(Duration::from_millis(5)).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_all_keys_and_the_later_end_of_two() {
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(10), 3);
    let start = Instant::now();
    keyed.acquire(&0, 3).await.unwrap();
    let held = keyed.get(&1);
    let mut waits = task::spawn(keyed.ready(&0));
    assert_pending!(waits.poll());
    keyed.pause_for(Duration::from_secs(2));
    keyed.pause_for(Duration::from_millis(500));
    for key in 1..4 {
        assert_eq!(keyed.try_acquire(&key, 1).unwrap_err().ready_in(), Some(Duration::from_secs(2)));
    }
    assert_eq!((held.available(), keyed.get(&9).available()), (0, 0));
    keyed.ready(&5).await;
    waits.await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert!(held.try_acquire(3).is_ok() && keyed.try_acquire(&5, 2).is_ok());
    // Of one key only.
    keyed.get(&6).pause_for(Duration::from_secs(1));
    assert!(keyed.try_acquire(&6, 1).is_err() && keyed.try_acquire(&7, 3).is_ok());
    advance(Duration::from_secs(1)).await;
    assert!(keyed.try_acquire(&6, 3).is_ok());
}

#[test]
fn pauses_that_are_made_at_once_end_the_same_for_all_keys() {
    for _ in 0..50 {
        let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::UNLIMITED, 1);
        let held: Vec<_> = (0..20).map(|key| keyed.get(&key)).collect();
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for (hours, burst) in [(1, 2), (2, 3)] {
                let (keyed, barrier) = (&keyed, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    keyed.pause_for(Duration::from_secs(3600 * hours));
                    keyed.set_burst(burst);
                });
            }
        });
        let hour = Duration::from_secs(3600);
        assert!(held.iter().all(|limiter| limiter.max_burst() == keyed.max_burst()));
        assert!((0..100).all(|key| keyed.try_acquire(&key, 1).unwrap_err().ready_in().unwrap() > hour));
    }
}

/// More often than words can tell apart.
#[tokio::test(start_paused = true)]
async fn a_thousand_changes_between_two_looks_at_a_key() {
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(1), 100);
    let limiter = Limiter::new(Rate::per_second(1), 100);
    for key in 0..100 {
        keyed.try_acquire(&key, 100).unwrap();
    }
    limiter.try_acquire(100).unwrap();
    for round in 0..1000_u32 {
        let rate = Rate::new(1 + round % 7, Duration::from_millis(1 + u64::from(round))).unwrap();
        keyed.set_rate(rate);
        limiter.set_rate(rate);
        advance(Duration::from_micros(u64::from(round % 13) * 100)).await;
    }
    let expected = limiter.available();
    assert!(expected < 100);
    assert!((0..100).all(|key| keyed.get(&key).available() == expected), "{expected}");
}

/// A rate whose numbers soon get too large for a word, and a clock that goes on for years.
#[tokio::test(start_paused = true)]
async fn time_goes_on_beyond_what_a_word_can_tell() {
    let rate = Rate::per_second(999_999_937);
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(rate, 1_000);
    let limiter = Limiter::new(rate, 1_000);
    for round in 0..2_000_u64 {
        let permits = 900 + u32::try_from(round % 100).unwrap();
        assert_eq!(keyed.try_acquire(&7, permits), limiter.try_acquire(permits), "{round}");
        advance(Duration::from_nanos(if round % 50 == 0 { round * 1_000_000_007 } else { 500 })).await;
    }
}

struct Panics;

impl std::task::Wake for Panics {
    fn wake(self: std::sync::Arc<Self>) {
        std::panic::resume_unwind(Box::new(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_leaves_no_key_behind() {
    use std::{future::Future, pin::pin};

    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_hour(1), 1);
    let held: Vec<_> = (0..50).map(|key| keyed.get(&key)).collect();
    for limiter in &held {
        limiter.try_acquire(1).unwrap();
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Panics));
    let mut wait = pin!(keyed.ready(&20));
    assert!(wait.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| keyed.set_rate(Rate::per_second(1))));
    assert!(panic.is_err());
    assert!(held.iter().all(|limiter| limiter.rate() == Rate::per_second(1)));
    wait.await;
}
