//! `k8s.io/client-go/util/workqueue`, and flowcontrol's `Backoff`.

use std::{collections::HashMap, time::Duration};

use relent::{Backoff, Jitter, KeyedBackoff, TimedQueue, queue::KeyStatus};
use tokio::time::{Instant, advance};

use super::{MS, SECOND};

fn keyed(base: Duration, max: Duration, expire: Duration) -> KeyedBackoff<String> {
    KeyedBackoff::new(Backoff::exponential(base, max).jitter(Jitter::None), expire)
}

/// `ItemExponentialFailureRateLimiter`: `When`, `NumRequeues`, `Forget`.
#[tokio::test(start_paused = true)]
async fn an_item_is_put_off_for_as_long() {
    for (base, max) in [(5 * MS, 1000 * SECOND), (MS, SECOND), (SECOND, 60 * SECOND)] {
        let own = keyed(base, max, Duration::MAX);
        let mut failures: HashMap<&str, i32> = HashMap::new();
        let mut when = |item| {
            let before = failures.entry(item).or_default();
            let delay = base.as_nanos() as f64 * 2_f64.powi(*before);
            *before += 1;
            let delay = if delay > i64::MAX as f64 { max } else { Duration::from_nanos(delay as u64).min(max) };
            (delay, *before as u32)
        };
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let item = ["a", "b", "c"][rng.usize(..3)];
            let (delay, requeues) = when(item);
            assert_eq!((own.failed(item), own.failures(item)), (Some(delay), requeues));
        }
        assert!(own.forget("a"));
        assert_eq!((own.failures("a"), own.failed("a")), (0, Some(base)));
    }
}

/// `flowcontrol.Backoff`: an entry has expired when its last update is longer ago than twice the longest pause. Ours
/// counts from the end of the pause.
#[tokio::test(start_paused = true)]
async fn a_key_is_forgotten_a_while_after_its_pause() {
    let (max, expire) = (60 * SECOND, 120 * SECOND);
    for (idle, theirs, ours) in [(119, 2, 2), (120, 2, 2), (121, 1, 2), (122, 1, 1)] {
        let own = keyed(SECOND, max, expire);
        assert_eq!(own.failed("a"), Some(SECOND));
        let (mut backoff, updated) = (SECOND, Instant::now());
        advance(idle * SECOND).await;
        backoff = if updated.elapsed() > 2 * max { SECOND } else { (2 * backoff).min(max) };
        assert_eq!(backoff, theirs * SECOND, "Go, after {idle} s");
        assert_eq!(own.failed("a"), Some(ours * SECOND), "after {idle} s");
    }
}

/// `AddAfter` keeps the earlier instant of an item that waits; `AddAfter` of nothing is `Add`.
#[tokio::test(start_paused = true)]
async fn an_item_that_waits_is_brought_forward_and_never_put_off() {
    let began = Instant::now();
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    for (item, first, second, due) in [("a", 5, 2, 2), ("b", 3, 9, 3), ("c", 4, 4, 4), ("d", 6, 0, 0)] {
        let _ = handle.bring_forward(item, (), first * SECOND);
        let _ = handle.bring_forward(item, (), second * SECOND);
        let Some(KeyStatus::Scheduled { due: at, .. }) = handle.get(&item) else { panic!("{item}") };
        assert_eq!(at - began, due * SECOND, "{item}");
    }
    // Each once, also the one that was added directly while a later time was set: Go hands it out twice.
    let mut fired = Vec::new();
    for _ in 0..4 {
        let due = queue.next().await.unwrap();
        fired.push((*due.key(), began.elapsed().as_secs()));
        due.done();
    }
    assert_eq!(fired, [("d", 0), ("a", 2), ("b", 3), ("c", 4)]);
    assert!(handle.is_empty());
}

/// `Add` while it is processed: once more after `Done`; `AddRateLimited` after an error, `Forget` after a success.
#[tokio::test(start_paused = true)]
async fn what_is_added_while_it_runs_follows() {
    let began = Instant::now();
    let mut queue = TimedQueue::new().backoff(Backoff::exponential(5 * MS, 1000 * SECOND).jitter(Jitter::None));
    let handle = queue.handle();
    let _ = handle.schedule("a", (), Duration::ZERO);
    let running = queue.next().await.unwrap();
    for _ in 0..3 {
        let _ = handle.schedule("a", (), Duration::ZERO);
    }
    assert!(matches!(handle.get(&"a"), Some(KeyStatus::RunningWithNext { .. })));
    running.done();
    // 5, 10, 20 ms after a failure each, and from 5 ms again after a success.
    let mut at = Vec::new();
    for number in 0..4 {
        let due = queue.next().await.unwrap();
        at.push(began.elapsed());
        if number < 3 {
            let _ = due.fail("no");
        } else {
            due.done();
        }
    }
    assert_eq!(at, [0, 5, 15, 35].map(|ms| ms * MS));
    assert!(handle.is_empty());
    let _ = handle.schedule("a", (), Duration::ZERO);
    let _ = queue.next().await.unwrap().fail("no");
    queue.next().await.unwrap().done();
    assert_eq!(began.elapsed(), 40 * MS);
}
