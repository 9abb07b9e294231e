//! What many changes of settings come to for a bucket from which nothing was taken meanwhile.
//!
//! A bucket that is full at one of the changes is full at all later ones. Any other has, counted in permits, what it
//! had and what the rates have generated since: no burst has cut anything off, or it would have been full. So two
//! numbers tell it all, however many changes there were: what was generated, and from which level on a bucket was full
//! at some change.
//!
//! Both are in 2^64ths of a permit; no unit of a [`Bucket`] is smaller. What is rounded off at each change, less than
//! one of them, is given back at the end, before it is rounded down to a unit: so numbers of units come out as such,
//! and a bucket that is full but for what was rounded off is full.

use crate::policy::limit::bucket::Bucket;

/// From the end of an epoch on; see the module.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    /// The end of that epoch.
    until: u64,
    /// Generated in that epoch since it had a tag.
    own: u128,
    /// Generated since its end, each change's part rounded up.
    generated: u128,
    /// The level at its end from which on a bucket has become full since.
    full_from: u128,
}

impl Passage {
    /// From the end of an epoch with these settings, whose words begin at `base`.
    pub(super) fn new(settings: &Bucket, base: u64, until: u64) -> Self {
        Self { until, own: settings.generated(until.saturating_sub(base)), generated: 0, full_from: u128::MAX }
    }

    /// And through a further epoch with these settings, which has generated so much.
    pub(super) fn extend(&mut self, settings: &Bucket, generated: u128) {
        self.generated = self.generated.saturating_add(generated);
        // The level is rounded down.
        let lacking = settings.full_level().saturating_sub(self.generated).saturating_sub(1);
        self.full_from = self.full_from.min(lacking);
    }

    /// Without what is after the beginning of a later epoch's words, whose own passage is this.
    pub(super) fn without(&self, later: &Self) -> Self {
        let after = later.generated.saturating_add(later.own);
        Self { generated: self.generated.saturating_sub(after), ..self.clone() }
    }

    /// A bucket of the first epoch becomes one with these settings, as of then.
    pub(super) fn lead(&self, bucket: &mut Bucket, settings: &Bucket, since: u64) {
        bucket.refill(self.until);
        bucket.clamp();
        let level = bucket.level();
        let full = bucket.is_full() || level >= self.full_from;
        bucket.adopt(settings);
        if full {
            bucket.fill();
        } else {
            bucket.drain();
            // What was rounded off comes back.
            bucket.add(level.saturating_add(self.generated).saturating_add(1));
        }
        bucket.clamp();
        bucket.rewind(since);
    }
}
