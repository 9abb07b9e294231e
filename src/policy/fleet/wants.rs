//! What a member wants, from what was asked of it lately.

use super::shares;
use crate::policy::limit::rate::Rate;

/// The want of a member, measured or said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wants {
    said: Option<u64>,
    least: u64,
    before: u64,
}

impl Wants {
    /// Measured: 1.25 times what was used, or all there is if anything waited or was refused; at least `least`.
    #[must_use]
    pub fn measured(least: Rate) -> Self {
        Self { said: None, least: shares::billionths(least), before: 0 }
    }

    /// Always that.
    #[must_use]
    pub fn said(rate: Rate) -> Self {
        Self { said: Some(shares::billionths(rate)), least: 0, before: 0 }
    }

    /// The want after `elapsed` nanoseconds in which so many permits were asked for, of a whole of `limit`. What was
    /// used in the span before counts as well: one span may be short.
    pub fn want(&mut self, asked: u64, elapsed: u64, pressed: bool, limit: u64) -> u64 {
        let measured = u128::from(asked).saturating_mul(1_000_000_000_000_000_000).checked_div(elapsed.into());
        let measured = u64::try_from(measured.unwrap_or(0)).unwrap_or(u64::MAX);
        let used = measured.max(self.before);
        self.before = measured;
        let want = if pressed { limit } else { used.saturating_add(used / 4) };
        self.said.unwrap_or(want).max(self.least).min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_more_than_was_used() {
        let mut wants = Wants::measured(Rate::ZERO);
        let (second, whole) = (1_000_000_000, 1_000_000_000);
        assert_eq!(wants.want(8, second, false, 100 * whole), 10 * whole);
        assert_eq!(wants.want(0, second, false, 100 * whole), 10 * whole, "the span before counts");
        assert_eq!(wants.want(0, second, false, 100 * whole), 0);
        assert_eq!(wants.want(1, second, true, 100 * whole), 100 * whole, "it waited");
        assert_eq!(Wants::measured(Rate::per_second(5)).want(0, second, false, 100 * whole), 5 * whole);
        assert_eq!(Wants::said(Rate::per_second(7)).want(0, 0, true, 100 * whole), 7 * whole);
    }
}
