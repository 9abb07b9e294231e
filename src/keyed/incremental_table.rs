//! A hash table that grows and shrinks in small steps: no call takes longer because there are many entries.
//!
//! Structure: a hash table, and while it grows or shrinks the former one, which is emptied into it, eight buckets a
//! step. (This is the scheme of Redis' dictionaries.)
//!
//! Invariant: the new table has room for all entries of the former, for one more in each step that empties it, and for
//! the one whose step is still to come, so it never grows by itself, which would move all entries at once.

use std::mem;

use hashbrown::HashTable;

/// Buckets of the former table that are moved in a step.
pub(super) const MOVED: usize = 8;
/// A table with fewer buckets does not shrink.
const FEW: usize = 32;

/// See the module. The hash of an entry comes from outside, always by the same function.
#[derive(Debug)]
pub(super) struct IncrementalTable<T> {
    table: HashTable<T>,
    /// Emptied into `table`, from its last bucket to its first.
    former: HashTable<T>,
    /// Buckets of `former` still to be moved; 0: it is empty.
    to_move: usize,
}

impl<T> IncrementalTable<T> {
    pub(super) const fn new() -> Self {
        Self { table: HashTable::new(), former: HashTable::new(), to_move: 0 }
    }

    /// Whether it is growing or shrinking.
    #[inline]
    pub(super) fn is_moving(&self) -> bool {
        self.to_move > 0
    }

    pub(super) fn len(&self) -> usize {
        self.table.len().saturating_add(self.former.len())
    }

    /// The entry of this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let found = self.table.find(hash, &is_it);
        if found.is_none() && self.is_moving() { self.former.find(hash, is_it) } else { found }
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
        let Self { table, former, to_move } = self;
        let found = table.find_mut(hash, &is_it);
        if found.is_none() && *to_move > 0 { former.find_mut(hash, is_it) } else { found }
    }

    /// Where it is: whether in the former table, and in which bucket. It holds until an entry is added or moved.
    pub(super) fn position(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<(bool, usize)> {
        let found = self.table.find_bucket_index(hash, &is_it).map(|index| (false, index));
        found.or_else(|| self.former.find_bucket_index(hash, is_it).map(|index| (true, index)))
    }

    pub(super) fn at_mut(&mut self, (is_former, index): (bool, usize)) -> Option<&mut T> {
        if is_former { self.former.get_bucket_mut(index) } else { self.table.get_bucket_mut(index) }
    }

    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let former = &mut self.former;
        let entry = self.table.find_entry(hash, &is_it).or_else(|_| former.find_entry(hash, is_it));
        entry.ok().map(|entry| entry.remove().0)
    }

    /// Adds an entry that is not there. A step belongs to it, before it or after it: if the table
    /// [is moving](Self::is_moving), [`move_some`](Self::move_some).
    pub(super) fn insert(&mut self, hash: u64, entry: T, hasher: impl Fn(&T) -> u64) {
        if self.table.len() == self.table.capacity() {
            self.begin_move(&hasher);
        }
        self.table.insert_unique(hash, entry, hasher);
    }

    /// From now on the entries move to another table, of a size for their number.
    #[cold]
    #[inline(never)]
    fn begin_move(&mut self, hasher: &impl Fn(&T) -> u64) {
        // Never so, by the invariant.
        while self.is_moving() {
            self.move_some(|_| true, hasher);
        }
        let (entries, buckets) = (self.table.len(), self.table.num_buckets());
        let steps = buckets.div_ceil(MOVED).saturating_add(1);
        let room = entries.saturating_add(steps).max(entries.saturating_add(entries >> 1));
        self.former = mem::replace(&mut self.table, HashTable::with_capacity(room));
        self.to_move = if self.former.is_empty() { 0 } else { self.former.num_buckets() };
    }

    /// Moves some of the former table's entries, and drops those that `keep` does not want.
    #[cold]
    #[inline(never)]
    pub(super) fn move_some(&mut self, mut keep: impl FnMut(&mut T) -> bool, hasher: &impl Fn(&T) -> u64) {
        for _ in 0..MOVED {
            let Some(index) = self.to_move.checked_sub(1) else { break };
            // Foreign code, which may panic, comes before anything is moved.
            let entry = self.former.get_bucket_mut(index);
            let hash = entry.and_then(|entry| keep(entry).then(|| hasher(entry)));
            self.to_move = index;
            let Ok(entry) = self.former.get_bucket_entry(index) else { continue };
            let (entry, _) = entry.remove();
            match hash {
                Some(hash) => _ = self.table.insert_unique(hash, entry, hasher),
                None => drop(entry),
            }
        }
        if !self.is_moving() {
            self.former = HashTable::new();
        }
    }

    /// Begins to shrink, if few of its buckets are full. Not while it is moving.
    pub(super) fn shrink(&mut self, hasher: &impl Fn(&T) -> u64) {
        let buckets = self.buckets();
        if buckets > FEW && self.table.len() < buckets >> 3 {
            self.begin_move(hasher);
        }
    }

    /// Buckets of the only table, or of that to which the entries move.
    pub(super) fn buckets(&self) -> usize {
        self.table.num_buckets()
    }

    #[inline]
    pub(super) fn bucket(&self, index: usize) -> Option<&T> {
        self.table.get_bucket(index)
    }

    #[inline]
    pub(super) fn bucket_mut(&mut self, index: usize) -> Option<&mut T> {
        self.table.get_bucket_mut(index)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn drop_bucket(&mut self, index: usize) {
        if let Ok(entry) = self.table.get_bucket_entry(index) {
            drop(entry.remove());
        }
    }

    /// Looks at all entries at once.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.table.retain(&mut keep);
        self.former.retain(keep);
    }

    /// How many it has room for: both tables.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.table.capacity() + self.former.capacity()
    }

    /// How many buckets it has: both tables.
    pub(super) fn all_buckets(&self) -> usize {
        self.table.num_buckets() + self.former.num_buckets()
    }

    /// Whether an entry can be added now without moving all.
    #[cfg(test)]
    pub(super) fn has_room(&self) -> bool {
        self.table.len() < self.table.capacity() || !self.is_moving()
    }
}
