//! Candidates on a lock in trouble, on machines that are suspended now and then.

use relent::{
    leader::MemoryLock,
    testing::lock::{conformance, never_overlap},
};

use super::schedules;

#[tokio::test(start_paused = true)]
async fn a_lock_in_memory_keeps_the_rules() {
    let lock = MemoryLock::new();
    conformance(lock.clone(), async || lock.delete()).await;
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
        never_overlap(|| lock.clone(), seed, trouble).await;
    }
}
