//! Candidates on a lock in trouble.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use relent::leader::{MemoryLock, elect};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{MS, fastrand_like};

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
