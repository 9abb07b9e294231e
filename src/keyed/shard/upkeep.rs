//! What is done in passing: words become those of the current epoch, full buckets are forgotten, limiters demoted.

use std::{
    hash::{BuildHasher, Hash},
    mem,
};

use super::{
    super::{promoted::slot_of, settings::Context},
    Shard,
    tagged::TaggedWords,
    word::{Upkeep, as_of},
};
use crate::{limiter::Now, policy::limit::epochs::tag_of};

impl<K: Eq + Hash> Shard<K> {
    /// Forgets all keys at once whose buckets are full.
    pub(in super::super) fn forget_idle(&mut self, now: u64, context: &Context) {
        let now = self.pass(now, context);
        (0..self.promoted.slots()).for_each(|slot| self.demote(slot, context));
        self.bring_up_to_date(now);
    }

    /// What time it is, and a small step of what is done in passing.
    pub(super) fn pass(&mut self, now: u64, context: &Context) -> u64 {
        let now = self.tell_time(now, context);
        if self.epochs.at(now).is_none() {
            self.tag(now, context);
        }
        self.demote_next(context);
        self.step(now, context);
        self.catch_up(now, context);
        now
    }

    /// Looks at a few words.
    #[cold]
    #[inline(never)]
    pub(super) fn step(&mut self, now: u64, context: &Context) -> bool {
        let Self { words, epochs, round_began_in, .. } = self;
        let upkeep = Upkeep { now, epochs, oldest: *round_began_in };
        let round_is_over = words.step(|_, word| upkeep.keep(word), |key| context.hasher.hash_one(key));
        if round_is_over {
            self.begin_round(self.round_began_in);
            self.round_is_over = self.words.len() > 0;
        }
        round_is_over
    }

    /// Whether a round of looks at the words has ended since this was last asked for.
    pub(in super::super) fn take_round_is_over(&mut self) -> bool {
        mem::take(&mut self.round_is_over)
    }

    /// What is done in passing, in so many steps: to the end of the round, if it is near.
    pub(in super::super) fn look_after(&mut self, now: u64, steps: usize, context: &Context) {
        let now = self.tell_time(now, context);
        self.demote_next(context);
        _ = (0..steps).any(|_| self.step(now, context));
    }

    /// What time it is: `now`, which was read before the lock was taken, or later.
    pub(super) fn tell_time(&mut self, now: u64, context: &Context) -> u64 {
        let now = if now < self.updated_at { self.tell_time_again(context) } else { now };
        self.updated_at = now;
        now
    }

    /// Another thread has been faster, or the clock is another one, and behind: then what is in the buckets stays, and
    /// what is left of a pause.
    #[cold]
    #[inline(never)]
    fn tell_time_again(&mut self, context: &Context) -> u64 {
        let now = context.clock.now();
        if now < self.updated_at {
            let left = self.paused_until.saturating_sub(self.updated_at);
            self.paused_until = if left == 0 { 0 } else { now.saturating_add(left) };
        }
        now
    }

    /// The current epoch gets a tag, if its buckets fit into a word: it has none so far, or one that time has left.
    #[cold]
    #[inline(never)]
    pub(super) fn tag(&mut self, now: u64, context: &Context) {
        if !self.epochs.can_pack() {
            return;
        }
        if self.words.len() == 0 {
            self.epochs.forget_all();
            self.tagged = TaggedWords::new();
            self.round_began_in = self.epochs.latest();
        }
        if let TaggedWords::Few(hashes) = &self.tagged {
            let latest = self.epochs.latest();
            let find = |hash: &u64| {
                let has_it = |word: u64| slot_of(word).is_none() && tag_of(word) == latest;
                self.words.position(*hash, |(key, word)| has_it(*word) && context.hasher.hash_one(key) == *hash)
            };
            // Foreign code, which may panic, comes before the tag means another thing.
            let positions: Vec<_> = hashes.iter().filter_map(find).collect();
            if let Some(former) = self.epochs.retag(now) {
                for position in positions {
                    if let Some(word) = self.words.at_mut(position) {
                        let bucket = as_of(now, self.epochs.unpack_by(&former, *word));
                        *word = self.epochs.pack(&bucket).unwrap_or(*word);
                    }
                }
                return;
            }
        }
        let is_exhausted = self.epochs.is_exhausted();
        if self.epochs.tag(now) {
            self.tagged = TaggedWords::new();
        }
        if is_exhausted {
            self.bring_up_to_date(now);
        }
    }

    /// Where there are many tags, and one more word is to have the latest: so many looks that the first tags are gone
    /// before there are too many. A tag is kept for more than 32 such words, and a round of looks takes 1024 of them at
    /// most.
    pub(super) fn catch_up(&mut self, now: u64, context: &Context) {
        if self.epochs.is_crowded() {
            let steps = self.words.steps_of(1024);
            _ = (0..steps).any(|_| self.step(now, context));
        }
    }

    /// All words get the latest tag, and those of full buckets go.
    fn bring_up_to_date(&mut self, now: u64) {
        let Self { words, epochs, .. } = self;
        let latest = epochs.latest();
        let upkeep = Upkeep { now, epochs, oldest: latest };
        words.retain(|_, word| upkeep.keep(word));
        self.begin_round(latest);
    }

    /// No word has a tag before this one.
    fn begin_round(&mut self, oldest: u8) {
        self.epochs.forget_before(oldest);
        self.round_began_in = self.epochs.latest();
        // Those that are looked at may get it.
        self.tagged = TaggedWords::Many;
    }

    #[cold]
    #[inline(never)]
    pub(super) fn demote_next(&mut self, context: &Context) {
        let slot = self.promoted.next_slot();
        self.demote(slot, context);
    }
}
