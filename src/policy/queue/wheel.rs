//! Which of many deadlines is next: a hierarchical timing wheel (Varghese, Lauck 1987) that keeps the exact order.
//!
//! # Structure
//! Time is cut into blocks of 2^20 ns, about the millisecond that a timer can tell apart. The block that time has
//! reached, and all before it, are in the ready queue, sorted. What lies in a later block waits, unsorted, in a bucket
//! of one of eight levels. A bucket of level `n` spans 64^n blocks, 64 buckets make a level, and the eight levels span
//! all 64 bits:
//!
//! | level | a bucket spans | the level spans |
//! |---|---|---|
//! | 0 | 1 block, 1 ms | 67 ms |
//! | 1 | 64 blocks, 67 ms | 4.3 s |
//! | 2 | 4.3 s | 275 s |
//! | 3 | 275 s | 4.9 h |
//! | .. | | |
//! | 7 | 146 years | all of 64 bits |
//!
//! # Algorithm
//! An entry goes to the level of the highest digit, in base 64, in which its block differs from the present one, and
//! there into the bucket of that digit. When time reaches a bucket, its entries move to finer buckets, and in the end,
//! sorted by deadline, to the back of the ready queue.
//!
//! An example: the present block is 10, and an entry is due in block 200, which is 3·64 + 8. The blocks differ first in
//! the 64s (0 and 3): level 1, bucket 3. When time reaches that bucket the present block becomes 3·64 = 192, and the
//! entry, which now differs only in the last digit, moves to level 0, bucket 8. When time reaches that, at block 200,
//! the entry is sorted in.
//!
//! # Invariants
//! - No entry in a bucket is in the present block or an earlier one.
//! - A bit of `occupied` is set exactly if its bucket holds an entry.
//! - Buckets of a lower level are nearer than those of a higher one, and in a level the lowest bit is next.
//!
//! # Cost
//! An entry moves at most eight times, so nothing costs more than the sorting of a block, however many wait. A bucket
//! is a list of slot numbers and not a chain of entries: opening it asks memory for many entries at once, and does not
//! wait for each before it knows the next.

use std::mem::take;

use super::{
    deadline::{Deadline, Expiration, Store, WheelEntry},
    ready::ReadyQueue,
};

/// 2^20 ns to a block.
const BLOCK: u32 = 20;
/// By how many bits a block is shifted to have the level's digit in the lowest six.
const LEVELS: [u32; 8] = [0, 6, 12, 18, 24, 30, 36, 42];
const BUCKETS: usize = 64;
/// The next bucket is read for its exact first deadline if it holds no more than this; a fuller one is opened in time
/// instead.
const PEEK_LIMIT: usize = 8;
/// What a bucket asks memory for at first.
const FIRST_BUCKET_CAPACITY: usize = 16;
/// So much memory a bucket keeps once it is empty.
const RETAINED_BUCKET_CAPACITY: usize = 64;

#[derive(Debug, Default)]
struct Level {
    /// A bit for each bucket that holds anything.
    occupied: u64,
    /// Slots of the store. All buckets or, before the first use, none.
    buckets: Vec<Vec<u32>>,
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// The block that time has reached.
    block: u64,
    levels: [Level; LEVELS.len()],
    /// What is due in that block or before.
    ready: ReadyQueue,
    /// Empty between calls.
    sorting: Vec<Expiration>,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self { block: now >> BLOCK, levels: Default::default(), ready: ReadyQueue::default(), sorting: Vec::new() }
    }

    /// Keeps a slot's deadline without making it wait for it.
    pub(super) fn set_deadline(store: &mut impl Store, slot: u32, deadline: Deadline) {
        store.wheel_entry_mut(slot).deadline = deadline;
    }

    /// Makes a slot wait for its deadline. It must not be waiting already.
    pub(super) fn insert(&mut self, store: &mut impl Store, slot: u32, deadline: Deadline) {
        Self::set_deadline(store, slot, deadline);
        if deadline.at >> BLOCK > self.block {
            self.push_to_bucket(store, slot, deadline.at >> BLOCK);
        } else {
            self.ready.push(Expiration { deadline, slot });
        }
    }

    /// The slot waits no more. It must have been waiting.
    pub(super) fn remove(&mut self, store: &mut impl Store, slot: u32) {
        let WheelEntry { deadline, index } = *store.wheel_entry(slot);
        store.wheel_entry_mut(slot).deadline = Deadline::NONE;
        if deadline.at >> BLOCK <= self.block {
            return self.ready.removed_one(store);
        }
        let (level, bucket) = self.bucket_of(deadline.at >> BLOCK);
        let Level { occupied, buckets } = &mut self.levels[level];
        let list = &mut buckets[bucket as usize];
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        list.swap_remove(position);
        match list.get(position) {
            Some(moved) => store.wheel_entry_mut(*moved).index = index,
            None if list.is_empty() => *occupied &= !bit(bucket),
            None => {}
        }
        if list.capacity() > RETAINED_BUCKET_CAPACITY && list.len() < list.capacity() / 4 {
            list.shrink_to(RETAINED_BUCKET_CAPACITY.max(list.len().saturating_mul(2)));
        }
    }

    /// The slot's deadline, whether it waits for it or only [keeps](Self::set_deadline) it.
    pub(super) fn deadline(store: &impl Store, slot: u32) -> Deadline {
        store.wheel_entry(slot).deadline
    }

    /// The slot that is next, if it is due by `now`.
    pub(super) fn peek_due(&mut self, store: &mut impl Store, now: u64) -> Option<(u32, Deadline)> {
        self.peek(store, now).filter(|next| next.deadline.at <= now).map(|next| (next.slot, next.deadline))
    }

    /// Takes the slot that [`peek_due`](Self::peek_due) has just shown.
    pub(super) fn pop(&mut self, store: &mut impl Store) {
        if let Some(Expiration { slot, .. }) = self.ready.pop() {
            store.wheel_entry_mut(slot).deadline = Deadline::NONE;
        }
    }

    /// How many slots are due by `now`.
    pub(super) fn count_due(&mut self, store: &mut impl Store, now: u64) -> usize {
        // All blocks that time has reached are ready then.
        while self.open_next_bucket(store, now) {}
        self.ready.count_due(store, now)
    }

    /// When to ask again: never after the next deadline, and at most a few times before it.
    pub(super) fn next_wake(&mut self, store: &mut impl Store) -> Option<u64> {
        if let Some(next) = self.peek(store, 0) {
            return Some(next.deadline.at);
        }
        let (level, bucket) = self.next_bucket()?;
        let list = &self.levels[level].buckets[bucket as usize];
        if list.len() > PEEK_LIMIT {
            return Some(self.first_block(level, bucket) << BLOCK);
        }
        list.iter().map(|slot| store.wheel_entry(*slot).deadline.at).min()
    }

    /// Forgets all expirations; no slot may be waiting.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
    }

    /// Whether the ready queue is empty, of removed expirations as well.
    #[cfg(test)]
    pub(super) fn is_vacant(&self) -> bool {
        self.ready.len() == 0 && self.ready.has_none_removed()
    }

    /// The largest capacity that one of the lists has.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        let buckets = self.levels.iter().flat_map(|level| &level.buckets).map(Vec::capacity);
        buckets.max().unwrap_or(0).max(self.ready.capacity()).max(self.sorting.capacity())
    }

    /// What is next, once time has moved on to `now` as far as it takes to know. It may be due later than `now`.
    fn peek(&mut self, store: &mut impl Store, now: u64) -> Option<Expiration> {
        loop {
            match self.ready.peek(store) {
                None if self.open_next_bucket(store, now) => {}
                next => return next,
            }
        }
    }

    /// Opens the next bucket if time has reached it.
    fn open_next_bucket(&mut self, store: &mut impl Store, now: u64) -> bool {
        let Some((level, bucket)) = self.next_bucket() else { return false };
        let block = self.first_block(level, bucket);
        if block > now >> BLOCK {
            return false;
        }
        self.block = block;
        self.levels[level].occupied &= !bit(bucket);
        let mut list = take(&mut self.levels[level].buckets[bucket as usize]);
        for slot in list.drain(..) {
            let deadline = store.wheel_entry(slot).deadline;
            if deadline.at >> BLOCK > block {
                self.push_to_bucket(store, slot, deadline.at >> BLOCK);
            } else {
                self.sorting.push(Expiration { deadline, slot });
            }
        }
        list.shrink_to(RETAINED_BUCKET_CAPACITY);
        self.levels[level].buckets[bucket as usize] = list;
        self.sorting.sort_unstable();
        self.ready.append(&mut self.sorting);
        true
    }

    /// The first bucket that holds anything: on the lowest level that does, since lower levels hold what is nearer.
    fn next_bucket(&self) -> Option<(usize, u32)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros()))
    }

    /// The level and bucket of a later block: by the highest digit in which it differs from the present block.
    fn bucket_of(&self, block: u64) -> (usize, u32) {
        let highest = (block ^ self.block).checked_ilog2().unwrap_or(0);
        let level = (highest / 6) as usize;
        (level, (block.wrapping_shr(LEVELS[level]) & 63) as u32)
    }

    /// The first block of a bucket.
    fn first_block(&self, level: usize, bucket: u32) -> u64 {
        let above = self.block.wrapping_shr(LEVELS[level]) & !63;
        (above | u64::from(bucket)).wrapping_shl(LEVELS[level])
    }

    fn push_to_bucket(&mut self, store: &mut impl Store, slot: u32, block: u64) {
        let (level, bucket) = self.bucket_of(block);
        let Level { occupied, buckets } = &mut self.levels[level];
        if buckets.is_empty() {
            buckets.resize_with(BUCKETS, Vec::new);
        }
        let list = &mut buckets[bucket as usize];
        *occupied |= bit(bucket);
        store.wheel_entry_mut(slot).index = list.len() as u64;
        if list.capacity() == 0 {
            list.reserve(FIRST_BUCKET_CAPACITY);
        }
        list.push(slot);
    }
}

const fn bit(bucket: u32) -> u64 {
    1_u64.wrapping_shl(bucket)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use fastrand::Rng;

    use super::*;
    use crate::policy::queue::deadline::RETAINED_CAPACITY;

    /// Entries that count how often one is read or written.
    struct Counted {
        entries: Vec<WheelEntry>,
        steps: Cell<u64>,
    }

    impl Store for Counted {
        fn wheel_entry(&self, slot: u32) -> &WheelEntry {
            self.steps.set(self.steps.get() + 1);
            &self.entries[slot as usize]
        }
        fn wheel_entry_mut(&mut self, slot: u32) -> &mut WheelEntry {
            self.steps.set(self.steps.get() + 1);
            &mut self.entries[slot as usize]
        }
    }

    impl Counted {
        fn since(&self, before: u64) -> u64 {
            self.steps.get() - before
        }
    }

    const HOUR: u64 = 3_600_000_000_000;

    /// Steps, not time: however many wait, one is inserted or removed in a handful of steps, and all of its life takes
    /// a few for each level. What is beyond that is the sorting of one block.
    #[test]
    fn steps_do_not_grow_with_the_number_of_entries() {
        let mut rng = Rng::with_seed(1);
        let mut seq = 0;
        let mut at = |due| {
            seq += 1;
            Deadline { at: due, seq }
        };
        for number in [1_000_u32, 30_000, 1_000_000] {
            let mut wheel = Wheel::new(0);
            let mut store = Counted { entries: vec![WheelEntry::NEW; number as usize], steps: Cell::new(0) };
            let (mut inserted, mut moved) = (0, 0);
            for slot in 0..number {
                let before = store.steps.get();
                wheel.insert(&mut store, slot, at(rng.u64(..HOUR)));
                inserted = inserted.max(store.since(before));
            }
            for _ in 0..number {
                let (slot, before) = (rng.u32(..number), store.steps.get());
                wheel.remove(&mut store, slot);
                wheel.insert(&mut store, slot, at(rng.u64(..HOUR)));
                moved = moved.max(store.since(before));
            }
            let (before, mut out, mut last) = (store.steps.get(), 0, 0);
            while let Some(wake) = wheel.next_wake(&mut store) {
                while let Some((_, Deadline { at: due, .. })) = wheel.peek_due(&mut store, wake) {
                    assert!(last <= due && due <= wake);
                    wheel.pop(&mut store);
                    (last, out) = (due, out + 1);
                }
            }
            let life = store.since(before) / u64::from(number);
            println!("{number} entries: {inserted} steps to insert, {moved} to move, {life} to come out");
            assert_eq!(out, number);
            assert!(inserted <= 3 && moved <= 7 && life <= 40, "{number} entries: {inserted}, {moved}, {life}");
        }
    }

    /// What is in the ready queue already is moved about: the expirations left behind are cleared away now and then,
    /// and that costs each move a few steps and no memory.
    #[test]
    fn moves_within_the_ready_queue_cost_a_few_steps_each() {
        let mut rng = Rng::with_seed(2);
        for number in [100_u32, 10_000, 100_000] {
            let mut wheel = Wheel::new(HOUR);
            let mut store = Counted { entries: vec![WheelEntry::NEW; number as usize], steps: Cell::new(0) };
            (0..number).for_each(|slot| {
                wheel.insert(&mut store, slot, Deadline { at: rng.u64(..HOUR), seq: 1 + u64::from(slot) });
            });
            let before = store.steps.get();
            for seq in 0..10 * u64::from(number) {
                let slot = rng.u32(..number);
                wheel.remove(&mut store, slot);
                wheel.insert(&mut store, slot, Deadline { at: rng.u64(..HOUR), seq: 1_000_000 + seq });
                let expirations = wheel.ready.len();
                assert!(expirations <= 2 * number as usize + 33, "{expirations} expirations for {number} entries");
            }
            let each = store.since(before) / (10 * u64::from(number));
            assert!(each <= 8, "{each} steps a move among {number}");
            // It goes on as it should: all come out, once, in order.
            let (mut out, mut last) = (0, 0);
            while let Some((_, Deadline { at: due, .. })) = wheel.peek_due(&mut store, HOUR) {
                assert!(last <= due);
                wheel.pop(&mut store);
                (last, out) = (due, out + 1);
            }
            assert_eq!((out, wheel.is_vacant()), (number, true));
        }
    }

    /// Empty again, it keeps a little memory and forgets the rest.
    #[test]
    fn clearing_forgets() {
        let mut wheel = Wheel::new(HOUR);
        let mut store = Counted { entries: vec![WheelEntry::NEW; 100_000], steps: Cell::new(0) };
        for round in 0..3 {
            for slot in 0..100_000_u32 {
                let seq = round * 200_000 + 2 * u64::from(slot) + 1;
                wheel.insert(&mut store, slot, Deadline { at: u64::from(slot), seq });
                wheel.insert(&mut store, slot, Deadline { at: 0, seq: seq + 1 });
            }
            (0..100_000).for_each(|slot| wheel.remove(&mut store, slot));
            wheel.clear();
            assert!(wheel.is_vacant() && wheel.ready.capacity() <= 2 * RETAINED_CAPACITY);
            assert_eq!(wheel.peek_due(&mut store, u64::MAX), None);
        }
    }

    /// So does a ready queue whose expirations have all been taken, when the next bucket opens.
    #[test]
    fn a_ready_queue_that_was_long_is_given_back() {
        let mut wheel = Wheel::new(0);
        let mut store = Counted { entries: vec![WheelEntry::NEW; 100_000], steps: Cell::new(0) };
        let block = 1 << BLOCK;
        (0..100_000)
            .for_each(|slot| wheel.insert(&mut store, slot, Deadline { at: 2 * block, seq: 1 + u64::from(slot) }));
        while wheel.peek_due(&mut store, 2 * block).is_some() {
            wheel.pop(&mut store);
        }
        wheel.insert(&mut store, 0, Deadline { at: 9 * block, seq: 200_000 });
        assert_eq!(wheel.peek_due(&mut store, 9 * block).map(|(slot, _)| slot), Some(0));
        assert!(wheel.ready.capacity() <= 2 * RETAINED_CAPACITY && wheel.sorting.capacity() <= 2 * RETAINED_CAPACITY);
    }
}
