//! A term from its beginning to the release of its lock.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use relent::leader::{ElectionEvent, Ended, Loss, MemoryLock, Timing, elect};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{MS, S, hear};

#[tokio::test(start_paused = true)]
async fn a_free_lock_is_taken_at_once_and_given_back() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    let (elect, heard) = hear(elect(lock.clone(), "a"));
    let inside = lock.clone();
    let ended = elect.run(|term| async move { (inside.holder(), term.fence(), term.valid_for()) }).await.unwrap();
    let Ended::Finished((holder, fence, valid)) = ended else { panic!("{ended:?}") };
    assert_eq!((holder.as_deref(), fence, valid), (Some("a"), 2, MS(13_500)));
    assert_eq!(lock.holder().as_deref(), Some(""));
    assert_eq!(began.elapsed(), S(0));
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
    let _ = elect(lock.clone(), "b").run(|_| async {}).await.unwrap();
    let waited = began.elapsed() - (S(31) - MS(10));
    assert!(waited <= MS(4_400), "{waited:?}");
    let _ = first.await.unwrap().unwrap();
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
    assert!((8..=10).contains(&troubles), "{troubles}: a look at once, then every 2 s, more just before the deadline");
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
            if last.to_string() == "no answer within 3.5s"),
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
    // Work that does not heed is dropped after the grace, which may be longer than a lease: the term is renewed
    // meanwhile.
    for (grace, over) in [(None, S(27)), (Some(S(0)), S(7)), (Some(S(600)), S(607))] {
        let (token, began) = (CancellationToken::new(), Instant::now());
        let run = elect(lock.clone(), "a").cancel_on(token.clone());
        let run = if let Some(grace) = grace { run.cancel_grace(grace) } else { run };
        let run = run.run(|_| std::future::pending::<()>());
        let (ended, ()) = tokio::join!(run, async {
            sleep(S(7)).await;
            token.cancel();
        });
        assert!(matches!(ended.unwrap(), Ended::Cancelled { finished: None }));
        assert_eq!((began.elapsed(), lock.holder().as_deref()), (over, Some("")));
    }
}

/// Told to stop: the work drains for ten seconds under a term that is renewed all the while, and no other begins
/// meanwhile.
#[tokio::test(start_paused = true)]
async fn a_cancelled_run_renews_while_its_work_drains() {
    let (lock, token, began) = (MemoryLock::new(), CancellationToken::new(), Instant::now());
    let first = elect(lock.clone(), "a").cancel_on(token.clone()).run(|term| async move {
        term.lost().await;
        sleep(S(10)).await;
        (term.valid_for(), Instant::now() - began)
    });
    let second = async {
        sleep(MS(1)).await;
        elect(lock.clone(), "b").run(|_| async { Instant::now() }).await
    };
    let (first, second, ()) = tokio::join!(first, second, async {
        sleep(S(30)).await;
        token.cancel();
    });
    let Ended::Cancelled { finished: Some((valid, at)) } = first.unwrap() else { panic!() };
    // It ends with the grace, ten seconds later.
    assert_eq!((valid, at, second.unwrap().into_finished().unwrap() - began), (S(10), S(40), S(40)));
}

/// The lock fails while a cancelled run drains: then its work has the time that the lease leaves, and no more.
#[tokio::test(start_paused = true)]
async fn a_loss_while_draining_ends_it() {
    let (lock, token, began) = (MemoryLock::new(), CancellationToken::new(), Instant::now());
    let run = elect(lock.clone(), "a").cancel_on(token.clone()).cancel_grace(S(600));
    let (ended, ()) = tokio::join!(run.run(|_| std::future::pending::<()>()), async {
        sleep(S(5)).await;
        token.cancel();
        lock.fail(1000);
    });
    assert!(matches!(ended.unwrap(), Ended::Lost { why: Loss::Deadline { .. }, finished: None }));
    assert_eq!(began.elapsed(), MS(17_500), "renewed at 4 s");
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

/// The lock answers within the poll in which the old work ends: the new work is polled in it, too.
#[tokio::test(start_paused = true)]
async fn the_work_of_the_next_term_begins_at_once() {
    let (lock, terms) = (MemoryLock::new(), Arc::new(AtomicUsize::new(0)));
    lock.announce(false);
    let elected = Arc::new(Mutex::new(None));
    let (acting, at) = (lock.clone(), Arc::clone(&elected));
    let ended = elect(lock, "a")
        .on_event(move |change| {
            if let ElectionEvent::Elected { .. } = change {
                *at.lock().unwrap() = Some(Instant::now());
            }
        })
        .again()
        .run(move |term| {
            let (number, acting) = (terms.fetch_add(1, Ordering::Relaxed), acting.clone());
            async move {
                if number == 0 {
                    acting.clear();
                    term.lost().await;
                }
                Instant::now()
            }
        })
        .await
        .unwrap();
    assert_eq!(ended.into_finished(), *elected.lock().unwrap());
}

/// What the work has spawned is told of the end even where no task polls the run any more.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_tells_those_that_have_its_term() {
    let lock = MemoryLock::new();
    let (send, receive) = tokio::sync::oneshot::channel();
    let elect = elect(lock.clone(), "a");
    let health = elect.health(S(0));
    let run = elect.run(|term| async move {
        assert!(send.send(term).is_ok());
        std::future::pending::<()>().await;
    });
    assert!(timeout(S(5), run).await.is_err());
    let term = receive.await.unwrap();
    timeout(S(0), term.lost()).await.expect("told");
    assert_eq!(term.valid_for(), S(0));
    assert_eq!(lock.holder().as_deref(), Some("a"), "it was not given back");
    // No term runs, so there is nothing to complain about.
    sleep(S(60)).await;
    assert_eq!(health.check(), Ok(()));
}

/// Two tokens, two listeners: either stops it, and both hear.
#[tokio::test(start_paused = true)]
async fn what_is_given_twice_adds_up() {
    for which in 0..2 {
        let (tokens, heard) = ([CancellationToken::new(), CancellationToken::new()], Arc::new(Mutex::new([0, 0])));
        let tell = |index: usize| {
            let heard = Arc::clone(&heard);
            move |_: &ElectionEvent| heard.lock().unwrap()[index] += 1
        };
        let run = elect(MemoryLock::new(), "a")
            .cancel_on(tokens[0].clone())
            .cancel_on(tokens[1].clone())
            .on_event(tell(0))
            .on_event(tell(1))
            .run(|term| async move { term.lost().await });
        let (ended, ()) = tokio::join!(run, async {
            sleep(S(30)).await;
            tokens[which].cancel();
        });
        assert!(matches!(ended.unwrap(), Ended::Cancelled { finished: Some(()) }));
        let [first, second] = *heard.lock().unwrap();
        assert!(first > 0 && first == second, "{first} and {second}");
    }
}
