//! The policy: its text, its delays, its decisions, its plan.
#![allow(clippy::too_many_lines, clippy::disallowed_methods)]

#[path = "../models/mod.rs"]
mod models;

mod attempts;
mod backoff;
mod brute;
mod example;
#[cfg(feature = "serde")]
mod files;
mod guards;
mod phase;
mod plan;
#[cfg(feature = "serde")]
mod serde;
mod text;
mod throttled;

use models::source::Source;
use proptest::{prelude::*, test_runner::Config};

/// So many cases as `PROPTEST_CASES` says, or 256.
fn cases() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

/// Bytes to make a case of.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

fn source(bytes: &[u8]) -> Source<'_> {
    Source::new(bytes)
}
