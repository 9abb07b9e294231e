//! A waker that panics in a call of a handle: the panic comes out, and what the call was to return is not lost.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use relent::{
    Backoff, Last, Stop, TimedQueue,
    queue::{Cancelled, ItemEvent, KeyStatus, QueueHandle},
};
use tokio_test::task;
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

struct Evil;

impl Wake for Evil {
    fn wake(self: Arc<Self>) {
        panic!("in a waker")
    }
}

fn evil() -> Waker {
    Arc::new(Evil).into()
}

type Queue = TimedQueue<&'static str, u32>;
type Handle = QueueHandle<&'static str, u32>;

/// Something that waits with a waker that panics: the consumer, or what waits for the queue to be empty.
fn panics_in(queue: &mut Queue, handle: &Handle, by_consumer: bool, call: impl FnOnce(&Handle)) {
    let waker = evil();
    let mut cx = Context::from_waker(&waker);
    let mut waiting = pin!(handle.clone().idle());
    if by_consumer {
        assert!(queue.poll_due(&mut cx).is_pending());
    } else {
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| call(handle))).is_err());
}

/// What came back: key, value, whether it was superseded, and the attempts that had failed.
fn back(queue: &Queue) -> Vec<(&'static str, u32, bool, u32)> {
    let given_up = queue.take_given_up().into_iter();
    let mut back: Vec<_> = given_up
        .map(|item| {
            assert_eq!(*item.error.stop(), Stop::Cancelled);
            (item.key, item.value, item.superseded, item.error.attempts())
        })
        .collect();
    back.sort_unstable();
    back
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_comes_back() {
    for anew in [true, false] {
        for by_consumer in [true, false] {
            let mut queue = Queue::new();
            let handle = queue.handle();
            // For the consumer it is brought forward; for what waits for the queue to be idle it is put off.
            let (first, then) = if by_consumer { (9 * S, S) } else { (Duration::ZERO, 9 * S) };
            let _ = handle.schedule("a", 1, first);
            panics_in(&mut queue, &handle, by_consumer, |handle| {
                let _ = if anew { handle.begin_anew("a", 2, then) } else { handle.reschedule("a", 2, then) };
            });
            assert_eq!(back(&queue), [("a", 1, true, 0)], "{anew} {by_consumer}");
            tokio::time::advance(then).await;
            let due = queue.next().await.unwrap();
            assert_eq!((due.done(), handle.len()), (2, 0), "what was given waits all the same");
        }
    }
}

/// The failures of what begins anew come back with its value.
#[tokio::test(start_paused = true)]
async fn what_failed_before_is_told() {
    let mut queue = Queue::new().backoff(Backoff::fixed(9 * S)).attempt_timeout(5 * S);
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let _ = queue.next().await.unwrap().fail("disk full");
    panics_in(&mut queue, &handle, true, |handle| _ = handle.begin_anew("a", 2, S));
    let [item] = &*queue.take_given_up() else { panic!("one came back") };
    assert_eq!((item.value, item.error.attempts(), item.superseded), (1, 1, true));
    assert!(item.error.to_string().ends_with("last attempt: disk full"), "{}", item.error);
    // One that was cut ran as long as it was allowed to.
    let _ = queue.take_given_up();
    tokio::time::advance(S).await;
    let mut run = Box::pin(queue.run(async |_| std::future::pending::<Result<(), &str>>().await).into_future());
    assert!(tokio::time::timeout(7 * S, run.as_mut()).await.is_err());
    drop(run);
    panics_in(&mut queue, &handle, true, |handle| _ = handle.begin_anew("a", 3, Duration::ZERO));
    let [item] = &*queue.take_given_up() else { panic!("one came back") };
    assert!(matches!(item.error.last(), Last::Cut { after, .. } if after == 5 * S), "{:?}", item.error);
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_comes_back() {
    // It waits; it runs, with something that follows.
    let mut queue = Queue::new();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    panics_in(&mut queue, &handle, false, |handle| _ = handle.cancel(&"a"));
    assert_eq!((back(&queue), handle.len()), (vec![("a", 1, false, 0)], 0));

    for key in ["a", "b", "c"] {
        let _ = handle.schedule(key, 1, Duration::ZERO);
    }
    panics_in(&mut queue, &handle, false, |handle| _ = handle.cancel_all());
    assert_eq!(back(&queue), [("a", 1, false, 0), ("b", 1, false, 0), ("c", 1, false, 0)]);
    assert_eq!((handle.len(), handle.cancel(&"a")), (0, Cancelled::Absent));

    // The consumer of a closed queue is woken by the last that goes.
    let _ = handle.schedule("d", 4, 9 * S);
    handle.close();
    panics_in(&mut queue, &handle, true, |handle| _ = handle.cancel(&"d"));
    assert_eq!(back(&queue), [("d", 4, false, 0)]);
    assert!(queue.next().await.is_none());
}

/// The end of a cancelled run takes out what waits: where that panics it is there to be taken.
#[tokio::test(start_paused = true)]
async fn what_a_run_that_is_told_to_stop_takes_out_comes_back() {
    let (mut queue, token) = (Queue::new(), CancellationToken::new());
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let waker = evil();
    let mut idle = pin!(handle.idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    token.cancel();
    let mut run = task::spawn(queue.run(async |_| Ok::<(), &str>(())).cancel_on(token).into_future());
    assert!(catch_unwind(AssertUnwindSafe(|| run.poll())).is_err());
    drop(run);
    assert_eq!((back(&queue), handle.len()), (vec![("a", 1, false, 0)], 0));
}

/// All wakers are called, those behind one that panics too, and a new entry waits whatever panics.
#[tokio::test(start_paused = true)]
async fn a_new_entry_waits() {
    let mut queue = Queue::new();
    let handle = queue.handle();
    let waker = evil();
    assert!(queue.poll_due(&mut Context::from_waker(&waker)).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| handle.schedule("a", 1, Duration::ZERO))).is_err());
    assert!(matches!(handle.get(&"a"), Some(KeyStatus::Scheduled { attempts: 0, .. })));
    let Poll::Ready(Some(due)) = task::spawn(queue.next()).poll() else { panic!("it is due") };
    assert_eq!((due.done(), back(&queue)), (1, vec![]));
}

/// What is done is told as done, and comes back to the worker no more.
#[tokio::test(start_paused = true)]
async fn what_is_done_is_told() {
    let mut queue = Queue::new();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let waker = evil();
    let mut idle = pin!(handle.idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut told = Vec::new();
    let run = queue.run(async |_| Ok::<(), &str>(())).notify(|event| {
        if let ItemEvent::Done { value, .. } = event {
            told.push(*value);
        }
    });
    let mut run = task::spawn(run.into_future());
    assert!(catch_unwind(AssertUnwindSafe(|| run.poll())).is_err());
    assert!(run.poll().is_pending());
    drop(run);
    assert_eq!((told, handle.len(), back(&queue)), (vec![1], 0, vec![]));
}
