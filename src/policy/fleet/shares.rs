//! Which member gets how much: max-min fair shares in whole numbers, of which nothing is lost to rounding.

use std::time::Duration;

use crate::policy::{limit::rate::Rate, nanos};

/// Shares of a rate are whole numbers of billionths of a permit per second.
const BILLIONTHS: u128 = 1_000_000_000;
/// A permit per nanosecond.
const PER_NANOSECOND: u128 = BILLIONTHS * BILLIONTHS;

/// A part of a limit, or a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Share {
    /// Billionths of a permit per second.
    pub rate: u64,
    /// Permits.
    pub burst: u32,
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self { rate: 0, burst: 0 };

    /// The lesser of both, in each of its parts.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { rate: self.rate.min(other.rate), burst: self.burst.min(other.burst) }.usable()
    }

    /// Whether nothing can be granted by it.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// A rate without a burst, or the other way round, is of no use.
    pub(super) fn usable(self) -> Self {
        if self.rate == 0 || self.burst == 0 { Self::NONE } else { self }
    }
}

/// A rate in billionths of a permit per second, rounded down; `u64::MAX` where it is more.
#[must_use]
pub fn billionths(rate: Rate) -> u64 {
    let permits = u128::from(rate.permits()).saturating_mul(PER_NANOSECOND);
    let billionths = permits.checked_div(rate.span().into());
    billionths.and_then(|billionths| u64::try_from(billionths).ok()).unwrap_or(u64::MAX)
}

/// The fastest rate that is not above `billionths`, as so many permits as come in about a second: less than a billionth
/// of it is lost, and its numbers are small.
#[must_use]
pub fn rate(billionths: u64) -> Rate {
    if billionths == 0 {
        return Rate::ZERO;
    }
    let most = u32::try_from(u128::from(billionths).div_ceil(BILLIONTHS)).unwrap_or(u32::MAX);
    let permits = u128::from(most).saturating_mul(PER_NANOSECOND);
    let per = permits.div_ceil(billionths.into());
    let per = u64::try_from(per).map_or(Duration::MAX, nanos::duration);
    Rate::new(most, per).unwrap_or(Rate::ZERO)
}

/// What the member at `index` gets of `total`: no more than it wants while another has less than it wants, and what is
/// left when all have what they want is shared out evenly. The parts of all members are `total` exactly.
///
/// Max-min fairness by water-filling (Bertsekas and Gallager, Data Networks, 6.5.2), without sorting: the level only
/// rises, and with each pass at least one more member is below it.
#[must_use]
pub fn max_min(total: u64, wants: &(impl Iterator<Item = u64> + Clone), index: usize) -> u64 {
    let members = u64::try_from(wants.clone().count()).unwrap_or(u64::MAX);
    let Some(mut level) = total.checked_div(members) else { return 0 };
    let mut below = 0_u64;
    loop {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for want in wants.clone().filter(|want| *want <= level) {
            (sum, count) = (sum.saturating_add(want), count.saturating_add(1));
        }
        let left = total.saturating_sub(sum);
        let want = wants.clone().nth(index).unwrap_or(0);
        let rank = |above: bool| {
            let before = wants.clone().take(index).filter(|want| !above || *want > level).count();
            u64::try_from(before).unwrap_or(u64::MAX)
        };
        if count == members {
            return want.saturating_add(part(left, members, rank(false)));
        }
        if count == below {
            let above = members.saturating_sub(count);
            return if want <= level { want } else { part(left, above, rank(true)) };
        }
        below = count;
        level = left.checked_div(members.saturating_sub(count)).unwrap_or(level);
    }
}

/// One of `parts` parts of `total` that are as equal as whole numbers can be: the first ones have one more.
#[must_use]
pub fn part(total: u64, parts: u64, index: u64) -> u64 {
    let (Some(each), Some(rest)) = (total.checked_div(parts), total.checked_rem(parts)) else { return 0 };
    each.saturating_add((index < rest).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As one would do it by hand: the least want first, each gets it if an even part of what is left is enough.
    fn by_hand(total: u64, wants: &[u64]) -> Vec<u64> {
        let mut order: Vec<usize> = (0..wants.len()).collect();
        order.sort_by_key(|index| wants[*index]);
        let mut shares = vec![0; wants.len()];
        let (mut left, mut after) = (total, wants.len() as u64);
        let mut hungry: Vec<usize> = Vec::new();
        for index in order {
            if hungry.is_empty() && wants[index] <= left / after {
                shares[index] = wants[index];
                left -= wants[index];
                after -= 1;
            } else {
                hungry.push(index);
            }
        }
        if hungry.is_empty() {
            hungry = (0..wants.len()).collect();
        }
        hungry.sort_unstable();
        let count = hungry.len() as u64;
        for (rank, index) in hungry.into_iter().enumerate() {
            shares[index] += left / count + u64::from((rank as u64) < left % count);
        }
        shares
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn shares_are_those_of_the_hand_and_nothing_is_lost(
            total in prop_oneof![0_u64..50, any::<u64>()],
            wants in prop_oneof![
                prop::collection::vec(0_u64..30, 1..12),
                prop::collection::vec(any::<u64>(), 1..40),
                prop::collection::vec(prop_oneof![Just(0), Just(7), Just(u64::MAX)], 1..40),
            ],
        ) {
            let shares: Vec<u64> = (0..wants.len()).map(|index| max_min(total, &wants.iter().copied(), index)).collect();
            prop_assert_eq!(&shares, &by_hand(total, &wants));
            prop_assert_eq!(shares.iter().map(|share| u128::from(*share)).sum::<u128>(), u128::from(total));
        }

        #[test]
        fn a_rate_is_never_above_its_share_and_hardly_below(share in prop_oneof![1_u64..u64::MAX, 1_u64..5_000_000_000]) {
            let rate = rate(share);
            prop_assert!(billionths(rate) <= share);
            if share < u64::from(u32::MAX) * 1_000_000_000 {
                // Less than a billionth, and what the conversion back rounds down.
                prop_assert!(share - billionths(rate) <= share / 1_000_000_000 + 2, "{share} {rate}");
            }
        }
    }

    #[test]
    fn common_rates_are_as_they_were() {
        for rate_ in [Rate::per_second(100), Rate::per_second(1), Rate::per_minute(60), Rate::per_second(u32::MAX)] {
            assert_eq!(rate(billionths(rate_)), rate_);
        }
        assert_eq!(billionths(Rate::per_minute(1)), 16_666_666);
        assert_eq!(rate(0), Rate::ZERO);
    }
}
