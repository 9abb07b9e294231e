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
