//! Candidates on a lock in trouble.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use relent::leader::{Lock, MemoryLock, Term, elect};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{MS, random_numbers};

/// Where the work of all candidates meets: never two at once, and fences grow from one to the next.
#[derive(Default)]
struct Seat {
    taken: AtomicBool,
    fence: Mutex<u128>,
}

impl Seat {
    async fn take(self: Arc<Self>, term: Term) {
        struct Leaves(Arc<Seat>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.0.taken.store(false, Ordering::SeqCst);
            }
        }
        assert!(!self.taken.swap(true, Ordering::SeqCst), "two lead");
        let _leaves = Leaves(Arc::clone(&self));
        let before = std::mem::replace(&mut *self.fence.lock().unwrap(), term.fence());
        assert!(term.fence() > before);
        std::future::pending::<()>().await;
    }
}

/// Lets three candidates contend for one lock and makes trouble, twenty times up to 20 s apart; the last time
/// it has to end all trouble. They never overlap, and somebody has led.
pub(crate) async fn never_overlap<L: Lock>(
    lock: impl Fn() -> L,
    mut random: impl FnMut() -> u64,
    mut trouble: impl AsyncFnMut(Option<u64>, usize),
) {
    let (seat, stop, mut runs) = (Arc::<Seat>::default(), CancellationToken::new(), JoinSet::new());
    for name in ["a", "b", "c"] {
        let seat = Arc::clone(&seat);
        let run = elect(lock(), name).cancel_on(stop.clone()).again().run(move |term| Arc::clone(&seat).take(term));
        runs.spawn(run);
    }
    for _ in 0..20 {
        sleep(MS(random() % 20_000)).await;
        trouble(Some(random()), (random() % 12) as usize).await;
    }
    trouble(None, 0).await;
    stop.cancel();
    while let Some(run) = runs.join_next().await {
        let _ = run.unwrap().unwrap();
    }
    assert!(*seat.fence.lock().unwrap() > 0, "nobody ever led");
}

#[tokio::test(start_paused = true)]
async fn three_candidates_never_overlap_on_a_troubled_lock() {
    for seed in 0..200 {
        let lock = MemoryLock::new();
        let trouble = async |what: Option<u64>, calls| match what.map(|what| what % 5) {
            Some(0) => lock.fail(calls),
            Some(1) => lock.hang(calls),
            Some(2) => lock.lose_answers(calls),
            Some(3) => lock.delete(),
            _ => lock.heal(),
        };
        never_overlap(|| lock.clone(), random_numbers(seed), trouble).await;
    }
}
