//! A word that is brought up to date: its bucket as of now, in the current epoch.

use std::hash::{BuildHasher, Hash};

use super::super::{
    promoted::{PromotedKey, PromotedKeys, slot_of, word_of},
    settings::Context,
};
use crate::{
    limiter::Limiter,
    policy::limit::{bucket::Bucket, epochs::Epochs},
};

/// What is done to a word in passing.
pub(super) struct Upkeep<'a> {
    pub(super) now: u64,
    pub(super) epochs: &'a Epochs,
    pub(super) promoted: &'a mut PromotedKeys,
    pub(super) paused_until: u64,
    pub(super) version: u64,
    pub(super) context: &'a Context,
}

impl Upkeep<'_> {
    /// The word becomes one of the current epoch, unless its bucket is full, and the key need not be remembered.
    pub(super) fn keep<K: Hash>(&mut self, key: &K, word: &mut u64) -> bool {
        if slot_of(*word).is_some() {
            return true;
        }
        if self.epochs.is_current(*word)
            && let Some(moment) = self.epochs.at(self.now)
        {
            return !moment.is_full(*word);
        }
        let bucket = up_to_date(self.epochs, self.now, *word);
        if bucket.is_full() {
            return false;
        }
        *word = self.epochs.pack(&bucket).unwrap_or_else(|| {
            let limiter = Limiter::promoted(bucket, self.paused_until, &self.context.clock, self.version);
            let hash = self.context.hasher.hash_one(key);
            word_of(self.promoted.insert(PromotedKey { hash, limiter }))
        });
        true
    }
}

/// The bucket of a word, as of now.
pub(super) fn up_to_date(epochs: &Epochs, now: u64, word: u64) -> Bucket {
    let mut bucket = epochs.unpack(word);
    if now < bucket.updated_at() {
        bucket.rewind(now);
    }
    bucket.refill(now);
    bucket.clamp();
    bucket
}
