//! Runs that do not wait for a lock that is held, answers that come too late, and the last try before a deadline.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use relent::leader::{Ended, Lock, LockError, MemoryLock, Record, RecordStream, Write, elect};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{MS, S, hear};

/// What cron jobs on several nodes want: one does the work, the others go away, soon.
#[tokio::test(start_paused = true)]
async fn of_several_that_do_not_wait_one_works() {
    for reports in [true, false] {
        let (lock, began) = (MemoryLock::new(), Instant::now());
        lock.announce(reports);
        let mut runs = JoinSet::new();
        for number in 0..5 {
            let run = elect(lock.clone(), format!("node-{number}")).unless_held().run(|_| sleep(S(60)));
            runs.spawn(async move { (run.await.unwrap(), Instant::now()) });
        }
        let (mut worked, mut went) = (0, 0);
        while let Some(ended) = runs.join_next().await {
            match ended.unwrap() {
                (Ended::Finished(()), at) => {
                    worked += 1;
                    assert_eq!(at - began, S(60));
                }
                (Ended::Held { by }, at) => {
                    went += 1;
                    assert!(by.starts_with("node-"), "{by}");
                    assert!(at - began < S(5), "{:?}", at - began);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((worked, went), (1, 4));
    }
}

/// A holder that renews is one; a record that only lies there may be a dead one's, and is taken after a lease.
#[tokio::test(start_paused = true)]
async fn one_that_does_not_wait_takes_over_from_the_dead() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    lock.give("dead", S(15));
    let ended = elect(lock.clone(), "a").unless_held().run(|_| async { Instant::now() }).await.unwrap();
    assert_eq!(ended.into_finished().unwrap() - began, S(15));
    let living = tokio::spawn(elect(lock.clone(), "living").run(|_| std::future::pending::<()>()));
    sleep(S(10)).await;
    let began = Instant::now();
    let ended = elect(lock.clone(), "a").unless_held().run(|_| async {}).await.unwrap();
    assert!(matches!(&ended, Ended::Held { by } if by == "living"), "{ended:?}");
    assert!(began.elapsed() <= S(2), "{:?}", began.elapsed());
    assert_eq!(lock.holder().as_deref(), Some("living"));
    living.abort();
    // Its own record, of a write whose answer was lost, keeps no candidate out.
    let lock = MemoryLock::new();
    lock.lose_answers(2);
    let ended = elect(lock, "a").unless_held().run(|_| async {}).await.unwrap();
    assert!(matches!(ended, Ended::Finished(())), "{ended:?}");
}

/// The answer of the first write comes late.
struct Late(MemoryLock, AtomicBool);

impl Lock for Late {
    type Object = ();

    fn name(&self) -> String {
        self.0.name()
    }

    async fn read(&self) -> Result<Option<Record<()>>, LockError> {
        self.0.read().await
    }

    async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
        let answer = self.0.write(over, put).await;
        if self.1.swap(false, Ordering::SeqCst) {
            sleep(S(3)).await;
        }
        answer
    }

    fn watch(&self) -> RecordStream<()> {
        self.0.watch()
    }
}

/// Reported meanwhile: that another has the lock. The term that would begin by the answer is over already.
#[tokio::test(start_paused = true)]
async fn a_late_answer_begins_no_term_over_newer_news() {
    for (cleared, given) in [(true, true), (false, true), (true, false)] {
        let (lock, began) = (MemoryLock::new(), Instant::now());
        let late = Late(lock.clone(), AtomicBool::new(true));
        let run = elect(late, "a").run(|term| async move { (Instant::now(), term.fence()) });
        let meddling = async {
            sleep(MS(100)).await;
            if cleared {
                lock.clear();
            }
            if given {
                lock.give("b", S(15));
            }
        };
        let (ended, ()) = tokio::join!(run, meddling);
        let (at, fence) = ended.unwrap().into_finished().unwrap();
        // Released, it is taken with the next write; another's is waited for.
        assert_eq!(at - began, if given { MS(100) + S(15) } else { S(3) });
        assert!(fence > 3);
    }
}

/// An outage, however it shows and whenever it begins, that ends a little before the deadline ends no term.
#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_before_the_deadline_ends_no_term() {
    for hangs in [false, true] {
        for begins in [0, 100, 500, 1_000, 1_500, 1_900] {
            // Renewed each 2 s from 0 on: the deadline is 10 s after that.
            let lasts = 9_400 - begins;
            let (lock, faulty) = (MemoryLock::new(), Arc::new(AtomicBool::new(false)));
            let (acting, at) = (lock.clone(), Arc::clone(&faulty));
            let (elect, heard) = hear(elect(lock, "a"));
            let run = elect.run(|term| async move {
                sleep(S(20) + MS(begins + 1)).await;
                if hangs {
                    acting.hang(1_000);
                } else {
                    acting.fail(1_000);
                }
                at.store(true, Ordering::SeqCst);
                sleep(MS(lasts)).await;
                acting.heal();
                sleep(S(20)).await;
                assert!(!term.is_lost());
            });
            let ended = run.await.unwrap();
            assert!(matches!(ended, Ended::Finished(())), "hangs {hangs}, {begins}: {:?}", heard.lock().unwrap());
        }
    }
}
