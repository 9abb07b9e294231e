//! What looks on: probes, guarded tasks, followers.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use relent::leader::{Ended, Lock, LockError, MemoryLock, Record, RecordStream, Write, elect, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::S;

#[tokio::test(start_paused = true)]
async fn health_fails_where_a_leader_does_not_renew() {
    let lock = MemoryLock::new();
    let elect = elect(lock, "a");
    let health = elect.health(S(1));
    assert_eq!(health.check(), Ok(()));
    let run = elect.run(|_| std::future::pending::<()>());
    tokio::pin!(run);
    assert!(timeout(S(30), &mut run).await.is_err());
    assert_eq!(health.check(), Ok(()));
    // The run is not polled: whatever blocks it, it does not renew.
    sleep(S(17)).await;
    let error = health.check().unwrap_err();
    assert_eq!(error.to_string(), "the last renewal was 17s ago, the lease is 15s and the tolerance 1s");
    // It finds out by itself as soon as it is polled again: the work is dropped, unpolled.
    assert!(matches!(run.await.unwrap(), Ended::Lost { finished: None, .. }));
    assert_eq!(health.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_guarded_task_ends_with_the_term() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    let acting = lock.clone();
    let task = elect(lock, "a")
        .run(|term| async move {
            let task = tokio::spawn(term.guard(std::future::pending::<()>()));
            let short = term.guard(async { 7 }).await;
            assert_eq!(short, Some(7));
            acting.hang(1000);
            std::mem::forget(term.clone());
            sleep(S(1)).await;
            tokio::spawn(async move { (task.await.unwrap(), Instant::now()) })
        })
        .await
        .unwrap()
        .into_finished()
        .unwrap();
    let (ended, at) = task.await.unwrap();
    assert_eq!((ended, at - began), (None, S(1)), "the term ended with its work");
}

#[tokio::test(start_paused = true)]
async fn watch_follows_in_order() {
    let lock = MemoryLock::new();
    let mut watch = watch(lock.clone());
    assert_eq!(watch.next().await.unwrap().holder, None);
    lock.give("a", S(15));
    assert_eq!(watch.next().await.unwrap().holder.as_deref(), Some("a"));
    lock.announce(false);
    lock.give("b", S(15));
    let began = Instant::now();
    assert_eq!(watch.next().await.unwrap().holder.as_deref(), Some("b"));
    assert!(began.elapsed() <= S(2));
    lock.forbid(1);
    assert!(watch.next().await.unwrap_err().is_fatal());
    lock.delete();
    assert_eq!(watch.next().await.unwrap().holder, None);
}

/// It has been told, and the work ends before its time is up: the task does not outlive it.
#[tokio::test(start_paused = true)]
async fn a_guarded_task_that_was_told_ends_with_the_work() {
    let (lock, stop, began) = (MemoryLock::new(), CancellationToken::new(), Instant::now());
    let run = elect(lock, "a").cancel_on(stop.clone()).run(|term| async move {
        let guarded = tokio::spawn(term.guard(std::future::pending::<()>()));
        let ended = tokio::spawn(async move { (guarded.await.unwrap(), Instant::now()) });
        term.lost().await;
        sleep(S(1)).await;
        ended
    });
    let cancel = async {
        sleep(S(5)).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(run, cancel);
    let (value, at) = ended.unwrap().into_finished().unwrap().await.unwrap();
    assert_eq!((value, at - began), (None, S(6)));
}

#[tokio::test(start_paused = true)]
async fn watching_without_a_pause_lets_others_run() {
    let lock = MemoryLock::new();
    lock.announce(false);
    let mut watch = watch(lock.clone()).every(S(0));
    assert_eq!(watch.next().await.unwrap().holder, None);
    let (leader, ()) = tokio::join!(watch.next(), async {
        tokio::task::yield_now().await;
        lock.give("a", S(15));
    });
    assert_eq!(leader.unwrap().holder.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_is_an_error_and_not_the_last_one() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    lock.announce(false);
    let mut watch = watch(lock.clone());
    lock.hang(1);
    assert_eq!(watch.next().await.unwrap_err().to_string(), "no answer within 10s");
    assert_eq!(began.elapsed(), S(10));
    assert_eq!(watch.next().await.unwrap().holder, None);
}

/// A lock in memory that reports what it is told to.
struct Reporting<R>(MemoryLock, R);

impl<R: Fn() -> RecordStream<()> + Send + Sync + 'static> Lock for Reporting<R> {
    type Object = ();

    fn name(&self) -> String {
        self.0.name()
    }

    async fn read(&self) -> Result<Option<Record<()>>, LockError> {
        self.0.read().await
    }

    async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
        self.0.write(over, put).await
    }

    fn watch(&self) -> RecordStream<()> {
        (self.1)()
    }
}

#[tokio::test(start_paused = true)]
async fn reports_without_end_starve_none() {
    let chatty = Reporting(MemoryLock::new(), || -> RecordStream<()> { Box::pin(stream::repeat(None)) });
    let ended = elect(chatty, "a").run(|_| async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    });
    assert!(matches!(ended.await.unwrap(), Ended::Finished(())));
}

/// A leader would only hear of its own renewals.
#[tokio::test(start_paused = true)]
async fn reports_are_open_while_another_leads() {
    let (lock, open) = (MemoryLock::new(), Arc::new(()));
    let (announcing, counted) = (lock.clone(), Arc::downgrade(&open));
    let reports = move || -> RecordStream<()> {
        let counted = Arc::clone(&open);
        Box::pin(announcing.watch().inspect(move |_| drop(Arc::clone(&counted))))
    };
    let count = move || counted.strong_count() - 1;
    lock.give("other", S(15));
    let run = elect(Reporting(lock.clone(), reports), "a").again().run(|term| async move { term.lost().await });
    let run = tokio::spawn(run.into_future());
    for _ in 0..2 {
        sleep(S(5)).await;
        assert_eq!((lock.holder().unwrap(), count()), ("other".to_owned(), 1));
        sleep(S(30)).await;
        assert_eq!((lock.holder().unwrap(), count()), ("a".to_owned(), 0));
        lock.give("other", S(15));
    }
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn a_late_report_does_not_bring_back_a_deleted_record() {
    let lock = MemoryLock::new();
    lock.give("a", S(15));
    let old = lock.read().await.unwrap();
    let late = Reporting(lock.clone(), move || -> RecordStream<()> {
        let old = old.clone();
        let late = stream::once(async move {
            sleep(S(3)).await;
            old
        });
        Box::pin(late.chain(stream::pending()))
    });
    let mut watch = watch(late);
    assert_eq!(watch.next().await.unwrap().holder.as_deref(), Some("a"));
    lock.delete();
    assert_eq!(watch.next().await.unwrap().holder, None);
    assert!(timeout(S(60), watch.next()).await.is_err(), "no candidate holds it");
}

/// The store is restored from a backup: its versions go back. What it says now is what holds.
#[tokio::test(start_paused = true)]
async fn a_watch_outlives_the_restore_of_a_backup() {
    /// A store that was restored is another one.
    struct Restorable(Arc<Mutex<MemoryLock>>);
    impl Restorable {
        fn now(&self) -> MemoryLock {
            self.0.lock().unwrap().clone()
        }
    }
    impl Lock for Restorable {
        type Object = ();
        fn name(&self) -> String {
            self.now().name()
        }
        async fn read(&self) -> Result<Option<Record<()>>, LockError> {
            self.now().read().await
        }
        async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
            self.now().write(over, put).await
        }
        fn watch(&self) -> RecordStream<()> {
            self.now().watch()
        }
    }
    for announce in [true, false] {
        let (before, backup) = (MemoryLock::new(), MemoryLock::new());
        for lock in [&before, &backup] {
            lock.announce(announce);
        }
        for name in ["a", "b", "c", "d"] {
            before.give(name, S(15));
        }
        let store = Arc::new(Mutex::new(before.clone()));
        let mut watch = watch(Restorable(Arc::clone(&store)));
        assert_eq!(watch.next().await.unwrap().holder.as_deref(), Some("d"));
        backup.give("a", S(15));
        *store.lock().unwrap() = backup.clone();
        // With reports open it hardly looks: they may be of the store as it was.
        let seen = timeout(S(70), watch.next()).await.expect("what it says now").unwrap();
        assert_eq!((seen.holder.as_deref(), seen.version), (Some("a"), 2));
        before.give("e", S(15));
        backup.give("b", S(15));
        let seen = timeout(S(3), watch.next()).await.expect("reports of the store as it is").unwrap();
        assert_eq!((seen.holder.as_deref(), seen.version), (Some("b"), 3));
    }
}
