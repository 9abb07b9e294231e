//! The cases that Kubernetes' timed workers are tested with, and those that they got wrong. Keys are pods.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{
    Backoff, TimedQueue,
    queue::{Cancelled, Finished, Job, QueueHandle, Scheduled},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

const S: Duration = Duration::from_secs(1);

type Task = JoinHandle<Finished<String, u32, ()>>;
type Ran = Arc<Mutex<Vec<(String, u32, u64)>>>;

/// A queue at work: which key ran, with which value, in which second. Each run takes `takes`.
fn at_work(takes: Duration) -> (QueueHandle<String, u32>, Ran, Task) {
    let mut queue = TimedQueue::new().backoff(Backoff::fixed(S));
    let (handle, ran, start) = (queue.handle(), Ran::default(), Instant::now());
    let task = tokio::spawn({
        let ran = ran.clone();
        async move {
            let work = queue.run(move |job: Job<String, u32>| {
                ran.lock().unwrap().push((job.key, job.value, start.elapsed().as_secs()));
                async move {
                    sleep(takes).await;
                    Ok(())
                }
            });
            work.concurrency(10).unwrap().await
        }
    });
    (handle, ran, task)
}

fn pods() -> impl Iterator<Item = String> {
    (1..=5).map(|n| format!("default/{n}"))
}

fn keys(ran: &Ran) -> Vec<String> {
    ran.lock().unwrap().iter().map(|(key, ..)| key.clone()).collect()
}

/// Five keys due now: five runs.
#[tokio::test(start_paused = true)]
async fn z01_due_now() {
    let (handle, ran, _task) = at_work(Duration::ZERO);
    pods().for_each(|pod| assert_eq!(handle.schedule(pod, 0, Instant::now()), Scheduled::New));
    handle.idle().await;
    assert!(keys(&ran).into_iter().eq(pods()));
}

/// Five keys in ten seconds, each added twice: five runs. Then with two cancelled, then with one of these added again.
#[tokio::test(start_paused = true)]
async fn z02_to_z04_twice_cancelled_added_again() {
    for (cancel, again, runs) in [(&[][..], &[][..], 5), (&[2, 4][..], &[][..], 3), (&[2, 4][..], &[2][..], 4)] {
        let (handle, ran, _task) = at_work(Duration::ZERO);
        for pod in pods().chain(pods()) {
            let _ = handle.schedule(pod, 0, 10 * S);
        }
        sleep(S).await;
        for n in cancel {
            assert!(matches!(handle.cancel(&format!("default/{n}")), Cancelled::Removed { .. }));
        }
        for n in again {
            assert_eq!(handle.schedule(format!("default/{n}"), 0, 9 * S), Scheduled::New);
        }
        sleep(10 * S).await;
        assert_eq!(keys(&ran).len(), runs);
        assert!(handle.is_empty());
    }
}

/// An update that meets a running item is neither a crash nor lost.
#[tokio::test(start_paused = true)]
async fn z05_update_while_it_runs() {
    let (handle, ran, _task) = at_work(5 * S);
    let _ = handle.schedule("pod".into(), 1, Duration::ZERO);
    sleep(S).await;
    assert_eq!(handle.reschedule("pod".into(), 2, 2 * S), Scheduled::AfterCurrentRun { replaced: None });
    sleep(20 * S).await;
    assert_eq!(*ran.lock().unwrap(), [("pod".into(), 1, 0), ("pod".into(), 2, 5)]);
}

/// An update to the same time changes nothing about when and in which order things run.
#[tokio::test(start_paused = true)]
async fn z06_update_to_the_same_time() {
    let (handle, ran, _task) = at_work(Duration::ZERO);
    let due = Instant::now() + 3 * S;
    let _ = handle.schedule("a".into(), 1, due);
    let _ = handle.schedule("b".into(), 1, due);
    assert_eq!(handle.reschedule("a".into(), 2, due), Scheduled::Moved { from: due, value: 1 });
    sleep(4 * S).await;
    assert_eq!(*ran.lock().unwrap(), [("a".into(), 2, 3), ("b".into(), 1, 3)]);
}

/// Later, or earlier: it runs once, at the new time.
#[tokio::test(start_paused = true)]
async fn z07_z08_update_to_another_time() {
    for new in [20, 2] {
        let (handle, ran, _task) = at_work(Duration::ZERO);
        let from = Instant::now() + 10 * S;
        let _ = handle.schedule("pod".into(), 1, from);
        sleep(S).await;
        let due = from - 10 * S + new * S;
        assert_eq!(handle.reschedule("pod".into(), 2, due), Scheduled::Moved { from, value: 1 });
        sleep(60 * S).await;
        assert_eq!(*ran.lock().unwrap(), [("pod".into(), 2, u64::from(new))]);
    }
}

/// Cancelling all and waiting: it returns after what runs has ended, and nothing starts after that.
#[tokio::test(start_paused = true)]
async fn z09_cancel_and_wait() {
    let (handle, ran, task) = at_work(5 * S);
    for (n, pod) in pods().enumerate() {
        let _ = handle.schedule(pod, 0, u32::try_from(n).unwrap() * 4 * S);
    }
    sleep(5 * S).await;
    let start = Instant::now();
    let drained = handle.drain();
    assert_eq!(handle.cancel_all().len(), 3);
    assert_eq!(drained.await, 0);
    assert_eq!(start.elapsed(), 4 * S, "the second, begun at 4 s, has ended");
    assert!(matches!(handle.schedule("late".into(), 7, Duration::ZERO), Scheduled::Closed { value: 7 }));
    let finished = task.await.unwrap();
    assert!(finished.given_up.is_empty() && finished.waiting.is_empty());
    sleep(100 * S).await;
    assert_eq!(keys(&ran).len(), 2);
}

/// A key that has run can be added again.
#[tokio::test(start_paused = true)]
async fn z10_add_after_success() {
    let (handle, ran, _task) = at_work(Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(handle.schedule("pod".into(), 0, S), Scheduled::New);
        sleep(2 * S).await;
    }
    assert_eq!(keys(&ran).len(), 3);
}

/// The end of an old run does not remove a newer entry: it can be seen, cancelled, and does not run twice.
#[tokio::test(start_paused = true)]
async fn z11_the_end_of_an_old_run_leaves_a_newer_entry_alone() {
    let (handle, ran, _task) = at_work(3 * S);
    let _ = handle.schedule("pod".into(), 1, Duration::ZERO);
    sleep(S).await;
    assert_eq!(handle.cancel(&"pod".into()), Cancelled::Running { next: None });
    let _ = handle.schedule("pod".into(), 2, 10 * S);
    sleep(5 * S).await;
    assert!(matches!(handle.cancel(&"pod".into()), Cancelled::Removed { value: 2, .. }));
    let _ = handle.schedule("pod".into(), 3, S);
    sleep(60 * S).await;
    assert_eq!(*ran.lock().unwrap(), [("pod".into(), 1, 0), ("pod".into(), 3, 7)]);
    assert!(handle.is_empty());
}

/// A pod of the same name that comes while the old one is being removed is not forgotten; with the UID in the key it
/// does not even wait.
#[tokio::test(start_paused = true)]
async fn a_new_pod_of_the_same_name() {
    let (handle, ran, _task) = at_work(5 * S);
    let _ = handle.schedule("pod".into(), 1, Duration::ZERO);
    sleep(S).await;
    assert_eq!(handle.schedule("pod".into(), 2, S), Scheduled::AfterCurrentRun { replaced: None });
    assert_eq!(handle.schedule("pod/uid-2".into(), 2, S), Scheduled::New);
    sleep(20 * S).await;
    assert_eq!(*ran.lock().unwrap(), [("pod".into(), 1, 0), ("pod/uid-2".into(), 2, 2), ("pod".into(), 2, 5)]);
}

/// Delays count from now: one that is given late does not fire later by what it was late.
#[tokio::test(start_paused = true)]
async fn due_times_are_absolute() {
    let (handle, ran, _task) = at_work(Duration::ZERO);
    let tainted = Instant::now();
    sleep(30 * S).await;
    let _ = handle.schedule("pod".into(), 1, tainted + 40 * S);
    let _ = handle.schedule("gone".into(), 1, tainted + 20 * S);
    sleep(60 * S).await;
    assert_eq!(*ran.lock().unwrap(), [("gone".into(), 1, 30), ("pod".into(), 1, 40)]);
}
