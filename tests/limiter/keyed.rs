//! Limiters and backoffs per key.

use std::time::Duration;

use relent::{Backoff, Jitter, KeyedBackoff, KeyedLimiter, Rate};
use tokio::time::{Instant, advance};

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
    assert_eq!(format!("{used:?}"), "KeyedLimiter { rate: 0, burst: 2, keys: 4 }");
}

#[tokio::test(start_paused = true)]
async fn many_keys_pass_by_and_few_are_remembered() {
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(1), 1);
    let held = keyed.get(&u32::MAX);
    held.try_acquire(1).unwrap();
    let mut most = 0;
    for tick in 0..200 {
        for key in 0..1000 {
            keyed.try_acquire(&(tick * 1000 + key), 1).unwrap();
        }
        advance(Duration::from_millis(100)).await;
        most = most.max(keyed.len());
    }
    // Ten thousand were in use within a second; each map is swept once per as many look-ups as it has keys.
    println!("200000 keys, 10000 at a time in use: at most {most} remembered");
    assert!(most <= 25_000, "{most}");
    advance(Duration::from_secs(2)).await;
    held.try_acquire(1).unwrap();
    keyed.forget_idle();
    assert_eq!(keyed.len(), 1, "the one that is held and not full");
    assert!(keyed.try_acquire(&u32::MAX, 1).is_err(), "and it is the same");
    drop(held);
    advance(Duration::from_secs(1)).await;
    keyed.forget_idle();
    assert!(keyed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_item_backs_off_on_its_own_and_is_forgotten() {
    let second = Duration::from_secs(1);
    let backoff = Backoff::exponential(second, 4 * second).jitter(Jitter::None).take(4);
    let items: KeyedBackoff<String> = KeyedBackoff::new(backoff, 10 * second);
    let delays: Vec<_> = (0..6).map(|_| items.failed("a").map(|delay| delay.as_secs())).collect();
    assert_eq!(delays, [Some(1), Some(2), Some(4), Some(4), None, None]);
    assert_eq!((items.failures("a"), items.ready_in("a")), (6, Duration::MAX));
    assert_eq!(items.failed("b"), Some(second));
    advance(second / 2).await;
    assert_eq!((items.failures("b"), items.ready_in("b")), (1, second / 2));
    advance(second * 10).await;
    assert_eq!(
        (items.failures("a"), items.failures("b")),
        (0, 1),
        "a failed more than ten seconds ago; b waited half a second less"
    );
    advance(second).await;
    assert_eq!((items.failures("b"), items.ready_in("b")), (0, Duration::ZERO));
    assert_eq!(items.len(), 2);
    items.forget_expired();
    assert!(items.is_empty());
    assert_eq!(items.failed("a"), Some(second), "from the first step again");
    assert!(items.forget("a") && !items.forget("a"));
}

#[tokio::test(start_paused = true)]
async fn items_that_are_never_forgotten_do_not_pile_up() {
    let items: KeyedBackoff<u32> = KeyedBackoff::new(Backoff::fixed(Duration::ZERO), Duration::from_secs(1));
    let mut most = 0;
    for tick in 0..200 {
        for key in 0..1000 {
            let _ = items.failed(&(tick * 1000 + key));
        }
        advance(Duration::from_millis(100)).await;
        most = most.max(items.len());
    }
    assert!(most <= 30_000, "{most}");
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
