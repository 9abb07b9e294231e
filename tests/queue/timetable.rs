//! Random histories of a timetable against a naive model, and what a million entries cost.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;

use super::naive::{Due, Op, Tally, compare};

const MS: u64 = 1_000_000;

/// Distances that matter: nothing, below a millisecond, around the edges of the wheel's slots, years.
fn distance(rng: &mut Rng) -> u64 {
    match rng.u8(0..5) {
        0 => 0,
        1 => rng.u64(0..3 * MS),
        2 => rng.u64(0..300 * MS),
        3 => (1_u64 << rng.u32(0..63)).saturating_add_signed(rng.i64(-2..=2)),
        _ => rng.u64(..),
    }
}

fn due(rng: &mut Rng) -> Due {
    match rng.u8(0..12) {
        0 => Due::Ago(distance(rng)),
        1..7 => Due::In(distance(rng)),
        7..9 => Due::Same,
        9..11 => Due::After(rng.u8(..)),
        _ => Due::Never,
    }
}

fn op(rng: &mut Rng) -> Op {
    let key = if rng.u8(0..5) == 0 { rng.u8(..) } else { rng.u8(0..6) };
    match rng.u8(0..37) {
        0..6 => Op::Keep(key, due(rng)),
        6..10 => Op::Move(key, due(rng)),
        10..13 => Op::Earlier(key, due(rng)),
        13..15 => Op::Cancel(key),
        15 => Op::CancelAll,
        16..18 => Op::Pass(distance(rng) % (1 << 50)),
        18..23 => Op::Sleep,
        23..30 => Op::Start,
        30..34 => Op::End(rng.u8(..)),
        _ => Op::Again(rng.u8(..), due(rng)),
    }
}

/// The shortest history found that still differs, for a reader.
fn shortened(start: u64, mut ops: Vec<Op>) -> Vec<Op> {
    let differs = |ops: &[Op]| catch_unwind(AssertUnwindSafe(|| compare(start, ops))).is_err();
    let mut at = ops.len();
    while at > 0 {
        at -= 1;
        let mut fewer = ops.clone();
        fewer.remove(at);
        if differs(&fewer) {
            ops = fewer;
        }
    }
    ops
}

#[test]
fn ten_thousand_histories_are_those_of_the_model() {
    let mut total = Tally::default();
    let seed = std::env::var("RELENT_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut rng = Rng::with_seed(seed);
    for case in 0..10_000 {
        let start = [0, 1 << 62, rng.u64(..)][case % 3];
        let ops: Vec<Op> = (0..rng.usize(1..120)).map(|_| op(&mut rng)).collect();
        let Ok(tally) = catch_unwind(AssertUnwindSafe(|| compare(start, &ops))) else {
            panic!("RELENT_SEED={seed} case {case}, start {start}: {:?}", shortened(start, ops));
        };
        total += tally;
    }
    println!("10000 histories, RELENT_SEED={seed}: {total:?}");
    let Tally { starts, conflicts, retries, wakes } = total;
    assert!(starts > 50_000 && conflicts > 50_000 && retries > 5_000 && wakes > 10_000, "the histories were idle");
}
