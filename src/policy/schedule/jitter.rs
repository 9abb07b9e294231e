//! Spreading delays.

use crate::policy::ratio::Ratio;

/// How a delay is spread around its nominal value, so that callers that failed together do not come back together.
///
/// Every range is uniform over whole nanoseconds. A range that would pass the backoff's cap slides down until its top
/// is the cap: no delay exceeds the cap, and delays at the cap are spread like all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Exactly the nominal delay `d`.
    None,
    /// From 0 to `d`.
    #[default]
    Full,
    /// From `d / 2` to `d`.
    Equal,
    /// From `d` to `d + ratio * d`.
    Plus(Ratio),
    /// From `d - ratio * d` to `d + ratio * d`.
    PlusMinus(Ratio),
}

impl Jitter {
    /// The delay for a nominal one: `random` picks it from the range.
    #[inline]
    pub(crate) fn spread(self, nominal: u64, cap: u64, random: impl FnOnce() -> u64) -> u64 {
        let (low, high) = match self {
            // As `range` says; these two are what nearly all schedules have.
            Self::None => return nominal.min(cap),
            Self::Full => (0, nominal.min(cap)),
            _ => self.range(nominal, cap),
        };
        if low == high { low } else { pick(low, high, random()) }
    }

    /// The lowest and the highest delay for a nominal one.
    #[inline]
    pub(crate) fn range(self, nominal: u64, cap: u64) -> (u64, u64) {
        let nominal = nominal.min(cap);
        let (below, above) = match self {
            Self::None => (0, 0),
            Self::Full => (nominal, 0),
            // Rounded up below, so that the range starts at half the delay rounded down.
            Self::Equal => (nominal.div_ceil(2), 0),
            Self::Plus(ratio) => (0, ratio.of(nominal)),
            Self::PlusMinus(ratio) => (ratio.of(nominal), ratio.of(nominal)),
        };
        let high = nominal.saturating_add(above).min(cap);
        // What does not fit above goes below.
        let slide = above.saturating_sub(high.saturating_sub(nominal));
        (nominal.saturating_sub(below).saturating_sub(slide), high)
    }
}

/// A jitter without its ratio, as wide as its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(in crate::policy) enum Kind {
    None,
    Full,
    Equal,
    Plus,
    PlusMinus,
}

/// A number from `low..=high`, all equally likely if `random` is uniform: the multiply-and-shift reduction of D.
/// Lemire, "Fast Random Integer Generation in an Interval" (2019), without its rejection step: a bias below 2^-64 of
/// the range.
#[inline]
pub(super) fn pick(low: u64, high: u64, random: u64) -> u64 {
    let width = u128::from(high.saturating_sub(low)).saturating_add(1);
    let offset = width.saturating_mul(random.into()).wrapping_shr(64);
    low.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
}

/// The `n`-th number of the series that `seed` names: SplitMix64 (G. Steele, D. Lea, C. Flood 2014), by counter.
#[must_use]
pub fn series(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ z.wrapping_shr(30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z.wrapping_shr(27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z.wrapping_shr(31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_jitter() -> impl Strategy<Value = Jitter> {
        let ratio = (any::<u32>(), 1_u32..).prop_map(|(above, below)| Ratio::new(above, below).unwrap());
        prop_oneof![
            Just(Jitter::None),
            Just(Jitter::Full),
            Just(Jitter::Equal),
            ratio.clone().prop_map(Jitter::Plus),
            ratio.prop_map(Jitter::PlusMinus),
        ]
    }

    proptest! {
        #[test]
        fn a_slid_range_keeps_its_width_and_ends_at_the_cap(jitter in any_jitter(), nominal: u64, cap: u64) {
            let (free_low, free_high) = jitter.range(nominal.min(cap), u64::MAX);
            let (low, high) = jitter.range(nominal, cap);
            prop_assert!(low <= high && high <= cap);
            prop_assert!(high == cap || high == free_high);
            // The width is kept unless it would start below zero.
            prop_assert!(low == 0 || high - low == free_high - free_low || free_high == u64::MAX);
        }

        #[test]
        fn picks_cover_the_range(low: u64, width: u64, random: u64) {
            let high = low.saturating_add(width);
            let picked = pick(low, high, random);
            prop_assert!((low..=high).contains(&picked));
            prop_assert_eq!(pick(low, high, 0), low);
            prop_assert_eq!(pick(low, high, u64::MAX), high);
        }
    }
}
