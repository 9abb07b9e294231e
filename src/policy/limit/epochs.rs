//! The settings that many packed buckets share, and how they have changed: so that a change touches none of the
//! buckets.
//!
//! All buckets are read by one set of parameters, that of the current epoch. When the settings change, or the numbers
//! would get too large for a word, a new epoch begins. A word tells the epoch of which it is in its lowest byte; one of
//! a former epoch is brought up to date when it is next looked at: read by its own parameters, filled up to the instant
//! at which the next epoch began, converted to that one's settings, and so on. So it is then what it would be if it had
//! been converted at each change.
//!
//! A bucket that is full, and stays unused, is as good as one that is new: it is full in every epoch.
//!
//! Invariants: there are one to 256 epochs, in the order in which they began; no word is of an epoch that is not kept,
//! if the keeper says [`Epochs::forget_before`] only of epochs of which there are no words.

use std::{collections::VecDeque, mem};

use crate::policy::limit::{
    bucket::Bucket,
    packed::{Params, Take},
    rate::Rate,
};

/// The byte in a word tells so many epochs apart, less one: at more it is time to bring all words up to date.
const MOST: usize = 255;

/// See the module.
#[derive(Debug)]
pub struct Epochs {
    /// The parameters of the current epoch, where it has some.
    params: Params,
    /// For how long from their base on words can be read by them, in nanoseconds.
    readable_for: u64,
    /// The number of the current epoch.
    current: u8,
    epoch: Epoch,
    /// The former epochs of which there may be words, the latest last.
    former: VecDeque<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    /// None where the buckets are too large for a word.
    params: Option<Params>,
    /// A full bucket with its settings.
    full: Bucket,
    /// When it began.
    since: u64,
}

/// What a word at a time can be taken from; made by [`Epochs::at`].
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What was generated since the base, and the current epoch: the word of a full bucket.
    full: u64,
}

impl Epochs {
    /// One epoch, since time 0.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let epoch = Epoch::new(Bucket::new(rate, burst), 0);
        let mut new = Self { params: Params::default(), readable_for: 0, current: 0, epoch, former: VecDeque::new() };
        new.read_params();
        new
    }

    /// The number of the current epoch.
    #[must_use]
    pub fn current(&self) -> u8 {
        self.current
    }

    /// A full bucket with the current settings.
    #[must_use]
    pub fn full(&self) -> &Bucket {
        &self.epoch.full
    }

    /// Whether all words have to be brought up to date before another epoch begins; then say
    /// [`forget_before`](Self::forget_before).
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.former.len() >= MOST
    }

    /// Whether buckets with the current settings are small enough for a word.
    #[must_use]
    pub fn can_pack(&self) -> bool {
        self.epoch.params.is_some()
    }

    /// A new epoch of the same settings begins, so that words can be read from now on.
    pub fn rebase(&mut self, now: u64) {
        self.begin(self.epoch.full.clone(), now);
    }

    /// A new epoch of other settings begins.
    pub fn change(&mut self, now: u64, rate: Rate, burst: u32) {
        let mut full = self.epoch.full.clone();
        full.set_rate(rate);
        full.set_burst(burst);
        full.fill();
        self.begin(full, now);
    }

    fn begin(&mut self, full: Bucket, since: u64) {
        let former = mem::replace(&mut self.epoch, Epoch::new(full, since));
        self.former.push_back(former);
        self.current = self.current.wrapping_add(1);
        self.read_params();
    }

    fn read_params(&mut self) {
        self.params = self.epoch.params.unwrap_or_default();
        // Without parameters never.
        self.readable_for = self.epoch.params.map_or(0, |params| params.readable_for());
    }

    /// There is no word any more of an epoch before this one.
    pub fn forget_before(&mut self, epoch: u8) {
        let kept = usize::from(self.current.wrapping_sub(epoch));
        while self.former.len() > kept {
            self.former.pop_front();
        }
        if self.former.is_empty() {
            self.former = VecDeque::new();
        }
    }

    /// This moment, if words can be read at it.
    #[inline]
    #[must_use]
    pub fn at(&self, now: u64) -> Option<Moment> {
        let readable = now.wrapping_sub(self.params.base) < self.readable_for;
        readable.then(|| Moment { full: self.params.generated(now) | u64::from(self.current) })
    }

    /// Whether a word is one of the current epoch.
    #[inline]
    #[must_use]
    pub fn is_current(&self, word: u64) -> bool {
        word.to_le_bytes()[0] == self.current
    }

    /// Takes permits from a word of the current epoch.
    #[inline]
    #[must_use]
    pub fn take(&self, moment: Moment, word: u64, permits: u32) -> Take {
        self.params.take_of(moment.full, word, permits)
    }

    /// Brings a word up to date. The bucket is as of the latest change at least; where the clock has gone back since
    /// the word was made, it may be of a time to come.
    #[must_use]
    pub fn unpack(&self, word: u64) -> Bucket {
        let [epoch, ..] = word.to_le_bytes();
        let age = usize::from(self.current.wrapping_sub(epoch));
        let since = self.former.len().saturating_sub(age);
        let mut epochs = self.former.range(since..).chain([&self.epoch]);
        let Some(first) = epochs.next() else { return self.epoch.full.clone() };
        let mut bucket = first.full.clone();
        if let Some(params) = first.params {
            bucket.unpack(params, word);
        }
        for epoch in epochs {
            bucket.refill(epoch.since);
            bucket.clamp();
            let full = bucket.is_full();
            bucket.adopt(&epoch.full);
            if full {
                bucket.fill();
            }
            bucket.clamp();
        }
        bucket
    }

    /// The word of a bucket with the current settings, if it fits into one and is not from before the epoch.
    #[must_use]
    pub fn pack(&self, bucket: &Bucket) -> Option<u64> {
        let params = self.epoch.params.filter(|params| params.base <= bucket.updated_at())?;
        let word = params.pack_at(bucket.updated_at(), bucket.missing()?)?;
        Some(word | u64::from(self.current))
    }
}

impl Epoch {
    fn new(full: Bucket, since: u64) -> Self {
        Self { params: full.params(since), full, since }
    }
}

impl Moment {
    /// The word of a full bucket.
    #[inline]
    #[must_use]
    pub fn full_word(self) -> u64 {
        self.full
    }

    /// Whether the bucket of this word, one of the current epoch, is full.
    #[inline]
    #[must_use]
    pub fn is_full(self, word: u64) -> bool {
        word <= self.full
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn rates() -> impl Strategy<Value = Rate> {
        let rate = |(permits, per)| Rate::new(permits, Duration::from_nanos(per)).unwrap();
        prop_oneof![
            6 => (0_u32..4, 1_u64..20).prop_map(rate),
            2 => (any::<u32>(), 1_u64..u64::MAX).prop_map(rate),
            1 => Just(Rate::UNLIMITED),
        ]
    }

    fn bursts() -> impl Strategy<Value = u32> {
        prop_oneof![8 => 0_u32..6, 1 => any::<u32>()]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Take(u32),
        Change(Rate, u32),
        Rebase,
        Look,
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![8 => 0_u64..30, 1 => 0_u64..1 << 40].prop_map(Step::Pass),
            6 => (0_u32..4).prop_map(Step::Take),
            2 => (rates(), bursts()).prop_map(|(rate, burst)| Step::Change(rate, burst)),
            1 => Just(Step::Rebase),
            2 => Just(Step::Look),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A word that is brought up to date only when it is looked at is the bucket that was changed each time.
        #[test]
        fn a_word_is_what_it_would_be_if_it_had_been_converted_at_each_change(
            rate in rates(), burst in bursts(), steps in vec(steps(), 0..80),
        ) {
            let mut epochs = Epochs::new(rate, burst);
            let (mut now, mut eager) = (1_u64 << 60, Bucket::new(rate, burst));
            epochs.rebase(now);
            let mut word = None;
            eager.refill(now);
            eager.clamp();
            for step in steps {
                match step {
                    Step::Pass(time) => {
                        now += time;
                        eager.refill(now);
                        eager.clamp();
                    }
                    Step::Rebase => epochs.rebase(now),
                    Step::Change(rate, burst) => {
                        let full = eager.is_full();
                        epochs.change(now, rate, burst);
                        eager.set_rate(rate);
                        eager.set_burst(burst);
                        if full {
                            eager.fill();
                        }
                        eager.clamp();
                    }
                    Step::Take(_) | Step::Look => {
                        if epochs.at(now).is_none() && epochs.can_pack() {
                            epochs.rebase(now);
                        }
                        let moment = epochs.at(now);
                        prop_assert_eq!(moment.is_some(), epochs.can_pack());
                        let mut bucket = word.map_or_else(|| epochs.full().clone(), |word| epochs.unpack(word));
                        bucket.refill(now);
                        bucket.clamp();
                        prop_assert_eq!(bucket.available(), eager.available());
                        prop_assert_eq!(bucket.ready_at(u64::from(eager.available()) + 1), eager.ready_at(u64::from(eager.available()) + 1));
                        if let Step::Take(permits) = step {
                            // By the word, where that can tell, and by the bucket.
                            let known = word.filter(|word| epochs.is_current(*word));
                            let fast = known.zip(moment).map(|(word, moment)| epochs.take(moment, word, permits));
                            let taken = bucket.try_take(permits);
                            prop_assert_eq!(taken, eager.try_take(permits));
                            match fast {
                                Some(Take::Taken(after)) => {
                                    prop_assert!(taken);
                                    word = Some(after);
                                }
                                Some(Take::ReadyIn(wait)) => prop_assert_eq!(now + wait, eager.ready_at(permits.into())),
                                _ => word = epochs.pack(&bucket).or(word.filter(|_| !taken)),
                            }
                            if word.is_none() {
                                // Too large for a word: a keeper keeps the bucket itself.
                                eager = epochs.full().clone();
                                eager.refill(now);
                                eager.clamp();
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_outlives_two_hundred_changes() {
        let mut epochs = Epochs::new(Rate::per_second(1), 5);
        epochs.rebase(0);
        let Take::Taken(word) = epochs.take(epochs.at(0).unwrap(), epochs.at(0).unwrap().full_word(), 5) else {
            panic!()
        };
        for change in 1..=200 {
            epochs.change(change, Rate::per_second(u32::try_from(change).unwrap()), 5);
        }
        let mut bucket = epochs.unpack(word);
        assert_eq!((bucket.available(), bucket.rate()), (0, Rate::per_second(200)));
        bucket.refill(200 + 1_000_000_000);
        // 200 of the last second, and the fractions of the 200 ns before.
        assert_eq!(bucket.available(), 200);
        epochs.forget_before(epochs.current());
        assert!(!epochs.is_crowded() && epochs.former.is_empty());
    }
}
