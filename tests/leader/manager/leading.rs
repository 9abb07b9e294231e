//! Leader tasks that come at any time, terms that follow each other, and the order in which a manager stops.

use std::sync::{Arc, Mutex};

use relent::leader::{Manager, MemoryLock, Term, elect};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Any, MS, S, idle};

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, text: impl Into<String>) {
    log.lock().unwrap().push(text.into());
}

/// Adds a leader task that notes when it begins and when it ends.
fn add_noting(manager: &Manager, name: &'static str, log: &Log) {
    let log = Arc::clone(log);
    let task = move |term: Term| async move {
        note(&log, format!("{name} begins"));
        term.lost().await;
        note(&log, format!("{name} ends"));
        Ok::<(), Any>(())
    };
    manager.add_leader(name, task).unwrap();
}

/// None at the start, none left in between: the process leads all the while, and whatever is added begins at once.
#[tokio::test(start_paused = true)]
async fn leader_tasks_may_be_added_at_any_time() {
    for first in ["none", "one that ends", "one that stays"] {
        let (manager, lock, stop, log) = (Manager::new(), MemoryLock::new(), CancellationToken::new(), Log::default());
        idle(&manager, "webhook");
        match first {
            "one that ends" => manager.add_leader("once", |_| async { Ok::<(), Any>(()) }).unwrap(),
            "one that stays" => super::idle_leader(&manager),
            _ => {}
        }
        manager.elect(elect(lock.clone(), "a")).unwrap();
        let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
            sleep(S(30)).await;
            assert_eq!(lock.holder().as_deref(), Some("a"));
            add_noting(&manager, "late", &log);
            sleep(MS(1)).await;
            assert_eq!(*log.lock().unwrap(), ["late begins"], "first: {first}");
            manager.add_leader("short", |_| async { Ok::<(), Any>(()) }).unwrap();
            sleep(S(30)).await;
            add_noting(&manager, "later", &log);
            sleep(S(30)).await;
            assert_eq!(lock.holder().as_deref(), Some("a"));
            stop.cancel();
        });
        run.unwrap();
        assert_eq!(log.lock().unwrap()[..2], ["late begins", "later begins"]);
        assert_eq!(log.lock().unwrap().len(), 4);
        assert_eq!(lock.holder().as_deref(), Some(""));
    }
}

/// Added while another leads: they wait for the term.
#[tokio::test(start_paused = true)]
async fn leader_tasks_that_come_before_the_term_wait_for_it() {
    let (manager, lock, stop, log) = (Manager::new(), MemoryLock::new(), CancellationToken::new(), Log::default());
    lock.give("other", S(60));
    // It has ended long before the term begins; the run goes on for what waits.
    manager.add("once", |_| async { Ok::<(), Any>(()) }).unwrap();
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(30)).await;
        add_noting(&manager, "late", &log);
        sleep(S(20)).await;
        assert!(log.lock().unwrap().is_empty());
        sleep(S(20)).await;
        assert_eq!(*log.lock().unwrap(), ["late begins"]);
        stop.cancel();
    });
    run.unwrap();
}

/// A manager without any task leads until it is told to stop; once there were some and all have ended, it ends.
#[tokio::test(start_paused = true)]
async fn a_run_ends_with_its_last_task_and_not_before_its_first() {
    let (manager, lock, began) = (Manager::new(), MemoryLock::new(), Instant::now());
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let (run, ()) = tokio::join!(manager.run(CancellationToken::new()), async {
        sleep(S(600)).await;
        manager
            .add_leader("once", |_| async {
                sleep(S(5)).await;
                Ok::<(), Any>(())
            })
            .unwrap();
    });
    run.unwrap();
    assert_eq!((began.elapsed(), lock.holder().as_deref()), (S(605), Some("")));
}

/// After a loss it campaigns again. What is to run in each term begins with each; the rest goes on beside it.
#[tokio::test(start_paused = true)]
async fn it_campaigns_again_after_a_loss() {
    let (manager, lock, stop, log) =
        (Manager::new().campaign_again(), MemoryLock::new(), CancellationToken::new(), Log::default());
    idle(&manager, "webhook");
    let noting = Arc::clone(&log);
    let task = move |term: Term| {
        let log = Arc::clone(&noting);
        async move {
            note(&log, "begins");
            term.lost().await;
            note(&log, "ends");
            Ok::<(), Any>(())
        }
    };
    manager.add_leader_each_term("controller", task).unwrap();
    add_noting(&manager, "in one term", &log);
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(10)).await;
        // Taken away for a while; then out of reach; then taken away with a task that comes meanwhile.
        lock.give("thief", S(15));
        sleep(S(60)).await;
        lock.fail(10_000);
        sleep(S(60)).await;
        lock.heal();
        sleep(S(60)).await;
        lock.give("thief", S(15));
        sleep(S(5)).await;
        add_noting(&manager, "late", &log);
        sleep(S(60)).await;
        assert_eq!(lock.holder().as_deref(), Some("a"));
        stop.cancel();
    });
    run.unwrap();
    let log = log.lock().unwrap();
    let count = |text: &str| log.iter().filter(|line| *line == text).count();
    assert_eq!((count("begins"), count("ends")), (4, 4), "{log:?}");
    assert_eq!((count("in one term begins"), count("in one term ends")), (1, 1));
    assert_eq!((count("late begins"), count("late ends")), (1, 1));
}

/// A failure ends a manager that campaigns again as any other, in whichever term; so does a panic, and the last task.
#[tokio::test(start_paused = true)]
async fn a_failure_in_a_later_term_comes_out() {
    for panics in [false, true] {
        let (manager, lock) = (Manager::new().campaign_again(), MemoryLock::new());
        let mut term_number = 0;
        let task = move |term: Term| {
            term_number += 1;
            if term_number == 2 && panics {
                panic!("at start");
            }
            async move {
                term.lost().await;
                if term_number == 2 { Err("cannot flush".into()) } else { Ok::<(), Any>(()) }
            }
        };
        manager.add_leader_each_term("controller", task).unwrap();
        manager.elect(elect(lock.clone(), "a")).unwrap();
        let (run, ()) = tokio::join!(timeout(S(300), manager.run(CancellationToken::new())), async {
            for _ in 0..2 {
                sleep(S(60)).await;
                lock.give("thief", S(15));
            }
        });
        let said = if panics { "controller panicked: at start" } else { "controller failed: cannot flush" };
        assert_eq!(run.expect("it ends").unwrap_err().to_string(), said);
    }
}

/// Leader tasks, the lock, plain tasks: one after the other.
#[tokio::test(start_paused = true)]
async fn it_stops_in_order() {
    for loses in [false, true] {
        let (manager, lock, stop, log) = (Manager::new(), MemoryLock::new(), CancellationToken::new(), Log::default());
        let (plain, held) = (Arc::clone(&log), lock.clone());
        manager
            .add("webhook", move |stop: CancellationToken| async move {
                stop.cancelled().await;
                note(&plain, format!("webhook told, the lock is {:?}", held.holder().unwrap()));
                sleep(S(1)).await;
                note(&plain, "webhook ends");
                Ok::<(), Any>(())
            })
            .unwrap();
        for (name, takes) in [("quick", 1), ("slow", 3)] {
            let log = Arc::clone(&log);
            manager
                .add_leader(name, move |term| async move {
                    term.lost().await;
                    note(&log, format!("{name} told"));
                    sleep(S(takes)).await;
                    note(&log, format!("{name} ends"));
                    Ok::<(), Any>(())
                })
                .unwrap();
        }
        manager.elect(elect(lock.clone(), "a")).unwrap();
        let began = Instant::now();
        let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
            sleep(S(11)).await;
            if loses { lock.give("thief", S(15)) } else { stop.cancel() }
        });
        assert_eq!(run.is_err(), loses);
        let holder = if loses { "thief" } else { "" };
        let mut log = log.lock().unwrap().clone();
        log[..2].sort();
        assert_eq!(
            log,
            [
                "quick told",
                "slow told",
                "quick ends",
                "slow ends",
                &format!("webhook told, the lock is {holder:?}"),
                "webhook ends"
            ]
        );
        assert_eq!(began.elapsed(), S(if loses { 12 } else { 11 }) + S(4));
    }
}

/// A leader task that does not end: the others are told after half of the grace, and have the other half.
#[tokio::test(start_paused = true)]
async fn a_leader_task_that_is_deaf_does_not_take_the_whole_grace() {
    let (manager, stop, log) = (Manager::new().grace(S(20)), CancellationToken::new(), Log::default());
    let (noting, began) = (Arc::clone(&log), Instant::now());
    manager
        .add("flusher", move |stop: CancellationToken| async move {
            stop.cancelled().await;
            note(&noting, format!("told after {:?}", began.elapsed()));
            sleep(S(9)).await;
            note(&noting, "flushed");
            Ok::<(), Any>(())
        })
        .unwrap();
    manager.add_leader("deaf", |_| std::future::pending::<Result<(), Any>>()).unwrap();
    manager.elect(elect(MemoryLock::new(), "a")).unwrap();
    let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(5)).await;
        stop.cancel();
    });
    assert_eq!(run.unwrap_err().not_stopped(), ["deaf"]);
    assert_eq!(*log.lock().unwrap(), ["told after 15s", "flushed"]);
    assert_eq!(began.elapsed(), S(25));
}
