//! Limiters and budgets.
#![allow(clippy::disallowed_methods, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod laws;
mod model;
