//! Exact fractions.

use std::{fmt, num::NonZeroU32, str::FromStr};

use super::nanos::decimal;
use crate::policy::config_error::ConfigError;

/// An exact, non-negative fraction in lowest terms: a growth factor, a share, a rate per second.
///
/// Fractions are integers throughout, so that a ratio of 0.6 is 3 in 5 and neither a hair more nor less.
///
/// ```
/// use relent::Ratio;
///
/// let half_again: Ratio = "1.5".parse()?;
/// assert_eq!(half_again, Ratio::new(3, 2)?);
/// assert_eq!(Ratio::percent(60).to_string(), "3/5");
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: u32,
    denominator: NonZeroU32,
}

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self::whole(0);
    /// One whole.
    pub const ONE: Self = Self::whole(1);

    /// `numerator / denominator`.
    ///
    /// # Errors
    /// A denominator of zero.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self, ConfigError> {
        match NonZeroU32::new(denominator) {
            Some(denominator) => Ok(Self::reduced(numerator, denominator)),
            None => Err(ConfigError::new("ratio", format!("{numerator}/0"), "the denominator must not be zero")),
        }
    }

    /// A whole number.
    #[must_use]
    pub const fn whole(number: u32) -> Self {
        Self { numerator: number, denominator: NonZeroU32::MIN }
    }

    /// So many in a hundred.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        const HUNDRED: NonZeroU32 = NonZeroU32::new(100).unwrap();
        Self::reduced(percent, HUNDRED)
    }

    /// So many in a thousand.
    #[must_use]
    pub const fn per_mille(per_mille: u32) -> Self {
        const THOUSAND: NonZeroU32 = NonZeroU32::new(1000).unwrap();
        Self::reduced(per_mille, THOUSAND)
    }

    /// The part above the line, in lowest terms.
    #[must_use]
    pub const fn numerator(self) -> u32 {
        self.numerator
    }

    /// The part below the line, in lowest terms.
    #[must_use]
    pub const fn denominator(self) -> NonZeroU32 {
        self.denominator
    }

    /// `value` times this ratio, rounded down; at most `u64::MAX`.
    #[inline]
    pub(crate) fn of(self, value: u64) -> u64 {
        if self.denominator.get() == 1 {
            return value.saturating_mul(self.numerator.into());
        }
        // 64 + 32 bits fit into 128, so the product is exact.
        let product = u128::from(value).saturating_mul(self.numerator.into());
        let quotient = product.checked_div(self.denominator.get().into());
        quotient.and_then(|quotient| u64::try_from(quotient).ok()).unwrap_or(u64::MAX)
    }

    const fn reduced(numerator: u32, denominator: NonZeroU32) -> Self {
        let (mut a, mut b) = (numerator, denominator.get());
        while let Some(rest) = a.checked_rem(b) {
            (a, b) = (b, rest);
        }
        // `a` is now the greatest common divisor, and it is not zero because the denominator is not.
        match (numerator.checked_div(a), denominator.get().checked_div(a)) {
            (Some(numerator), Some(divided)) => match NonZeroU32::new(divided) {
                Some(denominator) => Self { numerator, denominator },
                None => Self { numerator, denominator: NonZeroU32::MIN },
            },
            _ => Self { numerator, denominator },
        }
    }
}

impl From<u32> for Ratio {
    fn from(number: u32) -> Self {
        Self::whole(number)
    }
}

/// `2`, `3/2`.
impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ratio({self})")
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator.get() {
            1 => write!(f, "{}", self.numerator),
            denominator => write!(f, "{}/{denominator}", self.numerator),
        }
    }
}

/// `2`, `3/2`, `1.5`, `60%`.
impl FromStr for Ratio {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("ratio", text, "write it as `3/2`, `1.5`, `60%` or `2`, each part below 2^32");
        // `parse` alone would read a sign.
        let number = |text: &str| match decimal(text) {
            Some((digits, "")) => digits.parse::<u32>().map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        let text = text.trim();
        if let Some((above, below)) = text.split_once('/') {
            return Self::new(number(above.trim_end())?, number(below.trim_start())?);
        }
        let (number_of, hundred) = match text.strip_suffix('%') {
            Some(number_of) => (number_of, 100_u32),
            None => (text, 1),
        };
        let (whole, places) = decimal(number_of).ok_or_else(wrong)?;
        let scale = u32::try_from(places.len()).ok().and_then(|places| 10_u32.checked_pow(places)).ok_or_else(wrong)?;
        let below = scale.checked_mul(hundred).ok_or_else(wrong)?;
        let fraction = if places.is_empty() { 0 } else { number(places)? };
        let above =
            number(whole)?.checked_mul(scale).and_then(|above| above.checked_add(fraction)).ok_or_else(wrong)?;
        Self::new(above, below)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_says_what_it_means() {
        for (text, above, below) in
            [("2", 2, 1), ("3/2", 3, 2), ("1.5", 3, 2), ("60%", 3, 5), ("12.5%", 1, 8), ("0", 0, 1)]
        {
            assert_eq!(text.parse::<Ratio>().unwrap(), Ratio::new(above, below).unwrap(), "{text}");
        }
        for text in [" 1.5 ", "3 / 2", "1.50", "0001.5", "150%"] {
            assert_eq!(text.parse::<Ratio>().unwrap(), Ratio::new(3, 2).unwrap(), "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "1/0",
            "1.",
            "1.x",
            ".5",
            "%",
            "1/2/3",
            "4294967296",
            "0.12345678901",
            "1e3",
            "1. 5",
            "1.+5",
            "+1",
            "1.+50%",
            "+3/+2",
            "3/+2",
            "1 .5",
            "1.0 5",
            "1.5.0",
            "1 %",
            "1.5/2",
            "\u{661}",
            "1_000",
            "3//2",
            "/2",
            "3/",
        ] {
            let said = text.parse::<Ratio>();
            assert!(said.is_err(), "{text}: {said:?}");
        }
    }

    proptest! {
        #[test]
        fn of_is_the_floor_of_the_product(above: u32, below in 1_u32.., value: u64) {
            let exact = u128::from(value) * u128::from(above) / u128::from(below);
            let ratio = Ratio::new(above, below).unwrap();
            prop_assert_eq!(u128::from(ratio.of(value)), exact.min(u128::from(u64::MAX)));
            prop_assert_eq!(ratio.to_string().parse::<Ratio>().unwrap(), ratio);
        }
    }
}
