//! How often something may happen: the token bucket, its packed form, the wait list in front of it, and budgets of
//! retries.

pub mod adaptive;
pub mod bucket;
pub mod budget;
pub mod epochs;
pub mod packed;
mod passage;
pub(super) mod planned;
pub mod rate;
pub mod wait_list;
