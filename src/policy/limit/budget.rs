//! Budgets of retries, in whole numbers: each is one 64-bit word and what may become of it.
//!
//! Neither looks at a clock, so idling costs nothing and changes nothing. (A floor by time is a
//! [bucket](super::bucket).)

use crate::policy::ratio::Ratio;

/// So many retries per first attempt, and a reserve.
///
/// A retry costs as many units as the ratio has below the line, a first attempt brings as many as it has above. What is
/// saved up never exceeds the reserve, so that in any stretch with `f` first attempts at most `reserve + ratio * f`
/// retries are allowed: after a long good time as well. (A reserve of less than a retry and what one first attempt
/// brings could not hold the fractions, and the ratio would not be exact: so much may be saved up always.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatioBudget {
    /// Of each first attempt.
    deposit: u64,
    /// Of each retry.
    withdrawal: u64,
    /// The balance at first.
    start: u64,
    /// The highest balance.
    max_balance: u64,
}

impl RatioBudget {
    /// The rules.
    #[must_use]
    pub fn new(ratio: Ratio, reserve: u32) -> Self {
        let withdrawal = u64::from(ratio.denominator().get());
        // 32 and 32 bits fit into 64.
        let start = withdrawal.saturating_mul(reserve.into());
        let deposit = u64::from(ratio.numerator());
        Self { deposit, withdrawal, start, max_balance: start.max(withdrawal.saturating_add(deposit)) }
    }

    /// The balance at first.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The balance after a first attempt.
    #[inline]
    #[must_use]
    pub fn deposit(&self, balance: u64) -> u64 {
        balance.saturating_add(self.deposit).min(self.max_balance)
    }

    /// The balance after a retry, if it is allowed.
    #[inline]
    #[must_use]
    pub fn withdraw(&self, balance: u64) -> Option<u64> {
        balance.checked_sub(self.withdrawal)
    }

    /// The balance after a retry was allowed and not made.
    #[inline]
    #[must_use]
    pub fn give_back(&self, balance: u64) -> u64 {
        balance.saturating_add(self.withdrawal).min(self.max_balance)
    }

    /// How many retries would be allowed now.
    #[must_use]
    pub fn retries(&self, balance: u64) -> u64 {
        balance.checked_div(self.withdrawal).unwrap_or(0)
    }
}

/// No more than a share of the runs in flight may be retrying, or `min_retries` of them if that is more.
///
/// The word holds the runs in flight above and those of them that retry below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyBudget {
    share: Ratio,
    min_retries: u32,
}

impl ConcurrencyBudget {
    /// The rules.
    #[must_use]
    pub fn new(share: Ratio, min_retries: u32) -> Self {
        Self { share, min_retries }
    }

    /// One more run; `None` if they cannot be counted any more.
    #[inline]
    #[must_use]
    pub fn begin(word: u64) -> Option<u64> {
        let (runs, retrying) = parts(word);
        Some(word_of(runs.checked_add(1)?, retrying))
    }

    /// A run, which was retrying or not, is over.
    #[inline]
    #[must_use]
    pub fn end(word: u64, was_retrying: bool) -> u64 {
        let (runs, retrying) = parts(word);
        word_of(runs.saturating_sub(1), retrying.saturating_sub(was_retrying.into()))
    }

    /// A run that is retrying already or not asks for a retry. `None`: not allowed.
    #[inline]
    #[must_use]
    pub fn retry(&self, word: u64, is_retrying: bool) -> Option<u64> {
        let (runs, retrying) = parts(word);
        let retrying = if is_retrying { retrying } else { retrying.checked_add(1)? };
        let allowed = self.share.of(runs.into()).max(self.min_retries.into());
        (u64::from(retrying) <= allowed).then(|| word_of(runs, retrying))
    }

    /// A run retries that may not by this rule; `None` if it cannot be counted.
    #[inline]
    #[must_use]
    pub fn retry_beyond(word: u64) -> Option<u64> {
        let (runs, retrying) = parts(word);
        Some(word_of(runs, retrying.checked_add(1)?))
    }

    /// A run retries no more.
    #[inline]
    #[must_use]
    pub fn retries_no_more(word: u64) -> u64 {
        let (runs, retrying) = parts(word);
        word_of(runs, retrying.saturating_sub(1))
    }

    /// Runs in flight, and those of them that retry.
    #[must_use]
    pub fn counts(word: u64) -> (u32, u32) {
        parts(word)
    }
}

#[inline]
fn parts(word: u64) -> (u32, u32) {
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (half(word.wrapping_shr(32)), half(word))
}

#[inline]
fn word_of(runs: u32, retrying: u32) -> u64 {
    u64::from(runs).wrapping_shl(32) | u64::from(retrying)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn allowed(account: RatioBudget, firsts: u32) -> u64 {
        let (mut balance, mut retries) = (account.start(), 0);
        for first in 0..=firsts {
            while let Some(rest) = account.withdraw(balance) {
                (balance, retries) = (rest, retries + 1);
            }
            balance = if first < firsts { account.deposit(balance) } else { balance };
        }
        retries
    }

    #[test]
    fn every_per_mille_is_exactly_that() {
        for per_mille in 0..=2000_u32 {
            for reserve in [0, 7] {
                let retries = allowed(RatioBudget::new(Ratio::per_mille(per_mille), reserve), 10_000);
                assert_eq!(retries, u64::from(reserve + per_mille * 10), "{per_mille} in 1000, reserve {reserve}");
            }
        }
    }

    #[test]
    fn a_long_good_time_saves_up_no_more_than_the_reserve() {
        let account = RatioBudget::new(Ratio::percent(20), 10);
        let balance = (0..1_000_000).fold(account.start(), |balance, _| account.deposit(balance));
        assert_eq!(account.retries(balance), 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        First,
        Retry,
        GiveBack,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Against the exact balance, as a fraction over 1.
        #[test]
        fn an_account_is_the_exact_sum(
            above in 0_u32..5000, below in 1_u32..5000, reserve in prop_oneof![0_u32..5, Just(u32::MAX)],
            steps in vec(prop_oneof![3 => Just(Step::First), 3 => Just(Step::Retry), 1 => Just(Step::GiveBack)], 0..200),
        ) {
            let account = RatioBudget::new(Ratio::new(above, below).unwrap(), reserve);
            let mut balance = account.start();
            // In units of 1/below of a retry, not reduced.
            let most = (u128::from(reserve) * u128::from(below)).max(u128::from(above) + u128::from(below));
            let mut exact = u128::from(reserve) * u128::from(below);
            let mut held = 0;
            for step in steps {
                match step {
                    Step::First => {
                        balance = account.deposit(balance);
                        exact = (exact + u128::from(above)).min(most);
                    }
                    Step::Retry => {
                        let allowed = account.withdraw(balance);
                        prop_assert_eq!(allowed.is_some(), exact >= u128::from(below));
                        if let Some(rest) = allowed {
                            (balance, exact, held) = (rest, exact - u128::from(below), held + 1);
                        }
                    }
                    Step::GiveBack if held > 0 => {
                        (balance, exact, held) = (account.give_back(balance), (exact + u128::from(below)).min(most), held - 1);
                    }
                    Step::GiveBack => {}
                }
                prop_assert_eq!(u128::from(account.retries(balance)), exact / u128::from(below));
            }
        }

        /// Against runs kept one by one.
        #[test]
        fn a_crowd_is_its_members(
            above in 0_u32..20, below in 1_u32..20, least in 0_u32..4, steps in vec((0..4_u8, 0_usize..64), 0..200),
        ) {
            let crowd = ConcurrencyBudget::new(Ratio::new(above, below).unwrap(), least);
            let (mut word, mut runs) = (0, Vec::<bool>::new());
            for (step, who) in steps {
                match (step, runs.len()) {
                    (0, _) => {
                        word = ConcurrencyBudget::begin(word).unwrap();
                        runs.push(false);
                    }
                    (_, 0) => {}
                    (1, many) => {
                        let retrying = runs.swap_remove(who % many);
                        word = ConcurrencyBudget::end(word, retrying);
                    }
                    (2, many) => {
                        let was = runs[who % many];
                        let others = runs.iter().filter(|retrying| **retrying).count() - usize::from(was);
                        let most = (many * above as usize / below as usize).max(least as usize);
                        let after = crowd.retry(word, was);
                        prop_assert_eq!(after.is_some(), others < most);
                        if let Some(after) = after {
                            (word, runs[who % many]) = (after, true);
                        }
                    }
                    (_, many) => {
                        if std::mem::replace(&mut runs[who % many], false) {
                            word = ConcurrencyBudget::retries_no_more(word);
                        }
                    }
                }
                let retrying = runs.iter().filter(|retrying| **retrying).count();
                let (counted, counted_retrying) = ConcurrencyBudget::counts(word);
                prop_assert_eq!((counted as usize, counted_retrying as usize), (runs.len(), retrying));
            }
        }
    }

    #[test]
    fn what_cannot_be_counted_is_not_counted() {
        let crowd = ConcurrencyBudget::new(Ratio::ONE, 0);
        assert_eq!(ConcurrencyBudget::begin(word_of(u32::MAX, 3)), None);
        assert_eq!(crowd.retry(word_of(u32::MAX, u32::MAX), false), None);
        assert_eq!(ConcurrencyBudget::end(word_of(0, 0), true), word_of(0, 0));
    }
}
