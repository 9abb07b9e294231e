//! Due guards: the stream side of the queue.

use std::time::Duration;

use relent::{
    Backoff, Jitter, Last, Policy, Stop, TimedQueue,
    error::CutBy,
    queue::{AfterFailure, Cancelled, Due, KeyStatus, Scheduled},
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};

const MS: Duration = Duration::from_millis(1);

pub(super) fn queue() -> TimedQueue<&'static str, u32> {
    TimedQueue::new().backoff(Backoff::fixed(10 * MS).jitter(Jitter::None)).max_attempts(3)
}

pub(super) async fn next(queue: &mut TimedQueue<&'static str, u32>) -> Due<&'static str, u32> {
    queue.next().await.expect("something comes")
}

#[tokio::test(start_paused = true)]
async fn equal_and_close_due_times_keep_their_order() {
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let at = Instant::now() + 50 * MS;
    let nanos = |n: u64| at + Duration::from_nanos(n);
    let dues = [nanos(0), nanos(0), nanos(700_000), nanos(1), nanos(700_000), nanos(0), nanos(2), nanos(1)];
    for (key, due) in dues.into_iter().enumerate() {
        assert_eq!(handle.schedule(key, (), due), Scheduled::New);
    }
    drop(handle);
    let mut order = Vec::new();
    while let Some(due) = queue.next().await {
        assert_eq!(due.due(), dues[*due.key()]);
        assert!(Instant::now() >= due.due(), "early");
        assert!(Instant::now() < due.due() + MS, "late");
        order.push(*due.key());
        due.done();
    }
    assert_eq!(order, [0, 1, 5, 3, 7, 6, 2, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_past_is_due_at_once_in_its_order() {
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let now = Instant::now();
    for (key, ago) in [(1, 5), (2, 3_600_000), (3, 0), (4, 5)] {
        let _ = handle.schedule(key, (), now - ago * MS);
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        let due = queue.next().await.unwrap();
        order.push(*due.key());
        due.done();
    }
    assert_eq!(order, [2, 1, 4, 3]);
    assert_eq!(Instant::now(), now, "nothing was waited for");
}

#[tokio::test(start_paused = true)]
async fn any_distance() {
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let start = Instant::now();
    let years = |years: u64| Duration::from_secs(years * 31_556_952);
    for (key, after) in [(1, years(3)), (2, years(100)), (3, Duration::MAX), (4, years(1)), (5, Duration::ZERO)] {
        assert_eq!(handle.schedule(key, (), after), Scheduled::New);
    }
    for (key, after) in [(5, Duration::ZERO), (4, years(1)), (1, years(3))] {
        let due = queue.next().await.unwrap();
        assert_eq!(*due.key(), key);
        due.done();
        assert_eq!(start.elapsed(), after);
    }
    assert_pending!(task::spawn(queue.next()).poll());
    assert!(matches!(handle.get(&3), Some(KeyStatus::Scheduled { due, .. }) if due > start + years(200)));
}

/// The runtime stands still over several due times: all come late, in order, each once.
#[tokio::test(start_paused = true)]
async fn late_but_in_order_and_once() {
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    for key in [30, 10, 20, 5000, 11] {
        let _ = handle.schedule(key, (), key * MS);
    }
    assert_pending!(task::spawn(queue.next()).poll());
    advance(1000 * MS).await;
    for want in [10, 11, 20, 30] {
        let mut next = task::spawn(queue.next());
        let std::task::Poll::Ready(Some(due)) = next.poll() else { panic!("{want} is due") };
        assert_eq!(*due.key(), want);
        due.done();
    }
    assert_pending!(task::spawn(queue.next()).poll());
    assert_eq!(handle.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_entry_wakes_the_consumer() {
    let mut queue = queue();
    let handle = queue.handle();
    let start = Instant::now();
    let _ = handle.schedule("late", 1, 10_000 * MS);
    let consumer = tokio::spawn(async move { *queue.next().await.unwrap().key() });
    sleep(5 * MS).await;
    let _ = handle.schedule("early", 2, 20 * MS);
    assert_eq!(consumer.await.unwrap(), "early");
    assert_eq!(start.elapsed(), 25 * MS);
}

#[tokio::test(start_paused = true)]
async fn while_it_runs_changes_are_kept_and_applied_after() {
    let mut queue = queue();
    let handle = queue.handle();
    let start = Instant::now();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let run = next(&mut queue).await;
    assert_eq!(handle.get(&"a"), Some(KeyStatus::Running));
    assert_eq!(handle.schedule("a", 2, 5 * MS), Scheduled::AfterCurrentRun { replaced: None });
    assert!(matches!(handle.schedule("a", 3, MS), Scheduled::Kept { value: 3, .. }));
    assert!(matches!(handle.bring_forward("a", 4, 6 * MS), Scheduled::Kept { value: 4, .. }));
    let replaced = Some((start + 5 * MS, 2));
    assert_eq!(handle.bring_forward("a", 5, 4 * MS), Scheduled::AfterCurrentRun { replaced });
    let replaced = Some((start + 4 * MS, 5));
    assert_eq!(handle.reschedule("a", 6, 7 * MS), Scheduled::AfterCurrentRun { replaced });
    assert!(matches!(handle.get(&"a"), Some(KeyStatus::RunningWithNext { due, .. }) if due == start + 7 * MS));
    assert_eq!(handle.len(), 1);
    // Its time comes, but the key still runs.
    let mut waiting = task::spawn(queue.next());
    assert_pending!(waiting.poll());
    advance(20 * MS).await;
    assert_pending!(waiting.poll());
    assert_eq!(run.done(), 1);
    assert!(waiting.is_woken(), "the end of a run wakes the waiter for the next");
    drop(waiting);
    let run = next(&mut queue).await;
    assert_eq!((*run.value(), run.due()), (6, start + 7 * MS));
    assert_eq!(run.attempt().number(), 1);
    assert_eq!(run.done(), 6);
    assert_eq!(handle.get(&"a"), None);
}

#[tokio::test(start_paused = true)]
async fn cancel_while_it_runs_stops_what_follows() {
    let mut queue = queue();
    let handle = queue.handle();
    let start = Instant::now();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let run = next(&mut queue).await;
    assert_eq!(handle.cancel(&"a"), Cancelled::Running { next: None });
    let _ = handle.schedule("a", 2, 5 * MS);
    assert_eq!(handle.cancel(&"a"), Cancelled::Running { next: Some((start + 5 * MS, 2)) });
    // A failure is not tried again: the key was cancelled.
    match run.fail("no") {
        AfterFailure::GaveUp(given_up) => {
            assert_eq!((given_up.key, given_up.value, given_up.error.stop()), ("a", 1, &Stop::Cancelled));
            assert_eq!(given_up.error.last_error(), Some(&"no"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(handle.cancel(&"a"), Cancelled::Absent);
    assert!(handle.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_policy_is_per_item_and_the_last_try_hands_the_item_back() {
    let mut queue = queue();
    let handle = queue.handle();
    let start = Instant::now();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let _ = handle.schedule("b", 2, 15 * MS);
    let mut attempts = Vec::new();
    let given_up = loop {
        let run = next(&mut queue).await;
        attempts.push((*run.key(), run.attempt().number(), start.elapsed()));
        if *run.key() == "b" {
            run.done();
            continue;
        }
        match run.fail(attempts.len()) {
            AfterFailure::Again { due, .. } => assert_eq!(due, Instant::now() + 10 * MS),
            AfterFailure::GaveUp(given_up) => break given_up,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(attempts, [("a", 1, 0 * MS), ("a", 2, 10 * MS), ("b", 1, 15 * MS), ("a", 3, 20 * MS)]);
    assert_eq!((given_up.key, given_up.value), ("a", 1));
    assert_eq!(given_up.error.stop(), &Stop::Attempts);
    assert_eq!(given_up.error.last(), Last::Failed(&4));
    assert_eq!(given_up.error.attempts(), 3);
    assert_eq!(given_up.error.elapsed(), 20 * MS);
    assert!(handle.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_goes_back_by_the_policy_and_is_never_lost() {
    let mut queue = queue();
    let handle = queue.handle();
    let start = Instant::now();
    let _ = handle.schedule("a", 7, Duration::ZERO);
    let run = next(&mut queue).await;
    let AfterFailure::Again { .. } = run.fail(std::io::Error::other("first")) else { panic!() };
    for attempt in 2..=3 {
        let run = next(&mut queue).await;
        assert_eq!(run.attempt().number(), attempt);
        sleep(MS).await;
        drop(run);
    }
    assert_eq!(start.elapsed(), (10 + 1 + 10 + 1) * MS);
    assert!(handle.is_empty());
    let given_up = queue.take_given_up().pop().unwrap();
    assert_eq!((given_up.key, given_up.value, given_up.error.stop()), ("a", 7, &Stop::Attempts));
    assert!(matches!(given_up.error.last(), Last::Cut { after, by: CutBy::Cancelled, .. } if after == MS));
    assert!(queue.take_given_up().is_empty());
}

#[tokio::test(start_paused = true)]
async fn retry_after_waits_as_told_within_the_policy() {
    let policy = Policy::new().backoff(Backoff::fixed(MS).jitter(Jitter::None)).start_within(100 * MS);
    let mut queue = TimedQueue::new().policy(&policy);
    let handle = queue.handle();
    let _ = handle.schedule("a", 0, Duration::ZERO);
    let start = Instant::now();
    let AfterFailure::Again { due, .. } = next(&mut queue).await.retry_after(70 * MS) else { panic!() };
    assert_eq!(due, start + 70 * MS);
    assert!(matches!(handle.get(&"a"), Some(KeyStatus::Scheduled { attempts: 1, .. })));
    let run = next(&mut queue).await;
    assert_eq!(run.attempt().elapsed(), 70 * MS);
    let AfterFailure::GaveUp(given_up) = run.retry_after(70 * MS) else { panic!() };
    assert_eq!(given_up.error.stop(), &Stop::StartWindow);
    assert!(matches!(given_up.error.last(), Last::NotReady));
}

#[tokio::test(start_paused = true)]
async fn changes_to_a_value_are_seen_by_the_next_attempt() {
    let mut queue = queue();
    let _handle = queue.handle().schedule("a", 1, Duration::ZERO);
    let handle = queue.handle();
    let mut run = next(&mut queue).await;
    *run.value_mut() += 1;
    drop(run);
    // A newer entry replaces the value, and is the next try; begun anew, it replaces the history as well.
    assert_eq!(*next(&mut queue).await.value(), 2);
    assert!(matches!(handle.reschedule("a", 9, Duration::ZERO), Scheduled::Moved { value: 2, .. }));
    let run = next(&mut queue).await;
    assert_eq!((*run.value(), run.attempt().number()), (9, 3));
    assert!(matches!(handle.begin_anew("a", 10, Duration::ZERO), Scheduled::AfterCurrentRun { replaced: None }));
    drop(run);
    let run = next(&mut queue).await;
    assert_eq!((*run.value(), run.attempt().number()), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn a_newer_entry_supersedes_the_next_try() {
    let mut queue = queue();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    let run = next(&mut queue).await;
    let _ = handle.schedule("a", 2, 500 * MS);
    let AfterFailure::Superseded(given_up) = run.fail("no") else { panic!() };
    assert_eq!((given_up.value, given_up.error.last_error()), (1, Some(&"no")));
    let start = Instant::now();
    assert_eq!(*next(&mut queue).await.value(), 2);
    assert_eq!(start.elapsed(), 500 * MS);
}

#[tokio::test(start_paused = true)]
async fn no_attempts_allowed_is_handed_back_without_one() {
    let mut queue = queue().max_attempts(0);
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, MS);
    drop(handle);
    assert!(queue.next().await.is_none());
    let given_up = queue.take_given_up().pop().unwrap();
    assert_eq!(given_up.error.stop(), &Stop::Attempts);
    assert!(matches!(given_up.error.last(), Last::NotStarted));
}
