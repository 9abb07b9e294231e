//! Locks that fail, hang, lie, are taken away and deleted.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use relent::{
    leader::{ElectError, ElectionEvent, Ended, Lock, LockError, MemoryLock, Record, Timing, Write, elect},
    policy::lease::{Holder, Lease, ReadResult, RecordView, Step, WriteResult, WriteStep},
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{S, hear};

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
async fn a_takeover_and_a_clearing_are_noticed_by_the_next_renewal() {
    let lock = MemoryLock::new();
    for (clear, said) in [(false, "thief has taken over"), (true, "another process released the lock")] {
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
        // It renewed at 2 s, and would at 4 s.
        assert_eq!((why.to_string().as_str(), noticed), (said, S(1)));
    }
    assert_eq!(lock.holder().as_deref(), Some(""), "what is another's is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_cannot_be_is_an_error_at_once() {
    let error = elect(MemoryLock::new(), "").run(|_| async {}).await.unwrap_err();
    assert_eq!(error.to_string(), "identity \"\": must not be empty: it tells candidates apart");
    assert!(matches!(error, ElectError::Config(_)));
}

/// A server that has just started, rights that come later: what time can mend ends nothing.
#[tokio::test(start_paused = true)]
async fn a_refusal_ends_a_campaign_only_where_nothing_else_was_ever_answered() {
    // From the beginning, and for a lease: the last word.
    let (lock, began) = (MemoryLock::new(), Instant::now());
    lock.forbid(1000);
    let (elect_a, heard) = hear(elect(lock.clone(), "a"));
    let error = elect_a.run(|_| async {}).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read lock in memory: no right to use the lock");
    assert!(std::error::Error::source(&error).is_none(), "the text tells it all");
    assert!(began.elapsed() >= S(15) && began.elapsed() < S(20), "{:?}", began.elapsed());
    assert!(heard.lock().unwrap().iter().all(|text| text == "trouble: no right to use the lock"));
    // Not quite so long.
    lock.heal();
    let began = Instant::now();
    let healing = async {
        lock.forbid(1000);
        sleep(S(14)).await;
        lock.heal();
    };
    let (ended, ()) = tokio::join!(elect(lock.clone(), "a").run(|_| async { Instant::now() }), healing);
    assert!(ended.unwrap().into_finished().unwrap() - began < S(20));
    // With outages in between it says nothing about rights.
    let (stop, broken) = (CancellationToken::new(), lock.clone());
    for _ in 0..100 {
        broken.forbid(2);
        broken.fail(1);
    }
    let run = elect(lock.clone(), "a").cancel_on(stop.clone()).run(|_| async {});
    let (ended, ()) = tokio::join!(run, async {
        sleep(S(60)).await;
        stop.cancel();
    });
    assert!(matches!(ended.unwrap(), Ended::Cancelled { finished: None }));
    lock.heal();
    // After an answer it never ends, for as long as it lasts: follower, and former leader.
    lock.give("other", S(15));
    let began = Instant::now();
    let (ended, ()) = tokio::join!(elect(lock.clone(), "a").run(|_| async { Instant::now() }), async {
        sleep(S(1)).await;
        lock.forbid(100_000);
        sleep(S(3600)).await;
        lock.heal();
    });
    assert!(ended.unwrap().into_finished().unwrap() - began >= S(3601));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_refused_loses_its_term_and_leads_again() {
    let (lock, terms) = (MemoryLock::new(), Arc::new(Mutex::new(Vec::new())));
    let (elect, heard) = hear(elect(lock.clone(), "a"));
    let (acting, count) = (lock.clone(), Arc::clone(&terms));
    let run = elect.again().run(move |term| {
        let first = count.lock().unwrap().is_empty();
        count.lock().unwrap().push(term.fence());
        let acting = acting.clone();
        async move {
            if first {
                acting.forbid(100_000);
                term.lost().await;
            }
        }
    });
    let (ended, ()) = tokio::join!(run, async {
        sleep(S(300)).await;
        lock.heal();
    });
    assert!(matches!(ended.unwrap(), Ended::Finished(())));
    let terms = terms.lock().unwrap();
    assert!(terms.len() == 2 && terms[1] > terms[0], "{terms:?}");
    let lost = "lost: no renewal was confirmed within 10s: no right to use the lock";
    assert_eq!(heard.lock().unwrap().iter().filter(|text| *text == lost).count(), 1);
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

/// Reads that failed are spaced. A release that is reported meanwhile is followed up at once all the same.
#[test]
fn a_report_outweighs_reads_that_failed() {
    let timing = Timing::default();
    let record = |version, holder| RecordView::new(version, version, holder, 15_000_000_000);
    let mut lease = Lease::new(timing, None);
    assert_eq!(lease.next_step(0), Step::Read);
    lease.on_read(0, ReadResult::Found(record(5, Holder::Other)));
    let Step::Wait(reread_at) = lease.next_step(0) else { panic!() };
    for _ in 0..2 {
        assert_eq!(lease.next_step(reread_at), Step::Read);
        lease.on_read(reread_at, ReadResult::Failed);
    }
    assert!(matches!(lease.next_step(reread_at), Step::Wait(at) if at > reread_at), "spaced");
    lease.on_report(reread_at, Some(record(6, Holder::Released)));
    assert_eq!(lease.next_step(reread_at), Step::Write(WriteStep::Acquire { over: 6 }));
    // A write that fails as well is spaced again, and the same report is no news.
    lease.on_written(WriteStep::Acquire { over: 6 }, reread_at, reread_at, WriteResult::Unknown);
    lease.on_report(reread_at, Some(record(6, Holder::Released)));
    assert!(matches!(lease.next_step(reread_at), Step::Wait(at) if at > reread_at), "spaced");
}

/// The answer to a renewal is lost, a read still shows the record before it, and the renewal takes effect only then:
/// the record that turns up is known by its mark, and the term goes on.
#[test]
fn a_renewal_that_takes_effect_after_a_read_is_known() {
    let s = |seconds: u64| seconds * 1_000_000_000;
    let mut lease = Lease::new(Timing::default(), None);
    assert_eq!(lease.next_step(0), Step::Read);
    lease.on_read(0, ReadResult::Found(RecordView::new(6, 6, Holder::Released, s(15))));
    assert_eq!(lease.next_step(0), Step::Write(WriteStep::Acquire { over: 6 }));
    lease.set_write_mark(100);
    lease.on_written(WriteStep::Acquire { over: 6 }, 0, 0, WriteResult::Done { version: 7 });
    let own = |version, mark| RecordView::new(version, version, Holder::Own, s(15)).marked(Some(mark));
    let renew = WriteStep::Renew { over: Some(7) };
    assert_eq!(lease.next_step(s(2)), Step::Write(renew));
    lease.set_write_mark(101);
    lease.on_written(renew, s(2), s(3), WriteResult::Unknown);
    assert_eq!(lease.next_step(s(3)), Step::Read);
    lease.on_read(s(3), ReadResult::Found(own(7, 100)));
    assert_eq!(lease.next_step(s(3)), Step::Write(renew));
    lease.set_write_mark(102);
    lease.on_written(renew, s(3), s(3), WriteResult::Refused);
    let Step::Wait(at) = lease.next_step(s(3)) else { panic!() };
    assert_eq!((at, lease.next_step(at)), (s(5), Step::Read));
    lease.on_read(at, ReadResult::Found(own(8, 101)));
    assert_eq!(lease.lost(), None);
    assert_eq!(lease.held_term().map(|term| (term.fence, term.version)), Some((7, 8)));
    // What bears this identity and no mark of its own is another's still.
    lease.on_read(at, ReadResult::Found(own(9, 999)));
    assert!(lease.lost().is_some());
}

/// A lock whose calls find that it has changed, as long as that is so.
#[derive(Clone, Default)]
struct Contended {
    lock: MemoryLock,
    reads: Arc<AtomicBool>,
    writes: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Contended {
    fn changed(&self, is_so: &AtomicBool) -> Result<(), LockError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if is_so.load(Ordering::Relaxed) { Err(LockError::conflict("the record has changed")) } else { Ok(()) }
    }
}

impl Lock for Contended {
    type Object = ();

    fn name(&self) -> String {
        self.lock.name()
    }

    async fn read(&self) -> Result<Option<Record<()>>, LockError> {
        self.changed(&self.reads)?;
        self.lock.read().await
    }

    async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
        self.changed(&self.writes)?;
        self.lock.write(over, put).await
    }
}

/// No renewal gets through for all that is written beside it: the term ends, and says by what.
#[tokio::test(start_paused = true)]
async fn a_term_that_ends_by_conflicts_says_so() {
    let lock = Contended::default();
    let writes = Arc::clone(&lock.writes);
    let run = elect(lock, "a").run(|term| async move {
        sleep(S(3)).await;
        writes.store(true, Ordering::Relaxed);
        term.lost().await;
    });
    let Ended::Lost { why, finished: Some(()) } = run.await.unwrap() else { panic!() };
    assert_eq!(why.to_string(), "no renewal was confirmed within 10s: the record has changed");
}

/// There is no conflict about a read: one that is answered so is a trouble like any other, told and not repeated
/// without a pause.
#[tokio::test(start_paused = true)]
async fn a_read_that_is_called_a_conflict_is_trouble() {
    let (lock, told) = (Contended::default(), Arc::new(AtomicUsize::new(0)));
    lock.reads.store(true, Ordering::Relaxed);
    let (reads, calls, heard) = (Arc::clone(&lock.reads), Arc::clone(&lock.calls), Arc::clone(&told));
    let listen = move |event: &ElectionEvent| {
        if let ElectionEvent::Trouble(error) = event {
            assert_eq!(error.to_string(), "the record has changed");
            heard.fetch_add(1, Ordering::Relaxed);
        }
    };
    let run = tokio::spawn(elect(lock, "a").on_event(listen).run(async |_| {}));
    sleep(S(60)).await;
    let (called, told) = (calls.load(Ordering::Relaxed), told.load(Ordering::Relaxed));
    assert!(called == told && (5..60).contains(&called), "{called} reads, {told} told");
    reads.store(false, Ordering::Relaxed);
    assert!(matches!(run.await.unwrap().unwrap(), Ended::Finished(())));
}
