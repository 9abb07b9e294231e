//! The engine: retry, poll, cursor and blocking against a naive model, and by their promises.
#![allow(unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::too_many_lines, clippy::items_after_statements)]
// Operations are async whether they wait or not; closures are what is tested; the model spells everything out.
#![allow(clippy::unused_async, clippy::redundant_closure_for_method_calls, clippy::manual_checked_ops)]

mod against_the_model;
mod bad_input;
mod cancelled;
mod client;
mod cursor;
mod debug;
mod discipline;
mod drops;
mod ends;
mod errors;
mod hostile;
mod kept;
mod late;
mod listening;
mod model;
mod named;
mod not_called;
mod on_a_thread;
mod polling;
mod script;
mod shared;
mod skipping;
mod snapshot;
mod spawned;
mod tables;
mod texts;
mod types;
#[path = "../models/wakes.rs"]
mod wakes;
