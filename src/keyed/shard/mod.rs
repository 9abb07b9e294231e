//! A part of the keys of a [`KeyedLimiter`](super::KeyedLimiter), under one lock.
//!
//! A key at rest is itself and one word: its [packed](crate::policy::limit::packed) bucket. It is *promoted* to a
//! limiter of its own, with a wait list, when a task has to wait for it or holds its limiter, and *demoted* to a word
//! again when the last of these is gone: by the wait that ends, or in passing.
//!
//! Invariants: a word is that of a bucket, or the number of the slot in which its limiter is; each limiter in a slot
//! belongs to one key; a word whose bucket is full is as good as none. Limiters that only their slot holds have no
//! waiters with wakers. No foreign code runs under the lock but that of the keys: `Hash`, `Eq`, `to_owned` and drop.

mod tagged;
mod upkeep;
mod word;

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    mem,
    task::Waker,
};

use self::{tagged::TaggedWords, word::up_to_date};
use super::{
    expiring_map::ExpiringMap,
    promoted::{PromotedKey, PromotedKeys, slot_of, word_of},
    request::{Answer, Tried, Wanted},
    settings::{Context, Settings},
};
use crate::{
    limiter::{Limiter, Refused},
    policy::limit::{
        bucket::Bucket,
        epochs::{Epochs, Moment},
        packed::Missing,
        wait_list::{Admission, CATCH_UP, WaitList, WakeList},
    },
};

/// See the module.
#[derive(Debug)]
pub(super) struct Shard<K> {
    words: ExpiringMap<K, u64>,
    epochs: Epochs,
    /// Those with the latest tag.
    tagged: TaggedWords,
    /// The tag that was the latest when the round of looks at `words` began: those with an earlier one get it.
    round_began_in: u8,
    /// A round has ended since this was last asked for.
    round_is_over: bool,
    promoted: PromotedKeys,
    settings: Settings,
    /// No permit is granted before.
    paused_until: u64,
    /// The time of the latest call.
    updated_at: u64,
}

impl<K: Eq + Hash> Shard<K> {
    pub(super) fn new(settings: Settings) -> Self {
        let epochs = Epochs::new(settings.rate, settings.burst);
        Self {
            words: ExpiringMap::new(),
            tagged: TaggedWords::new(),
            round_began_in: epochs.latest(),
            round_is_over: false,
            epochs,
            promoted: PromotedKeys::default(),
            settings,
            paused_until: 0,
            updated_at: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// How many keys have a limiter of their own.
    #[cfg(test)]
    pub(super) fn promoted(&self) -> usize {
        self.promoted.limiters().count()
    }

    /// A full bucket with the settings.
    pub(super) fn full(&self) -> &Bucket {
        self.epochs.full()
    }

    /// Takes permits of a key now, or not at all. And whether there is something to be done in passing; see
    /// [`look_after`](Self::look_after).
    #[inline]
    pub(super) fn try_take<Q>(
        &mut self,
        now: u64,
        wanted: Wanted<'_, Q>,
        permits: u32,
        context: &Context,
    ) -> (Tried, bool)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let word = self.words.get_mut(wanted.hash, wanted.key);
        if now < self.updated_at || now < self.paused_until {
            return (Tried::Unknown, false);
        }
        let Some(moment) = self.epochs.at(now) else { return (Tried::Unknown, false) };
        self.updated_at = now;
        let tried = match word {
            None => self.try_take_new(now, moment, wanted, permits, context),
            Some(word) if !self.epochs.is_current(*word) => return (Tried::Unknown, false),
            Some(word) => match self.epochs.take(moment, *word, permits) {
                Ok(after) => {
                    *word = after;
                    Tried::Taken
                }
                Err(missing) => self.refused(missing, permits),
            },
        };
        let epochs = &self.epochs;
        let is_fine = |word: &u64| epochs.is_current(*word) && !moment.is_full(*word);
        (tried, !self.promoted.is_empty() || !self.words.glance(is_fine))
    }

    /// The same for a key that is not known, and so full.
    #[cold]
    #[inline(never)]
    fn try_take_new<Q>(
        &mut self,
        now: u64,
        moment: Moment,
        wanted: Wanted<'_, Q>,
        permits: u32,
        context: &Context,
    ) -> Tried
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        match self.epochs.take(moment, moment.full_word(), permits) {
            Ok(after) => {
                if !moment.is_full(after) {
                    // As many more as keep the number of keys in bounds where each is new.
                    if !self.words.is_moving() {
                        self.step(now, context);
                    }
                    self.catch_up(now, context);
                    self.insert(wanted, after, context);
                    self.tagged.add(wanted.hash);
                }
                Tried::Taken
            }
            Err(missing) => self.refused(missing, permits),
        }
    }

    #[inline]
    fn refused(&self, missing: Missing, permits: u32) -> Tried {
        self.epochs.ready_in(missing, permits).map_or(Tried::Unknown, Tried::ReadyIn)
    }

    /// The same where that cannot tell.
    #[cold]
    #[inline(never)]
    pub(super) fn try_take_unpacked<Q>(
        &mut self,
        now: u64,
        wanted: Wanted<'_, Q>,
        permits: u32,
        context: &Context,
    ) -> Answer
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.pass(now, context);
        let known = self.words.get(wanted.hash, wanted.key).copied();
        if let Some(slot) = known.and_then(slot_of) {
            self.demote(slot, context);
            if let Some(promoted) = self.promoted.get(slot) {
                return Answer::Ask(promoted.limiter.clone());
            }
        }
        // It may have changed just now, and time have passed.
        let now = self.updated_at;
        let known = self.words.get(wanted.hash, wanted.key).copied();
        let mut list = WaitList::<Waker>::of(self.bucket(now, known), CATCH_UP, self.paused_until);
        list.refill_and_grant(now, &mut WakeList::new());
        let answer = match list.enqueue(now, permits, 0) {
            Admission::Granted => Answer::Taken,
            Admission::OverBurst => {
                Answer::Refused(Refused::OverBurst { asked: permits, burst: list.bucket().burst() })
            }
            Admission::TooFar(at) => Answer::Refused(Refused::too_far(now, at, 0)),
            Admission::Waiting(id) => unreachable!("{id:?} may not wait"),
        };
        let bucket = list.bucket().clone();
        match (known, self.epochs.pack(&bucket)) {
            (None, _) if bucket.is_full() => {}
            (None, Some(word)) => {
                self.insert(wanted, word, context);
                self.tagged.add(wanted.hash);
            }
            (Some(former), Some(word)) => {
                self.replace(wanted, word);
                if !self.epochs.is_current(former) {
                    self.tagged.add(wanted.hash);
                }
            }
            // Too large for a word: the key keeps a limiter.
            (_, None) => _ = self.promote_bucket(wanted, bucket, known.is_some(), context),
        }
        answer
    }

    /// A limiter for the key, in this slot, whose wait list can be joined.
    pub(super) fn promote<Q>(&mut self, now: u64, wanted: Wanted<'_, Q>, context: &Context) -> (u32, Limiter)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.pass(now, context);
        let known = self.words.get(wanted.hash, wanted.key).copied();
        if let Some(slot) = known.and_then(slot_of)
            && let Some(promoted) = self.promoted.get(slot)
        {
            return (slot, promoted.limiter.clone());
        }
        let bucket = self.bucket(now, known);
        self.promote_bucket(wanted, bucket, known.is_some(), context)
    }

    fn promote_bucket<Q>(
        &mut self,
        wanted: Wanted<'_, Q>,
        bucket: Bucket,
        known: bool,
        context: &Context,
    ) -> (u32, Limiter)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let limiter = Limiter::promoted(bucket, self.paused_until, &context.clock, self.settings.version);
        let slot = self.promoted.insert(PromotedKey { hash: wanted.hash, limiter: limiter.clone() });
        if known {
            self.replace(wanted, word_of(slot));
        } else {
            self.insert(wanted, word_of(slot), context);
        }
        (slot, limiter)
    }

    /// The limiter in this slot goes back into a word, if nothing needs it any more.
    pub(super) fn demote(&mut self, slot: u32, context: &Context) {
        let Some(promoted) = self.promoted.get_mut(slot) else { return };
        let Some(mut bucket) = promoted.limiter.demoted() else { return };
        bucket.adopt(self.epochs.full());
        bucket.refill(self.updated_at);
        bucket.clamp();
        self.updated_at = self.updated_at.max(bucket.updated_at());
        let (hash, word) = (promoted.hash, word_of(slot));
        if self.epochs.at(self.updated_at).is_none() {
            self.tag(self.updated_at, context);
        }
        if bucket.is_full() {
            self.words.remove(hash, |(_, other)| *other == word);
        } else if let Some(packed) = self.epochs.pack(&bucket) {
            if let Some(word) = self.words.find_mut(hash, |(_, other)| *other == word) {
                *word = packed;
                self.tagged.add(hash);
            }
        } else {
            return;
        }
        self.promoted.remove(slot);
        self.catch_up(self.updated_at, context);
    }

    /// Takes over settings, and a pause until then, if it ends later than a former one. The limiters have to do so
    /// outside the lock.
    pub(super) fn set(
        &mut self,
        now: u64,
        settings: Settings,
        paused_until: u64,
        context: &Context,
    ) -> impl Iterator<Item = Limiter> {
        let now = self.tell_time(now, context);
        let former = mem::replace(&mut self.settings, settings);
        self.paused_until = self.paused_until.max(paused_until);
        if (former.rate, former.burst) != (settings.rate, settings.burst) {
            self.epochs.change(now, settings.rate, settings.burst);
        }
        self.promoted.limiters().cloned()
    }

    fn insert<Q>(&mut self, wanted: Wanted<'_, Q>, word: u64, context: &Context)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.words.insert(wanted.hash, wanted.key.to_owned(), word, |key| context.hasher.hash_one(key));
    }

    fn replace<Q>(&mut self, wanted: Wanted<'_, Q>, word: u64)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(known) = self.words.get_mut(wanted.hash, wanted.key) {
            *known = word;
        }
    }

    /// The bucket of a key that has this word, or none.
    fn bucket(&self, now: u64, word: Option<u64>) -> Bucket {
        if let Some(word) = word.filter(|word| slot_of(*word).is_none()) {
            return up_to_date(&self.epochs, now, word);
        }
        let mut full = self.epochs.full().clone();
        full.refill(now);
        full.clamp();
        full
    }
}
