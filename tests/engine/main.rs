//! The engine: retry, poll, cursor and blocking against a naive model, and by their promises.
#![allow(unreachable_pub, clippy::disallowed_methods)]

mod against_the_model;
mod bad_input;
mod discipline;
mod drops;
mod errors;
mod listening;
mod model;
mod polling;
mod script;
mod shared;
mod tables;
mod types;
