//! Operations that are triggered and watched to their end, and conditions that are waited for.
#![allow(clippy::disallowed_methods, clippy::similar_names, unreachable_pub)]

mod between;
mod contract;
mod done;
mod drops;
mod hangs;
mod names;
mod odd;
mod place;
mod refusals;
mod streams;
mod texts;
mod trigger;
mod waiting;
mod waiting_everywhere;
#[path = "../kubernetes/world.rs"]
#[allow(dead_code, reason = "the facts of the contract use the rest")]
mod world;
