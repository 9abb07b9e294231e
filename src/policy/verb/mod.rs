//! The rules of single verbs, beside those of the schedule that all of them have.

pub mod ensure;
pub mod settle;
