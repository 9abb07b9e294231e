//! Pure decisions: every rule of timing, as functions of the data they are given.
//!
//! Nothing in here reads a clock, sleeps, spawns or waits. Time is a number of nanoseconds since the run (the limiter,
//! the queue) began, so that a history can be written down, replayed, simulated and fuzzed. The verbs ask, and wait.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod lease;
pub(crate) mod nanos;
pub mod ratio;
