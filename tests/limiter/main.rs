//! Limiters and budgets.
#![allow(clippy::disallowed_methods, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![allow(clippy::cast_precision_loss, clippy::too_many_lines, clippy::single_match_else)]

mod budgets;
mod keyed;
mod keyed_backoff;
mod keyed_memory;
mod keyed_model;
mod laws;
mod many;
mod model;
mod moving_up;
mod several;
mod stalled;
mod stalls;
mod storm;
mod waiting;
