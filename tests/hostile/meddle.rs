//! Re-entrant use: from inside of a callback, of whatever is shared.

use super::{
    changing, limits, queues,
    world::{note, shared, with},
};

pub fn meddle() {
    let shared = shared();
    let (what, limit, budget) = with(|world| {
        let (limits, budgets) = (shared.limiters.len(), shared.budgets.len());
        (world.rng.u8(0..10), world.rng.usize(0..limits.max(1)), world.rng.usize(0..budgets.max(1)))
    });
    let limiter = shared.limiters.get(limit);
    let budget = shared.budgets.get(budget).map(|shared| (shared, budget));
    match (what, limiter, budget) {
        (0 | 1, Some(limiter), _) => {
            let taken = limiter.try_acquire(1).is_ok();
            limits::tried(limit, 1, taken);
        }
        (2, Some(limiter), _) => {
            let _ = (limiter.waiters(), limiter.available(), format!("{limiter:?}"));
        }
        (3, _, Some((budget, index))) => {
            note("budget", index, "a run that is over at once", 0);
            let mut run = budget.begin();
            let allowed = run.may_retry();
            with(|world| world.budgets[index].retries += u64::from(allowed));
        }
        (4, _, Some((budget, index))) => {
            note("budget", index, "a retry that is not made", 0);
            let mut run = budget.begin();
            // What was not allowed cannot be given back.
            let asks = with(|world| world.rng.bool());
            if !asks || run.may_retry() {
                changing::give_back(&mut run);
            }
        }
        (5 | 6, ..) => queues::give(),
        (7, ..) => queues::cancel(),
        (8, ..) if with(|world| world.rng.u8(0..6) == 0) => queues::close(),
        (8, ..) => {
            if let Some(handle) = &shared.handle {
                let _ = (handle.len(), handle.running(), handle.get(&0));
            }
        }
        _ => queues::cancel_all(),
    }
}
