//! Pure decisions: every rule of timing, as functions of the data they are given.
//!
//! Nothing in here reads a clock, sleeps, spawns or waits. Time is a number of nanoseconds since the run (the limiter,
//! the queue) began, so that a history can be written down, replayed, simulated and fuzzed. The verbs ask, and wait.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic))]

pub(crate) mod blocks;
pub(crate) mod config_error;
pub mod fleet;
pub mod lease;
pub mod limit;
pub(crate) mod nanos;
pub mod plan;
pub mod queue;
pub mod ratio;
pub mod schedule;
mod text;
pub mod verb;
