//! What is done in passing: words become those of the current epoch, full buckets are forgotten, limiters demoted.

use std::{
    hash::{BuildHasher, Hash},
    mem,
};

use super::{
    super::{
        settings::{Context, Settings},
        shards::STEPS,
    },
    Shard,
    word::Upkeep,
};
use crate::limiter::Now;

impl<K: Eq + Hash> Shard<K> {
    /// Forgets all keys at once whose buckets are full.
    pub(in super::super) fn forget_idle(&mut self, now: u64, context: &Context) {
        let now = self.pass(now, context);
        (0..self.promoted.slots()).for_each(|slot| self.demote(slot));
        self.bring_up_to_date(now, context);
    }

    /// What time it is, and a small step of what is done in passing.
    pub(super) fn pass(&mut self, now: u64, context: &Context) -> u64 {
        let now = self.tell_time(now, context);
        if self.epochs.at(now).is_none() {
            self.rebase(now, context);
        }
        self.demote_next();
        self.step(now, context);
        now
    }

    /// Looks at a few words.
    #[cold]
    #[inline(never)]
    pub(super) fn step(&mut self, now: u64, context: &Context) -> bool {
        let Self { words, epochs, promoted, paused_until, settings: Settings { version, .. }, .. } = self;
        let (paused_until, version) = (*paused_until, *version);
        let mut upkeep = Upkeep { now, epochs, promoted, paused_until, version, context };
        let round_is_over = words.step(|key, word| upkeep.keep(key, word), |key| context.hasher.hash_one(key));
        if round_is_over {
            self.epochs.forget_before(self.round_began_in);
            self.round_began_in = self.epochs.current();
            self.round_is_over = self.words.len() > 0;
        }
        round_is_over
    }

    /// Whether a round of looks at the words has ended since this was last asked for.
    pub(in super::super) fn take_round_is_over(&mut self) -> bool {
        mem::take(&mut self.round_is_over)
    }

    /// What is done in passing, in more steps than one: to the end of the round, if it is near.
    pub(in super::super) fn look_after(&mut self, now: u64, context: &Context) {
        let now = self.tell_time(now, context);
        self.demote_next();
        _ = (0..STEPS).any(|_| self.step(now, context));
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

    /// A new epoch begins where time has left the span that words can tell.
    #[cold]
    #[inline(never)]
    fn rebase(&mut self, now: u64, context: &Context) {
        if self.epochs.can_pack() {
            self.epochs.rebase(now);
            self.tidy_epochs(now, context);
        }
    }

    /// After a new epoch has begun: there may be too many, or no words of the former ones.
    pub(super) fn tidy_epochs(&mut self, now: u64, context: &Context) {
        if self.epochs.is_crowded() {
            self.bring_up_to_date(now, context);
        }
        if self.words.len() == 0 {
            self.epochs.forget_before(self.epochs.current());
            self.round_began_in = self.epochs.current();
        }
    }

    /// All words become those of the current epoch.
    fn bring_up_to_date(&mut self, now: u64, context: &Context) {
        let Self { words, epochs, promoted, paused_until, settings: Settings { version, .. }, .. } = self;
        let (paused_until, version) = (*paused_until, *version);
        let mut upkeep = Upkeep { now, epochs, promoted, paused_until, version, context };
        words.retain(|key, word| upkeep.keep(key, word));
        self.epochs.forget_before(self.epochs.current());
        self.round_began_in = self.epochs.current();
    }

    #[cold]
    #[inline(never)]
    pub(super) fn demote_next(&mut self) {
        let slot = self.promoted.next_slot();
        self.demote(slot);
    }
}
