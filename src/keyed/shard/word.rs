//! A word in passing: whether its key need be remembered, and its bucket as of now.

use super::super::promoted::slot_of;
use crate::policy::limit::{bucket::Bucket, epochs::Epochs};

/// What is done to a word in passing.
pub(super) struct Upkeep<'a> {
    pub(super) now: u64,
    pub(super) epochs: &'a Epochs,
    /// The tag that words with earlier ones get.
    pub(super) oldest: u8,
}

impl Upkeep<'_> {
    /// Whether the key need be remembered: its bucket is not full.
    pub(super) fn keep(&self, word: &mut u64) -> bool {
        #[cfg(test)]
        super::super::costs::count(1);
        if slot_of(*word).is_some() {
            return true;
        }
        if self.epochs.is_current(*word)
            && let Some(moment) = self.epochs.at(self.now)
        {
            return !moment.is_full(*word);
        }
        if up_to_date(self.epochs, self.now, *word).is_full() {
            return false;
        }
        *word = self.epochs.carry(*word, self.oldest);
        true
    }
}

/// The bucket of a word, as of now.
pub(super) fn up_to_date(epochs: &Epochs, now: u64, word: u64) -> Bucket {
    as_of(now, epochs.unpack(word))
}

pub(super) fn as_of(now: u64, mut bucket: Bucket) -> Bucket {
    if now < bucket.updated_at() {
        bucket.rewind(now);
    }
    bucket.refill(now);
    bucket.clamp();
    bucket
}
