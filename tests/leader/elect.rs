//! The future of an election, under a paused clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use relent::leader::{Change, Elect, ElectError, Ended, Loss, MemoryLock, Timing, elect};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn hear(elect: Elect<MemoryLock>) -> (Elect<MemoryLock>, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let elect = elect.on_change(move |change| {
        let text = match change {
            Change::Holder(holder) => format!("holder {}", holder.as_deref().unwrap_or("-")),
            Change::Elected { .. } => "elected".to_owned(),
            Change::Lost(loss) => format!("lost: {loss}"),
            Change::Trouble(error) => format!("trouble: {error}"),
            other => format!("{other:?}"),
        };
        log.lock().unwrap().push(text);
    });
    (elect, heard)
}

#[tokio::test(start_paused = true)]
async fn a_free_lock_is_taken_at_once_and_given_back() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    let (elect, heard) = hear(elect(lock.clone(), "a"));
    let inside = lock.clone();
    let ended = elect.run(|term| async move { (inside.holder(), term.fence(), term.valid_for()) }).await.unwrap();
    let Ended::Finished((holder, fence, valid)) = ended else { panic!("{ended:?}") };
    assert_eq!((holder.as_deref(), fence, valid), (Some("a"), 2, MS(13_500)));
    assert_eq!(lock.holder().as_deref(), Some(""));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(*heard.lock().unwrap(), ["holder -", "holder a", "elected", "holder -"]);
    // Acquire: a read and a write. Release: a read and a write.
    assert_eq!(lock.calls(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_one_write_and_no_read() {
    let lock = MemoryLock::new();
    let counted = lock.clone();
    let ended = elect(lock, "a")
        .release_on_end(false)
        .run(|term| async move {
            let before = counted.calls();
            for _ in 0..100 {
                sleep(S(1)).await;
                assert!(term.valid_for() >= S(11));
            }
            (before, counted.calls())
        })
        .await
        .unwrap();
    let (before, after) = ended.into_finished().unwrap();
    assert_eq!(before, (1, 1));
    assert!(after.0 == 1 && (50..=51).contains(&after.1), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_is_taken_over_at_once() {
    let lock = MemoryLock::new();
    let first = tokio::spawn(elect(lock.clone(), "a").run(|_| sleep(S(31))).into_future());
    sleep(MS(10)).await;
    let began = Instant::now();
    let second = elect(lock.clone(), "b").run(|term| async move { (Instant::now(), term.fence()) }).await.unwrap();
    let (at, fence) = second.into_finished().unwrap();
    assert_eq!(at - began, S(31) - MS(10));
    assert!(fence > 2);
    assert!(matches!(first.await.unwrap().unwrap(), Ended::Finished(())));
}

#[tokio::test(start_paused = true)]
async fn without_reports_a_release_is_noticed_by_looking() {
    let lock = MemoryLock::new();
    lock.announce(false);
    let first = tokio::spawn(elect(lock.clone(), "a").run(|_| sleep(S(31))));
    sleep(MS(10)).await;
    let began = Instant::now();
    elect(lock.clone(), "b").run(|_| async {}).await.unwrap();
    let waited = began.elapsed() - (S(31) - MS(10));
    assert!(waited <= MS(4_400), "{waited:?}");
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crashed_leader_is_followed_after_a_lease() {
    let lock = MemoryLock::new();
    let first = tokio::spawn(elect(lock.clone(), "a").run(|_| std::future::pending::<()>()));
    let second = tokio::spawn(elect(lock.clone(), "b").run(|_| async { Instant::now() }));
    sleep(S(60) + MS(1)).await;
    let leader = lock.holder().unwrap();
    assert!(leader == "a", "the one that was first");
    first.abort();
    let crashed = Instant::now();
    let at = second.await.unwrap().unwrap().into_finished().unwrap();
    // The last renewal was seen at 60 s.
    assert!(at - crashed <= S(15) && at - crashed >= S(15) - MS(2_001), "{:?}", at - crashed);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_fails_ends_the_term_by_its_renew_deadline() {
    let lock = MemoryLock::new();
    let (elect, heard) = hear(elect(lock.clone(), "a"));
    let began = Instant::now();
    let ended = elect
        .run(|term| async move {
            sleep(S(5)).await;
            lock.fail(usize::MAX >> 48);
            term.lost().await;
            let told = began.elapsed();
            assert!(term.is_lost() && term.token().is_cancelled());
            sleep(S(1)).await;
            (told, term.valid_for())
        })
        .await
        .unwrap();
    let Ended::Lost { why, finished: Some((told, valid)) } = ended else { panic!("{ended:?}") };
    assert_eq!(why.to_string(), "no renewal was confirmed within 10s: the lock is down");
    // Renewed at 4 s, told at 14 s, valid until 17.5 s.
    assert_eq!((told, valid), (S(14), MS(2_500)));
    assert_eq!(began.elapsed(), S(15));
    let heard = heard.lock().unwrap();
    assert_eq!(heard.last().unwrap(), "lost: no renewal was confirmed within 10s: the lock is down");
    let troubles = heard.iter().filter(|text| text.starts_with("trouble")).count();
    assert!((5..=7).contains(&troubles), "{troubles}: a look at once, then every 2 s");
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_heed_is_dropped_before_another_may_begin() {
    struct Dropped(Arc<Mutex<Option<Instant>>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = Some(Instant::now());
        }
    }
    for (grace, dropped_at) in [(None, MS(13_500)), (Some(MS(500)), MS(10_500))] {
        let (lock, began) = (MemoryLock::new(), Instant::now());
        let at = Arc::new(Mutex::new(None));
        let (guard, hanging) = (Dropped(Arc::clone(&at)), lock.clone());
        let timing = grace.map_or(Timing::default(), |grace| Timing::default().stop_grace(grace).unwrap());
        let ended = elect(lock, "a")
            .timing(timing)
            .run(|_| async move {
                let _guard = guard;
                hanging.hang(1000);
                std::future::pending::<()>().await;
            })
            .await
            .unwrap();
        assert!(
            matches!(&ended, Ended::Lost { why: Loss::Deadline { last: Some(last), .. }, finished: None }
            if last.to_string() == "no answer within 4s"),
            "{ended:?}"
        );
        assert_eq!(at.lock().unwrap().unwrap() - began, dropped_at);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_given_back_only_after_the_work_has_ended() {
    let (lock, token, began) = (MemoryLock::new(), CancellationToken::new(), Instant::now());
    let inside = lock.clone();
    let first = elect(lock.clone(), "a").cancel_on(token.clone()).run(|term| async move {
        term.lost().await;
        // Told; the lock stays ours until the work has tidied up.
        sleep(S(3)).await;
        inside.holder()
    });
    let second = elect(lock.clone(), "b").run(|_| async { Instant::now() });
    let cancel = async {
        sleep(S(20)).await;
        token.cancel();
    };
    let (first, second, ()) = tokio::join!(first, second, cancel);
    let Ended::Cancelled { finished: Some(holder) } = first.unwrap() else { panic!() };
    assert_eq!(holder.as_deref(), Some("a"));
    assert_eq!(second.unwrap().into_finished().unwrap() - began, S(23));
}

#[tokio::test(start_paused = true)]
async fn a_term_goes_on_while_cancelled_work_ends() {
    let (lock, token) = (MemoryLock::new(), CancellationToken::new());
    token.cancel();
    let ended = elect(lock.clone(), "a").cancel_on(token.clone()).run(|_| async { panic!("started") }).await;
    assert!(matches!(ended.unwrap(), Ended::<()>::Cancelled { finished: None }));
    assert_eq!(lock.calls(), (0, 0), "nothing starts once cancelled");
    // Work that does not heed is dropped after the grace.
    let (token, began) = (CancellationToken::new(), Instant::now());
    let run = elect(lock.clone(), "a").cancel_on(token.clone()).run(|_| std::future::pending::<()>());
    let (ended, ()) = tokio::join!(run, async {
        sleep(S(7)).await;
        token.cancel();
    });
    assert!(matches!(ended.unwrap(), Ended::Cancelled { finished: None }));
    assert_eq!((began.elapsed(), lock.holder().as_deref()), (MS(10_500), Some("")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_looked_at() {
    let lock = MemoryLock::new();
    // The acquiring write is done, but its answer is lost: no need to wait for a lease.
    let began = Instant::now();
    lock.fail(0);
    let lossy = lock.clone();
    let (elect, heard) = hear(elect(lock.clone(), "a"));
    lossy.lose_answers(2);
    let fence = elect.run(|term| async move { term.fence() }).await.unwrap().into_finished().unwrap();
    assert_eq!(began.elapsed() < S(5), true, "{:?}", began.elapsed());
    assert!(fence >= 2);
    let lost = heard.lock().unwrap().iter().filter(|text| *text == "trouble: the answer was lost").count();
    assert_eq!(lost, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lock_is_laid_down_again_by_its_leader() {
    let lock = MemoryLock::new();
    let deleting = lock.clone();
    let run = elect(lock.clone(), "a").run(|term| async move {
        sleep(S(5)).await;
        deleting.delete();
        sleep(S(30)).await;
        assert!(!term.is_lost());
        term.fence()
    });
    let other = elect(lock.clone(), "b").run(|term| async move { term.fence() });
    let (first, second) = tokio::join!(run, other);
    let (first, second) = (first.unwrap().into_finished().unwrap(), second.unwrap().into_finished().unwrap());
    assert!(second > first, "{second} after {first}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_lock_is_created_and_waited_for() {
    for (at_once, waited) in [(false, S(15)), (true, S(0))] {
        let (lock, began) = (MemoryLock::new(), Instant::now());
        lock.delete();
        let elect = elect(lock.clone(), "a");
        let elect = if at_once { elect.lead_on_create() } else { elect };
        let at = elect.run(|_| async { Instant::now() }).await.unwrap().into_finished().unwrap();
        assert_eq!(at - began, waited);
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_and_a_clearing_are_noticed() {
    let lock = MemoryLock::new();
    for (clear, said) in [(false, "thief has taken over"), (true, "somebody else released the lock")] {
        let acting = lock.clone();
        lock.clear();
        let ended = elect(lock.clone(), "a")
            .run(|term| async move {
                sleep(S(3)).await;
                let began = Instant::now();
                if clear {
                    acting.clear()
                } else {
                    acting.give("thief", S(15))
                }
                term.lost().await;
                began.elapsed()
            })
            .await
            .unwrap();
        let Ended::Lost { why, finished: Some(noticed) } = ended else { panic!("{ended:?}") };
        assert_eq!((why.to_string().as_str(), noticed), (said, Duration::ZERO));
    }
    assert_eq!(lock.holder().as_deref(), Some(""), "what is another's is left alone");
}

#[tokio::test(start_paused = true)]
async fn again_campaigns_after_a_loss() {
    let lock = MemoryLock::new();
    let terms = Arc::new(AtomicUsize::new(0));
    let (elect, heard) = hear(elect(lock.clone(), "a"));
    let (count, acting) = (Arc::clone(&terms), lock.clone());
    let ended = elect
        .again()
        .run(move |term| {
            let (number, acting) = (count.fetch_add(1, Ordering::Relaxed), acting.clone());
            async move {
                if number < 2 {
                    acting.give("thief", S(1));
                    term.lost().await;
                }
                number
            }
        })
        .await
        .unwrap();
    assert!(matches!(ended, Ended::Finished(2)));
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(|text| *text == "elected").count(), 3);
    assert_eq!(heard.iter().filter(|text| *text == "lost: thief has taken over").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_is_an_error_at_once() {
    let lock = MemoryLock::new();
    let error = elect(lock.clone(), "").run(|_| async {}).await.unwrap_err();
    assert_eq!(error.to_string(), "identity \"\": must not be empty: it tells candidates apart");
    assert!(matches!(error, ElectError::Config(_)));
    lock.forbid(1);
    let error = elect(lock.clone(), "a").run(|_| async {}).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read lock in memory: no right to use the lock");
    assert!(std::error::Error::source(&error).is_some());
    // In a term it is borne until the deadline, and named.
    let acting = lock.clone();
    let ended = elect(lock, "a")
        .run(|term| async move {
            acting.forbid(1000);
            term.lost().await;
        })
        .await
        .unwrap();
    let Ended::Lost { why, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(why.to_string(), "no renewal was confirmed within 10s: no right to use the lock");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_is_said_and_keeps_the_answer() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    let acting = lock.clone();
    let ended = elect(lock.clone(), "a")
        .run(|_| async move {
            acting.fail(100);
            42
        })
        .await
        .unwrap();
    let Ended::Unreleased { finished: Some(42), error } = ended else { panic!("{ended:?}") };
    assert_eq!(error.to_string(), "the lock is down");
    assert!(began.elapsed() <= S(10), "{:?}", began.elapsed());
    // A hanging one ends as well.
    lock.heal();
    lock.clear();
    let acting = lock.clone();
    let run = elect(lock, "a").run(|_| async move { acting.hang(100) });
    assert!(matches!(timeout(S(11), run).await.unwrap().unwrap(), Ended::Unreleased { finished: Some(()), .. }));
}

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
    let mut watch = relent::leader::watch(lock.clone());
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

#[tokio::test(start_paused = true)]
async fn three_candidates_never_overlap_on_a_troubled_lock() {
    for seed in 0..200_u64 {
        let mut random = fastrand_like(seed);
        let (lock, active, fence) = (MemoryLock::new(), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(0)));
        let stop = CancellationToken::new();
        let mut runs = tokio::task::JoinSet::new();
        for name in ["a", "b", "c"] {
            let (active, fence) = (Arc::clone(&active), Arc::clone(&fence));
            let run = elect(lock.clone(), name).cancel_on(stop.clone()).again().run(move |term| {
                let (active, fence) = (Arc::clone(&active), Arc::clone(&fence));
                async move {
                    struct Leaves(Arc<AtomicUsize>);
                    impl Drop for Leaves {
                        fn drop(&mut self) {
                            self.0.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                    assert_eq!(active.fetch_add(1, Ordering::SeqCst), 0, "two lead");
                    let _leaves = Leaves(active);
                    let before = std::mem::replace(&mut *fence.lock().unwrap(), term.fence());
                    assert!(term.fence() > before);
                    std::future::pending::<()>().await;
                }
            });
            runs.spawn(run);
        }
        for _ in 0..20 {
            sleep(MS(random() % 20_000)).await;
            let calls = (random() % 12) as usize;
            match random() % 5 {
                0 => lock.fail(calls),
                1 => lock.hang(calls),
                2 => lock.lose_answers(calls),
                3 => lock.delete(),
                _ => lock.heal(),
            }
        }
        stop.cancel();
        lock.heal();
        while let Some(run) = runs.join_next().await {
            run.unwrap().unwrap();
        }
    }
}

pub(crate) fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
