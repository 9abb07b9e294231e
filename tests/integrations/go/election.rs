//! client-go's `leaderelection` and controller-runtime's Manager.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use relent::{
    CancellationToken,
    leader::{Ended, Manager, MemoryLock, Timing, elect},
};
use tokio::time::{Instant, sleep, timeout};

use super::{MS, SECOND};

/// The rules of `NewLeaderElector`, in their order.
fn go_refuses(lease: Duration, deadline: Duration, period: Duration) -> bool {
    lease <= deadline || deadline <= period.mul_f64(1.2) || lease.is_zero() || deadline.is_zero() || period.is_zero()
}

/// What Go refuses when it runs is refused where it is made. What overlaps, and Go lets pass, is refused too.
#[test]
fn times_that_go_refuses_cannot_be_made() {
    let (mut both, mut ours) = (0, 0);
    for lease in 0..=20 {
        for deadline in 0..=20 {
            for period in 0..=10 {
                let [lease, deadline, period] = [lease, deadline, period].map(|seconds| seconds * SECOND);
                let made = Timing::new(lease, deadline, period);
                if go_refuses(lease, deadline, period) {
                    assert!(made.is_err(), "{lease:?}, {deadline:?}, {period:?}");
                    both += 1;
                } else {
                    ours += u32::from(made.is_err());
                }
            }
        }
    }
    assert!(both > 1000 && ours > 100, "{both}, {ours}");
    let [lease, deadline, period] = [15, 10, 2].map(|seconds| seconds * SECOND);
    assert_eq!(Timing::new(lease, deadline, period), Ok(Timing::default()), "the defaults are the same");
    // A leader of 11 s, 10 s, 2 s may work for a second beside the next one.
    assert!(!go_refuses(11 * SECOND, 10 * SECOND, 2 * SECOND));
    assert!(Timing::new(11 * SECOND, 10 * SECOND, 2 * SECOND).is_err());
}

/// When a candidate leads that begins now.
async fn leads(lock: &MemoryLock) -> Duration {
    let began = Instant::now();
    let ended = elect(lock.clone(), "next").run(async |_| began.elapsed()).await.unwrap();
    ended.into_finished().unwrap()
}

/// A record that is seen for the first time keeps a candidate out for a whole lease, however old it is; Go's then looks
/// after at most 2.2 retry periods more.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_is_replaced_after_its_lease() {
    for old in [0, 5, 1000] {
        let lock = MemoryLock::new();
        lock.give("gone", 15 * SECOND);
        sleep(old * SECOND).await;
        let taken = leads(&lock).await;
        assert!((15 * SECOND..=15 * SECOND + 2200 * MS * 2).contains(&taken), "{taken:?}");
    }
}

/// `ReleaseOnCancel`. A candidate without a watch of the lock looks every 2 s to 4.4 s, as Go's does; one with a watch
/// is told.
#[tokio::test(start_paused = true)]
async fn a_cancelled_campaign_gives_the_lock_back() {
    for watched in [true, false] {
        let (lock, token) = (MemoryLock::new(), CancellationToken::new());
        lock.announce(watched);
        let first = elect(lock.clone(), "first").cancel_on(token.clone()).run(async |term| {
            term.token().cancelled().await;
            sleep(100 * MS).await;
        });
        let first = tokio::spawn(first);
        sleep(SECOND).await;
        assert_eq!(lock.holder().as_deref(), Some("first"));
        let other = lock.clone();
        let next = tokio::spawn(async move { leads(&other).await });
        sleep(SECOND).await;
        let cancelled = Instant::now();
        token.cancel();
        // The work has ended before the lock is free: Go frees it first.
        assert!(matches!(first.await.unwrap().unwrap(), Ended::Finished(()) | Ended::Cancelled { .. }));
        assert_eq!(cancelled.elapsed(), 100 * MS);
        assert!(next.await.unwrap() >= SECOND);
        let waited = cancelled.elapsed() - 100 * MS;
        assert!(if watched { waited.is_zero() } else { waited <= 4400 * MS }, "{watched}: {waited:?}");
    }
}

/// `mgr.Add`: with leader election, or `NeedLeaderElection() false`. One that never leads starts no leader's task, also
/// while it stops; and the lock is given back after the tasks have ended.
#[tokio::test(start_paused = true)]
async fn a_manager_starts_and_stops_its_tasks_as_gos_does() {
    for elected in [true, false] {
        let (lock, manager, stop) = (MemoryLock::new(), Manager::new(), CancellationToken::new());
        if !elected {
            lock.give("other", 3600 * SECOND);
        }
        let [always, leading] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&always);
        let task = move |token: CancellationToken| async move {
            flag.store(true, SeqCst);
            token.cancelled().await;
            Ok::<_, std::io::Error>(())
        };
        manager.add("metrics", task).unwrap();
        let (flag, held) = (Arc::clone(&leading), lock.clone());
        let task = move |term: relent::leader::Term| async move {
            flag.store(true, SeqCst);
            term.token().cancelled().await;
            sleep(SECOND).await;
            assert_eq!(held.holder().as_deref(), Some("a"), "given back under its task");
            Ok::<_, std::io::Error>(())
        };
        manager.add_leader("controller", task).unwrap();
        manager.elect(elect(lock.clone(), "a")).unwrap();
        let (run, cancels) = (manager.run(stop.clone()), async {
            sleep(5 * SECOND).await;
            stop.cancel();
        });
        let began = Instant::now();
        let (ended, ()) = tokio::join!(run, cancels);
        ended.unwrap();
        assert_eq!((always.load(SeqCst), leading.load(SeqCst)), (true, elected));
        assert_eq!(began.elapsed(), if elected { 6 * SECOND } else { 5 * SECOND });
        assert_eq!(lock.holder().as_deref(), Some(if elected { "" } else { "other" }));
    }
}

/// A task that does not heed its context: Go's manager fails when its grace is over, and so does ours.
#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_named() {
    let (manager, stop) = (Manager::new(), CancellationToken::new());
    manager.add("deaf", |_| pending::<Result<(), std::io::Error>>()).unwrap();
    let mut run = std::pin::pin!(manager.run(stop.clone()));
    assert!(timeout(SECOND, &mut run).await.is_err());
    stop.cancel();
    let began = Instant::now();
    assert_eq!(run.await.unwrap_err().not_stopped(), ["deaf"]);
    assert_eq!(began.elapsed(), 30 * SECOND, "both wait for 30 s by default");
}
