//! The shared part under every order of events: loom tries all of them up to a bound, shuttle many at random.
//!
//! `RUSTFLAGS="--cfg relent_loom" cargo test --release --lib interleavings`, and the same with `relent_shuttle`. Time
//! stands still: everything is due at once or never.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use super::{
    Due,
    future_set::FutureSet,
    shared::{BoxedHistory, Polled, Shared},
    when::BEGINNING,
};
use crate::{
    policy::{
        nanos::FOREVER,
        queue::{Cancelled, Inserted, OnOccupied},
        schedule::Policy,
    },
    sync::{Arc, Mutex, lock},
};

#[cfg(relent_loom)]
use loom::{future::block_on, thread};
#[cfg(relent_shuttle)]
use shuttle::{future::block_on, thread};

#[cfg(relent_loom)]
fn every_order(test: fn()) {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = runs.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        test();
    });
    println!("{} interleavings, preemption bound 3", runs.load(std::sync::atomic::Ordering::Relaxed));
}

#[cfg(relent_shuttle)]
fn every_order(test: fn()) {
    shuttle::check_random(test, 100_000_usize.div_ceil(TESTS));
    println!("{} schedules", 100_000_usize.div_ceil(TESTS));
}

/// The tests below share the hundred thousand schedules.
#[cfg(relent_shuttle)]
const TESTS: usize = 7;

type Queue = Arc<Shared<u8, u32>>;

const NOW: u64 = BEGINNING;

fn queue() -> Queue {
    let queue = Shared::new();
    queue.add_handle();
    Arc::new(queue)
}

/// What the call did, and the value if it was not taken.
fn give(queue: &Queue, on_occupied: OnOccupied, value: u32) -> (Option<Inserted<u32, BoxedHistory>>, Option<u32>) {
    let mut value = Some(value);
    let given = queue.insert(on_occupied, &mut Some(7), &mut value, NOW);
    (given, value)
}

fn given(queue: &Queue, on_occupied: OnOccupied, value: u32) {
    let (given, back) = give(queue, on_occupied, value);
    assert!(given.is_some() && back.is_none());
}

fn poll_next(queue: &Queue, policy: &Arc<Policy>, cx: &Context<'_>) -> Poll<Option<Due<u8, u32>>> {
    match queue.poll_due(cx, NOW) {
        Polled::Due(started) => Poll::Ready(Due::begin(queue, policy, started, NOW).ok()),
        Polled::Finished => Poll::Ready(None),
        Polled::Later(at) => {
            assert_eq!(at, FOREVER, "nothing that waits is due later");
            Poll::Pending
        }
        Polled::Unwanted => unreachable!("all that is due is wanted"),
    }
}

/// Takes and ends all runs until nothing can come any more: the values that ran.
fn consume(queue: &Queue) -> Vec<u32> {
    let policy = Arc::new(Policy::new());
    let mut ran = Vec::new();
    while let Some(due) = block_on(poll_fn(|cx| poll_next(queue, &policy, cx))) {
        ran.push(due.done());
    }
    ran
}

/// Two handles give work for one key while it is consumed: every value runs or comes back, and the consumer never
/// sleeps while something is due.
#[test]
fn given_from_two_threads() {
    every_order(|| {
        let queue = queue();
        let threads: Vec<_> = [OnOccupied::Keep, OnOccupied::Replace]
            .into_iter()
            .zip(1..)
            .map(|(on_occupied, value)| {
                queue.add_handle();
                let queue = queue.clone();
                thread::spawn(move || {
                    let back = match give(&queue, on_occupied, value) {
                        (_, Some(value)) | (Some(Inserted::Moved { value, .. }), _) => Some(value),
                        (Some(Inserted::AfterRun { replaced }), _) => replaced.map(|(_, value)| value),
                        _ => None,
                    };
                    queue.remove_handle();
                    back
                })
            })
            .collect();
        queue.remove_handle();
        let mut all = consume(&queue);
        all.extend(threads.into_iter().filter_map(|thread| thread.join().unwrap()));
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}

/// A cancel races the start of the run, and the end of that run races a new entry.
#[test]
fn cancelled_and_given_anew() {
    every_order(|| {
        let queue = queue();
        given(&queue, OnOccupied::Keep, 1);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || {
                let cancelled = match queue.cancel(&7) {
                    Cancelled::Removed(removed) => Some(removed.value),
                    _ => None,
                };
                given(&queue, OnOccupied::Keep, 2);
                queue.remove_handle();
                cancelled
            })
        };
        let mut all = consume(&queue);
        all.extend(other.join().unwrap());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(queue.len(), 0);
    });
}

/// A guard is dropped in another thread: its item goes back while the consumer waits for the next one.
#[test]
fn a_guard_dropped_elsewhere() {
    every_order(|| {
        let queue = queue();
        let policy = Arc::new(Policy::new().backoff(crate::Backoff::fixed(std::time::Duration::ZERO)));
        given(&queue, OnOccupied::Keep, 1);
        queue.remove_handle();
        let due = block_on(poll_fn(|cx| poll_next(&queue, &policy, cx))).unwrap();
        let other = thread::spawn(move || drop(due));
        // Its next try is due when the real clock says; what counts is that the consumer hears of it.
        let due = block_on(poll_fn(|cx| match queue.poll_due(cx, u64::MAX - 1) {
            Polled::Due(started) => Poll::Ready(Due::begin(&queue, &policy, started, NOW).ok()),
            Polled::Finished => Poll::Ready(None),
            Polled::Later(_) | Polled::Unwanted => Poll::Pending,
        }));
        let due = due.unwrap();
        assert_eq!((due.attempt().number(), due.done()), (2, 1));
        other.join().unwrap();
    });
}

/// A key that is given anew while it runs never runs twice at once, whatever ends the run.
#[test]
fn never_twice_at_once() {
    every_order(|| {
        let queue = queue();
        let running = Arc::new(Mutex::new(0));
        let policy = Arc::new(Policy::new());
        given(&queue, OnOccupied::Keep, 1);
        let giver = {
            let queue = queue.clone();
            thread::spawn(move || {
                given(&queue, OnOccupied::Replace, 2);
                queue.remove_handle();
            })
        };
        let mut ended = Vec::new();
        while let Some(due) = block_on(poll_fn(|cx| poll_next(&queue, &policy, cx))) {
            *lock(&running) += 1;
            assert_eq!(*lock(&running), 1);
            let running = running.clone();
            ended.push(thread::spawn(move || {
                *lock(&running) -= 1;
                due.done();
            }));
        }
        giver.join().unwrap();
        assert!((1..=2).contains(&ended.len()));
        ended.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// What waits for the queue to be idle, and for it to be empty, is woken by the end of the last run.
#[test]
fn idle_and_empty_are_woken() {
    every_order(|| {
        let queue = queue();
        let policy = Arc::new(Policy::new());
        given(&queue, OnOccupied::Keep, 1);
        let Poll::Ready(Some(due)) = block_on(poll_fn(|cx| Poll::Ready(poll_next(&queue, &policy, cx)))) else {
            panic!("it is due");
        };
        let waiters: Vec<_> = [false, true]
            .into_iter()
            .map(|empty| {
                let queue = queue.clone();
                thread::spawn(move || {
                    let mut id = 0;
                    block_on(poll_fn(|cx| {
                        if empty {
                            queue.poll_empty(cx, &mut id).map(|left| assert_eq!(left, 0))
                        } else {
                            queue.poll_idle(cx, &mut id, NOW)
                        }
                    }));
                    queue.remove_waiter(id);
                })
            })
            .collect();
        assert_eq!(due.done(), 1);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

/// Closing races giving: what was not taken comes back, what was taken runs, and the consumer ends.
#[test]
fn closed_while_work_is_given() {
    every_order(|| {
        let queue = queue();
        let giver = {
            let queue = queue.clone();
            thread::spawn(move || give(&queue, OnOccupied::Keep, 1).1.is_none())
        };
        let closer = {
            let queue = queue.clone();
            thread::spawn(move || queue.close())
        };
        let ran = consume(&queue);
        closer.join().unwrap();
        assert_eq!(ran.len(), usize::from(giver.join().unwrap()));
    });
}

/// A future of the set is woken from another thread just as it is polled, dropped and replaced: no wake is lost.
#[test]
fn a_woken_future_of_the_set_is_polled() {
    every_order(|| {
        let flags: Vec<Arc<Mutex<(bool, Option<std::task::Waker>)>>> = (0..2).map(|_| Arc::default()).collect();
        let mut futures = FutureSet::new();
        for flag in &flags {
            let flag = flag.clone();
            futures.insert(poll_fn(move |cx| {
                let mut flag = lock(&flag);
                flag.1 = Some(cx.waker().clone());
                if flag.0 { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
        let threads: Vec<_> = flags
            .into_iter()
            .map(|flag| {
                thread::spawn(move || {
                    let waker = {
                        let mut flag = lock(&flag);
                        flag.0 = true;
                        flag.1.take()
                    };
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                })
            })
            .collect();
        block_on(poll_fn(|cx| {
            futures.begin_batch(cx);
            while let Some(polled) = futures.poll_batch() {
                assert!(polled.output.is_some() && polled.panic.is_none());
            }
            if futures.len() == 0 { Poll::Ready(()) } else { Poll::Pending }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
