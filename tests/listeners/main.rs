//! The listeners for `tracing` and `metrics`: exact names, levels, fields and labels.
#![allow(clippy::disallowed_methods, missing_docs)]

mod metrics;
mod tracing;
