//! One identity in two processes, and answers that are lost: whose record it is.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use relent::leader::{
    ElectionEvent, Ended, Lock, LockError, Loss, MemoryLock, Prepared, Record, RecordStream, Term, Write, elect,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{MS, S, random_numbers, schedules};

/// A lock that a process can be cut off from.
#[derive(Clone)]
struct Cut {
    lock: MemoryLock,
    cut: Arc<AtomicBool>,
    /// Whether it passes on how writes are marked.
    marks: bool,
}

impl Cut {
    fn check(&self) -> Result<(), LockError> {
        if self.cut.load(Ordering::SeqCst) { Err(LockError::unavailable("cut off")) } else { Ok(()) }
    }
}

impl Lock for Cut {
    type Object = ();

    fn name(&self) -> String {
        self.lock.name()
    }

    async fn read(&self) -> Result<Option<Record<()>>, LockError> {
        self.check()?;
        self.lock.read().await
    }

    async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
        self.check()?;
        self.lock.write(over, put).await
    }

    fn prepare(&self, over: Option<&Record<()>>, put: Write<'_>) -> Option<Prepared<()>> {
        let prepared = self.marks.then(|| self.lock.prepare(over, put)).flatten()?;
        let lock = self.clone();
        Some(Prepared::new(prepared.mark(), async move {
            lock.check()?;
            prepared.into_write().await
        }))
    }

    fn watch(&self) -> RecordStream<()> {
        self.lock.watch()
    }
}

/// Which of the two leads, and whether they ever did so at once.
#[derive(Clone, Default)]
struct Seats(Arc<Mutex<[bool; 2]>>);

impl Seats {
    async fn sit(self, number: usize, term: Term) {
        struct Leaves(Seats, usize);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.0.0.lock().unwrap()[self.1] = false;
            }
        }
        {
            let mut seats = self.0.lock().unwrap();
            assert!(!seats.iter().any(|taken| *taken), "two lead");
            seats[number] = true;
        }
        let _leaves = Leaves(self.clone(), number);
        term.lost().await;
        // Slow to stop.
        sleep(S(3600)).await;
    }

    fn led_by(&self) -> Option<usize> {
        self.0.lock().unwrap().iter().position(|taken| *taken)
    }
}

type Losses = Arc<Mutex<Vec<String>>>;

fn stands(lock: Cut, number: usize, seats: &Seats, losses: &Losses) -> JoinHandle<()> {
    let (seats, losses) = (seats.clone(), Arc::clone(losses));
    let elect = elect(lock, "web-0").on_event(move |change| {
        if let ElectionEvent::Lost(loss) = change {
            losses.lock().unwrap().push(loss.to_string());
        }
    });
    tokio::spawn(async move {
        let _ = elect.again().run(move |term| seats.clone().sit(number, term)).await.unwrap();
    })
}

/// A pod of a StatefulSet is deleted by force from a node that is cut off, and started elsewhere under its name; then
/// the node comes back.
#[tokio::test(start_paused = true)]
async fn the_same_identity_does_not_lead_beside_itself_after_a_partition() {
    for marks in [true, false] {
        for cut_for in [1, 5, 9, 12, 20, 60, 3_600] {
            let (lock, seats, losses) = (MemoryLock::new(), Seats::default(), Losses::default());
            let old = Cut { lock: lock.clone(), cut: Arc::default(), marks };
            let cut = Arc::clone(&old.cut);
            let old = stands(old, 0, &seats, &losses);
            sleep(S(20)).await;
            cut.store(true, Ordering::SeqCst);
            let new = stands(Cut { lock, cut: Arc::default(), marks }, 1, &seats, &losses);
            sleep(S(cut_for)).await;
            cut.store(false, Ordering::SeqCst);
            sleep(S(3_600)).await;
            assert!(!old.is_finished() && !new.is_finished(), "two led: {:?}", losses.lock().unwrap());
            // Renewed just before or two seconds before: after 12 s it may be either.
            let leads = seats.led_by().expect("one of them leads");
            assert!(cut_for == 12 || leads == usize::from(cut_for >= 20), "{leads} leads after {cut_for} s");
            old.abort();
            new.abort();
            assert!(losses.lock().unwrap().len() <= 1, "{:?}", losses.lock().unwrap());
        }
    }
}

/// Both hear each other's writes, lose answers, and are cut off at random.
#[tokio::test(start_paused = true)]
async fn the_same_identity_never_leads_beside_itself() {
    for seed in 0..schedules(100) {
        let (lock, seats, losses) = (MemoryLock::new(), Seats::default(), Losses::default());
        let mut random = random_numbers(seed);
        let cuts = [Arc::<AtomicBool>::default(), Arc::default()];
        let runs: Vec<_> = (0..2)
            .map(|number| {
                let lock = Cut { lock: lock.clone(), cut: Arc::clone(&cuts[number]), marks: true };
                stands(lock, number, &seats, &losses)
            })
            .collect();
        for _ in 0..30 {
            sleep(MS(random() % 9_000)).await;
            let calls = (random() % 8) as usize;
            match random() % 7 {
                0 => lock.fail(calls),
                1 => lock.hang(calls),
                2 | 3 => lock.lose_answers(calls),
                4 => lock.forbid(calls),
                5 => drop(cuts[calls % 2].fetch_not(Ordering::SeqCst)),
                _ => lock.heal(),
            }
        }
        assert!(runs.iter().all(|run| !run.is_finished()), "two led, seed {seed}");
        runs.iter().for_each(JoinHandle::abort);
    }
}

/// Each answer is lost, while each write is done: the term goes on, since the record shows whose write it was.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_costs_nothing() {
    let lock = MemoryLock::new();
    let losing = lock.clone();
    let ended = elect(lock, "a").run(|term| async move {
        for _ in 0..20 {
            // A renewal, and the look after it goes well.
            losing.lose_answers(1);
            sleep(S(10)).await;
            assert!(!term.is_lost() && term.valid_for() > S(9), "{:?}", term.valid_for());
        }
    });
    assert!(matches!(ended.await.unwrap(), Ended::Finished(())));
}

/// A write that was given up lands later than the next look: it is known all the same.
#[tokio::test(start_paused = true)]
async fn a_write_that_lands_late_is_known() {
    struct Late(MemoryLock, Mutex<u32>);
    impl Lock for Late {
        type Object = ();
        fn name(&self) -> String {
            self.0.name()
        }
        async fn read(&self) -> Result<Option<Record<()>>, LockError> {
            self.0.read().await
        }
        async fn write(&self, over: Option<&Record<()>>, put: Write<'_>) -> Result<Record<()>, LockError> {
            self.prepare(over, put).unwrap().into_write().await
        }
        fn prepare(&self, over: Option<&Record<()>>, put: Write<'_>) -> Option<Prepared<()>> {
            let prepared = self.0.prepare(over, put)?;
            let mut writes = self.1.lock().unwrap();
            *writes += 1;
            // Each fifth write is refused by the connection, and lands a little later all the same.
            let late = writes.is_multiple_of(5);
            Some(Prepared::new(prepared.mark(), async move {
                let write = prepared.into_write();
                if late {
                    tokio::spawn(async move {
                        sleep(MS(700)).await;
                        let _ = write.await;
                    });
                    return Err(LockError::unavailable("connection reset"));
                }
                write.await
            }))
        }
    }
    let ended = elect(Late(MemoryLock::new(), Mutex::new(0)), "a").run(|term| async move {
        for _ in 0..100 {
            sleep(S(1)).await;
            assert!(!term.is_lost());
        }
    });
    assert!(matches!(ended.await.unwrap(), Ended::Finished(())));
}

/// Another process writes this identity into the lock: it is not this one that has written it.
#[tokio::test(start_paused = true)]
async fn a_record_with_this_identity_that_another_wrote_ends_the_term() {
    let (lock, began) = (MemoryLock::new(), Instant::now());
    let acting = lock.clone();
    let ended = elect(lock.clone(), "web-0").run(|term| async move {
        sleep(S(3)).await;
        acting.give("web-0", S(15));
        term.lost().await;
    });
    let Ended::Lost { why, .. } = ended.await.unwrap() else { panic!() };
    assert!(matches!(&why, Loss::SameIdentity { identity } if identity == "web-0"));
    assert_eq!(
        why.to_string(),
        "another process with the same identity, web-0, has taken over: identities must be unique"
    );
    assert_eq!(began.elapsed(), S(4), "found by the next renewal");
    assert_eq!(lock.holder().as_deref(), Some("web-0"), "what is another's is left alone");
    // And it is waited for, as any other's.
    let ended = elect(lock, "web-0").run(|_| async { Instant::now() }).await.unwrap();
    assert_eq!(ended.into_finished().unwrap() - began, S(4) + S(15));
}
