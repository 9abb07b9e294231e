//! Candidates on a lock in trouble, on machines that are suspended now and then.

use std::sync::{Arc, Mutex};

use relent::{
    leader::{Lock, MemoryLock, Term, elect},
    testing::Machine,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{MS, random_numbers, schedules};

/// Where the work of all candidates meets: never two at once, and fences grow from one to the next.
#[derive(Default)]
struct Seat {
    taken_by: Option<usize>,
    fence: u128,
    /// Machines that have been suspended, until their work is polled or dropped: what stands still does not work.
    suspended: [bool; 3],
}

/// A candidate's work: it leaves the seat when it is dropped.
struct Work(Arc<Mutex<Seat>>, usize);

impl Work {
    fn begin(seat: Arc<Mutex<Seat>>, number: usize, term: &Term) -> Self {
        let mut now = seat.lock().unwrap();
        now.suspended[number] = false;
        assert!(now.taken_by.is_none_or(|other| now.suspended[other]), "two lead");
        let before = std::mem::replace(&mut now.fence, term.fence());
        assert!(term.fence() > before, "a fence that does not grow");
        now.taken_by = Some(number);
        drop(now);
        Self(seat, number)
    }

    /// Whenever it is polled its term is valid, and no newer one has begun.
    async fn goes_on(self, term: Term) {
        loop {
            assert!(!term.valid_for().is_zero(), "polled after its term");
            {
                let mut now = self.0.lock().unwrap();
                assert!(now.fence == term.fence(), "a newer term has begun");
                now.suspended[self.1] = false;
            }
            sleep(MS(200)).await;
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Ok(mut now) = self.0.lock() else { return };
        now.suspended[self.1] = false;
        now.taken_by = now.taken_by.filter(|number| *number != self.1);
    }
}

/// Lets three candidates contend for one lock, and makes trouble twenty times up to 20 s apart: each time a machine is
/// suspended or goes on, or it is what `trouble` makes of a random number; the last time that has to end all trouble. They never
/// overlap, no campaign ends, and somebody has led.
pub(crate) async fn never_overlap<L: Lock>(
    lock: impl Fn() -> L,
    mut random: impl FnMut() -> u64,
    mut trouble: impl AsyncFnMut(Option<u64>, usize),
) {
    let (seat, stop, mut runs) = (Arc::<Mutex<Seat>>::default(), CancellationToken::new(), JoinSet::new());
    let machines = [Machine::new(), Machine::new(), Machine::new()];
    for (number, machine) in machines.iter().enumerate() {
        let seat = Arc::clone(&seat);
        let run = elect(lock(), format!("candidate {number}")).cancel_on(stop.clone()).again();
        let run = run.run(move |term: Term| {
            let work = Work::begin(Arc::clone(&seat), number, &term);
            work.goes_on(term)
        });
        runs.spawn(machine.run(run));
    }
    for _ in 0..20 {
        sleep(MS(random() % 20_000)).await;
        let (what, number) = (random(), (random() % 3) as usize);
        match what % 4 {
            0 => {
                seat.lock().unwrap().suspended[number] = true;
                machines[number].suspend();
            }
            1 => machines.iter().for_each(Machine::resume),
            _ => trouble(Some(what / 4), (random() % 12) as usize).await,
        }
        assert!(runs.try_join_next().is_none(), "a campaign has ended");
    }
    machines.iter().for_each(Machine::resume);
    trouble(None, 0).await;
    sleep(MS(60_000)).await;
    assert!(runs.try_join_next().is_none(), "a campaign has ended");
    stop.cancel();
    while let Some(run) = runs.join_next().await {
        let _ = run.unwrap().unwrap();
    }
    assert!(seat.lock().unwrap().fence > 0, "nobody ever led");
}

#[tokio::test(start_paused = true)]
async fn three_candidates_never_overlap_on_a_troubled_lock() {
    for seed in 0..schedules(200) {
        let lock = MemoryLock::new();
        let trouble = async |what: Option<u64>, calls| match what.map(|what| what % 6) {
            Some(0) => lock.fail(calls),
            Some(1) => lock.hang(calls),
            Some(2) => lock.lose_answers(calls),
            Some(3) => lock.delete(),
            // As a server that has just started refuses.
            Some(4) => lock.forbid(calls),
            _ => lock.heal(),
        };
        never_overlap(|| lock.clone(), random_numbers(seed), trouble).await;
    }
}
