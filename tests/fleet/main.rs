//! One rate for a fleet: the protocol in a simulated world, and the future on a paused clock.
#![allow(clippy::pedantic, clippy::disallowed_methods, clippy::arithmetic_side_effects, missing_docs)]

mod hostile;
mod lapses;
mod ledgers;
mod members;
mod sim;
#[path = "../simulated/mod.rs"]
mod simulated;
mod support;
