//! The settings that many packed buckets share, and how they have changed: so that a change touches none of the
//! buckets.
//!
//! An *epoch* is a span of time with one rate and one burst. A *tag*, the lowest byte of a word, tells the parameters
//! by which the word is to be read, and so its epoch. An epoch gets a tag only when a word is to be written in it, and
//! another one when time has left the span that words can tell: changes between which nothing is taken use up none.
//!
//! A word of a former epoch is brought up to date when it is next looked at: read by its own parameters, filled up to
//! the instant at which the next epoch began, converted to that one's settings, and so on. So it is then what it would
//! be if it had been converted at each change. That is done for the `EXACT` latest changes. What the earlier ones
//! come to is summed up for each tag, so that a word takes no longer to read because there were many: see `Passage`.
//!
//! A bucket that is full, and stays unused, is as good as one that is new: it is full in every epoch.
//!
//! Invariants: there are at most 256 tags, in the order of their epochs; no word has a tag that is not kept, if the
//! keeper says [`Epochs::forget_before`] only of tags that no word has. While the current epoch has no tag, or there
//! are fewer than 256, no word has the tag that comes next.

use std::{collections::VecDeque, mem};

use crate::policy::limit::{
    bucket::Bucket,
    packed::{Missing, Params},
    passage::Passage,
    rate::Rate,
};

/// Tags that words can have at a time, less one: the one that no word has.
const MOST: usize = 255;
/// With more tags than this it is time to look at words sooner, so that there will never be too many.
const CROWDED: usize = 64;
/// So many changes are gone through one by one.
const EXACT: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Epochs {
    /// The parameters of the latest tag, if it is one of the current epoch.
    params: Params,
    /// For how long from their base on words can be read by them, in nanoseconds.
    readable_for: u64,
    /// The latest tag, if it is one of the current epoch, or else the next one, which no word has.
    current: u8,
    epoch: Epoch,
    /// The number of the current epoch.
    number: u64,
    /// The epochs before it, the latest last.
    recent: VecDeque<Epoch>,
    /// The latest last.
    tags: VecDeque<Tag>,
    /// The first of `tags`.
    oldest: u8,
}

#[derive(Debug)]
struct Epoch {
    /// A full bucket with its settings.
    full: Bucket,
    /// When it began.
    since: u64,
}

/// How the words with a tag are to be read.
#[derive(Debug)]
pub struct Tag {
    params: Params,
    /// A full bucket with the settings of its epoch.
    full: Bucket,
    /// Of the epoch.
    epoch: u64,
    /// From its epoch to the first of the recent ones, if that is a later one.
    passage: Option<Passage>,
}

/// What a word at a time can be taken from; made by [`Epochs::at`].
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What was generated since the base, and the current tag: the word of a full bucket.
    full: u64,
}

impl Epochs {
    /// One epoch, since time 0, without a tag.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self {
            params: Params::default(),
            readable_for: 0,
            current: 0,
            epoch: Epoch { full: Bucket::new(rate, burst), since: 0 },
            number: 0,
            recent: VecDeque::new(),
            tags: VecDeque::new(),
            oldest: 0,
        }
    }

    /// The latest tag; where there is none, the next.
    #[must_use]
    pub fn latest(&self) -> u8 {
        let before = u8::try_from(self.tags.len().saturating_sub(1)).unwrap_or(u8::MAX);
        self.oldest.wrapping_add(before)
    }

    /// A full bucket with the current settings.
    #[must_use]
    pub fn full(&self) -> &Bucket {
        &self.epoch.full
    }

    /// Whether there are so many tags that words have to be looked at sooner.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.tags.len() > CROWDED
    }

    /// Whether all words have to be brought up to date when there is one more [`tag`](Self::tag).
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.tags.len() >= MOST
    }

    /// Whether buckets with the current settings are small enough for a word.
    #[must_use]
    pub fn can_pack(&self) -> bool {
        self.epoch.full.params(0).is_some()
    }

    /// A new epoch of other settings begins.
    pub fn change(&mut self, now: u64, rate: Rate, burst: u32) {
        let mut full = self.epoch.full.clone();
        full.set_rate(rate);
        full.set_burst(burst);
        full.fill();
        let former = mem::replace(&mut self.epoch, Epoch { full, since: now });
        self.number = self.number.wrapping_add(1);
        self.recent.push_back(former);
        self.forget_epochs();
        if self.recent.len() > EXACT {
            self.sum_up_first();
        }
        (self.params, self.readable_for) = (Params::default(), 0);
        self.current = self.latest().wrapping_add(u8::from(!self.tags.is_empty()));
    }

    /// The number of the first epoch that is kept.
    fn first(&self) -> u64 {
        self.number.wrapping_sub(self.recent.len() as u64)
    }

    /// The first of the recent epochs becomes a part of the passages.
    fn sum_up_first(&mut self) {
        let number = self.first();
        let Some(Epoch { full, since }) = self.recent.pop_front() else { return };
        let until = self.recent.front().unwrap_or(&self.epoch).since;
        let generated = full.generated(until.saturating_sub(since));
        for tag in &mut self.tags {
            match &mut tag.passage {
                Some(passage) => passage.extend(&full, generated),
                None if tag.epoch == number => tag.passage = Some(Passage::new(&full, tag.params.base, until)),
                None => break,
            }
        }
    }

    /// The current epoch gets a tag: words can be read and written from now on. False: its buckets are too large.
    pub fn tag(&mut self, now: u64) -> bool {
        let Some(params) = self.epoch.full.params(now) else { return false };
        self.tags.push_back(Tag { params, full: self.epoch.full.clone(), epoch: self.number, passage: None });
        (self.params, self.readable_for, self.current) = (params, params.readable_for(), self.latest());
        true
    }

    /// The same with the latest tag, which means another thing from now on. All words that have it are to be
    /// [read](Self::unpack_by) by what it meant, and written anew. `None`: it stays, or there is none.
    pub fn retag(&mut self, now: u64) -> Option<Tag> {
        self.epoch.full.params(now)?;
        let former = self.tags.pop_back()?;
        self.tag(now);
        Some(former)
    }

    /// No word has a tag before this one any more.
    pub fn forget_before(&mut self, tag: u8) {
        if let Some(index) = self.index(tag) {
            self.tags.drain(..index);
            self.oldest = tag;
            self.forget_epochs();
        }
    }

    /// There are no words.
    pub fn forget_all(&mut self) {
        self.oldest = self.latest().wrapping_add(u8::from(!self.tags.is_empty()));
        (self.params, self.readable_for, self.current) = (Params::default(), 0, self.oldest);
        self.tags = VecDeque::new();
        self.recent = VecDeque::new();
    }

    /// Epochs before all tags.
    fn forget_epochs(&mut self) {
        let first = self.tags.front().map_or(self.number, |tag| tag.epoch);
        while self.first() < first {
            self.recent.pop_front();
        }
    }

    fn index(&self, tag: u8) -> Option<usize> {
        let index = usize::from(tag.wrapping_sub(self.oldest));
        (index < self.tags.len()).then_some(index)
    }

    /// This moment, if words can be read at it.
    #[inline]
    #[must_use]
    pub fn at(&self, now: u64) -> Option<Moment> {
        let readable = now.wrapping_sub(self.params.base) < self.readable_for;
        readable.then(|| Moment { full: self.params.generated(now) | u64::from(self.current) })
    }

    /// Whether a word has the current tag.
    #[inline]
    #[must_use]
    pub fn is_current(&self, word: u64) -> bool {
        tag_of(word) == self.current
    }

    /// Takes permits from a word with the current tag: they are taken once this is the word.
    ///
    /// # Errors
    /// They are not there; see [`ready_in`](Self::ready_in).
    #[inline]
    pub fn take(&self, moment: Moment, word: u64, permits: u32) -> Result<u64, Missing> {
        self.params.take_of(moment.full, word, permits)
    }

    /// In how many nanoseconds permits will be there that a [`take`](Self::take) did not get; `None`: words cannot
    /// tell.
    #[inline]
    #[must_use]
    pub fn ready_in(&self, missing: Missing, permits: u32) -> Option<u64> {
        self.params.ready_in(missing, permits)
    }

    /// Brings a word up to date. The bucket is as of the latest change at least; where the clock has gone back since
    /// the word was made, it may be of a time to come.
    #[must_use]
    pub fn unpack(&self, word: u64) -> Bucket {
        match self.index(tag_of(word)) {
            Some(index) => self.unpack_by(&self.tags[index], word),
            None => self.epoch.full.clone(),
        }
    }

    /// The same, where its tag means another thing now.
    #[must_use]
    pub fn unpack_by(&self, tag: &Tag, word: u64) -> Bucket {
        self.unpack_to(self.number, tag, word)
    }

    /// The bucket of a word in one of the epochs that are kept, not before its own.
    fn unpack_to(&self, epoch: u64, tag: &Tag, word: u64) -> Bucket {
        let mut bucket = tag.read(word);
        let mut at = tag.epoch;
        if let Some(passage) = &tag.passage {
            let first = self.recent.front().unwrap_or(&self.epoch);
            passage.lead(&mut bucket, &first.full, first.since);
            at = self.first();
        }
        let [next, last] = [at.wrapping_add(1), epoch]
            .map(|number| usize::try_from(number.wrapping_sub(self.first())).unwrap_or(usize::MAX));
        let epochs = self.recent.iter().chain([&self.epoch]);
        for epoch in epochs.take(last.saturating_add(1)).skip(next) {
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

    /// The word with a later tag in place of its own, the same bucket; the word itself, if its tag is that or a later
    /// one. For what has to go from the earliest tags, and need not be up to date.
    #[must_use]
    pub fn carry(&self, word: u64, to: u8) -> u64 {
        let Some([from, to_index]) = self.index(tag_of(word)).zip(self.index(to)).map(<[_; 2]>::from) else {
            return word;
        };
        if from >= to_index {
            return word;
        }
        let (tag, later) = (&self.tags[from], &self.tags[to_index]);
        let bucket = match (&tag.passage, &later.passage) {
            _ if tag.epoch == later.epoch => tag.read(word),
            (Some(passage), Some(rest)) => {
                let mut bucket = tag.read(word);
                passage.without(rest).lead(&mut bucket, &later.full, later.params.base);
                bucket
            }
            _ => self.unpack_to(later.epoch, tag, word),
        };
        later.write(bucket).map_or(word, |word| word | u64::from(to))
    }

    /// The word of a bucket with the current settings, if it fits into one, and is not from before the tag.
    #[must_use]
    pub fn pack(&self, bucket: &Bucket) -> Option<u64> {
        if self.readable_for == 0 || bucket.updated_at() < self.params.base {
            return None;
        }
        let word = self.params.pack_at(bucket.updated_at(), bucket.missing()?)?;
        Some(word | u64::from(self.current))
    }
}

impl Tag {
    fn read(&self, word: u64) -> Bucket {
        let mut bucket = self.full.clone();
        bucket.unpack(self.params, word);
        bucket
    }

    /// As of the beginning, from where every bucket of the epoch fits.
    fn write(&self, mut bucket: Bucket) -> Option<u64> {
        bucket.refill(self.params.base);
        bucket.clamp();
        self.params.pack_at(self.params.base, bucket.missing()?)
    }
}

/// The tag of a word.
#[inline]
#[must_use]
pub fn tag_of(word: u64) -> u8 {
    let [tag, ..] = word.to_le_bytes();
    tag
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
mod tests;
