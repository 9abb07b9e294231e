//! Holding leadership: one of many processes works, the others wait.

pub use crate::policy::lease::{Explained, Timing};
