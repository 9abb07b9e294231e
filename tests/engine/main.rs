//! The engine: retry, poll, cursor and blocking against a naive model and by their promises.
#![allow(unreachable_pub, clippy::disallowed_methods)]

mod against_the_model;
mod model;
mod script;
