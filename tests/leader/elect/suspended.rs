//! Machines that are suspended in the middle of a term: their monotonic clock stands still meanwhile.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use relent::{
    leader::{Ended, MemoryLock, Term, elect},
    testing::Machine,
};
use tokio::time::{Instant, sleep, timeout};

use super::{MS, S, random_numbers, schedules};

/// Counts how often it is polled.
struct Polled<F>(F, Arc<AtomicUsize>);

impl<F: Future + Unpin> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.1.fetch_add(1, Ordering::SeqCst);
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn work_is_not_polled_again_after_a_suspension_that_outlasts_its_term() {
    let (lock, machine, polls) = (MemoryLock::new(), Machine::new(), Arc::new(AtomicUsize::new(0)));
    let (count, kept) = (Arc::clone(&polls), Arc::new(Mutex::new(None)));
    let keep = Arc::clone(&kept);
    let first = machine.run(elect(lock.clone(), "laptop").run(move |term: Term| {
        *keep.lock().unwrap() = Some(term);
        // It works all the time.
        Polled(
            Box::pin(async {
                loop {
                    sleep(MS(10)).await
                }
            }),
            count,
        )
    }));
    let suspend = async {
        sleep(S(31)).await;
        machine.suspend();
        let before = polls.load(Ordering::SeqCst);
        sleep(S(60)).await;
        machine.resume();
        before
    };
    let second = async {
        sleep(MS(1)).await;
        elect(lock.clone(), "other").run(|term| async move { (Instant::now(), term.fence()) }).await
    };
    let began = Instant::now();
    let (first, before, second) = tokio::join!(first, suspend, second);
    let Ended::<()>::Lost { finished: None, .. } = first.unwrap() else { panic!() };
    assert_eq!(began.elapsed(), S(91), "at once when it goes on");
    assert_eq!(polls.load(Ordering::SeqCst), before, "it was not polled again");
    let (at, fence) = second.unwrap().into_finished().unwrap();
    // Renewed at 30 s, before it stood still.
    assert_eq!(at - began, S(45));
    let term = kept.lock().unwrap().take().unwrap();
    assert!(fence > term.fence() && term.is_lost() && term.valid_for().is_zero());
}

/// A shorter one is borne: it renews.
#[tokio::test(start_paused = true)]
async fn a_short_suspension_ends_no_term() {
    let (lock, machine) = (MemoryLock::new(), Machine::new());
    let run = machine.run(elect(lock, "laptop").run(|term| async move {
        sleep(S(60)).await;
        assert!(!term.is_lost() && term.valid_for() > S(11), "{:?}", term.valid_for());
    }));
    let suspend = async {
        for _ in 0..5 {
            sleep(S(3)).await;
            machine.suspend();
            sleep(S(7)).await;
            machine.resume();
        }
    };
    let (ended, ()) = tokio::join!(run, suspend);
    assert!(matches!(ended.unwrap(), Ended::Finished(())));
}

/// What is asked without a poll of the run, and what is guarded: each reads the clock that has gone on.
#[tokio::test(start_paused = true)]
async fn a_term_that_is_asked_after_a_suspension_says_that_it_is_over() {
    let (lock, machine) = (MemoryLock::new(), Machine::new());
    let (send, receive) = tokio::sync::oneshot::channel();
    let elect = elect(lock, "laptop");
    let health = elect.health(S(0));
    let run = tokio::spawn(machine.run(elect.run(|term| async move {
        assert!(send.send(term).is_ok());
        std::future::pending::<()>().await;
    })));
    let term = receive.await.unwrap();
    let guarded = machine.run(term.guard(async {
        loop {
            sleep(MS(10)).await;
        }
    }));
    let asked = term.clone();
    let guarded = tokio::spawn(async move { (guarded.await, asked.is_lost()) });
    sleep(S(5)).await;
    machine.suspend();
    sleep(S(60)).await;
    // Asked before anything else on that machine is polled.
    let mut ask = std::pin::pin!(machine.run(async { (term.is_lost(), term.valid_for(), health.check().is_err()) }));
    machine.resume();
    assert_eq!(ask.as_mut().await, (true, S(0), true));
    let (none, lost): (Option<()>, bool) = timeout(S(1), guarded).await.expect("it ends at once").unwrap();
    assert!(none.is_none() && lost);
    assert!(matches!(run.await.unwrap().unwrap(), Ended::Lost { finished: None, .. }));
}

/// Three machines that are suspended at random, and a lock in trouble: never two at work.
#[tokio::test(start_paused = true)]
async fn suspended_machines_never_overlap() {
    for seed in 0..schedules(100) {
        let (lock, mut random) = (MemoryLock::new(), random_numbers(seed));
        let newest = Arc::new(Mutex::new(0));
        let machines = [Machine::new(), Machine::new(), Machine::new()];
        let runs: Vec<_> = machines
            .iter()
            .enumerate()
            .map(|(number, machine)| {
                let newest = Arc::clone(&newest);
                let work = move |term: Term| {
                    let newest = Arc::clone(&newest);
                    async move {
                        loop {
                            // Whenever it is polled, its term is valid, and no newer one has begun.
                            assert!(!term.valid_for().is_zero(), "polled after its term");
                            let newest_before = std::mem::replace(&mut *newest.lock().unwrap(), term.fence());
                            assert!(term.fence() >= newest_before, "a newer term has begun");
                            sleep(MS(100)).await;
                        }
                    }
                };
                let run = elect(lock.clone(), format!("machine {number}")).again().run(work);
                tokio::spawn(machine.run(async move { run.await.map(drop).unwrap() }))
            })
            .collect();
        for _ in 0..20 {
            sleep(MS(random() % 15_000)).await;
            let machine = &machines[(random() % 3) as usize];
            match random() % 5 {
                0 | 1 => machine.suspend(),
                2 | 3 => machine.resume(),
                _ => lock.hang((random() % 4) as usize),
            }
        }
        machines.iter().for_each(Machine::resume);
        lock.heal();
        sleep(S(60)).await;
        assert!(runs.iter().all(|run| !run.is_finished()), "seed {seed}");
        assert!(*newest.lock().unwrap() > 0);
        runs.iter().for_each(|run| run.abort());
    }
}
