//! A map that grows, shrinks and forgets in small steps: no call takes longer because there are many entries.
//!
//! The entries are in an [`IncrementalTable`], as suits small ones. Each [`step`](ExpiringMap::step) moves eight
//! buckets of its former table, or looks at two buckets of the only one, and drops what need not be kept. A
//! [`glance`](ExpiringMap::glance) looks at one, where nothing is to be done: that is the commonest step, and the
//! shortest.

use std::{borrow::Borrow, hash::Hash};

use super::incremental_table::IncrementalTable;

/// Buckets of the only table that are looked at in a step.
const LOOKED_AT: usize = 2;
/// A round of looks has at least so many, at nothing if need be.
const SHORT: usize = 256;

/// See the module. The hash of a key comes from outside, always by the same function.
#[derive(Debug)]
pub(super) struct ExpiringMap<K, V> {
    table: IncrementalTable<(K, V)>,
    /// Buckets of `table` still to be looked at; 0 while there are some to be moved.
    to_look_at: usize,
}

impl<K: Eq + Hash, V> ExpiringMap<K, V> {
    pub(super) const fn new() -> Self {
        Self { table: IncrementalTable::new(), to_look_at: 0 }
    }

    /// Whether it is growing or shrinking.
    #[inline]
    pub(super) fn is_moving(&self) -> bool {
        self.table.is_moving()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn get<Q>(&self, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.find(hash, |(other, _)| other.borrow() == key).map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn get_mut<Q>(&mut self, hash: u64, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.find_mut(hash, |(other, _)| other.borrow() == key)
    }

    /// The entry of this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, is_it: impl Fn(&(K, V)) -> bool) -> Option<&mut V> {
        self.table.find_mut(hash, is_it).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&(K, V)) -> bool) -> Option<(K, V)> {
        self.table.remove(hash, is_it)
    }

    /// Adds an entry whose key is not in the map, after a [`step`](Self::step).
    pub(super) fn insert(&mut self, hash: u64, key: K, value: V, hasher: impl Fn(&K) -> u64) {
        self.table.insert(hash, (key, value), |(key, _)| hasher(key));
        if self.is_moving() {
            self.to_look_at = 0;
        }
    }

    /// Looks at one bucket. False: what is there is not `fine`, or it takes a [`step`](Self::step) to look; nothing was
    /// done.
    #[inline]
    pub(super) fn glance(&mut self, fine: impl Fn(&V) -> bool) -> bool {
        let Some(index) = self.to_look_at.checked_sub(1) else { return false };
        let fine = self.table.bucket(index).is_none_or(|(_, value)| fine(value));
        if fine {
            self.to_look_at = index;
        }
        fine
    }

    /// Looks at some entries and drops those that `keep` does not want. True, the round is over: all have been looked
    /// at since the last time it was true, those that were added in between aside.
    pub(super) fn step(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool, hasher: impl Fn(&K) -> u64) -> bool {
        if self.is_moving() {
            self.table.move_some(|(key, value)| keep(key, value), &|(key, _)| hasher(key));
            let round_is_over = !self.is_moving();
            if round_is_over {
                self.to_look_at = self.table.buckets();
            }
            return round_is_over;
        }
        for _ in 0..LOOKED_AT {
            let Some(index) = self.to_look_at.checked_sub(1) else { return self.begin_again(&hasher) };
            self.to_look_at = index;
            if let Some((key, value)) = self.table.bucket_mut(index)
                && !keep(key, value)
            {
                self.table.drop_bucket(index);
            }
        }
        false
    }

    /// All buckets of the only table have been looked at.
    #[cold]
    #[inline(never)]
    fn begin_again(&mut self, hasher: &impl Fn(&K) -> u64) -> bool {
        if self.len() == 0 {
            *self = Self::new();
            return true;
        }
        self.table.shrink(&|(key, _)| hasher(key));
        if !self.is_moving() {
            self.to_look_at = self.table.buckets().max(SHORT);
        }
        true
    }

    /// Looks at all entries at once.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.table.retain(|(key, value)| keep(key, value));
        if self.len() == 0 {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        collections::HashMap,
        hash::{BuildHasher, RandomState},
    };

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against std's map. No call hashes or looks at more than a few entries, and one round of steps looks at all.
        #[test]
        fn it_is_a_map(ops in vec((0_u8..8, 0_u16..2000, 1_usize..200), 1..60)) {
            let (hasher, hashed) = (RandomState::new(), Cell::new(0));
            let hash = |key: &u16| {
                hashed.set(hashed.get() + 1);
                hasher.hash_one(key)
            };
            let mut map = ExpiringMap::new();
            let mut naive: HashMap<u16, u32> = HashMap::new();
            let mut odd_go = false;
            for (op, from, many) in ops {
                for key in (from..).take(many) {
                    let mut looked_at = 0;
                    let keep = |_: &u16, value: &mut u32| {
                        looked_at += 1;
                        !odd_go || value.is_multiple_of(2)
                    };
                    hashed.set(0);
                    map.step(keep, hash);
                    prop_assert!(looked_at <= 8 && hashed.get() <= 8);
                    hashed.set(0);
                    match op {
                        0..=3 => {
                            let value = u32::from(key) * 3 + u32::from(op);
                            if let Some(old) = map.get_mut(hash(&key), &key) {
                                *old = value;
                            } else {
                                prop_assert!(map.table.has_room(), "it would grow by itself");
                                map.insert(hash(&key), key, value, hash);
                            }
                            naive.insert(key, value);
                        }
                        4 => {
                            let removed = map.remove(hash(&key), |(other, _)| *other == key).map(|(_, value)| value);
                            let known = naive.remove(&key);
                            prop_assert!(removed == known || known.is_some_and(|value| odd_go && value % 2 == 1));
                        }
                        5 => odd_go = from % 3 == 0,
                        _ => {}
                    }
                    prop_assert!(hashed.get() <= 2);
                }
                if !odd_go {
                    // What was dropped is not known any more.
                    naive.retain(|key, value| value.is_multiple_of(2) || map.get(hash(key), key).is_some());
                    prop_assert_eq!(map.len(), naive.len());
                }
                for (key, value) in &naive {
                    let found = map.get(hash(key), key);
                    prop_assert!(found == Some(value) || (found.is_none() && odd_go && value % 2 == 1));
                }
            }
            // From one true to the next, every entry is looked at.
            let mut looked_at = HashMap::new();
            while !map.step(|_, _| true, hash) {}
            while !map.step(|_, value| { *looked_at.entry(*value).or_insert(0) += 1; true }, hash) {}
            let mut all = true;
            map.table.retain(|(_, value)| { all &= looked_at.contains_key(value); true });
            prop_assert!(all || map.is_moving());
        }
    }

    #[test]
    fn it_shrinks_again() {
        let mut map = ExpiringMap::new();
        let hash = |key: &u64| key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for key in 0..10_000_u64 {
            map.step(|_, ()| true, hash);
            map.insert(hash(&key), key, (), hash);
        }
        assert!(map.table.buckets() >= 10_000);
        for _ in 0..100_000 {
            map.step(|_, ()| false, hash);
        }
        assert_eq!((map.len(), map.table.capacity()), (0, 0));
    }
}
