//! A queue is used on whichever runtime polls it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_core::Stream;
use relent::{Backoff, TimedQueue, queue::Scheduled};
use tokio::{
    runtime::Runtime,
    time::{Instant, advance},
};
use tokio_test::{assert_pending, task};

const MS: Duration = Duration::from_millis(1);

fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn poll_next(queue: &mut TimedQueue<&'static str, u32>, runtime: &Runtime) -> bool {
    runtime.block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut *queue).poll_next(cx).is_ready())))
}

/// The first runtime is gone, or alive and idle: the second one has its own timer, and wakes when it is time.
#[test]
fn a_stream_moves_from_runtime_to_runtime() {
    for gone in [false, true] {
        let mut queue = TimedQueue::new();
        let handle = queue.handle();
        let first = paused();
        first.block_on(async {
            let _ = handle.schedule("a", 1, 200 * MS);
        });
        assert!(!poll_next(&mut queue, &first));
        let mut idle = Some(first);
        if gone {
            idle = None;
        }
        let second = paused();
        second.block_on(async {
            let start = Instant::now();
            let due = poll_fn(|cx| Pin::new(&mut queue).poll_next(cx)).await.unwrap();
            // The clocks of the two runtimes began a moment apart.
            let due_in = due.due().saturating_duration_since(start);
            assert!(due_in > 100 * MS && start.elapsed() >= due_in && start.elapsed() < due_in + 2 * MS);
            due.done();
        });
        drop(idle);
    }
}

/// The same for the future of a run, whose worker has no timers of its own.
#[test]
fn a_run_moves_too() {
    let mut queue = TimedQueue::new().backoff(Backoff::fixed(MS)).attempt_timeout(50 * MS).max_attempts(1);
    let handle = queue.handle();
    let first = paused();
    first.block_on(async {
        let _ = handle.schedule("a", 1, Duration::ZERO);
    });
    drop(handle);
    let mut working = Box::pin(queue.run(|_| std::future::pending::<Result<(), ()>>()).into_future());
    first.block_on(poll_fn(|cx| {
        assert!(working.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    drop(first);
    let finished = paused().block_on(working);
    assert_eq!(finished.given_up.len(), 1, "cut in time");
}

/// A wait that is dropped leaves neither a timer nor a waker.
#[tokio::test(start_paused = true)]
async fn a_dropped_wait_leaves_nothing() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let mut queue = TimedQueue::<&str, u32>::new();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, 50 * MS);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(pin!(queue.next()).poll(&mut cx).is_pending());
    assert!(pin!(queue.run(|_| async { Ok::<_, ()>(()) }).into_future()).poll(&mut cx).is_pending());
    assert_eq!(Arc::strong_count(&flag), 2, "this test has the flag and its waker");
    let _ = handle.schedule("b", 1, Duration::ZERO);
    advance(100 * MS).await;
    assert!(!flag.0.load(Ordering::SeqCst));
    // One that waits is woken by both.
    assert!(pin!(handle.idle()).poll(&mut cx).is_pending());
    assert_eq!(handle.cancel_all().len(), 2);
    let _ = handle.schedule("a", 1, 50 * MS);
    let mut waiting = pin!(queue.next());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    advance(50 * MS).await;
    assert!(flag.0.load(Ordering::SeqCst) && waiting.poll(&mut cx).is_ready());
}

/// The runtime that a queue waited in is gone; another takes it over.
#[test]
fn a_queue_outlives_its_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let _ = handle.schedule(1, 1, 5 * MS);
    let _ = handle.schedule(2, 2, 10 * MS);
    let first = runtime();
    let mut waiting = task::spawn(queue.next());
    first.block_on(async { assert_pending!(waiting.poll()) });
    drop(waiting);
    drop(first);
    let due = runtime().block_on(queue.next()).unwrap();
    assert_eq!(due.done(), 1);

    let second = runtime();
    let mut working = task::spawn(queue.run(|_| async { Ok::<_, ()>(()) }).into_future());
    second.block_on(async { assert_pending!(working.poll()) });
    drop(working);
    drop(second);
    drop(handle);
    let finished = runtime().block_on(queue.run(|_| async { Ok::<_, ()>(()) }).into_future());
    assert!(finished.given_up.is_empty());
}

/// A runtime that ends with the queue in one of its tasks: handles hear of it, and have back what waits.
#[test]
fn the_runtime_is_gone_and_the_queue_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let _ = handle.schedule(1, 1, Duration::ZERO);
    let _ = handle.schedule(2, 2, 60_000 * MS);
    runtime.spawn(async move { queue.run(|_| std::future::pending::<Result<(), ()>>()).await });
    runtime.block_on(async { tokio::task::yield_now().await });
    assert_eq!(handle.running(), 1);
    let mut idle = task::spawn(handle.idle());
    assert_pending!(idle.poll());
    drop(runtime);
    assert!(idle.is_woken());
    assert!(idle.poll().is_ready());
    assert_eq!(handle.schedule(3, 3, Duration::ZERO), Scheduled::Closed { value: 3 });
    let back: Vec<_> = handle.cancel_all().into_iter().map(|(key, ..)| key).collect();
    assert_eq!(back, [1, 2], "what ran went back");
}
