//! Random histories of a timetable against a naive model, and what a million entries cost.

use proptest::prelude::*;

use super::naive::{Due, Op, Tally, compare};

const MS: u64 = 1_000_000;

/// Distances that matter: nothing, below a millisecond, around the edges of the wheel's slots, years.
fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0..3 * MS,
        0..300 * MS,
        (0_u32..63, -2_i64..=2).prop_map(|(bits, off)| (1_u64 << bits).saturating_add_signed(off)),
        any::<u64>(),
    ]
}

fn due() -> impl Strategy<Value = Due> {
    prop_oneof![
        1 => distance().prop_map(Due::Ago),
        6 => distance().prop_map(Due::In),
        2 => Just(Due::Same),
        2 => any::<u8>().prop_map(Due::After),
        1 => Just(Due::Never),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || prop_oneof![4 => 0_u8..6, 1 => any::<u8>()];
    prop_oneof![
        6 => (key(), due()).prop_map(|(key, due)| Op::Keep(key, due)),
        4 => (key(), due()).prop_map(|(key, due)| Op::Move(key, due)),
        3 => (key(), due()).prop_map(|(key, due)| Op::Earlier(key, due)),
        2 => key().prop_map(Op::Cancel),
        1 => Just(Op::CancelAll),
        2 => distance().prop_map(|time| Op::Pass(time % (1 << 50))),
        5 => Just(Op::Sleep),
        8 => Just(Op::Start),
        4 => any::<u8>().prop_map(Op::End),
        3 => (any::<u8>(), due()).prop_map(|(which, due)| Op::Again(which, due)),
    ]
}

#[test]
fn same_as_the_model() {
    let total = std::cell::Cell::new(Tally::default());
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() };
    let start = prop_oneof![Just(0), Just(1 << 62), any::<u64>()];
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let ops = prop::collection::vec(op(), 1..120);
    let ran = runner.run(&(start, ops), |(start, ops)| {
        let Tally { starts, conflicts, retries, wakes } = compare(start, &ops);
        let sum = total.get();
        total.set(Tally {
            starts: sum.starts + starts,
            conflicts: sum.conflicts + conflicts,
            retries: sum.retries + retries,
            wakes: sum.wakes + wakes,
        });
        Ok(())
    });
    if let Err(failed) = ran {
        panic!("{failed}");
    }
    println!("10000 histories: {:?}", total.get());
    let Tally { starts, conflicts, retries, wakes } = total.get();
    assert!(starts > 50_000 && conflicts > 50_000 && retries > 5_000 && wakes > 10_000, "the histories were idle");
}
