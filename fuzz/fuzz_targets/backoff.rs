//! The delays of any backoff, against the naive model.
#![no_main]

#[path = "../../tests/models/mod.rs"]
mod models;

use models::source::Source;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| models::backoff::check(&mut Source::new(bytes)));
