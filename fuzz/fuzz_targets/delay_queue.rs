//! Any history of a delay queue is that of the naive model.
#![no_main]

#[path = "../../tests/queue/naive.rs"]
mod naive;

libfuzzer_sys::fuzz_target!(|history: (u64, Vec<naive::Op>)| {
    let (start, ops) = history;
    naive::compare(start, &ops);
});
