//! A queue's part in a budget.

use std::future::ready;

use relent::{
    Budget, Ratio, Stop,
    queue::{Cancelled, Job, Scheduled},
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};

use super::shares::{MS, Starts, queue, schedule};

#[tokio::test(start_paused = true)]
async fn a_spent_budget_ends_the_item_and_hands_it_back() {
    let budget = Budget::ratio(Ratio::ZERO).reserve(3);
    let mut queue = queue();
    let handle = queue.handle();
    (1..=3).for_each(|key| schedule(&handle, key, key));
    drop(handle);
    let (starts, begin) = (Starts::default(), Instant::now());
    let work = queue.run(|job: Job<u32, u32>| {
        starts.note(job.key, begin);
        async move { Err::<(), _>(job.key) }
    });
    let finished = work.budget(&budget).await;
    // Three retries: the first of each. There is none left for the second ones.
    assert_eq!(starts.all(), [(1, 1), (2, 2), (3, 3), (1, 11), (2, 12), (3, 13)]);
    let back: Vec<_> = finished.given_up.iter().map(|back| (back.key, back.value, back.error.attempts())).collect();
    assert_eq!(back, [(1, 1, 2), (2, 2, 2), (3, 3, 2)]);
    for back in &finished.given_up {
        assert_eq!((back.error.stop(), back.error.last_error()), (&Stop::Budget, Some(&back.key)));
    }
    assert_eq!(budget.available(), 0);
}

/// A retry that is allowed and not made goes back: cancelled or replaced while it runs, or while it waits for the
/// retry.
#[tokio::test(start_paused = true)]
async fn retries_that_are_not_made_go_back() {
    let budget = Budget::ratio(Ratio::ZERO).reserve(4);
    let mut queue = queue();
    let handle = queue.handle();
    (1..=6).for_each(|key| schedule(&handle, key, 0));
    let work = queue.run(|job: Job<u32, u32>| async move {
        if job.value > 100 {
            return Ok(());
        }
        sleep(MS).await;
        Err("no")
    });
    let mut working = task::spawn(work.concurrency(6).unwrap().budget(&budget).into_future());
    assert_pending!(working.poll());
    assert_eq!(handle.running(), 6);
    // These two ask for a retry when they end, and what came meanwhile makes it needless.
    assert_eq!(handle.cancel(&1), Cancelled::Running { next: None });
    assert_eq!(handle.begin_anew(2, 200, 5 * MS), Scheduled::AfterCurrentRun { replaced: None });
    // This one makes the retry with a newer value.
    assert_eq!(handle.schedule(3, 300, 5 * MS), Scheduled::AfterCurrentRun { replaced: None });
    advance(MS).await;
    assert_pending!(working.poll());
    assert_eq!((budget.available(), handle.len()), (0, 5), "the last four wait for their retries");
    assert!(matches!(handle.cancel(&4), Cancelled::Removed { value: 4, .. }));
    assert_eq!(budget.available(), 1);
    assert!(matches!(handle.begin_anew(5, 500, 5 * MS), Scheduled::Moved { value: 5, .. }));
    assert_eq!(budget.available(), 2);
    assert!(matches!(handle.reschedule(6, 600, 5 * MS), Scheduled::Moved { value: 6, .. }));
    assert_eq!(budget.available(), 2);
    advance(10 * MS).await;
    assert_pending!(working.poll());
    assert!(handle.is_empty());
    assert_eq!(budget.available(), 2, "two retries were made");
}

/// By share of work in flight: an item counts from its first start to its end, also while it waits for a retry.
#[tokio::test(start_paused = true)]
async fn an_item_is_in_flight_until_it_ends() {
    let budget = Budget::in_flight(Ratio::percent(50)).reserve(0);
    let mut queue = queue();
    let handle = queue.handle();
    (1..=4).for_each(|key| schedule(&handle, key, 0));
    let work = queue.run(|_| async {
        sleep(MS).await;
        Err::<(), _>("no")
    });
    let mut working = task::spawn(work.concurrency(4).unwrap().budget(&budget).into_future());
    assert_eq!(budget.available(), 0);
    assert_pending!(working.poll());
    assert_eq!(budget.available(), 2, "half of four");
    advance(MS).await;
    assert_pending!(working.poll());
    // The first two may retry, and count on; the others ended.
    assert_eq!(handle.len(), 2);
    drop(working);
    assert_eq!(handle.cancel_all().len(), 2);
    let mut run = budget.begin();
    assert!(!run.may_retry(), "nothing else is in flight");
}

/// A queue that is dropped runs nothing any more: the retries that its items were allowed go back, and no item is in
/// flight, although a handle may still have them back.
#[tokio::test(start_paused = true)]
async fn a_dropped_queue_gives_its_retries_back() {
    for in_flight in [false, true] {
        let budget = if in_flight { Budget::in_flight(Ratio::percent(50)) } else { Budget::ratio(Ratio::ZERO) };
        let budget = budget.reserve(if in_flight { 2 } else { 4 });
        let mut queue = queue();
        let handle = queue.handle();
        (1..=2).for_each(|key| schedule(&handle, key, 0));
        let work = queue.run(|_| ready(Err::<(), _>("busy")));
        let mut working = task::spawn(work.budget(&budget).into_future());
        assert_pending!(working.poll());
        drop(working);
        assert_eq!(
            (budget.available(), handle.len()),
            (if in_flight { 0 } else { 2 }, 2),
            "both wait for their retries"
        );
        // Another try at the first has begun, and outlives the queue: the next one that it is allowed is in vain.
        let due = queue.next().await.unwrap();
        assert_eq!(due.attempt().number(), 2);
        drop(queue);
        if !in_flight {
            assert_eq!(budget.available(), 3, "one was made");
        }
        drop(due);
        if in_flight {
            let mut run = budget.begin();
            assert!(run.may_retry() && budget.available() == 1, "nothing else is in flight: {budget:?}");
        } else {
            assert_eq!(budget.available(), 3);
        }
        assert_eq!(handle.cancel_all().len(), 2);
    }
}
