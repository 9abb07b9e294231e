//! What comes back has the latest real error; nothing starts that may not.

use std::{sync::Mutex, time::Duration};

use relent::{
    Backoff, Budget, Decision, GaveUp, Jitter, Last, Limiter, Policy, Ratio, Stop, TimedQueue,
    error::{CutBy, Reason},
    queue::{AfterFailure, ErasedError, GivenUp, ItemEvent, Job},
};
use tokio::time::{advance, sleep, timeout};
use tokio_test::{assert_pending, task};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

type Queue = TimedQueue<&'static str, u32>;

fn queue() -> Queue {
    TimedQueue::new().backoff(Backoff::fixed(10 * MS).jitter(Jitter::None)).max_attempts(2)
}

fn full() -> String {
    String::from("disk full")
}

/// The first attempt fails with "disk full", the next never ends.
async fn full_then_stuck(job: Job<&'static str, u32>) -> Result<(), String> {
    if job.attempt.number() == 1 { Err(full()) } else { std::future::pending().await }
}

fn tells<K: 'static, E: Reason<K>>(error: &GaveUp<E>, stop: &Stop) {
    let sentence = error.sentence().to_string();
    assert_eq!(error.stop(), stop, "{sentence}");
    assert!(sentence.contains("disk full"), "{sentence}");
}

fn only<T>(mut all: Vec<T>) -> T {
    assert_eq!(all.len(), 1);
    all.pop().unwrap()
}

fn is_full(error: &GaveUp<ErasedError>) -> bool {
    error.last_error().and_then(|error| error.downcast_ref::<String>()).is_some_and(|text| text == "disk full")
}

#[tokio::test(start_paused = true)]
async fn of_a_run_that_is_dropped() {
    let mut queue = queue();
    let handle = queue.handle();
    let _ = handle.schedule("k", 1, Duration::ZERO);
    assert!(timeout(S, queue.run(full_then_stuck).into_future()).await.is_err());
    let back = only(queue.take_given_up());
    tells(&back.error, &Stop::Attempts);
    assert!(is_full(&back.error) && matches!(back.error.last(), Last::Cut { by: CutBy::Cancelled, .. }));
    let back = back.downcast::<u32>().unwrap_err().downcast::<String>().unwrap();
    assert_eq!((back.key, back.value, back.error.into_error()), ("k", 1, Some(full())));
    assert!(handle.is_empty());
}

/// `fail`, and then everything that says nothing.
#[tokio::test(start_paused = true)]
async fn of_guards() {
    let mut queue = queue();
    let handle = queue.handle();
    for way in 0..3 {
        let _ = handle.schedule("k", 1, Duration::ZERO);
        let AfterFailure::Again { .. } = queue.next().await.unwrap().fail(full()) else { panic!() };
        let due = queue.next().await.unwrap();
        let (back, stop) = match way {
            0 => {
                let AfterFailure::GaveUp(back) = due.retry_after(S) else { panic!() };
                (back, Stop::Attempts)
            }
            1 => {
                drop(due);
                (only(queue.take_given_up()), Stop::Attempts)
            }
            _ => {
                let _ = handle.cancel(&"k");
                drop(due);
                (only(queue.take_given_up()), Stop::Attempts)
            }
        };
        tells(&back.error, &stop);
        assert!(is_full(&back.error));
    }
}

/// A key that is cancelled, or given anew, while its guard is out: a guard that is dropped gives the value back.
#[tokio::test(start_paused = true)]
async fn of_guards_that_are_dropped_for_nothing() {
    for anew in [false, true] {
        let mut queue = queue().max_attempts(9);
        let handle = queue.handle();
        let _ = handle.schedule("k", 1, Duration::ZERO);
        let _ = queue.next().await.unwrap().fail(full());
        let due = queue.next().await.unwrap();
        if anew {
            let _ = handle.schedule("k", 2, Duration::ZERO);
        } else {
            let _ = handle.cancel(&"k");
        }
        drop(due);
        let back = only(queue.take_given_up());
        assert_eq!((back.value, back.superseded, handle.len()), (1, anew, usize::from(anew)));
        tells(&back.error, &Stop::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_attempt_that_is_cut() {
    for (queue, by) in
        [(queue().attempt_timeout(S), CutBy::AttemptTimeout), (queue().finish_within(S), CutBy::Deadline)]
    {
        let mut queue = queue;
        let _ = queue.handle().schedule("k", 1, Duration::ZERO);
        let back = only(queue.run(full_then_stuck).await.given_up);
        tells(&back.error, if by == CutBy::Deadline { &Stop::Deadline } else { &Stop::Attempts });
        assert!(matches!(back.error.last(), Last::Cut { by: cut, .. } if cut == by));
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_a_limiter_or_a_budget_refuses() {
    let limiter = Limiter::per_second(1);
    let mut queue = queue().start_within(50 * MS);
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let back = only(queue.run(|_| async { Err::<(), _>(full()) }).throttle(&limiter).await.given_up);
    assert!(matches!(back.error.stop(), Stop::Limiter { .. }));
    assert!(back.error.sentence().to_string().contains("disk full"));

    // Two budgets are both asked, and the one that would allow it loses nothing.
    let (rich, poor) = (Budget::ratio(Ratio::ZERO).reserve(5), Budget::ratio(Ratio::ZERO).reserve(0));
    let mut queue = self::queue();
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let work = queue.run(|_| async { Err::<(), _>(full()) });
    tells(&only(work.budget(&rich).budget(&poor).await.given_up).error, &Stop::Budget);
    assert_eq!(rich.available(), 5);
}

/// What waits for another try when the run is told to stop: the error is beside it.
#[tokio::test(start_paused = true)]
async fn of_what_waits_when_the_run_is_cancelled() {
    for tokens in [1, 2] {
        let mut queue = queue();
        let handle = queue.handle();
        let _ = handle.schedule("k", 1, Duration::ZERO);
        let _ = handle.schedule("new", 2, 60 * S);
        let (token, other) = (CancellationToken::new(), CancellationToken::new());
        let mut work = queue.run(|_| async {
            sleep(5 * MS).await;
            Err::<(), _>(full())
        });
        if tokens == 2 {
            work = work.cancel_on(other);
        }
        let mut working = task::spawn(work.cancel_on(token.clone()).cancel_when(std::future::pending()).into_future());
        assert_pending!(working.poll());
        token.cancel();
        assert_pending!(working.poll(), "what runs ends");
        advance(5 * MS).await;
        let std::task::Poll::Ready(finished) = working.poll() else { panic!("nothing runs") };
        assert_eq!(finished.waiting.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), ["k", "new"]);
        let (key, error) = only(finished.tried);
        assert_eq!(key, "k");
        tells(&error, &Stop::Cancelled);
    }
}

/// An error of another type than this run's is not forced into it: the item is where all types are.
#[tokio::test(start_paused = true)]
async fn of_another_type() {
    let mut queue = queue();
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let _ = queue.next().await.unwrap().fail(full());
    let run = queue.run(|_| async {
        std::future::pending::<()>().await;
        Err::<(), _>(7_u32)
    });
    assert!(timeout(S, run.into_future()).await.is_err());
    tells(&only(queue.take_given_up()).error, &Stop::Attempts);

    let mut queue = self::queue().attempt_timeout(S);
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let _ = queue.next().await.unwrap().fail(full());
    let finished = queue.run(|_| std::future::pending::<Result<(), u32>>()).await;
    assert!(finished.given_up.is_empty());
    tells(&only(queue.take_given_up()).error, &Stop::Attempts);
}

/// The first attempt of a queue that allows none has no error, of whatever type.
#[tokio::test(start_paused = true)]
async fn of_nothing() {
    let mut queue = queue().max_attempts(0);
    let _ = queue.handle().schedule("k", 1, Duration::ZERO);
    let back = only(queue.run(|_| async { Err::<(), _>(full()) }).await.given_up);
    assert_eq!((back.error.last(), back.error.last_error()), (Last::NotStarted, None));
}

/// A value that something newer replaced comes back with what its last attempt did, with and without a listener.
#[tokio::test(start_paused = true)]
async fn of_what_is_superseded() {
    for listens in [false, true] {
        let (heard, mut queue) = (Mutex::new(Vec::new()), queue());
        let handle = Mutex::new(Some(queue.handle()));
        let _ = handle.lock().unwrap().as_ref().unwrap().schedule("k", 1, Duration::ZERO);
        let mut work = queue.run(|job| {
            if let (1, Some(handle)) = (job.value, handle.lock().unwrap().take()) {
                let _ = handle.schedule("k", 2, Duration::ZERO);
            }
            async move { if job.value == 1 { Err(full()) } else { Ok(()) } }
        });
        if listens {
            work = work.notify(|outcome| {
                if let ItemEvent::Superseded(back) = outcome {
                    heard.lock().unwrap().push(back.value);
                }
            });
        }
        let back: GivenUp<_, _, String> = only(work.await.given_up);
        assert_eq!((back.value, back.superseded), (1, true));
        tells(&back.error, &Stop::Cancelled);
        assert_eq!(heard.into_inner().unwrap(), if listens { vec![1] } else { vec![] });
    }
}

/// Nothing starts at an item's hard bound or later, however late the timer is.
#[tokio::test(start_paused = true)]
async fn nothing_starts_at_the_hard_bound() {
    for stall in [9 * S + 999 * MS, 10 * S, 100 * S] {
        let policy = Policy::new().backoff(Backoff::fixed(9 * S).jitter(Jitter::None)).finish_within(10 * S);
        let mut queue = TimedQueue::new().policy(&policy);
        let _ = queue.handle().schedule("k", 1, Duration::ZERO);
        let starts = Mutex::new(0);
        let run = queue.run(|job: Job<&'static str, u32>| {
            *starts.lock().unwrap() += 1;
            async move { if job.attempt.number() == 1 { Err(full()) } else { Ok(()) } }
        });
        let mut working = task::spawn(run.into_future());
        assert_pending!(working.poll());
        advance(stall).await;
        let std::task::Poll::Ready(finished) = working.poll() else { panic!() };
        if stall < 10 * S {
            assert!(finished.given_up.is_empty());
            assert_eq!(*starts.lock().unwrap(), 2);
            continue;
        }
        let back = only(finished.given_up);
        tells(&back.error, &Stop::Deadline);
        assert_eq!((back.error.attempts(), back.error.elapsed()), (1, stall));
        assert_eq!(*starts.lock().unwrap(), 1);
    }
}

/// The same for guards, and for a permit that comes late: it goes back.
#[tokio::test(start_paused = true)]
async fn nor_as_a_guard_nor_with_a_late_permit() {
    let policy = Policy::new().backoff(Backoff::fixed(MS).jitter(Jitter::None)).finish_within(10 * S);
    let mut queue = TimedQueue::new().policy(&policy);
    let handle = queue.handle();
    let _ = handle.schedule("k", 1, Duration::ZERO);
    let _ = queue.next().await.unwrap().fail(full());
    advance(100 * S).await;
    assert_pending!(task::spawn(queue.next()).poll());
    tells(&only(queue.take_given_up()).error, &Stop::Deadline);

    let limiter = Limiter::new(relent::Rate::new(1, 5 * S).unwrap(), 1);
    let _ = handle.schedule("k", 1, Duration::ZERO);
    drop(handle);
    let mut working = task::spawn(queue.run(|_| async { Err::<(), _>(full()) }).throttle(&limiter).into_future());
    assert_pending!(working.poll());
    advance(MS).await;
    assert_pending!(working.poll(), "it waits for its permit");
    advance(100 * S).await;
    let std::task::Poll::Ready(finished) = working.poll() else { panic!() };
    let back = only(finished.given_up);
    tells(&back.error, &Stop::Deadline);
    assert_eq!(back.error.attempts(), 1);
    assert_eq!((limiter.available(), limiter.waiters()), (1, 0));
}

/// A call that must not run twice does not, in whatever way its attempt was dropped.
#[tokio::test(start_paused = true)]
async fn what_must_not_run_twice_does_not() {
    let policy = Policy::new().on_cut(Decision::Fatal).attempt_timeout(100 * S).backoff(Backoff::fixed(MS));
    let mut queue = TimedQueue::new().policy(&policy);
    let handle = queue.handle();
    let starts = Mutex::new(0);
    let stuck = |_: Job<&'static str, u32>| {
        *starts.lock().unwrap() += 1;
        std::future::pending::<Result<(), String>>()
    };
    let given_up = |queue: &Queue, starts: u32| {
        let back = only(queue.take_given_up());
        assert_eq!((back.error.stop(), back.error.attempts()), (&Stop::Fatal, starts));
    };
    let _ = handle.schedule("k", 1, Duration::ZERO);
    for _ in 0..3 {
        assert!(timeout(S, queue.run(stuck).into_future()).await.is_err());
    }
    assert_eq!(*starts.lock().unwrap(), 1);
    given_up(&queue, 1);

    // Another worker's future panics, and the run is dropped for it.
    let _ = handle.schedule("k", 1, Duration::ZERO);
    let _ = handle.schedule("panics", 1, MS);
    let run = queue.run(|job| async move {
        assert_ne!(job.key, "panics");
        std::future::pending::<Result<(), String>>().await
    });
    let mut working = task::spawn(run.concurrency(2).unwrap().into_future());
    assert_pending!(working.poll());
    advance(MS).await;
    let poll = std::panic::AssertUnwindSafe(|| working.poll());
    assert!(std::panic::catch_unwind(poll).is_err());
    drop(working);
    assert!(handle.is_empty());
    assert_eq!(queue.take_given_up().len(), 2);

    // A guard is dropped, after an error of its own.
    let _ = handle.schedule("k", 1, Duration::ZERO);
    let _ = queue.next().await.unwrap().fail(full());
    drop(queue.next().await.unwrap());
    let back = only(queue.take_given_up());
    tells(&back.error, &Stop::Fatal);
}
