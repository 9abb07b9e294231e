//! A bucket in one word, for as long as nobody waits: so that many can take from it without a lock.
//!
//! Since a fixed moment, the base, a bucket has yielded a number of drops that only the time decides. What was spent
//! of them, or ran over, is one number. It is in full the level: `full + yielded - spent`.
//!
//! Everything is counted in 256ths of a drop, so that the lower byte of the word is free for a mark of whoever keeps it.
//! What was yielded is below 2^63 and a bucket at most 2^62, so no word of a bucket is above their sum: above it, keepers
//! have words of their own, from which nobody can take.

/// The lower byte.
const MARK: u64 = 0xff;
/// The largest bucket that fits, in drops: a quarter of what a word can tell.
const LARGEST: u64 = 1 << 54;
/// The largest number with a sign.
const HALF: u64 = u64::MAX >> 1;

/// How to read the word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measure {
    /// When nothing was yielded yet.
    pub base: u64,
    /// 256ths of a drop in each nanosecond.
    pub yields: u64,
    /// 256ths of a drop in a permit.
    pub span: u64,
    /// 256ths of a drop in a full bucket.
    pub full: u64,
}

/// The answer to one who takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// The permits are his, and this is the word from now on.
    Now(u64),
    /// They will be there at this time.
    At(u64),
    /// This form cannot tell.
    Unknown,
}

impl Measure {
    /// Put together from its parts.
    #[inline]
    #[must_use]
    pub fn new(base: u64, yields: u64, span: u64, full: u64) -> Self {
        Self { base, yields, span, full }
    }

    /// That of a bucket, whose numbers are in drops, unless it is too large, or as old as nothing is: 292 years.
    pub(super) fn of(base: u64, yields: u32, span: u64, full: u128) -> Option<Self> {
        let full = u64::try_from(full).ok().filter(|full| *full <= LARGEST && base <= HALF)?;
        let parts = |drops: u64| drops.saturating_mul(256).min(HALF);
        // A permit that does not fit is more than is ever there.
        Some(Self { base, yields: parts(yields.into()), span: parts(span), full: parts(full) })
    }

    /// The word at `at` of a bucket that lacks so many drops, unless that is too much for a word.
    pub(super) fn word(&self, at: u64, missing: u64) -> Option<u64> {
        let yielded = at.saturating_sub(self.base).checked_mul(self.yields).filter(|yielded| *yielded <= HALF)?;
        yielded.checked_add(missing.checked_mul(256)?)
    }

    /// The first moment at which all that was spent was there, and what was missing of a full bucket, in drops.
    pub(super) fn missing(&self, word: u64) -> (u64, u64) {
        let spent = word & !MARK;
        let over = spent.saturating_sub(self.full);
        let since = if self.yields == 0 { 0 } else { over.div_ceil(self.yields) };
        let missing = spent.saturating_sub(since.saturating_mul(self.yields));
        (self.base.saturating_add(since), missing >> 8)
    }

    /// Takes permits. The mark of the word stays.
    #[inline]
    #[must_use]
    pub fn take(&self, now: u64, word: u64, permits: u32) -> Taken {
        // Signed, so that what passes half a word is found out by the multiplication.
        let passed = now.wrapping_sub(self.base).cast_signed();
        if passed < 0 {
            return Taken::Unknown;
        }
        let Some(yielded) = passed.checked_mul(self.yields.cast_signed()) else { return Taken::Unknown };
        let Some(price) = self.span.cast_signed().checked_mul(permits.into()) else { return Taken::Unknown };
        let (yielded, price) = (yielded.cast_unsigned() | word & MARK, price.cast_unsigned());
        // What has run over is spent, too.
        let Some(missing) = word.saturating_sub(yielded).checked_add(price) else { return Taken::Unknown };
        if missing <= self.full {
            Taken::Now(yielded.wrapping_add(missing))
        } else {
            self.later(price, yielded, missing)
        }
    }

    #[cold]
    fn later(&self, price: u64, yielded: u64, missing: u64) -> Taken {
        // No bucket lacks more than it holds: the clock has gone back.
        let gone_back = missing.saturating_sub(price) > self.full;
        if self.yields == 0 || price > self.full || gone_back {
            return Taken::Unknown;
        }
        let short = (yielded & !MARK).saturating_add(missing).saturating_sub(self.full);
        Taken::At(self.base.saturating_add(short.div_ceil(self.yields)))
    }
}
