//! The settings that many packed buckets share, and how they have changed: so that a change touches none of the buckets.
//!
//! All buckets are read by one set of parameters, that of the current epoch. When the settings change, or the numbers would
//! get too large for a word, a new epoch begins. A word tells the epoch of which it is in its lowest byte; one of a former
//! epoch is brought up to date when it is next looked at: read by its own parameters, filled up to the instant at which the
//! next epoch began, converted to that one's settings, and so on. So it is then what it would be if it had been converted
//! at each change.
//!
//! A bucket that is full, and stays unused, is as good as one that is new: it is full in every epoch.
//!
//! Invariants: there are one to 256 epochs, in the order in which they began; no word is of an epoch that is not kept, if the
//! keeper says [`Epochs::forget_before`] only of epochs of which there are no words.

use std::collections::VecDeque;

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
    /// The parameters of the current epoch; none where the buckets are too large for a word.
    params: Option<Params>,
    /// Up to when they can be read by them.
    readable_until: u64,
    /// The number of the current epoch.
    current: u8,
    /// All epochs of which there may be words, the current one last.
    epochs: VecDeque<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    params: Option<Params>,
    /// A full bucket with its settings.
    full: Bucket,
    /// When it began.
    since: u64,
}

impl Epochs {
    /// One epoch, since time 0.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let mut new = Self { params: None, readable_until: 0, current: 0, epochs: VecDeque::new() };
        new.push(Bucket::new(rate, burst), 0);
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
        match self.epochs.back() {
            Some(epoch) => &epoch.full,
            None => unreachable!("there is a current epoch"),
        }
    }

    /// Whether all words have to be brought up to date before another epoch begins; then say [`forget_before`](Self::forget_before).
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.epochs.len() > MOST
    }

    /// Whether words can be read by the current parameters at this time.
    #[inline]
    #[must_use]
    pub fn is_readable(&self, now: u64) -> bool {
        now <= self.readable_until && self.params.is_some_and(|params| params.base <= now)
    }

    /// Whether there are parameters at all: the settings are not too large for a word.
    #[must_use]
    pub fn can_pack(&self) -> bool {
        self.params.is_some()
    }

    /// A new epoch of the same settings begins, so that words are readable from now on.
    pub fn rebase(&mut self, now: u64) {
        let full = self.full().clone();
        self.push(full, now);
    }

    /// A new epoch of other settings begins.
    pub fn change(&mut self, now: u64, rate: Rate, burst: u32) {
        let mut full = self.full().clone();
        full.set_rate(rate);
        full.set_burst(burst);
        full.fill();
        self.push(full, now);
    }

    fn push(&mut self, full: Bucket, since: u64) {
        self.params = full.params(since);
        self.readable_until = self.params.map_or(0, |params| params.readable_until());
        self.current = self.current.wrapping_add(1);
        self.epochs.push_back(Epoch { params: self.params, full, since });
    }

    /// There is no word any more of an epoch before this one.
    pub fn forget_before(&mut self, epoch: u8) {
        let kept = usize::from(self.current.wrapping_sub(epoch)).saturating_add(1);
        while self.epochs.len() > kept {
            self.epochs.pop_front();
        }
        if self.epochs.capacity() > 16 && self.epochs.len() < 4 {
            self.epochs.shrink_to(4);
        }
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
    pub fn take(&self, now: u64, word: u64, permits: u32) -> Take {
        match &self.params {
            Some(params) => params.take(now, word, permits),
            None => Take::Unknown,
        }
    }

    /// The word of a full bucket, if words [are readable](Self::is_readable).
    #[inline]
    #[must_use]
    pub fn full_word(&self, now: u64) -> u64 {
        self.params.map_or(0, |params| params.generated(now)) | u64::from(self.current)
    }

    /// Brings a word up to date. The bucket is as of now at the latest, or as of the latest instant that it knows of, if the
    /// clock has gone back.
    #[must_use]
    pub fn unpack(&self, word: u64) -> Bucket {
        let [epoch, ..] = word.to_le_bytes();
        let age = usize::from(self.current.wrapping_sub(epoch));
        let since = self.epochs.len().saturating_sub(1).saturating_sub(age);
        let mut epochs = self.epochs.range(since..);
        let Some(first) = epochs.next() else { return self.full().clone() };
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
        let params = self.params.filter(|params| params.base <= bucket.updated_at())?;
        let word = params.pack_at(bucket.updated_at(), bucket.missing()?)?;
        Some(word | u64::from(self.current))
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
                        if !epochs.is_readable(now) && epochs.can_pack() {
                            epochs.rebase(now);
                        }
                        let mut bucket = word.map_or_else(|| epochs.full().clone(), |word| epochs.unpack(word));
                        bucket.refill(now);
                        bucket.clamp();
                        prop_assert_eq!(bucket.available(), eager.available());
                        prop_assert_eq!(bucket.ready_at(u64::from(eager.available()) + 1), eager.ready_at(u64::from(eager.available()) + 1));
                        if let Step::Take(permits) = step {
                            // By the word, where that can tell, and by the bucket.
                            let fast = word.filter(|word| epochs.is_current(*word)).map(|word| epochs.take(now, word, permits));
                            let taken = bucket.try_take(permits);
                            prop_assert_eq!(taken, eager.try_take(permits));
                            match fast {
                                Some(Take::Taken(after)) => {
                                    prop_assert!(taken);
                                    word = Some(after);
                                }
                                Some(Take::ReadyAt(at)) => prop_assert_eq!(at, eager.ready_at(permits.into())),
                                _ => word = epochs.pack(&bucket).or(word.filter(|_| !taken)),
                            }
                            if word.is_none() {
                                // Too large for a word: a keeper keeps the bucket itself.
                                eager = epochs.full().clone();
                                eager.refill(now);
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
        let Take::Taken(word) = epochs.take(0, epochs.full_word(0), 5) else { panic!() };
        for change in 1..=200 {
            epochs.change(change, Rate::per_second(u32::try_from(change).unwrap()), 5);
        }
        let mut bucket = epochs.unpack(word);
        assert_eq!((bucket.available(), bucket.rate()), (0, Rate::per_second(200)));
        bucket.refill(200 + 1_000_000_000);
        // 200 of the last second, and the fractions of the 200 ns before.
        assert_eq!(bucket.available(), 200);
        epochs.forget_before(epochs.current());
        assert!(!epochs.is_crowded() && epochs.epochs.len() == 1);
    }
}
