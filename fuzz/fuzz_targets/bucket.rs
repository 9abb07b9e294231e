//! The line in front of a bucket against the naive model, over any history.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/limiter/model/mod.rs"]
mod model;

/// Bytes as a history: small numbers mostly, any number sometimes.
fn case(data: &[u8]) -> Option<model::Case> {
    let (head, rest) = data.split_first_chunk::<4>()?;
    let per = [1, 3, 7, 20, 1000, 1_000_000_000, 60_000_000_000, 0][usize::from(head[1] % 8)];
    let steps = rest.chunks_exact(4).take(64).map(|step| {
        let number = u64::from(u16::from_le_bytes([step[2], step[3]]));
        let long = match step[0] >> 5 {
            0..=3 => number % 64,
            4 | 5 => number << 20,
            6 => number << 40,
            _ => u64::MAX - number,
        };
        let many = if step[1] < 250 { u32::from(step[1] % 10) } else { u32::MAX - u32::from(step[1]) };
        (step[0] % 16, many, long)
    });
    Some(model::Case { rate: (u32::from(head[0] % 16), per), burst: u32::from(head[2] % 16), steps: steps.collect() })
}

fuzz_target!(|data: &[u8]| {
    if let Some(case) = case(data) {
        model::check(&case);
    }
});
