//! A map that grows, shrinks and forgets in small steps: no call takes longer because there are many entries.
//!
//! The entries are in an [`IncrementalTable`], as suits small ones. Each [`step`](ExpiringMap::step) moves eight
//! buckets of its former table, or looks at two buckets of the only one, and drops what need not be kept. A
//! [`glance`](ExpiringMap::glance) looks at one, where nothing is to be done: that is the commonest step, and the
//! shortest.

use std::{borrow::Borrow, hash::Hash};

use super::incremental_table::{IncrementalTable, MOVED};

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

    /// Where the entry of this hash is for which `is_it` holds, until one is added or moved.
    pub(super) fn position(&self, hash: u64, is_it: impl Fn(&(K, V)) -> bool) -> Option<(bool, usize)> {
        self.table.position(hash, is_it)
    }

    pub(super) fn at_mut(&mut self, position: (bool, usize)) -> Option<&mut V> {
        self.table.at_mut(position).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&(K, V)) -> bool) -> Option<(K, V)> {
        self.table.remove(hash, is_it)
    }

    /// Adds an entry whose key is not in the map. A [`step`](Self::step) belongs to it, before it or after it.
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

    /// How many steps so small a part of a round takes, and a few.
    pub(super) fn steps_of(&self, part: usize) -> usize {
        let at_a_time = if self.is_moving() { MOVED } else { LOOKED_AT };
        self.table.all_buckets().div_ceil(part).saturating_add(MOVED).div_ceil(at_a_time)
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
    use super::{
        super::map_tests::{self, ExpiringTestMap},
        *,
    };

    impl ExpiringTestMap for ExpiringMap<u16, u32> {
        const LOOKED_AT: usize = 8;
        const HASHED: usize = 8;

        fn new() -> Self {
            Self::new()
        }

        fn len(&self) -> usize {
            self.len()
        }

        fn get(&mut self, hash: u64, key: u16) -> Option<&mut u32> {
            assert_eq!(ExpiringMap::get(self, hash, &key).copied(), self.get_mut(hash, &key).copied());
            self.get_mut(hash, &key)
        }

        fn insert(&mut self, hash: u64, key: u16, value: u32, hasher: impl Fn(&u16) -> u64) {
            self.insert(hash, key, value, hasher);
        }

        fn remove(&mut self, hash: u64, key: u16, _: impl Fn(&u16) -> u64) -> Option<u32> {
            self.remove(hash, |(other, _)| *other == key).map(|(_, value)| value)
        }

        fn step(&mut self, mut keep: impl FnMut(u32) -> bool, hasher: impl Fn(&u16) -> u64) -> bool {
            self.step(|_, value| keep(*value), hasher)
        }

        fn retain(&mut self, mut keep: impl FnMut(u32) -> bool, _: impl Fn(&u16) -> u64) {
            self.retain(|_, value| keep(*value));
        }

        fn has_room(&self) -> bool {
            self.table.has_room()
        }

        fn buckets(&self) -> usize {
            self.table.buckets()
        }

        fn capacity(&self) -> usize {
            self.table.capacity()
        }
    }

    #[test]
    fn it_is_a_map() {
        map_tests::it_is_a_map::<ExpiringMap<_, _>>();
    }

    #[test]
    fn it_shrinks_again() {
        map_tests::it_shrinks_again::<ExpiringMap<_, _>>();
    }
}
