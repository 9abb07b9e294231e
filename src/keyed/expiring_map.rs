//! A map that grows, shrinks and forgets in small steps: no call takes longer because there are many entries.
//!
//! Structure: a hash table, and while it grows or shrinks the former one, which is emptied into it. (This is the scheme of
//! Redis' dictionaries.) Each [`step`](ExpiringMap::step) moves eight buckets of the former table, or looks at two buckets
//! of the only one, and drops what need not be kept. A [`glance`](ExpiringMap::glance) looks at one, where nothing is
//! to be done: that is the commonest step, and the shortest.
//!
//! Invariant: the new table has room for all entries of the former and for one more in each step that empties it, so it
//! never grows by itself, which would move all entries at once.

use std::{borrow::Borrow, hash::Hash, mem};

use hashbrown::HashTable;

/// Buckets of the former table that are moved in a step.
const MOVED: usize = 8;
/// Buckets of the only table that are looked at in a step.
const LOOKED_AT: usize = 2;
/// A table with fewer buckets does not shrink.
const FEW: usize = 32;
/// A round of looks has at least so many, at nothing if need be.
const SHORT: usize = 256;

/// See the module. The hash of a key comes from outside, always by the same function.
#[derive(Debug)]
pub(super) struct ExpiringMap<K, V> {
    table: HashTable<(K, V)>,
    /// Emptied into `table`, from its last bucket to its first.
    former: HashTable<(K, V)>,
    /// Buckets of `former` still to be moved; 0: it is empty.
    to_move: usize,
    /// Buckets of `table` still to be looked at; 0 while there are some to be moved.
    to_look_at: usize,
}

impl<K: Eq + Hash, V> ExpiringMap<K, V> {
    pub(super) const fn new() -> Self {
        Self { table: HashTable::new(), former: HashTable::new(), to_move: 0, to_look_at: 0 }
    }

    /// Whether it is growing or shrinking.
    #[inline]
    pub(super) fn is_moving(&self) -> bool {
        self.to_move > 0
    }

    pub(super) fn len(&self) -> usize {
        self.table.len().saturating_add(self.former.len())
    }

    #[inline]
    pub(super) fn get<Q>(&self, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_it = |entry: &(K, V)| entry.0.borrow() == key;
        let found = self.table.find(hash, is_it);
        let found = if found.is_none() && self.is_moving() { self.former.find(hash, is_it) } else { found };
        found.map(|(_, value)| value)
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
    pub(super) fn find_mut(&mut self, hash: u64, mut is_it: impl FnMut(&(K, V)) -> bool) -> Option<&mut V> {
        let is_moving = self.is_moving();
        let found = self.table.find_mut(hash, &mut is_it);
        let found = if found.is_none() && is_moving { self.former.find_mut(hash, is_it) } else { found };
        found.map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, hash: u64, mut is_it: impl FnMut(&(K, V)) -> bool) -> Option<(K, V)> {
        let former = &mut self.former;
        let entry = self.table.find_entry(hash, &mut is_it).or_else(|_| former.find_entry(hash, is_it));
        entry.ok().map(|entry| entry.remove().0)
    }

    /// Adds an entry whose key is not in the map, after a [`step`](Self::step).
    pub(super) fn insert(&mut self, hash: u64, key: K, value: V, hasher: impl Fn(&K) -> u64) {
        if self.table.len() == self.table.capacity() {
            self.begin_move(&hasher);
        }
        self.table.insert_unique(hash, (key, value), |(key, _)| hasher(key));
    }

    /// From now on the entries move to another table, of a size for their number.
    #[cold]
    #[inline(never)]
    fn begin_move(&mut self, hasher: &impl Fn(&K) -> u64) {
        // Never so, by the invariant.
        while self.is_moving() {
            self.move_some(&mut |_, _| true, hasher);
        }
        let (entries, buckets) = (self.table.len(), self.table.num_buckets());
        let steps = buckets.div_ceil(MOVED).saturating_add(1);
        let room = entries.saturating_add(steps).max(entries.saturating_add(entries >> 1));
        self.former = mem::replace(&mut self.table, HashTable::with_capacity(room));
        self.to_move = if self.former.is_empty() { 0 } else { self.former.num_buckets() };
        self.to_look_at = 0;
    }

    /// Looks at one bucket. False: what is there is not `fine`, or it takes a [`step`](Self::step) to look; nothing was
    /// done.
    #[inline]
    pub(super) fn glance(&mut self, fine: impl Fn(&V) -> bool) -> bool {
        let Some(index) = self.to_look_at.checked_sub(1) else { return false };
        let fine = self.table.get_bucket(index).is_none_or(|(_, value)| fine(value));
        if fine {
            self.to_look_at = index;
        }
        fine
    }

    /// Looks at some entries and drops those that `keep` does not want. True, the round is over: all have been looked at since
    /// the last time it was true, those that were added in between aside.
    pub(super) fn step(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool, hasher: impl Fn(&K) -> u64) -> bool {
        if self.is_moving() {
            return self.move_some(&mut keep, &hasher);
        }
        for _ in 0..LOOKED_AT {
            let Some(index) = self.to_look_at.checked_sub(1) else { return self.begin_again(&hasher) };
            self.to_look_at = index;
            if let Some((key, value)) = self.table.get_bucket_mut(index)
                && !keep(key, value)
            {
                self.drop_bucket(index);
            }
        }
        false
    }

    #[cold]
    #[inline(never)]
    fn drop_bucket(&mut self, index: usize) {
        if let Ok(entry) = self.table.get_bucket_entry(index) {
            drop(entry.remove());
        }
    }

    /// All buckets of the only table have been looked at.
    #[cold]
    #[inline(never)]
    fn begin_again(&mut self, hasher: &impl Fn(&K) -> u64) -> bool {
        let buckets = self.table.num_buckets();
        if self.table.is_empty() {
            *self = Self::new();
        } else if buckets > FEW && self.table.len() < buckets >> 3 {
            self.begin_move(hasher);
        } else {
            self.to_look_at = buckets.max(SHORT);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn move_some(&mut self, keep: &mut impl FnMut(&K, &mut V) -> bool, hasher: &impl Fn(&K) -> u64) -> bool {
        for _ in 0..MOVED {
            let Some(index) = self.to_move.checked_sub(1) else { break };
            // Foreign code, which may panic, comes before anything is moved.
            let entry = self.former.get_bucket_mut(index);
            let hash = entry.and_then(|(key, value)| keep(key, value).then(|| hasher(key)));
            self.to_move = index;
            let Ok(entry) = self.former.get_bucket_entry(index) else { continue };
            let (entry, _) = entry.remove();
            match hash {
                Some(hash) => _ = self.table.insert_unique(hash, entry, |(key, _)| hasher(key)),
                None => drop(entry),
            }
        }
        if self.is_moving() {
            return false;
        }
        self.former = HashTable::new();
        self.to_look_at = self.table.num_buckets();
        true
    }

    /// Looks at all entries at once.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.table.retain(|(key, value)| keep(key, value));
        self.former.retain(|(key, value)| keep(key, value));
        if self.len() == 0 {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        hash::{BuildHasher, RandomState},
    };

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against std's map. The table never has to grow by itself, and one round of steps drops all that may go.
        #[test]
        fn it_is_a_map(ops in vec((0_u8..8, 0_u16..2000, 1_usize..200), 1..60)) {
            let hasher = RandomState::new();
            let hash = |key: &u16| hasher.hash_one(key);
            let mut map = ExpiringMap::new();
            let mut naive: HashMap<u16, u32> = HashMap::new();
            let mut odd_go = false;
            for (op, from, many) in ops {
                for key in (from..).take(many) {
                    let keep = |_: &u16, value: &mut u32| !odd_go || value.is_multiple_of(2);
                    map.step(keep, hash);
                    match op {
                        0..=3 => {
                            let value = u32::from(key) * 3 + u32::from(op);
                            if let Some(old) = map.get_mut(hash(&key), &key) {
                                *old = value;
                            } else {
                                let room = map.table.capacity() - map.table.len();
                                prop_assert!(room > 0 || !map.is_moving(), "it would grow by itself");
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
            let all = map.table.iter().chain(&map.former).all(|(_, value)| looked_at.contains_key(value));
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
        assert!(map.table.num_buckets() >= 10_000);
        for _ in 0..100_000 {
            map.step(|_, ()| false, hash);
        }
        assert_eq!((map.len(), map.table.capacity(), map.former.capacity()), (0, 0, 0));
    }
}
