//! The manager: each way in which an error could be swallowed has a test that shows it come out.

mod leading;
mod phases;
mod stopping;

use std::{
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use relent::{
    ConfigError,
    leader::{Loss, Manager, ManagerError, MemoryLock, Term, Timing, elect},
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

type Any = Box<dyn Error + Send + Sync>;

fn idle(manager: &Manager, name: &str) {
    let task = |stop: CancellationToken| async move {
        stop.cancelled().await;
        Ok::<(), Any>(())
    };
    manager.add(name, task).unwrap();
}

fn idle_leader(manager: &Manager) {
    let task = |term: Term| async move {
        term.lost().await;
        Ok::<(), Any>(())
    };
    manager.add_leader("controller", task).unwrap();
}

async fn ended(manager: &Manager) -> Result<(), ManagerError> {
    timeout(S(60), manager.run(CancellationToken::new())).await.expect("the manager hangs")
}

#[tokio::test(start_paused = true)]
async fn a_bad_timing_comes_out_and_does_not_hang() {
    let manager = Manager::new();
    idle(&manager, "webhook");
    manager.add_leader("controller", |_| async { Ok::<(), Any>(()) }).unwrap();
    manager
        .elect_by(async {
            let timing = Timing::new(S(15), S(20), S(2))?;
            Ok::<_, ConfigError>(elect(MemoryLock::new(), "a").timing(timing))
        })
        .unwrap();
    let began = Instant::now();
    let error = ended(&manager).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "election failed: renew_deadline 20s: must be less than lease * (1 - 2 * clock_drift), here 13.5s of a lease of 15s"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    let cause = error.failures().next().and_then(|failure| failure.error()?.downcast_ref::<ConfigError>());
    assert_eq!(cause.unwrap().setting(), "renew_deadline");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_built_or_used_comes_out() {
    let manager = Manager::new();
    idle(&manager, "webhook");
    manager
        .elect_by(async {
            sleep(S(1)).await;
            Err::<relent::leader::Elect<MemoryLock>, _>("no namespace outside a cluster")
        })
        .unwrap();
    assert_eq!(ended(&manager).await.unwrap_err().to_string(), "election failed: no namespace outside a cluster");

    // Refused once it goes on; refused for a lease, without ever having been answered, it does not.
    let (manager, lock) = (Manager::new(), MemoryLock::new());
    lock.forbid(1000);
    idle(&manager, "webhook");
    manager.elect(elect(lock, "a")).unwrap();
    let error = ended(&manager).await.unwrap_err();
    assert_eq!(error.to_string(), "election failed: cannot read lock in memory: no right to use the lock");

    let manager = Manager::new();
    manager.elect(elect(MemoryLock::new(), "")).unwrap();
    assert!(ended(&manager).await.unwrap_err().to_string().starts_with("election failed: identity"));
    // Building that hangs does not keep the manager from stopping.
    let (manager, token) = (Manager::new(), CancellationToken::new());
    manager.elect_by(std::future::pending::<Result<relent::leader::Elect<MemoryLock>, Any>>()).unwrap();
    token.cancel();
    timeout(S(1), manager.run(token)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_while_starting_comes_out_in_every_phase() {
    // Before the election has begun, while it campaigns, and while it leads.
    for (held, after) in [(false, S(0)), (true, S(5)), (false, S(5))] {
        let (manager, lock) = (Manager::new(), MemoryLock::new());
        if held {
            lock.give("other", S(3600));
        }
        idle(&manager, "webhook");
        manager
            .add("metrics", move |_| async move {
                sleep(after).await;
                Err::<(), _>(std::io::Error::from(std::io::ErrorKind::AddrInUse))
            })
            .unwrap();
        idle_leader(&manager);
        manager.elect(elect(lock.clone(), "a")).unwrap();
        let error = ended(&manager).await.unwrap_err();
        assert_eq!(error.to_string(), "metrics failed: address in use");
        let io = error.failures().next().and_then(|failure| failure.error()?.downcast_ref::<std::io::Error>());
        assert_eq!(io.unwrap().kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(lock.holder().as_deref(), Some(if held { "other" } else { "" }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error() {
    let manager = Manager::new();
    idle(&manager, "webhook");
    #[allow(unreachable_code)]
    manager.add("bad", |_| async { Ok::<(), Any>(panic!("at {}", "work")) }).unwrap();
    let error = ended(&manager).await.unwrap_err();
    assert_eq!(error.to_string(), "bad panicked: at work");
    assert!(error.failures().next().unwrap().is_panic());

    // In the closure itself, and in a leader task.
    let manager = Manager::new();
    #[allow(unreachable_code)]
    let start = |_| -> std::future::Ready<Result<(), Any>> { panic!("at start") };
    manager.add("bad", start).unwrap();
    assert_eq!(ended(&manager).await.unwrap_err().to_string(), "bad panicked: at start");

    let (manager, lock) = (Manager::new(), MemoryLock::new());
    #[allow(unreachable_code)]
    manager.add_leader("bad", |_| async { Ok::<(), Any>(panic!("while leading")) }).unwrap();
    manager.elect(elect(lock.clone(), "a")).unwrap();
    assert_eq!(ended(&manager).await.unwrap_err().to_string(), "bad panicked: while leading");
    assert_eq!(lock.holder().as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_reachable_and_the_first_is_first() {
    let manager = Manager::new();
    for (name, at) in [("second", 7), ("first", 5)] {
        manager
            .add(name, move |stop| async move {
                tokio::select! { () = stop.cancelled() => {}, () = sleep(S(at)) => {} }
                Err::<(), _>(format!("at {at}"))
            })
            .unwrap();
    }
    let error = ended(&manager).await.unwrap_err();
    assert_eq!(error.to_string(), "first failed: at 5; then second failed: at 7");
    assert_eq!(error.failures().map(|failure| failure.task()).collect::<Vec<_>>(), ["first", "second"]);
    // A failure after a wished stop is said as well; an end without failure is none.
    let (manager, token) = (Manager::new(), CancellationToken::new());
    idle(&manager, "fine");
    manager
        .add("late", |stop| async move {
            stop.cancelled().await;
            Err::<(), _>("cannot flush")
        })
        .unwrap();
    token.cancel();
    assert_eq!(manager.run(token).await.unwrap_err().to_string(), "late failed: cannot flush");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_stop_is_named() {
    for (grace, waited) in [(S(30), S(30)), (S(0), S(0))] {
        let manager = Manager::new().grace(grace);
        idle(&manager, "good");
        manager.add("stuck", |_| std::future::pending::<Result<(), Any>>()).unwrap();
        manager.add_leader("deaf", |_| std::future::pending::<Result<(), Any>>()).unwrap();
        let lock = MemoryLock::new();
        manager.elect(elect(lock, "a")).unwrap();
        let (token, began) = (CancellationToken::new(), Instant::now());
        let (error, ()) = tokio::join!(manager.run(token.clone()), async {
            sleep(S(5)).await;
            token.cancel();
        });
        let error = error.unwrap_err();
        let mut names = error.not_stopped().to_vec();
        names.sort();
        let stuck: Vec<_> = names.iter().filter(|name| *name != "good").collect();
        assert_eq!(stuck, ["deaf", "stuck"], "{error}");
        assert_eq!(began.elapsed(), S(5) + waited);
        assert_eq!(names.contains(&"good".to_owned()), grace.is_zero());
    }
    // Without a bound it waits as long as it takes.
    let (manager, token) = (Manager::new().grace(Duration::MAX), CancellationToken::new());
    manager
        .add("slow", |_| async {
            sleep(S(86_400)).await;
            Ok::<(), Any>(())
        })
        .unwrap();
    token.cancel();
    manager.run(token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_start_and_an_add_after_stop_are_errors() {
    let (manager, token) = (Manager::new(), CancellationToken::new());
    idle(&manager, "task");
    let (other, ran) = (manager.clone(), Arc::new(AtomicBool::new(false)));
    let (run, ()) = tokio::join!(manager.run(token.clone()), async {
        sleep(S(1)).await;
        assert_eq!(ended(&other).await.unwrap_err().to_string(), "the manager was started already");
        // Added while it runs, it runs.
        let flag = Arc::clone(&ran);
        other
            .add("late", move |_| async move {
                flag.store(true, Ordering::SeqCst);
                Ok::<(), Any>(())
            })
            .unwrap();
        sleep(S(1)).await;
        assert!(ran.load(Ordering::SeqCst));
        token.cancel();
    });
    run.unwrap();
    let error = manager.add("too late", |_| async { Ok::<(), Any>(()) }).unwrap_err();
    assert_eq!(error.to_string(), "cannot add too late: the manager has been stopped");
    let error = manager.add_leader("too late", |_| async { Ok::<(), Any>(()) }).unwrap_err();
    assert_eq!(error.to_string(), "cannot add too late: the manager has been stopped");
    assert!(matches!(ended(&manager).await, Err(ManagerError::AlreadyStarted)));
    assert!(matches!(manager.elect(elect(MemoryLock::new(), "a")), Err(ManagerError::AlreadyStarted)));
    // A run that was dropped has stopped as well.
    let manager = Manager::new();
    idle(&manager, "task");
    assert!(timeout(S(1), manager.run(CancellationToken::new())).await.is_err());
    assert!(manager.add("too late", |_| async { Ok::<(), Any>(()) }).is_err());
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_be_are_refused() {
    let manager = Manager::new();
    manager.add_leader("controller", |_| async { Ok::<(), Any>(()) }).unwrap();
    let error = ended(&manager).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "leader task controller: runs only while this process leads, and there is no election"
    );
    let manager = Manager::new();
    manager.elect(elect(MemoryLock::new(), "a")).unwrap();
    assert!(matches!(manager.elect(elect(MemoryLock::new(), "b")), Err(ManagerError::TwoElections)));
}

#[tokio::test(start_paused = true)]
async fn a_loss_stops_the_leader_tasks_before_run_returns() {
    let (manager, lock) = (Manager::new(), MemoryLock::new());
    let log = Arc::new(Mutex::new(Vec::new()));
    idle(&manager, "webhook");
    for (name, tidy) in [("quick", 1), ("slow", 3), ("deaf", 1000)] {
        let log = Arc::clone(&log);
        manager
            .add_leader(name, move |term| async move {
                term.lost().await;
                sleep(S(tidy)).await;
                log.lock().unwrap().push(name);
                Ok::<(), Any>(())
            })
            .unwrap();
    }
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let acting = lock.clone();
    let (error, ()) = tokio::join!(ended(&manager), async {
        sleep(S(7)).await;
        acting.fail(1_000_000);
    });
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "leadership lost: no renewal was confirmed within 10s: the lock is down; did not stop: deaf"
    );
    assert!(matches!(error.failures().next().unwrap().loss(), Some(Loss::Deadline { .. })));
    assert_eq!(*log.lock().unwrap(), ["quick", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_given_back_after_the_leader_tasks_and_renewed_meanwhile() {
    let (manager, lock, token) = (Manager::new(), MemoryLock::new(), CancellationToken::new());
    let inside = lock.clone();
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    manager
        .add_leader("controller", move |term| async move {
            term.lost().await;
            // Longer than the lease: the manager's grace counts, and the term is renewed as long.
            sleep(S(25)).await;
            *slot.lock().unwrap() = Some((inside.holder(), term.fence()));
            Ok::<(), Any>(())
        })
        .unwrap();
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let rival = async {
        sleep(S(1)).await;
        elect(lock.clone(), "b").run(|term| async move { (Instant::now(), term.fence()) }).await
    };
    let began = Instant::now();
    let (run, rival, ()) = tokio::join!(manager.run(token.clone()), rival, async {
        sleep(S(10)).await;
        token.cancel();
    });
    run.unwrap();
    let (holder, fence) = seen.lock().unwrap().clone().unwrap();
    assert_eq!(holder.as_deref(), Some("a"));
    let (at, rival_fence) = rival.unwrap().into_finished().unwrap();
    assert_eq!(at - began, S(35));
    assert!(rival_fence > fence);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_led_starts_no_leader_task() {
    let (manager, lock, token) = (Manager::new(), MemoryLock::new(), CancellationToken::new());
    lock.give("other", S(3600));
    #[allow(unreachable_code)]
    manager.add_leader("controller", |_| async { Ok::<(), Any>(panic!("must not start")) }).unwrap();
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let (run, ()) = tokio::join!(manager.run(token.clone()), async {
        sleep(S(100)).await;
        token.cancel();
    });
    run.unwrap();
    assert_eq!(lock.holder().as_deref(), Some("other"));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_given_back_is_said() {
    let (manager, lock) = (Manager::new(), MemoryLock::new());
    let acting = lock.clone();
    manager
        .add_leader("controller", |_| async move {
            acting.fail(1000);
            Ok::<(), Any>(())
        })
        .unwrap();
    manager.elect(elect(lock, "a")).unwrap();
    assert_eq!(
        ended(&manager).await.unwrap_err().to_string(),
        "election failed: the lock is down".replace("election failed", "the lock was not given back")
    );
}

#[tokio::test(start_paused = true)]
async fn without_tasks_and_after_the_last_one_it_ends() {
    ended(&Manager::new()).await.unwrap();
    let (manager, lock) = (Manager::new(), MemoryLock::new());
    manager.add("once", |_| async { Ok::<(), Any>(()) }).unwrap();
    manager.add_leader("once as leader", |_| async { Ok::<(), Any>(()) }).unwrap();
    manager.elect(elect(lock.clone(), "a")).unwrap();
    ended(&manager).await.unwrap();
    assert_eq!(lock.holder().as_deref(), Some(""));
}
