//! Parts of a keyed map, each under a lock of its own, so that threads rarely meet and a table that grows is small.

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering::Relaxed},
    lock,
};

const SHARDS: usize = if cfg!(any(relent_loom, relent_shuttle)) { 1 } else { 32 };

/// At the end of a round of looks in its own shard, a call takes up to so many steps in the next one.
pub(super) const STEPS: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Shards<T> {
    /// Each lock guards all that is known of the keys whose hash has this index, and of no others: whenever it is free
    /// its part is complete without the other parts. No thread holds two of them.
    shards: Box<[Mutex<T>; SHARDS]>,
    /// Counts calls of `next`: its remainder says which shard is looked after by a call that is about another. Relaxed:
    /// nothing hangs on it.
    calls: AtomicUsize,
}

impl<T> Shards<T> {
    pub(super) fn new(mut new: impl FnMut() -> T) -> Self {
        Self { shards: Box::new(std::array::from_fn(|_| Mutex::new(new()))), calls: AtomicUsize::new(0) }
    }

    /// The one for keys of this hash, locked.
    #[inline]
    pub(super) fn lock(&self, hash: u64) -> MutexGuard<'_, T> {
        lock(&self.shards[index(hash)])
    }

    /// Each in turn, locked.
    pub(super) fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.shards.iter().map(lock)
    }

    /// Another one at each call, unless a thread has it just now. No other may be locked.
    ///
    /// Calls look after the shard of their key. By this the others do not stay as they are while all calls are about
    /// one key.
    pub(super) fn next(&self) -> Option<MutexGuard<'_, T>> {
        let calls = self.calls.fetch_add(1, Relaxed);
        self.shards[calls % SHARDS].try_lock().ok()
    }
}

/// By the five highest bits of a product of both halves. The hash is that of `foldhash::fast`, whose bits in the middle
/// are those of a multiple of an integer key, and for a row of them may be nearly the same.
#[inline]
fn index(hash: u64) -> usize {
    /// 2^64 over the golden ratio, odd.
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    ((hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER) >> 59) as usize % SHARDS
}

#[cfg(all(test, not(any(relent_loom, relent_shuttle))))]
mod tests {
    use std::hash::BuildHasher;

    use hashbrown::DefaultHashBuilder;

    use super::*;

    /// Of 3,200 keys in a row, with any step between them, no shard gets more than three times its part.
    #[test]
    fn rows_of_integers_are_spread() {
        for _ in 0..2000 {
            let hasher = DefaultHashBuilder::default();
            let step = 1_u64 << fastrand::u32(0..40);
            let mut keys = [0; SHARDS];
            (0..3200_u64).for_each(|key| keys[index(hasher.hash_one(key * step))] += 1);
            assert!(keys.iter().all(|keys| (20..=300).contains(keys)), "{step}: {keys:?}");
        }
    }
}
