//! How a queue ends: the stream, `idle` and `drain`, a queue that is dropped; what its parts may cross.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_core::Stream;
use relent::{TimedQueue, queue::Scheduled};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, task};

use super::guards::{next, queue};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn the_stream_ends_when_nothing_can_come_any_more() {
    let mut queue = queue();
    let handle = queue.handle();
    let other = handle.clone();
    let _ = handle.schedule("a", 1, MS);
    let run = next(&mut queue).await;
    drop(handle);
    let mut waiting = task::spawn(std::future::poll_fn(|cx| pin!(&mut queue).poll_next(cx)));
    assert_pending!(waiting.poll());
    drop(other);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll(), "what runs may still go back");
    drop(run);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    advance(10 * MS).await;
    let std::task::Poll::Ready(Some(run)) = waiting.poll() else { panic!("the second try is due") };
    assert_pending!(waiting.poll());
    run.done();
    assert!(waiting.is_woken(), "the last end wakes the consumer");
    assert!(matches!(waiting.poll(), std::task::Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn idle_and_drain() {
    let mut queue = queue();
    let handle = queue.handle();
    handle.idle().await;
    let _ = handle.schedule("later", 1, 60_000 * MS);
    handle.idle().await;
    let _ = handle.schedule("now", 2, Duration::ZERO);
    let mut idle = task::spawn(handle.idle());
    assert_pending!(idle.poll(), "something is due");
    let run = next(&mut queue).await;
    assert_pending!(idle.poll(), "something runs");
    run.done();
    assert!(idle.is_woken());
    assert!(idle.poll().is_ready());

    let mut drain = task::spawn(handle.drain());
    assert_eq!(handle.schedule("more", 3, Duration::ZERO), Scheduled::Closed { value: 3 });
    assert_pending!(drain.poll());
    let start = Instant::now();
    next(&mut queue).await.done();
    assert_eq!(start.elapsed(), 60_000 * MS, "a drain does not hurry");
    assert!(drain.is_woken());
    assert!(matches!(drain.poll(), std::task::Poll::Ready(0)));
    assert!(queue.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_once_when_all_is_cancelled_or_the_queue_is_gone() {
    let queue = queue();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, 60_000 * MS);
    let mut drain = task::spawn(handle.drain());
    assert_pending!(drain.poll());
    drop(queue);
    assert!(drain.is_woken());
    assert!(matches!(drain.poll(), std::task::Poll::Ready(1)));
    assert_eq!(handle.cancel_all().len(), 1);
    assert_eq!(handle.drain().await, 0);
}

/// The queue goes first: what runs ends in peace, what waits can be had back, nothing is taken any more.
#[tokio::test(start_paused = true)]
async fn a_queue_dropped_with_work_running() {
    let mut queue = queue();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let _ = handle.schedule("b", 2, Duration::ZERO);
    let _ = handle.schedule("c", 3, 50 * MS);
    let (a, b) = (next(&mut queue).await, next(&mut queue).await);
    drop(queue);
    assert_eq!(handle.schedule("d", 4, Duration::ZERO), Scheduled::Closed { value: 4 });
    assert_eq!(a.done(), 1);
    drop(b);
    let back: Vec<_> = handle.cancel_all().into_iter().map(|(key, value, _)| (key, value)).collect();
    assert_eq!(back, [("b", 2), ("c", 3)]);
    handle.idle().await;
}

#[tokio::test]
async fn no_value_outlives_the_queue_and_its_handles() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let alive = Arc::new(AtomicUsize::new(5));
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    for key in 0..5 {
        let _ = handle.schedule(key, Counted(alive.clone()), MS * key);
    }
    let run = queue.next().await.unwrap();
    drop(queue);
    drop(run);
    drop(handle.cancel(&4));
    assert_eq!(alive.load(Ordering::SeqCst), 4);
    drop(handle);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// Handles work from threads that no runtime knows.
#[test]
fn handles_from_any_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut queue = TimedQueue::new();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let handle = queue.handle();
            std::thread::spawn(move || {
                for i in 0..500 {
                    let _ = handle.schedule(thread * 1000 + i, (), Duration::from_micros(i));
                }
            })
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    runtime.block_on(async {
        while let Some(due) = queue.next().await {
            assert!(seen.insert(*due.key()), "once each");
            due.done();
        }
    });
    assert_eq!(seen.len(), 2000);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn what_may_cross_threads() {
    fn send_sync_unpin<T: Send + Sync + Unpin>(_: &T) {}
    fn send<T: Send>(_: &T) {}
    let mut queue = queue();
    let handle = queue.handle();
    send_sync_unpin(&handle);
    send_sync_unpin(&handle.idle());
    send_sync_unpin(&handle.drain());
    send(&queue);
    send(&queue.run(|_| async { Ok::<_, ()>(()) }).into_future());
}

/// A loop around what is ready at once lets others run.
#[tokio::test(start_paused = true)]
async fn waiting_for_what_is_so_lets_others_run() {
    let queue = queue();
    let handle = queue.handle();
    for drains in [false, true] {
        let other = tokio::spawn(async {});
        for turn in 0.. {
            if other.is_finished() {
                break;
            }
            assert!(turn < 1000, "no other has run");
            if drains { assert_eq!(handle.drain().await, 0) } else { handle.idle().await }
        }
    }
}
