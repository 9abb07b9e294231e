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
use relent::{Backoff, TimedQueue};
use tokio::{
    runtime::Runtime,
    time::{Instant, advance},
};

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
