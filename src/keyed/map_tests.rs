//! What both maps that expire must keep to: one harness for their tests.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

/// A map of either kind, as the harness sees it.
pub(super) trait ExpiringTestMap: Sized {
    /// Entries that a step looks at, at most.
    const LOOKED_AT: usize;
    /// Keys that a step hashes, at most.
    const HASHED: usize;

    fn new() -> Self;
    fn len(&self) -> usize;
    fn get(&mut self, hash: u64, key: u16) -> Option<&mut u32>;
    fn insert(&mut self, hash: u64, key: u16, value: u32, hasher: impl Fn(&u16) -> u64);
    fn remove(&mut self, hash: u64, key: u16, hasher: impl Fn(&u16) -> u64) -> Option<u32>;
    fn step(&mut self, keep: impl FnMut(u32) -> bool, hasher: impl Fn(&u16) -> u64) -> bool;
    fn retain(&mut self, keep: impl FnMut(u32) -> bool, hasher: impl Fn(&u16) -> u64);
    /// Whether an entry can be added now without moving all.
    fn has_room(&self) -> bool;
    /// Of its table.
    fn buckets(&self) -> usize;
    /// Entries that its table has room for.
    fn capacity(&self) -> usize;
    /// What must hold of its parts.
    fn check(&self) {}
}

/// Against std's map. No call hashes or looks at more than a few entries, and one round of steps looks at all.
pub(super) fn it_is_a_map<M: ExpiringTestMap>() {
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let ops = vec((0_u8..8, 0_u16..2000, 1_usize..200, any::<bool>()), 1..60);
    TestRunner::new(config).run(&ops, against_std::<M>).unwrap_or_else(|failed| panic!("{failed}"));
}

/// The last says whether the steps come after what they belong to.
fn against_std<M: ExpiringTestMap>(ops: Vec<(u8, u16, usize, bool)>) -> Result<(), TestCaseError> {
    let (hasher, hashed) = (RandomState::new(), Cell::new(0));
    let hash = |key: &u16| {
        hashed.set(hashed.get() + 1);
        hasher.hash_one(key)
    };
    let mut map = M::new();
    let mut naive: HashMap<u16, u32> = HashMap::new();
    // Odd values may go at any step.
    let mut odd_go = false;
    let step = |map: &mut M, odd_go: bool| {
        let mut looked_at = 0;
        let keep = |value: u32| {
            looked_at += 1;
            !odd_go || value.is_multiple_of(2)
        };
        hashed.set(0);
        map.step(keep, hash);
        prop_assert!(looked_at <= M::LOOKED_AT && hashed.get() <= M::HASHED, "{looked_at}, {}", hashed.get());
        Ok(())
    };
    for (op, from, many, step_after) in ops {
        for key in (from..).take(many) {
            if !step_after {
                step(&mut map, odd_go)?;
            }
            hashed.set(0);
            match op {
                0..=3 => {
                    let value = u32::from(key) * 3 + u32::from(op);
                    if let Some(old) = map.get(hash(&key), key) {
                        *old = value;
                    } else {
                        prop_assert!(map.has_room(), "it would grow by itself");
                        map.insert(hash(&key), key, value, hash);
                    }
                    naive.insert(key, value);
                }
                4 => {
                    let removed = map.remove(hash(&key), key, hash);
                    let known = naive.remove(&key);
                    prop_assert!(removed == known || known.is_some_and(|value| odd_go && value % 2 == 1));
                }
                5 => odd_go = from % 3 == 0,
                _ => {}
            }
            prop_assert!(hashed.get() <= 2);
            if step_after {
                step(&mut map, odd_go)?;
            }
        }
        if !odd_go {
            // What was dropped is not known any more.
            naive.retain(|key, value| value.is_multiple_of(2) || map.get(hash(key), *key).is_some());
        }
        if op == 7 {
            map.retain(|value| !value.is_multiple_of(7), hash);
            naive.retain(|_, value| !value.is_multiple_of(7));
        }
        prop_assert!(odd_go || map.len() == naive.len());
        map.check();
        for (key, value) in &naive {
            let found = map.get(hash(key), *key).copied();
            prop_assert!(found == Some(*value) || (found.is_none() && odd_go && value % 2 == 1));
        }
    }
    // From one true to the next, every entry is looked at, wherever others are removed meanwhile.
    let mut looked_at = HashSet::new();
    let mut keys = naive.keys();
    while !map.step(|_| true, hash) {}
    let mut look = |value| {
        looked_at.insert(value);
        true
    };
    while !map.step(&mut look, hash) {
        if let Some(key) = keys.next() {
            map.remove(hash(key), *key, hash);
        }
    }
    map.retain(|value| looked_at.contains(&value), hash);
    map.check();
    let mut left = keys.filter(|key| map.get(hash(key), **key).is_none());
    prop_assert!(left.all(|key| odd_go && naive[key] % 2 == 1));
    Ok(())
}

pub(super) fn it_shrinks_again<M: ExpiringTestMap>() {
    let mut map = M::new();
    let hash = |key: &u16| u64::from(*key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for key in 0..10_000 {
        map.step(|_| true, hash);
        map.insert(hash(&key), key, 0, hash);
    }
    assert!(map.buckets() >= 10_000);
    for _ in 0..100_000 {
        map.step(|_| false, hash);
    }
    assert_eq!((map.len(), map.capacity()), (0, 0));
}
