//! `run(worker)`: concurrency, per-item policy, panics, timeouts, shutdown, dropping.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use relent::{
    Backoff, Decision, Jitter, Last, Policy, Stop, TimedQueue,
    error::CutBy,
    queue::{ItemEvent, Job, KeyStatus, QueueHandle},
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);

fn queue() -> TimedQueue<u32, u32> {
    TimedQueue::new().backoff(Backoff::fixed(10 * MS).jitter(Jitter::None)).max_attempts(3)
}

fn schedule(handle: &QueueHandle<u32, u32>, key: u32, due: u32) {
    let _ = handle.schedule(key, key, due * MS);
}

/// A thousand keys due at once: never more at once than allowed, all done, no key twice at once.
#[tokio::test(start_paused = true)]
async fn concurrency_is_bounded_and_used() {
    let mut queue = queue();
    let handle = queue.handle();
    (0..1000).for_each(|key| schedule(&handle, key, key % 7));
    drop(handle);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let work = queue.run(|_| {
        let running = running.clone();
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        async move {
            sleep(10 * MS).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        }
    });
    let finished = work.concurrency(20).unwrap().await;
    assert!(finished.given_up.is_empty());
    assert_eq!(most.load(Ordering::SeqCst), 20);
    assert_eq!(start.elapsed(), 500 * MS, "1000 runs of 10 ms, 20 at once");
}

#[test]
fn no_concurrency_is_refused() {
    let error = queue().run(|_| async { Ok::<_, ()>(()) }).concurrency(0).unwrap_err();
    assert_eq!(error.to_string(), "concurrency 0: at least 1, or nothing would ever run");
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_and_after_the_last_try_the_item_comes_back() {
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 5);
    schedule(&handle, 2, 5);
    drop(handle);
    let start = Instant::now();
    let (told, mut heard) = (Mutex::new(Vec::new()), 0);
    let work = queue.run(async |job: Job<u32, u32>| if job.key == 1 { Err("no luck") } else { Ok(()) });
    let finished = work
        .notify(|_| heard += 1)
        .notify(|outcome| {
            let now = start.elapsed().as_millis();
            told.lock().unwrap().push(match outcome {
                ItemEvent::Failed { key, attempt, last: Last::Failed(error), again, .. } => {
                    let again = again.map(|again| again.duration_since(start).as_millis());
                    format!("{now} {key} {} {error} {again:?}", attempt.number())
                }
                ItemEvent::Done { key, .. } => format!("{now} {key} done"),
                ItemEvent::GaveUp(back) => format!("{now} {} {} back: {}", back.key, back.value, back.error.sentence()),
                other => panic!("{other:?}"),
            });
        })
        .await;
    assert_eq!(
        *told.lock().unwrap(),
        [
            "5 1 1 no luck Some(15)",
            "5 2 done",
            "15 1 2 no luck Some(25)",
            "25 1 3 no luck None",
            "25 1 1 back: gave up after 3 attempts in 20ms: at most 3 attempts were allowed; last attempt: no luck",
        ]
    );
    assert_eq!(heard, 5, "both listeners hear");
    let back = &finished.given_up[0];
    assert_eq!((finished.given_up.len(), back.value, back.superseded), (1, 1, false));
}

#[tokio::test(start_paused = true)]
async fn what_to_try_again_and_when() {
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 0);
    drop(handle);
    let starts = Mutex::new(Vec::new());
    let begin = Instant::now();
    let work = queue.run(|job: Job<u32, u32>| {
        starts.lock().unwrap().push((job.key, begin.elapsed()));
        async move { Err::<(), _>(job.key) }
    });
    let when = |key: &u32| if *key == 1 { Decision::Fatal } else { Decision::RetryAfter(300 * MS) };
    let finished = work.when(when).await;
    assert_eq!(*starts.lock().unwrap(), [(1, 0 * MS), (2, 0 * MS), (2, 300 * MS), (2, 600 * MS)]);
    let stops: Vec<_> = finished.given_up.iter().map(|back| (back.key, back.error.stop().clone())).collect();
    assert_eq!(stops, [(1, Stop::Fatal), (2, Stop::Attempts)]);
}

/// A worker that never ends is cut at its deadline; its key is free afterwards, and others were not held up.
#[tokio::test(start_paused = true)]
async fn a_worker_that_never_ends() {
    let mut queue = queue().attempt_timeout(100 * MS);
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 30);
    drop(handle);
    let start = Instant::now();
    let begun = Mutex::new(Vec::new());
    let work = queue.run(|job: Job<u32, u32>| {
        begun.lock().unwrap().push((job.key, start.elapsed(), job.attempt.timeout()));
        async move {
            if job.key == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, ()>(())
        }
    });
    let finished = work.concurrency(2).unwrap().await;
    let timeout = Some(100 * MS);
    assert_eq!(
        *begun.lock().unwrap(),
        [(1, 0 * MS, timeout), (2, 30 * MS, timeout), (1, 110 * MS, timeout), (1, 220 * MS, timeout)]
    );
    let back = &finished.given_up[0];
    assert_eq!((back.key, back.error.stop()), (1, &Stop::Attempts));
    assert!(matches!(back.error.last(), Last::Cut { after, by: CutBy::AttemptTimeout, .. } if after == 100 * MS));
    assert_eq!(start.elapsed(), 320 * MS);
}

/// An error before the cut is kept; the bound on everything cuts and ends it.
#[tokio::test(start_paused = true)]
async fn the_bound_on_everything_is_per_item() {
    let policy = Policy::new().backoff(Backoff::fixed(10 * MS)).finish_within(50 * MS);
    let mut queue = TimedQueue::new().policy(&policy);
    let handle = queue.handle();
    for key in 0..3 {
        schedule(&handle, key, key * 1000);
    }
    drop(handle);
    let finished = queue
        .run(|job: Job<u32, u32>| async move {
            if job.attempt.number() == 1 {
                return Err("first");
            }
            std::future::pending().await
        })
        .await;
    assert_eq!(finished.given_up.len(), 3);
    for back in finished.given_up {
        assert_eq!((back.error.stop(), back.error.elapsed()), (&Stop::Deadline, 50 * MS));
        assert!(matches!(back.error.last(), Last::Cut { after, by: CutBy::Deadline, .. } if after == 40 * MS));
        assert_eq!(back.error.last_error(), Some(&"first"));
    }
}

#[tokio::test(start_paused = true)]
async fn no_second_try_after_a_cut_if_it_must_not_run_twice() {
    let policy = Policy::new().attempt_timeout(5 * MS).on_cut(Decision::Fatal);
    let mut queue = TimedQueue::new().policy(&policy);
    schedule(&queue.handle(), 1, 0);
    let finished = queue.run(|_| std::future::pending::<Result<(), ()>>()).await;
    assert_eq!(finished.given_up[0].error.stop(), &Stop::Fatal);
    assert_eq!(finished.given_up[0].error.attempts(), 1);
}

/// Shutdown: nothing starts any more, what runs ends, what waits comes back in order.
#[tokio::test(start_paused = true)]
async fn shutdown_joins_what_runs_and_gives_back_what_waits() {
    let mut queue = queue();
    let handle = queue.handle();
    for (key, due) in [(1, 0), (2, 5), (3, 500), (4, 20), (5, 500)] {
        schedule(&handle, key, due);
    }
    let token = CancellationToken::new();
    let ended = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let running = tokio::spawn({
        let (token, ended) = (token.clone(), ended.clone());
        async move {
            let work = queue.run(|job: Job<u32, u32>| {
                let ended = ended.clone();
                async move {
                    sleep(100 * MS).await;
                    ended.lock().unwrap().push(job.key);
                    if job.key == 2 { Err("disk full") } else { Ok(()) }
                }
            });
            (work.concurrency(2).unwrap().cancel_on(token).await, queue)
        }
    });
    sleep(50 * MS).await;
    token.cancel();
    schedule(&handle, 6, 1);
    let (finished, queue) = running.await.unwrap();
    assert_eq!(start.elapsed(), 105 * MS, "both that ran have ended");
    assert_eq!(*ended.lock().unwrap(), [1, 2]);
    let waiting: Vec<_> = finished.waiting.iter().map(|(key, _, due)| (*key, *due - start)).collect();
    assert_eq!(waiting, [(4, 20 * MS), (6, 51 * MS), (2, 115 * MS), (3, 500 * MS), (5, 500 * MS)]);
    assert!(handle.is_empty() && finished.given_up.is_empty());
    let [(2, tried)] = &finished.tried[..] else { panic!("{:?}", finished.tried) };
    assert_eq!(tried.to_string(), "gave up after 1 attempt in 100ms: cancelled; last attempt: disk full");
    drop(queue);
}

#[tokio::test(start_paused = true)]
async fn cancelled_before_it_begins_it_starts_nothing() {
    let mut queue = queue();
    schedule(&queue.handle(), 1, 0);
    let token = CancellationToken::new();
    token.cancel();
    let finished = queue.run(|_| async { panic!("started") as Result<(), ()> }).cancel_on(token).await;
    assert_eq!(finished.waiting.len(), 1);
}

/// Dropping the run drops the worker's futures at once; their items go back, and another run takes them up.
#[tokio::test(start_paused = true)]
async fn a_dropped_run_leaves_nothing_behind() {
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 0);
    schedule(&handle, 3, 40);
    let alive = Arc::new(());
    let worker = |_: Job<u32, u32>| {
        let alive = alive.clone();
        async move {
            sleep(1000 * MS).await;
            drop(alive);
            Ok::<_, ()>(())
        }
    };
    drop(queue.run(&worker).into_future());
    assert_eq!(handle.running(), 0, "nothing starts before the first poll");
    let mut working = task::spawn(queue.run(worker).concurrency(2).unwrap().into_future());
    assert_pending!(working.poll());
    assert_eq!((handle.running(), Arc::strong_count(&alive)), (2, 3));
    drop(working);
    assert_eq!((handle.running(), Arc::strong_count(&alive)), (0, 1));
    let start = Instant::now();
    for key in [1, 2] {
        let again = Some(KeyStatus::Scheduled { due: start + 10 * MS, attempts: 1 });
        assert_eq!(handle.get(&key), again);
    }
    drop(handle);
    let mut order = Vec::new();
    let finished = queue
        .run(|job: Job<u32, u32>| {
            order.push((job.key, job.attempt.number()));
            async { Ok::<_, ()>(()) }
        })
        .await;
    assert_eq!(order, [(1, 2), (2, 2), (3, 1)]);
    assert!(finished.given_up.is_empty() && finished.waiting.is_empty());
}

/// A panic of the worker goes on to the task that awaits the run. The item counts as failed; everything else is as it
/// was.
#[tokio::test(start_paused = true)]
async fn a_worker_that_panics() {
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 0);
    schedule(&handle, 3, 0);
    let ended = Mutex::new(Vec::new());
    let work = queue.run(|job: Job<u32, u32>| {
        let ended = &ended;
        async move {
            if job.key == 2 && job.attempt.number() == 1 {
                panic!("worker panics");
            }
            sleep(5 * MS).await;
            ended.lock().unwrap().push((job.key, job.attempt.number()));
            Ok::<_, ()>(())
        }
    });
    let mut working = task::spawn(work.concurrency(3).unwrap().into_future());
    let panic = catch_unwind(AssertUnwindSafe(|| working.poll())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"worker panics"));
    assert!(matches!(handle.get(&2), Some(KeyStatus::Scheduled { attempts: 1, .. })));
    assert_eq!(handle.running(), 1, "the first runs on, the third is due");
    // Code that caught it can go on with the same run.
    assert_pending!(working.poll());
    assert_eq!(handle.running(), 2);
    advance(5 * MS).await;
    assert!(working.is_woken());
    assert_pending!(working.poll());
    advance(5 * MS).await;
    assert_pending!(working.poll());
    advance(5 * MS).await;
    assert_pending!(working.poll());
    drop(working);
    assert_eq!(*ended.lock().unwrap(), [(1, 1), (3, 1), (2, 2)]);
    assert!(handle.is_empty());
}

/// The same where the worker panics before there is a future.
#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_at_once() {
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    let work = queue.run(|job: Job<u32, u32>| {
        assert!(job.attempt.number() > 1, "worker panics");
        async { Ok::<_, ()>(()) }
    });
    let mut working = task::spawn(work.into_future());
    catch_unwind(AssertUnwindSafe(|| working.poll())).unwrap_err();
    assert!(matches!(handle.get(&1), Some(KeyStatus::Scheduled { attempts: 1, .. })));
    drop(handle);
    advance(10 * MS).await;
    assert!(working.poll().is_ready());
}

/// A worker may use a handle: to plan its own key anew, for one.
#[tokio::test(start_paused = true)]
async fn a_worker_plans_its_own_key() {
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    let start = Instant::now();
    let mut runs = Vec::new();
    let mut inner = Some(handle);
    let finished = queue
        .run(|job: Job<u32, u32>| {
            runs.push((job.value, start.elapsed()));
            if job.value < 4 {
                let handle = inner.as_ref().unwrap();
                let _ = handle.schedule(1, job.value + 1, 100 * MS);
            } else {
                inner = None;
            }
            async { Ok::<_, ()>(()) }
        })
        .await;
    assert_eq!(runs, [(1, 0 * MS), (2, 100 * MS), (3, 200 * MS), (4, 300 * MS)]);
    assert!(finished.given_up.is_empty());
}

/// Work that is always due lets the runtime breathe.
#[tokio::test]
async fn a_flood_lets_others_run() {
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let flood = tokio::spawn({
        let handle = handle.clone();
        async move {
            let work = queue.run(|job: Job<u32, ()>| {
                let _ = handle.schedule(job.key, (), Duration::ZERO);
                async { Ok::<_, ()>(()) }
            });
            work.await
        }
    });
    for key in 0..10 {
        let _ = handle.schedule(key, (), Duration::ZERO);
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!flood.is_finished());
    flood.abort();
    assert!(flood.await.unwrap_err().is_cancelled());
}

/// So does a stream of which all that is due is handed back unstarted.
#[tokio::test(start_paused = true)]
async fn a_flood_that_is_handed_back_lets_others_run() {
    let mut queue = TimedQueue::new().max_attempts(0);
    let handle = queue.handle();
    for key in 0..10_000 {
        let _ = handle.schedule(key, (), Duration::ZERO);
    }
    drop(handle);
    let ran = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let ran = Arc::clone(&ran);
        async move {
            loop {
                ran.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    assert!(queue.next().await.is_none());
    assert!(ran.load(Ordering::Relaxed) > 50, "ran {} times", ran.load(Ordering::Relaxed));
    other.abort();
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "`RunWorkerFuture` polled after completion")]
async fn polled_after_completion() {
    let mut queue = queue();
    let mut working = task::spawn(queue.run(|_| async { Ok::<_, ()>(()) }).into_future());
    assert!(working.poll().is_ready());
    let _ = working.poll();
}
