//! Random histories of a delay queue against a naive model, and a million entries at once. (tests/allocations.rs has
//! what they take in memory.)

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use relent::policy::queue::{AttemptHistory, Cancelled, Inserted, KeyedDelayQueue, OnOccupied, Removed, Started};

use super::naive::{Due, Op, Tally, compare};

const MS: u64 = 1_000_000;

/// Distances that matter: nothing, below a millisecond, around the edges of the wheel's buckets, years.
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
    match rng.u8(0..38) {
        37 => Op::Anew(key, due(rng)),
        0..6 => Op::Keep(key, due(rng)),
        6..10 => Op::Move(key, due(rng)),
        10..13 => Op::Earlier(key, due(rng)),
        13..15 => Op::Cancel(key),
        15 => Op::CancelAll,
        16..18 => Op::Pass(distance(rng) % (1 << 50)),
        18..23 => Op::Sleep,
        23..30 => Op::Start,
        30..34 => Op::End(rng.u8(..)),
        _ => {
            let due = due(rng);
            Op::Again(rng.u8(..), due, if rng.bool() { u64::MAX } else { distance(rng) })
        }
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
    let seed = crate::first_seed();
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
    let Tally { starts, conflicts, retries, carried, wakes } = total;
    assert!(starts > 50_000 && conflicts > 50_000 && retries > 5_000 && wakes > 10_000, "the histories were idle");
    assert!(carried > 2_000, "few went on with failures");
}

const MINUTE: u64 = 60_000 * MS;

/// A history in memory of its own, as the queue has it.
#[derive(Debug, PartialEq)]
struct Failed(Box<u64>);

impl AttemptHistory for Failed {
    fn window(&self) -> (u64, u64) {
        (*self.0, u64::MAX)
    }

    fn split_off(&mut self) -> Self {
        Self(self.0.clone())
    }
}

type Table<K, V> = KeyedDelayQueue<K, V, Failed>;

fn give<K: std::hash::Hash + Eq + Clone, V>(
    table: &mut Table<K, V>,
    rule: OnOccupied,
    key: K,
    value: V,
    due: u64,
) -> Inserted<V, Failed> {
    table.insert(rule, &mut Some(key), &mut Some(value), due)
}

fn filled(entries: u64, rng: &mut Rng) -> Table<u64, u64> {
    let mut table: Table<_, _> = KeyedDelayQueue::new(0);
    (0..entries).for_each(|key| {
        let _ = give(&mut table, OnOccupied::Keep, key, key, rng.u64(..MINUTE));
    });
    table
}

/// A controller whose every failing attempt is followed by events about its own key, of all kinds and at random times,
/// in the attempt and in the pause: it is not tried once more than the pauses allow. The pauses double, from a second
/// on: attempts at 0, 1, 3, 7, .. s, whatever is given meanwhile.
#[test]
fn what_is_given_for_a_failing_key_does_not_undo_its_backoff() {
    const S: u64 = 1000 * MS;
    let mut rng = Rng::with_seed(11);
    for _ in 0..300 {
        let mut table: Table<u8, u32> = KeyedDelayQueue::new(0);
        let _ = give(&mut table, OnOccupied::Keep, 1, 0, 0);
        let (mut now, mut pause, mut value, mut starts) = (0, S, 0, Vec::new());
        while now < 120 * S {
            // An event; what it asks for lies anywhere between the past and the near future.
            if rng.bool() {
                value += 1;
                let rule = *rng.choice(&[OnOccupied::Keep, OnOccupied::Replace, OnOccupied::KeepEarlier]).unwrap();
                let _ = give(&mut table, rule, 1, value, (now + rng.u64(..=S)).saturating_sub(S));
            }
            if let Some(Started { run, value: tried, history, .. }) = table.start(now) {
                starts.push(now);
                assert_eq!(history.is_some(), starts.len() > 1);
                for _ in 0..rng.u8(..3) {
                    value += 1;
                    let rule = *rng.choice(&[OnOccupied::Keep, OnOccupied::Replace, OnOccupied::KeepEarlier]).unwrap();
                    let _ = give(&mut table, rule, 1, value, now + rng.u64(..S / 2));
                }
                table.end(run, Some((tried, Failed(Box::new(now + pause)))));
                pause *= 2;
            }
            now += S / 4;
        }
        assert_eq!(starts, [0, 1, 3, 7, 15, 31, 63].map(|seconds| seconds * S));
        // To begin anew must be asked for.
        let _ = give(&mut table, OnOccupied::Reset, 1, value, now);
        assert!(table.start(now).is_some_and(|started| started.history.is_none()));
    }
}

/// A million entries, moved, cancelled and added at random, come out complete and in order.
#[test]
fn a_million_entries() {
    const MILLION: u64 = 1_000_000;
    let mut rng = Rng::with_seed(1);
    let mut table = filled(MILLION, &mut rng);
    for _ in 0..MILLION / 2 {
        let (key, due) = (rng.u64(..MILLION), rng.u64(..MINUTE));
        match rng.u8(0..3) {
            0 => drop(give(&mut table, OnOccupied::Replace, key, key, due)),
            1 => drop(table.cancel(&key)),
            _ => drop(give(&mut table, OnOccupied::Keep, key, key, due)),
        }
    }
    let (mut left, mut last, mut now) = (table.len(), 0, 0);
    assert!(left > 700_000);
    while let Some(wake) = table.next_wake() {
        assert!(wake >= now);
        now = wake;
        while let Some(started) = table.start(now) {
            assert!(last <= started.due && started.due <= now);
            (last, left) = (started.due, left - 1);
            table.end(started.run, None);
        }
    }
    assert!(left == 0 && table.is_empty());
}

/// A key that counts how often it is hashed and compared.
#[derive(Clone)]
struct Counted(u64, std::rc::Rc<std::cell::Cell<(u64, u64)>>);

impl std::hash::Hash for Counted {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (hashed, compared) = self.1.get();
        self.1.set((hashed + 1, compared));
        self.0.hash(state);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        let (hashed, compared) = self.1.get();
        self.1.set((hashed, compared + 1));
        self.0 == other.0
    }
}

impl Eq for Counted {}

/// Each call that names a key hashes it once and compares it once, if it is there; nothing else does, however many
/// there are and however the table grows and shrinks. (What the order costs is counted beside the wheel.)
#[test]
fn a_key_is_hashed_and_compared_once_for_each_call_that_names_it() {
    let counts = std::rc::Rc::new(std::cell::Cell::new((0, 0)));
    let key = |number| Counted(number, counts.clone());
    let counted = || counts.replace((0, 0));
    for entries in [1_000, 10_000, 100_000] {
        let mut table: Table<_, _> = KeyedDelayQueue::new(0);
        // Of 100,000 keys a pair or two have the same half of a hash, and sometimes a few more.
        let close = |many: u64, few: u64| many.abs_diff(few) <= 100;
        (0..entries)
            .for_each(|number| assert_eq!(give(&mut table, OnOccupied::Keep, key(number), (), number), Inserted::New));
        let (hashed, compared) = counted();
        assert!(hashed == entries && close(compared, 0), "give: {hashed} {compared}");
        (0..entries).for_each(|number| {
            let _ = give(&mut table, OnOccupied::Replace, key(number), (), 2 * number);
            assert!(table.get(&key(number)).is_some());
        });
        let (hashed, compared) = counted();
        assert!(hashed == 2 * entries && close(compared, 2 * entries), "move, get: {hashed} {compared}");
        (0..entries / 2).for_each(|number| assert!(matches!(table.cancel(&key(number)), Cancelled::Removed(_))));
        let (hashed, compared) = counted();
        assert!(hashed == entries / 2 && close(compared, entries / 2), "cancel: {hashed} {compared}");
        while let Some(started) = table.start(2 * entries) {
            table.end(started.run, None);
        }
        assert!(table.is_empty());
        assert_eq!(counted(), (0, 0), "start, end");
    }
}

/// After the last key has gone, the next ones find their way as the first did; what was large is given back, what was
/// small is kept.
#[test]
fn empty_again_is_as_good_as_new() {
    for keys in [1, 5, 3_000_u64] {
        let mut table: Table<_, _> = KeyedDelayQueue::new(0);
        for round in 0..20 {
            let now = round * MINUTE;
            for key in 0..keys {
                assert_eq!(give(&mut table, OnOccupied::Keep, key, round, now + key % 7), Inserted::New);
                // An expiration that is not current any more.
                let (from, due) = (now + key % 7, now + key % 5);
                let moved = Inserted::Moved { from, due, value: round, history: None };
                assert_eq!(give(&mut table, OnOccupied::Replace, key, round, now + key % 5), moved);
            }
            if round % 2 == 0 {
                for key in 0..keys {
                    let removed = Removed::new(key, now + key % 5, round, None);
                    assert_eq!(table.cancel(&key), Cancelled::Removed(removed));
                }
            } else {
                let mut seen = 0;
                while let Some(started) = table.start(now + MINUTE / 2) {
                    assert_eq!(started.value, round);
                    seen += 1;
                    table.end(started.run, None);
                }
                assert_eq!(seen, keys);
            }
            assert!(table.is_empty() && table.running() == 0 && table.next_wake().is_none());
            assert!(table.start(u64::MAX).is_none(), "nothing of the last round is left");
        }
    }
}

/// Keys whose hashes are all the same are told apart all the same.
#[test]
fn equal_hashes_are_not_equal_keys() {
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Alike(u64);
    impl std::hash::Hash for Alike {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
    }
    let mut table: Table<_, _> = KeyedDelayQueue::new(0);
    (0..200).for_each(|key| assert_eq!(give(&mut table, OnOccupied::Replace, Alike(key), key, key), Inserted::New));
    for key in (0..200).step_by(2) {
        assert_eq!(table.cancel(&Alike(key)), Cancelled::Removed(Removed::new(Alike(key), key, key, None)));
        assert_eq!(table.cancel(&Alike(key)), Cancelled::Absent);
    }
    for key in (1..200).step_by(2) {
        let started = table.start(1000).unwrap();
        assert_eq!((started.key, started.value), (Alike(key), key));
        table.end(started.run, None);
    }
    assert!(table.is_empty());
}
