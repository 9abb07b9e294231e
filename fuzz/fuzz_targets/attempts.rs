//! Runs of any policy and any script of calls, against the naive model.
#![no_main]

#[path = "../../tests/models/mod.rs"]
mod models;

use models::source::Source;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| models::attempts::check(&mut Source::new(bytes)));
