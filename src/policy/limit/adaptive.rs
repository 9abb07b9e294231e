//! A rate that follows what a server says: additive increase, multiplicative decrease (AIMD).

use crate::policy::ratio::Ratio;

/// The rule by which TCP shares a link without a word between its users (D.-M. Chiu, R. Jain, "Analysis of the Increase
/// and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989): a step up in each interval that
/// brought a success, a fraction of the rate after a "too many".
///
/// The rate is a whole number of permits per some span of time, which is the owner's affair. Times are nanoseconds
/// since any beginning; one before an earlier one counts as that, and one that is earlier by more than an interval is
/// of another clock, by which all goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aimd {
    /// The rate, from `least` to `most`.
    rate: u32,
    least: u32,
    most: u32,
    /// What an increase adds.
    step: u32,
    /// What a decrease leaves.
    factor: Ratio,
    /// The time between two increases, and between two decreases.
    interval: u64,
    /// When the rate last changed in either direction, or could have.
    changed_at: u64,
    /// When it was last lowered; `None`: never.
    lowered_at: Option<u64>,
}

impl Aimd {
    /// Begins at `now` with `rate`, held to what is from `least` to `most`. Bounds the wrong way round are both
    /// `least`; a factor of more than one lowers nothing.
    #[must_use]
    pub fn new(rate: u32, (least, most): (u32, u32), (step, factor): (u32, Ratio), interval: u64, now: u64) -> Self {
        let most = most.max(least);
        Self { rate: rate.clamp(least, most), least, most, step, factor, interval, changed_at: now, lowered_at: None }
    }

    /// The rate.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The lowest rate and the highest.
    #[must_use]
    pub fn bounds(&self) -> (u32, u32) {
        (self.least, self.most)
    }

    /// A call was answered. True: the rate has changed.
    pub fn succeeded(&mut self, now: u64) -> bool {
        let now = self.later(now);
        if now.saturating_sub(self.changed_at) < self.interval {
            return false;
        }
        self.changed_at = now;
        self.set(self.rate.saturating_add(self.step))
    }

    /// The server said "too many". True: the rate has changed.
    ///
    /// The calls that were under way when the rate was lowered are refused too: within an interval they are told once.
    pub fn too_many(&mut self, now: u64) -> bool {
        let now = self.later(now);
        if self.lowered_at.is_some_and(|lowered_at| now.saturating_sub(lowered_at) < self.interval) {
            return false;
        }
        (self.changed_at, self.lowered_at) = (now, Some(now));
        let lowered = u32::try_from(self.factor.of(self.rate.into())).unwrap_or(u32::MAX);
        // Rounding must not keep a small rate where it is.
        self.set(lowered.min(self.rate.saturating_sub(1)))
    }

    /// What time it is, by the clock that counts.
    fn later(&mut self, now: u64) -> u64 {
        if now.saturating_add(self.interval) < self.changed_at {
            (self.changed_at, self.lowered_at) = (now, None);
        }
        now.max(self.changed_at)
    }

    fn set(&mut self, rate: u32) -> bool {
        let before = self.rate;
        self.rate = rate.clamp(self.least, self.most);
        self.rate != before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn aimd(rate: u32, bounds: (u32, u32)) -> Aimd {
        Aimd::new(rate, bounds, (1, Ratio::percent(50)), SECOND, 0)
    }

    #[test]
    fn what_was_under_way_when_it_was_lowered_lowers_it_no_further() {
        let mut rate = aimd(100, (1, 100));
        assert!(rate.too_many(5));
        assert!(!rate.too_many(6));
        assert!(!rate.too_many(5 + SECOND - 1));
        assert_eq!(rate.rate(), 50);
        assert!(rate.too_many(5 + SECOND));
        assert_eq!(rate.rate(), 25);
    }

    #[test]
    fn it_goes_up_a_step_in_each_interval_and_down_as_soon_as_that_was_too_much() {
        let mut rate = aimd(10, (1, 12));
        assert!(!rate.succeeded(SECOND - 1));
        assert!(rate.succeeded(SECOND));
        assert!(!rate.succeeded(SECOND));
        assert!(rate.succeeded(3 * SECOND), "an interval without a call is not made up for");
        assert_eq!(rate.rate(), 12);
        assert!(!rate.succeeded(4 * SECOND), "no higher");
        assert!(rate.too_many(4 * SECOND + 1));
        assert_eq!(rate.rate(), 6);
    }

    #[test]
    fn under_another_clock_it_goes_on() {
        let mut rate = aimd(100, (1, 100));
        assert!(rate.too_many(3600 * SECOND));
        assert!(!rate.too_many(3599 * SECOND), "a thread that read its clock a moment before");
        assert!(rate.too_many(7 * SECOND));
        assert!(!rate.too_many(8 * SECOND - 1) && !rate.succeeded(8 * SECOND - 1));
        assert!(rate.succeeded(8 * SECOND));
        assert_eq!(rate.rate(), 26);
    }

    #[test]
    fn small_rates_move_too() {
        let mut rate = Aimd::new(3, (1, 3), (1, Ratio::percent(99)), 0, 0);
        for expected in [2, 1, 1] {
            rate.too_many(0);
            assert_eq!(rate.rate(), expected);
        }
        let mut never_up = Aimd::new(5, (0, 9), (0, Ratio::ZERO), 0, 0);
        assert!(!never_up.succeeded(1));
        assert!(never_up.too_many(1));
        assert_eq!(never_up.rate(), 0);
    }

    /// The same in 128 bits and by the letter of the rule.
    #[derive(Clone, Debug)]
    struct Naive {
        rate: i128,
        raised_or_lowered: i128,
        lowered: Option<i128>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Said {
        Success,
        TooMany,
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![Just(Said::Success), Just(Said::TooMany)]
    }

    /// Few and many, the ends of the range among them.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..20_u32, any::<u32>(), Just(u32::MAX)]
    }

    fn factor() -> impl Strategy<Value = Ratio> {
        prop_oneof![
            (0..=100_u32).prop_map(Ratio::percent),
            (any::<u32>(), 1..=u32::MAX).prop_map(|(above, below)| Ratio::new(above, below).unwrap())
        ]
    }

    proptest! {
        #[test]
        fn it_is_the_rule_to_the_digit_and_never_outside_the_bounds(
            (a, b) in (number(), number()),
            begin in number(),
            step in number(),
            factor in factor(),
            interval in prop_oneof![Just(0), Just(u64::MAX), 1..100_u64],
            history in prop::collection::vec((said(), prop_oneof![0..60_u64, Just(u64::MAX)]), 0..60),
        ) {
            let bounds = (a.min(b), a.max(b));
            let clamp = |rate: i128| rate.clamp(bounds.0.into(), bounds.1.into());
            let mut rate = Aimd::new(begin, bounds, (step, factor), interval, 0);
            let mut naive = Naive { rate: clamp(begin.into()), raised_or_lowered: 0, lowered: None };
            let (mut now, interval) = (0_u64, i128::from(interval));
            for (said, pass) in history {
                now = now.saturating_add(pass);
                let at = i128::from(now);
                let before = naive.rate;
                match said {
                    Said::Success if at - naive.raised_or_lowered >= interval => {
                        naive.rate = clamp(naive.rate + i128::from(step));
                        naive.raised_or_lowered = at;
                    }
                    Said::TooMany if naive.lowered.is_none_or(|lowered| at - lowered >= interval) => {
                        let (above, below) = (i128::from(factor.numerator()), i128::from(factor.denominator().get()));
                        naive.rate = clamp((naive.rate * above / below).min(naive.rate - 1));
                        naive.raised_or_lowered = at;
                        naive.lowered = Some(at);
                    }
                    _ => {}
                }
                let changed = match said {
                    Said::Success => rate.succeeded(now),
                    Said::TooMany => rate.too_many(now),
                };
                prop_assert_eq!(i128::from(rate.rate()), naive.rate);
                prop_assert_eq!(changed, naive.rate != before);
                prop_assert!(bounds.0 <= rate.rate() && rate.rate() <= bounds.1);
            }
        }

        /// A server that bears `capacity` and refuses what is above: soon the rate is between what a decrease leaves of
        /// that and one step above it, and stays there.
        #[test]
        fn it_comes_to_what_the_server_bears_and_stays_about_there(
            capacity in 1..500_u32,
            begin in 1..1000_u32,
            step in 1..20_u32,
            percent in 10..95_u32,
        ) {
            let factor = Ratio::percent(percent);
            let mut rate = Aimd::new(begin, (1, 1000), (step, factor), SECOND, 0);
            let mut now = 0;
            let mut tick = |rate: &mut Aimd| {
                now += SECOND;
                if rate.rate() > capacity { rate.too_many(now) } else { rate.succeeded(now) }
            };
            // From the top: at most 135 decreases by 5 percent; from the bottom: a thousand steps.
            for _ in 0..1200 {
                tick(&mut rate);
            }
            let least = factor.of(u64::from(capacity) + 1).min(u64::from(capacity)).max(1);
            for _ in 0..200 {
                tick(&mut rate);
                let rate = u64::from(rate.rate());
                prop_assert!(least <= rate && rate <= u64::from(capacity + step), "{rate} of {capacity}, from {least}");
            }
        }

        /// Two that share a server come to equal shares, whatever they began with: what the additive half is for.
        #[test]
        fn two_that_share_come_to_equal_shares(capacity in 100..500_u32, a in 1..500_u32, b in 1..500_u32) {
            let (mut a, mut b) = (aimd(a, (1, 1000)), aimd(b, (1, 1000)));
            for tick in 1..3000 {
                let now = tick * SECOND;
                let too_many = a.rate() + b.rate() > capacity;
                for rate in [&mut a, &mut b] {
                    if too_many { rate.too_many(now) } else { rate.succeeded(now) };
                }
            }
            prop_assert!(a.rate().abs_diff(b.rate()) <= 2, "{} and {}", a.rate(), b.rate());
        }
    }
}
