//! A part of the keys of a [`KeyedLimiter`](super::KeyedLimiter), under one lock.
//!
//! A key at rest is itself and one word: its [packed](crate::policy::limit::packed) bucket. It is *promoted* to a limiter of its
//! own, with a wait list, when a task has to wait for it or holds its limiter, and *demoted* to a word again when the last of
//! these is gone: by the wait that ends, or in passing.
//!
//! Invariants: a word is that of a bucket, or [`FIRST_FREE_WORD`] plus the slot of a limiter; each limiter in a slot belongs to
//! one key; a word whose bucket is full is as good as none. Limiters that a slot shares with no one have no waiters with
//! wakers. No foreign code runs under the lock but that of the keys: `Hash`, `Eq`, `to_owned` and drop.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, RandomState},
    task::Waker,
};

use super::expiring_map::ExpiringMap;
use crate::{
    limiter::{Limiter, LimiterClock, Now, Refused},
    policy::limit::{
        bucket::Bucket,
        epochs::Epochs,
        packed::{FIRST_FREE_WORD, Take},
        rate::Rate,
        wait_list::{Admission, CATCH_UP, WaitList, WakeList},
    },
};

/// What all keys share besides the settings.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) clock: LimiterClock,
    pub(super) hasher: RandomState,
}

/// What all keys have. Each shard, and each limiter of a key, takes over the latest version and no earlier one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) rate: Rate,
    pub(super) burst: u32,
    pub(super) paused_until: u64,
    pub(super) version: u64,
}

#[derive(Debug)]
pub(super) struct Shard<K> {
    words: ExpiringMap<K, u64>,
    epochs: Epochs,
    /// The epoch that was the current one when the round of looks at `words` began.
    round_began_in: u8,
    promoted: Vec<Option<Promoted>>,
    /// Slots of `promoted` that are empty.
    vacant: Vec<u32>,
    /// The slot that is looked at next.
    next: usize,
    settings: Settings,
    /// The time of the latest call.
    updated_at: u64,
}

/// A key with a limiter of its own.
#[derive(Debug)]
struct Promoted {
    hash: u64,
    limiter: Limiter,
}

/// The answer to a request for permits.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    Refused(Refused),
    /// The key has a limiter of its own, that is to be asked outside the lock.
    Ask(Limiter),
}

/// A key that is looked for.
#[derive(Debug)]
pub(super) struct Wanted<'a, Q: ?Sized> {
    pub(super) key: &'a Q,
    pub(super) hash: u64,
}

impl<Q: ?Sized> Clone for Wanted<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Wanted<'_, Q> {}

impl<K: Eq + Hash> Shard<K> {
    pub(super) fn new(settings: Settings) -> Self {
        let epochs = Epochs::new(settings.rate, settings.burst);
        Self {
            words: ExpiringMap::new(),
            round_began_in: epochs.current(),
            epochs,
            promoted: Vec::new(),
            vacant: Vec::new(),
            next: 0,
            settings,
            updated_at: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// A full bucket with the settings.
    pub(super) fn full(&self) -> &Bucket {
        self.epochs.full()
    }

    /// Takes permits of a key now, or not at all.
    #[inline]
    pub(super) fn try_take<Q>(&mut self, now: u64, wanted: Wanted<'_, Q>, permits: u32, context: &Context) -> Answer
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.pass(now, context);
        if now >= self.settings.paused_until && self.epochs.can_pack() {
            let known = self.words.get_mut(wanted.hash, wanted.key);
            let full = self.epochs.full_word(now);
            let word = known.as_deref().copied().unwrap_or(full);
            if self.epochs.is_current(word) {
                match self.epochs.take(now, word, permits) {
                    Take::Taken(after) => {
                        match known {
                            Some(known) => *known = after,
                            None if after > full => self.insert(wanted, after, context),
                            // Nothing is missing: it still is as good as none.
                            None => {}
                        }
                        return Answer::Taken;
                    }
                    Take::ReadyAt(at) => return Answer::Refused(Refused::too_far(now, at, 0)),
                    Take::Unknown => {}
                }
            }
        }
        self.try_take_unpacked(now, wanted, permits, context)
    }

    /// The same where a word cannot tell.
    #[cold]
    #[inline(never)]
    fn try_take_unpacked<Q>(&mut self, now: u64, wanted: Wanted<'_, Q>, permits: u32, context: &Context) -> Answer
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let known = self.words.get(wanted.hash, wanted.key).copied();
        if let Some(slot) = known.and_then(slot_of) {
            self.demote(slot);
            if let Some(Some(promoted)) = self.promoted.get(slot as usize) {
                return Answer::Ask(promoted.limiter.clone());
            }
        }
        // It may have changed just now.
        let known = self.words.get(wanted.hash, wanted.key).copied();
        let mut list = WaitList::<Waker>::of(self.bucket(now, known), CATCH_UP, self.settings.paused_until);
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
            (None, Some(word)) => self.insert(wanted, word, context),
            (Some(_), Some(word)) => self.replace(wanted, word),
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
            && let Some(Some(promoted)) = self.promoted.get(slot as usize)
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
        let Settings { paused_until, version, .. } = self.settings;
        let limiter = Limiter::promoted(bucket, paused_until, &context.clock, version);
        let slot = add(&mut self.promoted, &mut self.vacant, Promoted { hash: wanted.hash, limiter: limiter.clone() });
        if known {
            self.replace(wanted, word_of(slot));
        } else {
            self.insert(wanted, word_of(slot), context);
        }
        (slot, limiter)
    }

    /// The limiter in this slot goes back into a word, if nothing needs it any more.
    pub(super) fn demote(&mut self, slot: u32) {
        let Some(place) = self.promoted.get_mut(slot as usize) else { return };
        let Some(promoted) = place else { return };
        let Some(mut bucket) = promoted.limiter.demoted() else { return };
        bucket.adopt(self.epochs.full());
        bucket.refill(self.updated_at);
        bucket.clamp();
        self.updated_at = self.updated_at.max(bucket.updated_at());
        let (hash, word) = (promoted.hash, word_of(slot));
        if bucket.is_full() {
            self.words.remove(hash, |(_, other)| *other == word);
        } else if let Some(packed) = self.epochs.pack(&bucket) {
            if let Some(word) = self.words.find_mut(hash, |(_, other)| *other == word) {
                *word = packed;
            }
        } else {
            return;
        }
        *place = None;
        self.vacant.push(slot);
        if self.vacant.len() == self.promoted.len() {
            (self.promoted, self.vacant) = (Vec::new(), Vec::new());
        }
    }

    /// Takes over settings. The limiters have to do so outside the lock.
    pub(super) fn set(&mut self, now: u64, settings: Settings, context: &Context) -> impl Iterator<Item = Limiter> {
        let now = self.tell_time(now, context);
        let Settings { rate, burst, .. } = settings;
        // A pause alone changes nothing about the buckets.
        if (rate, burst) != (self.settings.rate, self.settings.burst) {
            self.epochs.change(now, rate, burst);
            self.settings = settings;
            self.tidy_epochs(now, context);
        }
        self.settings = settings;
        self.promoted.iter().flatten().map(|promoted| promoted.limiter.clone())
    }

    /// Forgets all keys at once whose buckets are full.
    pub(super) fn forget_idle(&mut self, now: u64, context: &Context) {
        let now = self.pass(now, context);
        (0..self.promoted.len()).for_each(|slot| self.demote(u32::try_from(slot).unwrap_or(u32::MAX)));
        self.bring_up_to_date(now, context);
    }

    /// What time it is, and a small step of what is done in passing.
    #[inline]
    fn pass(&mut self, now: u64, context: &Context) -> u64 {
        let now = self.tell_time(now, context);
        if !self.epochs.is_readable(now) {
            self.rebase(now, context);
        }
        if !self.promoted.is_empty() {
            self.demote_next();
        }
        let Self { words, epochs, promoted, vacant, settings, .. } = self;
        let mut upkeep = Upkeep { now, epochs, promoted, vacant, settings, context };
        if words.step(|key, word| upkeep.keep(key, word), |key| context.hasher.hash_one(key)) {
            self.epochs.forget_before(self.round_began_in);
            self.round_began_in = self.epochs.current();
        }
        now
    }

    /// What time it is: `now`, which was read before the lock was taken, or later.
    #[inline]
    fn tell_time(&mut self, now: u64, context: &Context) -> u64 {
        let now = if now < self.updated_at { self.tell_time_again(context) } else { now };
        self.updated_at = now;
        now
    }

    /// Another thread has been faster, or the clock is another one, and behind: then what is in the buckets stays, and what
    /// is left of a pause.
    #[cold]
    #[inline(never)]
    fn tell_time_again(&mut self, context: &Context) -> u64 {
        let now = context.clock.now();
        if now < self.updated_at {
            let left = self.settings.paused_until.saturating_sub(self.updated_at);
            self.settings.paused_until = if left == 0 { 0 } else { now.saturating_add(left) };
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
    fn tidy_epochs(&mut self, now: u64, context: &Context) {
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
        let Self { words, epochs, promoted, vacant, settings, .. } = self;
        let mut upkeep = Upkeep { now, epochs, promoted, vacant, settings, context };
        words.retain(|key, word| upkeep.keep(key, word));
        self.epochs.forget_before(self.epochs.current());
        self.round_began_in = self.epochs.current();
    }

    #[cold]
    #[inline(never)]
    fn demote_next(&mut self) {
        self.next = if self.next < self.promoted.len() { self.next } else { 0 };
        self.demote(u32::try_from(self.next).unwrap_or(u32::MAX));
        self.next = self.next.saturating_add(1);
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
        match word.filter(|word| slot_of(*word).is_none()) {
            Some(word) => up_to_date(&self.epochs, now, word),
            None => {
                let mut full = self.epochs.full().clone();
                full.refill(now);
                full.clamp();
                full
            }
        }
    }
}

/// What is done to words in passing.
struct Upkeep<'a> {
    now: u64,
    epochs: &'a Epochs,
    promoted: &'a mut Vec<Option<Promoted>>,
    vacant: &'a mut Vec<u32>,
    settings: &'a Settings,
    context: &'a Context,
}

impl Upkeep<'_> {
    /// Whether the key is to be remembered: its bucket is not full, or it has a limiter.
    #[inline]
    fn keep<K: Hash>(&mut self, key: &K, word: &mut u64) -> bool {
        if self.epochs.is_current(*word) {
            *word > self.epochs.full_word(self.now)
        } else {
            self.keep_former(key, word)
        }
    }

    /// The word is not one of the current epoch, and becomes one.
    #[cold]
    #[inline(never)]
    fn keep_former<K: Hash>(&mut self, key: &K, word: &mut u64) -> bool {
        if slot_of(*word).is_some() {
            return true;
        }
        let bucket = up_to_date(self.epochs, self.now, *word);
        if bucket.is_full() {
            return false;
        }
        *word = self.epochs.pack(&bucket).unwrap_or_else(|| {
            let Settings { paused_until, version, .. } = *self.settings;
            let limiter = Limiter::promoted(bucket, paused_until, &self.context.clock, version);
            let hash = self.context.hasher.hash_one(key);
            word_of(add(self.promoted, self.vacant, Promoted { hash, limiter }))
        });
        true
    }
}

fn up_to_date(epochs: &Epochs, now: u64, word: u64) -> Bucket {
    let mut bucket = epochs.unpack(word);
    if now < bucket.updated_at() {
        bucket.rewind(now);
    }
    bucket.refill(now);
    bucket.clamp();
    bucket
}

fn add(promoted: &mut Vec<Option<Promoted>>, vacant: &mut Vec<u32>, new: Promoted) -> u32 {
    if let Some(slot) = vacant.pop() {
        promoted[slot as usize] = Some(new);
        return slot;
    }
    promoted.push(Some(new));
    u32::try_from(promoted.len() - 1).expect("fewer than 2^32 limiters at a time")
}

/// The word of a key whose limiter is in this slot.
fn word_of(slot: u32) -> u64 {
    FIRST_FREE_WORD | u64::from(slot)
}

/// The slot of the limiter, if the key of this word has one.
fn slot_of(word: u64) -> Option<u32> {
    word.checked_sub(FIRST_FREE_WORD).and_then(|slot| u32::try_from(slot).ok())
}
