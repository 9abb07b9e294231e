//! What is given for a key that fails does not undo its backoff; what makes it begin anew.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{
    Backoff, Decision, Jitter, Stop, TimedQueue,
    queue::{AfterFailure, Job, KeyStatus},
};
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Exponential from a second on, without jitter: attempts at 0, 1, 3, 7, 15, 31, 63 s.
const SERIES: [u64; 7] = [0, 1, 3, 7, 15, 31, 63];

fn doubling() -> TimedQueue<&'static str, u64> {
    TimedQueue::new().backoff(Backoff::exponential(S, 3600 * S).jitter(Jitter::None))
}

/// A controller writes the status of its own key in each attempt, which comes back as an event in the attempt or in the
/// pause: its backoff is as it would be without.
#[tokio::test(start_paused = true)]
async fn a_workers_own_events_do_not_undo_its_backoff() {
    for way in 0..4 {
        let mut queue = doubling();
        let handle = queue.handle();
        let start = Instant::now();
        let starts = Arc::new(Mutex::new(Vec::new()));
        let _ = handle.schedule("k", 0, Duration::ZERO);
        let run = queue.run(|job| {
            let mut starts = starts.lock().unwrap();
            starts.push(start.elapsed().as_secs());
            assert_eq!(job.attempt.number() as usize, starts.len());
            let handle = handle.clone();
            let value = job.value + 1;
            if way == 0 {
                let _ = handle.schedule("k", value, 500 * MS);
            } else {
                tokio::spawn(async move {
                    sleep(500 * MS).await;
                    let _ = match way {
                        1 => handle.schedule("k", value, Duration::ZERO),
                        2 => handle.bring_forward("k", value, Duration::ZERO),
                        _ => handle.reschedule("k", value, Duration::ZERO),
                    };
                });
            }
            async { Err::<(), _>("conflict") }
        });
        assert!(timeout(120 * S, run.on_given_up(drop).into_future()).await.is_err());
        assert_eq!(*starts.lock().unwrap(), SERIES, "way {way}");
    }
}

/// The same for guards; an event never brings a key back before the pause that was asked for.
#[tokio::test(start_paused = true)]
async fn nor_the_pause_that_a_server_asked_for() {
    let mut queue = doubling();
    let handle = queue.handle();
    let _ = handle.schedule("k", 0, Duration::ZERO);
    let due = queue.next().await.unwrap();
    let _ = handle.schedule("k", 1, Duration::ZERO);
    let start = Instant::now();
    let AfterFailure::Superseded(back) = due.retry_after(30 * S) else { panic!() };
    assert_eq!(back.value, 0);
    assert_eq!(handle.get(&"k"), Some(KeyStatus::Scheduled { due: start + 30 * S, attempts: 1 }));
    let _ = handle.reschedule("k", 2, 45 * S);
    let _ = handle.bring_forward("k", 3, Duration::ZERO);
    assert_eq!(handle.get(&"k"), Some(KeyStatus::Scheduled { due: start + 30 * S, attempts: 1 }));
    let due = queue.next().await.unwrap();
    assert_eq!((start.elapsed(), *due.value(), due.attempt().number()), (30 * S, 3, 2));
}

/// What makes a key begin anew: a success, a cancellation, the word for it, and bounds that the new time lies beyond.
#[tokio::test(start_paused = true)]
async fn what_makes_a_key_begin_anew() {
    for way in 0..6 {
        let mut queue = doubling().finish_within(10 * S);
        let handle = queue.handle();
        let _ = handle.schedule("k", 0, Duration::ZERO);
        let _ = queue.next().await.unwrap().fail("conflict");
        match way {
            0 => drop(handle.begin_anew("k", 1, MS)),
            1 => {
                let _ = handle.cancel(&"k");
                let _ = handle.schedule("k", 1, MS);
            }
            2 => drop(handle.reschedule("k", 1, 10 * S)),
            _ => {
                let due = queue.next().await.unwrap();
                match way {
                    3 => {
                        let _ = handle.schedule("k", 1, MS);
                        due.done();
                    }
                    4 => {
                        let _ = handle.cancel(&"k");
                        let _ = handle.schedule("k", 1, MS);
                        let _ = due.fail("conflict");
                    }
                    _ => {
                        let _ = handle.begin_anew("k", 2, MS);
                        // It stays so, whatever else comes.
                        let _ = handle.reschedule("k", 1, MS);
                        let _ = due.fail("conflict");
                    }
                }
            }
        }
        let start = Instant::now();
        let due = queue.next().await.unwrap();
        assert_eq!((*due.value(), due.attempt().number()), (1, 1), "way {way}");
        assert_eq!(start.elapsed(), if way == 2 { 10 * S } else { MS });
        assert_eq!(due.attempt().remaining(), Some(10 * S));
    }
}

/// Fatal, or out of attempts: the item is given up, and what was given meanwhile is an item of its own.
#[tokio::test(start_paused = true)]
async fn after_an_item_that_is_given_up_the_next_begins_anew() {
    let mut queue = doubling();
    let handle = queue.handle();
    let _ = handle.schedule("k", 0, Duration::ZERO);
    let mut events = Some(handle);
    let run = queue.run(|job| {
        if let Some(handle) = events.take() {
            let _ = handle.schedule("k", 1, Duration::ZERO);
        }
        async move {
            if job.value == 0 {
                Err("invalid")
            } else {
                assert_eq!(job.attempt.number(), 1);
                Ok(())
            }
        }
    });
    let finished = run.when(|_| Decision::Fatal).await;
    let [back] = &*finished.given_up else { panic!("{:?}", finished.given_up) };
    assert_eq!((back.value, back.superseded, back.error.stop()), (0, false, &Stop::Fatal));
}

/// A worker that schedules its own key in each attempt: what it gives in the last one is new work. It comes at its own
/// time, with attempts of its own, and each item that was given up has come back.
#[tokio::test(start_paused = true)]
async fn what_is_given_in_the_last_attempt_is_new_work() {
    let mut queue = doubling().max_attempts(2);
    let handle = queue.handle();
    let (start, mut starts) = (Instant::now(), Vec::new());
    let _ = handle.schedule("k", 0, Duration::ZERO);
    let run = queue.run(|job: Job<&str, u64>| {
        starts.push((start.elapsed(), job.value, job.attempt.number()));
        if job.value < 4 {
            let _ = handle.schedule("k", job.value + 1, 100 * MS);
        } else {
            handle.close();
        }
        async { Err::<(), _>("conflict") }
    });
    let finished = run.await;
    let s = |seconds| seconds * S;
    assert_eq!(
        starts,
        [
            (s(0), 0, 1),
            (s(1), 1, 2),
            (s(1) + 100 * MS, 2, 1),
            (s(2) + 100 * MS, 3, 2),
            (s(2) + 200 * MS, 4, 1),
            (s(3) + 200 * MS, 4, 2),
        ]
    );
    let back = finished.given_up.iter().map(|back| (back.value, back.superseded, back.error.stop().clone()));
    let (last, newer) = (|value| (value, false, Stop::Attempts), |value| (value, true, Stop::Cancelled));
    assert_eq!(back.collect::<Vec<_>>(), [newer(0), last(1), newer(2), last(3), last(4)]);
}
