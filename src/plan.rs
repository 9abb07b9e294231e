//! What a [`Policy`](crate::Policy) would do, before it runs: what [`Policy::plan`](crate::Policy::plan) answers.

pub use crate::policy::{
    plan::{Course, Finish, Plan, warning::Warning},
    schedule::attempts::PolicyStop,
};
