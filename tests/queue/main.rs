//! Work at its time: the pure delay queue, the queue, its handles, its runs.
#![allow(clippy::disallowed_methods, missing_docs, clippy::pedantic, clippy::erasing_op)]

mod budgets;
mod delay_queue;
mod endings;
mod evictions;
mod failing_keys;
mod failures;
mod guards;
mod histories;
mod hostile;
mod naive;
mod profile;
mod reentrant;
mod runs;
mod runtimes;
mod shares;
mod spawned;
mod storm;
mod wakers;

/// Where a test's random numbers begin: `RELENT_SEED` plays one again, `PROPTEST_RNG_SEED` plays the same in all tests.
fn first_seed() -> u64 {
    let said = ["RELENT_SEED", "PROPTEST_RNG_SEED"].iter().find_map(|name| std::env::var(name).ok());
    said.map_or_else(|| fastrand::u64(..1 << 40), |seed| seed.parse().unwrap())
}
