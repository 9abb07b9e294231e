//! A map like [`ExpiringMap`](super::expiring_map::ExpiringMap), for larger entries: in few bytes beyond these.
//!
//! Structure: the entries lie close together in blocks, in no order, and an [`IncrementalTable`] has their positions.
//! So what is free in a table is five bytes a place, however large the entries are. Each
//! [`step`](DenseExpiringMap::step) moves eight buckets of the former table, if there is one, and looks at two entries,
//! and drops what need not be kept.
//!
//! Invariants: the index holds the position of each entry once. Entries from `to_look_at` on have been looked at in
//! this round, or came after it began: the last entry fills each gap.

use std::{borrow::Borrow, hash::Hash};

use super::incremental_table::IncrementalTable;
use crate::policy::blocks::Blocks;

/// Entries that are looked at in a step.
const LOOKED_AT: usize = 2;
/// A round of looks has at least so many, at nothing if need be.
const SHORT: usize = 256;

/// Small blocks: there is a map for each shard, and what is free in the last block is free in each of them.
type Entries<K, V> = Blocks<(K, V), 64>;

/// See the module. The hash of a key comes from outside, always by the same function.
#[derive(Debug)]
pub(super) struct DenseExpiringMap<K, V> {
    entries: Entries<K, V>,
    /// The positions of the entries.
    index: IncrementalTable<u32>,
    /// Entries still to be looked at in this round: those before this position.
    to_look_at: usize,
}

impl<K: Eq + Hash, V> DenseExpiringMap<K, V> {
    pub(super) const fn new() -> Self {
        Self { entries: Blocks::new(), index: IncrementalTable::new(), to_look_at: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn get_mut<Q>(&mut self, hash: u64, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let position = self.position(hash, key)?;
        self.entries.get_mut(position).map(|(_, value)| value)
    }

    #[inline]
    fn position<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_there = |position: &u32| self.entries.get(*position).is_some_and(|(other, _)| other.borrow() == key);
        self.index.find(hash, is_there).copied()
    }

    pub(super) fn remove<Q>(&mut self, hash: u64, key: &Q, hasher: impl Fn(&K) -> u64) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let position = self.position(hash, key)?;
        self.remove_at(hash, position, &hasher)
    }

    /// Removes the entry at a position, which is of this hash. The last one takes its place.
    fn remove_at(&mut self, hash: u64, position: u32, hasher: &impl Fn(&K) -> u64) -> Option<(K, V)> {
        let last = u32::try_from(self.len().checked_sub(1)?).ok()?;
        // Foreign code, which may panic, comes before anything is moved.
        let hash_of_last = self.entries.get(last).map(|(key, _)| hasher(key))?;
        self.index.remove(hash, |other| *other == position)?;
        if let Some(of_last) = self.index.find_mut(hash_of_last, |other| *other == last) {
            *of_last = position;
        }
        self.entries.swap_remove(position)
    }

    /// Adds an entry whose key is not in the map, after a [`step`](Self::step).
    pub(super) fn insert(&mut self, hash: u64, key: K, value: V, hasher: impl Fn(&K) -> u64) {
        let position = u32::try_from(self.len()).expect("fewer than 2^32 at a time");
        self.entries.push((key, value));
        self.index.insert(hash, position, rehash(&self.entries, &hasher));
    }

    /// Looks at some entries and drops those that `keep` does not want. True, the round is over: all have been looked
    /// at since the last time it was true, those that were added in between aside.
    pub(super) fn step(&mut self, mut keep: impl FnMut(&V) -> bool, hasher: impl Fn(&K) -> u64) -> bool {
        if self.index.is_moving() {
            self.index.move_some(|_| true, &rehash(&self.entries, &hasher));
        }
        for _ in 0..LOOKED_AT {
            let Some(position) = self.to_look_at.checked_sub(1) else { return self.begin_again(&hasher) };
            self.to_look_at = position;
            self.look_at(position, &mut keep, &hasher);
        }
        false
    }

    fn look_at(&mut self, position: usize, keep: &mut impl FnMut(&V) -> bool, hasher: &impl Fn(&K) -> u64) {
        let Ok(position) = u32::try_from(position) else { return };
        if let Some((key, value)) = self.entries.get(position)
            && !keep(value)
        {
            drop(self.remove_at(hasher(key), position, hasher));
        }
    }

    /// All entries have been looked at.
    #[cold]
    #[inline(never)]
    fn begin_again(&mut self, hasher: &impl Fn(&K) -> u64) -> bool {
        if self.len() == 0 {
            *self = Self::new();
            return true;
        }
        if !self.index.is_moving() {
            self.index.shrink(&rehash(&self.entries, hasher));
        }
        self.to_look_at = self.len().max(SHORT);
        true
    }

    /// Looks at all entries at once.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool, hasher: impl Fn(&K) -> u64) {
        for position in (0..self.len()).rev() {
            self.look_at(position, &mut keep, &hasher);
        }
        if self.len() == 0 {
            *self = Self::new();
        }
    }
}

/// The hash of the entry at a position.
fn rehash<K, V>(entries: &Entries<K, V>, hasher: &impl Fn(&K) -> u64) -> impl Fn(&u32) -> u64 {
    |position| entries.get(*position).map_or(0, |(key, _)| hasher(key))
}

#[cfg(test)]
mod tests {
    use super::{
        super::map_tests::{self, ExpiringTestMap},
        *,
    };

    impl ExpiringTestMap for DenseExpiringMap<u16, u32> {
        const LOOKED_AT: usize = LOOKED_AT;
        /// Those that are moved; of each that is dropped, itself and the last.
        const HASHED: usize = 8 + 2 * LOOKED_AT;

        fn new() -> Self {
            Self::new()
        }

        fn len(&self) -> usize {
            self.len()
        }

        fn get(&mut self, hash: u64, key: u16) -> Option<&mut u32> {
            self.get_mut(hash, &key)
        }

        fn insert(&mut self, hash: u64, key: u16, value: u32, hasher: impl Fn(&u16) -> u64) {
            self.insert(hash, key, value, hasher);
        }

        fn remove(&mut self, hash: u64, key: u16, hasher: impl Fn(&u16) -> u64) -> Option<u32> {
            self.remove(hash, &key, hasher).map(|(_, value)| value)
        }

        fn step(&mut self, mut keep: impl FnMut(u32) -> bool, hasher: impl Fn(&u16) -> u64) -> bool {
            self.step(|value| keep(*value), hasher)
        }

        fn retain(&mut self, mut keep: impl FnMut(u32) -> bool, hasher: impl Fn(&u16) -> u64) {
            self.retain(|value| keep(*value), hasher);
        }

        fn has_room(&self) -> bool {
            self.index.has_room()
        }

        fn buckets(&self) -> usize {
            self.index.buckets()
        }

        fn capacity(&self) -> usize {
            self.index.capacity()
        }

        fn check(&self) {
            assert_eq!(self.len(), self.index.len());
        }
    }

    #[test]
    fn it_is_a_map() {
        map_tests::it_is_a_map::<DenseExpiringMap<_, _>>();
    }

    /// At rest and while it grows: five bytes a bucket, and what is free in the last block.
    #[test]
    fn an_entry_costs_few_bytes_beyond_itself() {
        type Entry = (u64, [u64; 3]);
        let mut map = DenseExpiringMap::new();
        let hash = |key: &u64| key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for key in 0..100_000 {
            map.step(|_| true, hash);
            map.insert(hash(&key), key, [0; 3], hash);
            if key < 5000 {
                continue;
            }
            let bytes = map.entries.capacity() * size_of::<Entry>() + map.index.all_buckets() * 5;
            let each = if map.index.is_moving() { 50 } else { 44 };
            assert!(bytes <= map.len() * each, "{bytes} bytes, {} entries", map.len());
        }
    }

    #[test]
    fn it_shrinks_again() {
        map_tests::it_shrinks_again::<DenseExpiringMap<_, _>>();
    }
}
