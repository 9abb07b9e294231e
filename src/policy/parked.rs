//! A bucket in one word, for as long as nobody waits: so that many can take from it without a lock.
//!
//! Since a fixed moment, the base, a bucket has yielded a number of drops that only the time decides. What was spent
//! of them, or ran over, is one number. It is in full the level: `full + yielded - spent`.

/// What a word is worth at most. The byte above is for whoever keeps the word.
pub const MOST: u64 = 1 << 55;

/// How to read the word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measure {
    /// When nothing was yielded yet.
    pub base: u64,
    /// Drops in each nanosecond.
    pub yields: u64,
    /// Drops in a permit.
    pub span: u64,
    /// Drops in a full bucket.
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
    /// Put together.
    #[inline]
    #[must_use]
    pub fn new(base: u64, yields: u64, span: u64, full: u64) -> Self {
        Self { base, yields, span, full }
    }

    /// The drops yielded until then, unless they are too many for a word.
    #[inline]
    #[must_use]
    pub fn yielded(&self, now: u64) -> Option<u64> {
        now.saturating_sub(self.base).checked_mul(self.yields).filter(|drops| *drops <= MOST)
    }

    /// Takes permits.
    #[inline]
    #[must_use]
    pub fn take(&self, now: u64, spent: u64, permits: u32) -> Taken {
        let yielded = now.saturating_sub(self.base).checked_mul(self.yields);
        let (Some(yielded), Some(price)) = (yielded, self.span.checked_mul(permits.into())) else {
            return Taken::Unknown;
        };
        // What has run over is spent, too.
        let Some(after) = spent.max(yielded).checked_add(price).filter(|after| *after <= MOST) else {
            return Taken::Unknown;
        };
        // At most 2^55 and 2^54.
        if after <= yielded.wrapping_add(self.full) { Taken::Now(after) } else { self.later(price, after) }
    }

    #[cold]
    fn later(&self, price: u64, after: u64) -> Taken {
        if self.yields == 0 || price > self.full {
            return Taken::Unknown;
        }
        let short = after.saturating_sub(self.full);
        Taken::At(self.base.saturating_add(short.div_ceil(self.yields)))
    }
}
