//! Naive models of the policy, in `u128` nanoseconds: written from the documentation, not from the code.
//!
//! The tests and the fuzz targets share them. A case is made from bytes, so that both can make any case.

#![allow(dead_code, unnameable_types, unreachable_pub, clippy::missing_panics_doc, clippy::must_use_candidate)]

pub mod attempts;
pub mod backoff;
pub mod source;

/// From here on it is never.
pub const FOREVER: u128 = u64::MAX as u128;
