//! Panics wherever they can come from, drops at any time: what was decided is not decided again, and nothing is lost.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use relent::{
    Backoff, Budget, Jitter, Ratio, Stop, TimedQueue,
    queue::{AfterFailure, ItemEvent, Job, KeyStatus},
};
use tokio::time::{Instant, advance, timeout};
use tokio_test::{
    assert_pending,
    task::{self, Spawn},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn doubling() -> TimedQueue<&'static str, u32> {
    TimedQueue::new().backoff(Backoff::exponential(10 * MS, 3600 * S).jitter(Jitter::None))
}

fn panics<F: Future>(future: &mut Spawn<F>) {
    assert!(catch_unwind(AssertUnwindSafe(|| future.poll())).is_err());
}

/// Where the code of the caller panics, once, in the first attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Worker,
    Future,
    FutureDropped,
    Classify,
    Listener,
    SecondListener,
}

/// The retry is asked for once and the backoff makes one step, whatever panics; code that catches it can go on, with
/// the same run or another one.
#[tokio::test(start_paused = true)]
async fn one_attempt_is_one_retry_and_one_step() {
    for at in [At::Worker, At::Future, At::FutureDropped, At::Classify, At::Listener, At::SecondListener] {
        for same_run in [true, false] {
            let budget = Budget::ratio(Ratio::ZERO).reserve(10);
            let mut queue = doubling();
            let handle = queue.handle();
            let _ = handle.schedule("k", 1, Duration::ZERO);
            let start = Instant::now();
            let (starts, spent) = (Mutex::new(Vec::new()), Mutex::new(false));
            let panic_at = |here: At| {
                if at == here && !std::mem::replace(&mut *spent.lock().unwrap(), true) {
                    panic!("{here:?}");
                }
            };
            macro_rules! run {
                () => {
                    queue
                        .run(|job: Job<&'static str, u32>| {
                            starts.lock().unwrap().push((job.attempt.number(), start.elapsed()));
                            panic_at(At::Worker);
                            let on_drop = OnDrop(|| panic_at(At::FutureDropped));
                            let panic_at = &panic_at;
                            async move {
                                let _on_drop = on_drop;
                                panic_at(At::Future);
                                Err::<(), _>("no")
                            }
                        })
                        .budget(&budget)
                        .when(|_| {
                            panic_at(At::Classify);
                            true
                        })
                        .notify(|outcome| {
                            if let ItemEvent::Failed { .. } = outcome {
                                panic_at(At::Listener)
                            }
                        })
                        .notify(|outcome| {
                            if let ItemEvent::Failed { .. } = outcome {
                                panic_at(At::SecondListener)
                            }
                        })
                        .into_future()
                };
            }
            let mut working = task::spawn(run!());
            panics(&mut working);
            assert_eq!(budget.available(), 9, "{at:?}");
            let again = KeyStatus::Scheduled { due: start + 10 * MS, attempts: 1 };
            assert_eq!(handle.get(&"k"), Some(again), "{at:?}");
            if same_run {
                thirty_milliseconds(working).await;
            } else {
                drop(working);
                thirty_milliseconds(task::spawn(run!())).await;
            }
            let want = [(1, 0 * MS), (2, 10 * MS), (3, 30 * MS)];
            assert_eq!(*starts.lock().unwrap(), want, "{at:?}");
            let _ = handle.cancel_all();
            assert!(budget.available() >= 8, "a retry that was never made is lost: {at:?}");
        }
    }
}

async fn thirty_milliseconds<F: Future>(mut working: Spawn<F>) {
    for _ in 0..3 {
        assert!(working.poll().is_pending());
        advance(10 * MS).await;
    }
    assert!(working.poll().is_pending());
}

struct OnDrop<F: FnMut()>(F);
impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            (self.0)();
        }
    }
}

/// A future that panics when it is dropped.
struct Brittle(Option<Result<(), &'static str>>);
impl Future for Brittle {
    type Output = Result<(), &'static str>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.map_or(Poll::Pending, Poll::Ready)
    }
}
impl Drop for Brittle {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "brittle");
    }
}

/// What was done is done, what failed has failed, and the key is free, although the future panics when it is dropped.
#[tokio::test(start_paused = true)]
async fn a_future_that_panics_when_it_is_dropped() {
    for result in [Some(Ok(())), Some(Err("no")), None] {
        let mut queue = doubling().attempt_timeout(S).max_attempts(2);
        let handle = queue.handle();
        let _ = handle.schedule("k", 1, Duration::ZERO);
        let mut working = task::spawn(queue.run(|_| Brittle(result)).into_future());
        if result.is_none() {
            assert_pending!(working.poll());
            advance(S).await;
        }
        panics(&mut working);
        assert_eq!(handle.running(), 0);
        match result {
            Some(Ok(())) => assert_eq!(handle.get(&"k"), None),
            _ => assert!(matches!(handle.get(&"k"), Some(KeyStatus::Scheduled { attempts: 1, .. }))),
        }
        drop(handle);
        advance(10 * MS).await;
        match result {
            Some(Ok(())) => assert!(working.poll().is_ready()),
            Some(Err(_)) => {
                panics(&mut working);
                let Poll::Ready(finished) = working.poll() else { panic!("nothing is left") };
                assert_eq!(finished.given_up[0].error.last_error(), Some(&"no"));
            }
            None => assert_pending!(working.poll()),
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(working)));
        let left = queue.take_given_up();
        assert_eq!(left.len(), usize::from(result.is_none()));
    }
}

/// Several futures that panic when the run is dropped: all are dropped, one panic comes out, all items come back.
#[tokio::test(start_paused = true)]
async fn many_panics_in_one_drop() {
    let mut queue = doubling();
    let handle = queue.handle();
    for key in ["a", "b", "c"] {
        let _ = handle.schedule(key, 1, Duration::ZERO);
    }
    let mut working = task::spawn(queue.run(|_| Brittle(None)).concurrency(3).unwrap().into_future());
    assert_pending!(working.poll());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(working))).is_err());
    assert_eq!((handle.len(), handle.running()), (3, 0));
}

/// Items that a run had given up come back when it is dropped, for whatever reason, and each once.
#[tokio::test(start_paused = true)]
async fn what_a_dropped_run_had_given_up_comes_back() {
    let mut queue = doubling().max_attempts(1);
    let handle = queue.handle();
    let worker = |job: Job<&'static str, u32>| async move {
        assert_ne!(job.key, "panics");
        if job.key == "bad" { Err(String::from("disk full")) } else { Ok(()) }
    };
    let _ = handle.schedule("bad", 1, Duration::ZERO);
    let _ = handle.schedule("later", 2, 3600 * S);
    assert!(timeout(S, queue.run(worker).into_future()).await.is_err());
    let back = queue.take_given_up();
    assert_eq!((back.len(), back[0].key, back[0].value, handle.len()), (1, "bad", 1, 1));
    assert!(back[0].error.to_string().ends_with("disk full"), "{}", back[0].error);
    assert!(queue.take_given_up().is_empty());

    let _ = handle.schedule("bad", 1, Duration::ZERO);
    let _ = handle.schedule("panics", 2, Duration::ZERO);
    let mut working = task::spawn(queue.run(worker).into_future());
    panics(&mut working);
    drop(working);
    let mut keys: Vec<_> = queue.take_given_up().into_iter().map(|back| back.key).collect();
    keys.sort_unstable();
    assert_eq!((keys, handle.len()), (vec!["bad", "panics"], 1));

    // With the queue gone as well, a handle has them.
    let _ = handle.schedule("bad", 3, Duration::ZERO);
    let task = tokio::spawn(async move { queue.run(worker).await });
    tokio::task::yield_now().await;
    task.abort();
    assert!(task.await.is_err());
    let back = handle.take_given_up();
    assert_eq!((back.len(), back[0].value, handle.cancel_all().len()), (1, 3, 1));
}

/// A listener that panics over an item that is given up has not lost it.
#[tokio::test(start_paused = true)]
async fn a_listener_panics_over_what_is_given_up() {
    let mut queue = doubling().max_attempts(1);
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let work = queue.run(|_| async { Err::<(), _>("no") });
    let work = work.notify(|outcome| assert!(!matches!(outcome, ItemEvent::GaveUp(_)), "listener"));
    let mut working = task::spawn(work.into_future());
    panics(&mut working);
    let Poll::Ready(finished) = working.poll() else { panic!("nothing is left") };
    assert_eq!(finished.given_up[0].value, 1);
}

/// A classification panics: the error that it looked at is not lost.
#[tokio::test(start_paused = true)]
async fn a_classification_panics_over_the_last_error() {
    let mut queue = doubling().max_attempts(1);
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let work = queue.run(|_| async { Err::<(), _>("disk full") });
    let mut working = task::spawn(work.when(|_| -> bool { panic!("classify") }).into_future());
    panics(&mut working);
    drop(working);
    let back = queue.take_given_up();
    assert_eq!((back.len(), back[0].error.stop()), (1, &Stop::Attempts));
    assert!(back[0].error.to_string().ends_with("last attempt: disk full"), "{}", back[0].error);
}

/// The queue goes first: a guard that fails then gives its value back, and one that is dropped leaves it to a handle.
#[tokio::test(start_paused = true)]
async fn guards_that_outlive_their_queue() {
    for last_handle in [true, false] {
        let mut queue = doubling();
        let handle = queue.handle();
        for key in ["a", "b", "c", "d"] {
            let _ = handle.schedule(key, 1, Duration::ZERO);
        }
        let [a, b, c, d] = std::array::from_fn(|_| {
            let Poll::Ready(Some(due)) = task::spawn(queue.next()).poll() else { panic!("all are due") };
            due
        });
        let _ = handle.schedule("b", 2, Duration::ZERO);
        drop(queue);
        let other = (!last_handle).then(|| handle.clone());
        drop(handle);
        let AfterFailure::GaveUp(back) = a.fail("disk full") else { panic!() };
        assert_eq!((back.key, back.value, back.error.stop()), ("a", 1, &Stop::Cancelled));
        assert_eq!(back.error.last_error(), Some(&"disk full"));
        let AfterFailure::Superseded(back) = b.fail("disk full") else { panic!() };
        assert_eq!((back.key, back.value), ("b", 1));
        let AfterFailure::GaveUp(back) = c.retry_after(S) else { panic!() };
        assert_eq!((back.key, back.value), ("c", 1));
        drop(d);
        if let Some(handle) = other {
            let left: Vec<_> = handle.cancel_all().into_iter().map(|(key, value, _)| (key, value)).collect();
            assert_eq!(left, [("b", 2), ("d", 1)]);
        }
    }
}

/// Closed, it takes nothing more; what it holds runs, tries included, and then it ends.
#[tokio::test(start_paused = true)]
async fn closed_and_counted() {
    let mut queue = doubling();
    let handle = queue.handle();
    for (key, due) in [("a", 0), ("b", 0), ("c", 5)] {
        let _ = handle.schedule(key, 1, due * MS);
    }
    assert_eq!((handle.due(), handle.len(), handle.running()), (2, 3, 0));
    queue.close();
    assert!(matches!(handle.schedule("d", 4, Duration::ZERO), relent::queue::Scheduled::Closed { value: 4 }));
    let due = queue.next().await.unwrap();
    assert_eq!((handle.due(), handle.running()), (1, 1));
    let _ = due.fail("no");
    advance(10 * MS).await;
    assert_eq!(handle.due(), 3);
    let finished = queue.run(|_| async { Ok::<_, ()>(()) }).await;
    assert!(finished.given_up.is_empty() && handle.is_empty());
    assert_eq!(handle.due(), 0);
}

/// A listener hears of an attempt that was cut, and cancels: nothing starts after that, not even in the same poll.
#[tokio::test(start_paused = true)]
async fn nothing_starts_once_the_listener_of_a_cut_attempt_has_cancelled() {
    let ms = Duration::from_millis;
    let token = tokio_util::sync::CancellationToken::new();
    let mut queue = TimedQueue::new().backoff(Backoff::fixed(ms(10))).attempt_timeout(ms(5));
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, ms(0));
    let _ = handle.schedule("b", 2, ms(0));
    let started = std::cell::RefCell::new(Vec::new());
    let finished = queue
        .run(|job: Job<&str, i32>| {
            started.borrow_mut().push(job.key);
            std::future::pending::<Result<(), &str>>()
        })
        .notify(|_| token.cancel())
        .cancel_on(token.clone())
        .await;
    assert_eq!(*started.borrow(), ["a"]);
    assert_eq!(finished.waiting.len(), 2);
}

/// A waker that panics, of what waits for the queue to be idle, does not lose the item that its call was to hand back.
#[tokio::test(start_paused = true)]
async fn a_waker_panics_over_what_is_given_up() {
    struct Evil;
    impl std::task::Wake for Evil {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("in a waker")
        }
    }
    let evil = std::sync::Arc::new(Evil).into();
    for how in 0..6 {
        let mut queue = TimedQueue::new().backoff(Backoff::fixed(S)).max_attempts(if how == 3 { 9 } else { 1 });
        queue = if how == 4 { queue.max_attempts(0) } else { queue };
        let handle = queue.handle();
        let _ = handle.schedule("a", 7, Duration::ZERO);
        let mut idle = std::pin::pin!(handle.idle());
        assert_pending!(idle.as_mut().poll(&mut Context::from_waker(&evil)));
        let due = if how < 4 { Some(queue.next().await.unwrap()) } else { None };
        let panicked = catch_unwind(AssertUnwindSafe(|| match (how, due) {
            (0, Some(due)) => _ = due.fail("no"),
            (1, Some(due)) => _ = due.retry_after(S),
            (2, due) => drop(due),
            (3, due) => {
                let _ = handle.cancel(&"a");
                drop(due);
            }
            _ => _ = task::spawn(queue.run(async |_| Err::<(), _>("no")).into_future()).poll(),
        }));
        assert!(panicked.is_err(), "{how}");
        let values: Vec<_> = queue.take_given_up().into_iter().map(|given_up| given_up.value).collect();
        assert_eq!((values, handle.len()), (vec![7], 0), "{how}");
    }
}
