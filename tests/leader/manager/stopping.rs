//! What does not stop, and what happens while the rest does.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
};

use relent::leader::{Manager, ManagerError, MemoryLock, elect};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Any, MS, S, ended, idle, idle_leader};

/// Notes which candidate held the lock when it was dropped.
struct HolderAtDrop(MemoryLock, Arc<Mutex<Option<String>>>);

impl Drop for HolderAtDrop {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = self.0.holder();
    }
}

/// Runs it and tells it to stop after a second. `busy`: then no task polls it until everything else has come to rest.
async fn told_to_stop(manager: &Manager, busy: bool) -> ManagerError {
    let stop = CancellationToken::new();
    let mut run = pin!(manager.run(stop.clone()));
    assert!(timeout(S(1), &mut run).await.is_err());
    stop.cancel();
    if busy && let Ok(ended) = timeout(S(0), &mut run).await {
        return ended.unwrap_err();
    }
    if busy {
        sleep(S(60)).await;
    }
    run.await.unwrap_err()
}

/// A release before the tasks are gone lets another lead beside them.
#[tokio::test(start_paused = true)]
async fn the_lock_is_not_given_back_over_a_task_that_did_not_stop() {
    for (grace, busy) in [(S(0), false), (S(5), false), (S(5), true)] {
        let (manager, lock, holder) = (Manager::new().grace(grace), MemoryLock::new(), Arc::new(Mutex::new(None)));
        let noting = HolderAtDrop(lock.clone(), Arc::clone(&holder));
        manager
            .add_leader("deaf", |_| async move {
                let _noting = noting;
                std::future::pending::<Result<(), Any>>().await
            })
            .unwrap();
        manager.elect(elect(lock.clone(), "a")).unwrap();
        assert_eq!(told_to_stop(&manager, busy).await.not_stopped(), ["deaf"]);
        sleep(S(1)).await;
        assert_eq!(holder.lock().unwrap().as_deref(), Some("a"), "grace {grace:?}");
        assert_eq!(lock.holder().as_deref(), Some("a"), "it lapses");
    }
}

/// A leader task fails in a poll that takes until after the work of the term had to be dropped.
#[tokio::test(start_paused = true)]
async fn a_failure_at_the_last_instant_comes_out() {
    for busy in [true, false] {
        let (manager, almost) = (Manager::new().grace(S(5)), Instant::now() + S(6) - MS(1));
        manager
            .add_leader("controller", move |_| async move {
                sleep_until(almost).await;
                poll_fn(|cx| {
                    let late = pin!(tokio::time::advance(MS(2))).poll(cx);
                    assert!(late.is_pending());
                    Poll::Ready(Err::<(), _>("cannot flush"))
                })
                .await
            })
            .unwrap();
        manager.elect(elect(MemoryLock::new(), "a")).unwrap();
        assert_eq!(told_to_stop(&manager, busy).await.to_string(), "controller failed: cannot flush");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_by_the_name_of_election_is_named_like_any_other() {
    let (manager, stop) = (Manager::new().grace(S(1)), CancellationToken::new());
    for name in ["election", "stuck"] {
        manager.add(name, |_| std::future::pending::<Result<(), Any>>()).unwrap();
    }
    manager.elect(elect(MemoryLock::new(), "a")).unwrap();
    stop.cancel();
    let error = manager.run(stop).await.unwrap_err();
    let mut names = error.not_stopped().to_vec();
    names.sort();
    assert_eq!(names, ["election", "stuck"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_too_late_is_refused_with_the_reason() {
    // While the others stop.
    let (manager, stop) = (Manager::new(), CancellationToken::new());
    manager
        .add("slow", |stop: CancellationToken| async move {
            stop.cancelled().await;
            sleep(S(5)).await;
            Ok::<(), Any>(())
        })
        .unwrap();
    let other = manager.clone();
    let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(1)).await;
        stop.cancel();
        sleep(S(1)).await;
        let late = other.add("late", |_| async { Ok::<(), Any>(()) }).unwrap_err();
        assert_eq!(late.to_string(), "cannot add late: the manager has been stopped");
        let late = other.add_leader("late", |_| async { Ok::<(), Any>(()) }).unwrap_err();
        assert_eq!(late.to_string(), "cannot add late: the manager has been stopped");
    });
    run.unwrap();

    // The manager runs, but no candidate will ever lead.
    let (manager, stop) = (Manager::new(), CancellationToken::new());
    idle(&manager, "webhook");
    let other = manager.clone();
    let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(1)).await;
        let late = other.add_leader("late", |_| async { Ok::<(), Any>(()) }).unwrap_err();
        let rule = "leader task late: runs only while this process leads, and there is no election";
        assert_eq!(late.to_string(), rule);
        stop.cancel();
    });
    run.unwrap();
}

/// A run that could not begin has ended: it neither waits nor can be begun again.
#[tokio::test(start_paused = true)]
async fn a_start_that_is_refused_is_the_only_one() {
    let manager = Manager::new();
    idle(&manager, "webhook");
    manager.add_leader("controller", |_| async { Ok::<(), Any>(()) }).unwrap();
    assert!(matches!(ended(&manager).await, Err(ManagerError::Config(_))));
    assert!(matches!(ended(&manager).await, Err(ManagerError::AlreadyStarted)));
    assert!(matches!(manager.add("late", |_| async { Ok::<(), Any>(()) }), Err(ManagerError::Stopped { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_is_no_loss() {
    for (held, leads) in [("", true), ("other", false)] {
        let (manager, lock, stop) = (Manager::new(), MemoryLock::new(), CancellationToken::new());
        if !leads {
            lock.give(held, S(3600));
        }
        idle_leader(&manager);
        manager.elect(elect(lock.clone(), "a")).unwrap();
        let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
            sleep(S(10)).await;
            stop.cancel();
        });
        run.unwrap();
        assert_eq!(lock.holder().as_deref(), Some(held));
    }
}

/// A token of the election's own: its leader tasks would wait for ever, so the manager stops, as told by its own.
#[tokio::test(start_paused = true)]
async fn a_token_of_the_election_stops_the_manager() {
    for leads in [true, false] {
        let (manager, lock, stop) = (Manager::new(), MemoryLock::new(), CancellationToken::new());
        if !leads {
            lock.give("other", S(3600));
        }
        idle(&manager, "webhook");
        idle_leader(&manager);
        manager.elect(elect(lock.clone(), "a").cancel_on(stop.clone())).unwrap();
        let began = Instant::now();
        let (run, ()) = tokio::join!(manager.run(CancellationToken::new()), async {
            sleep(S(10)).await;
            stop.cancel();
        });
        run.unwrap();
        assert_eq!(began.elapsed(), S(10), "leads: {leads}");
        assert_eq!(lock.holder().as_deref(), Some(if leads { "" } else { "other" }));
    }
}
