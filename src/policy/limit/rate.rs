//! How often: permits per span of time, as whole numbers.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    time::Duration,
};

use crate::policy::{
    config_error::ConfigError,
    nanos::{self, FOREVER, Written, decimal},
};

/// So many permits per span of time, kept exactly as it was written: 3 per second is 3 per 1 000 000 000 ns. Rates are
/// equal if as much flows: 5 per second is 10 in two seconds.
///
/// ```
/// use std::time::Duration;
/// use relent::Rate;
///
/// assert_eq!(Rate::new(3, Duration::from_secs(1))?, Rate::per_second(3));
/// assert_eq!(Rate::every(Duration::from_millis(250))?.to_string(), "1/250ms");
/// assert_eq!(Rate::per_minute(90).to_string(), "90/1m");
/// assert_eq!("90/m".parse::<Rate>()?, Rate::per_minute(90));
/// assert_eq!("2.5/s".parse::<Rate>()?, Rate::new(5, Duration::from_secs(2))?);
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Rate {
    permits: u32,
    /// Nanoseconds. Zero with permits above zero is no limit at all.
    per: u64,
}

impl Rate {
    /// Nothing flows: what the burst holds is all there is.
    pub const ZERO: Self = Self { permits: 0, per: 1 };
    /// No limit.
    pub const UNLIMITED: Self = Self { permits: 1, per: 0 };

    /// `permits` in each `per`. No permits, or a span of 584 years and more, is [`Rate::ZERO`].
    ///
    /// # Errors
    /// A span of zero: say [`Rate::UNLIMITED`] where that is meant.
    pub fn new(permits: u32, per: Duration) -> Result<Self, ConfigError> {
        match nanos::nanos(per) {
            0 => Err(ConfigError::new("rate", format!("{permits}/0ns"), "the span must not be zero")),
            FOREVER => Ok(Self::ZERO),
            _ if permits == 0 => Ok(Self::ZERO),
            per => Ok(Self { permits, per }),
        }
    }

    /// One permit in each `period`.
    ///
    /// # Errors
    /// A period of zero: say [`Rate::UNLIMITED`] where that is meant.
    pub fn every(period: Duration) -> Result<Self, ConfigError> {
        Self::new(1, period)
    }

    /// So many in each second.
    #[must_use]
    pub const fn per_second(permits: u32) -> Self {
        Self::per_seconds(permits, 1)
    }

    /// So many in each minute.
    #[must_use]
    pub const fn per_minute(permits: u32) -> Self {
        Self::per_seconds(permits, 60)
    }

    /// So many in each hour.
    #[must_use]
    pub const fn per_hour(permits: u32) -> Self {
        Self::per_seconds(permits, 3_600)
    }

    const fn per_seconds(permits: u32, seconds: u64) -> Self {
        if permits == 0 { Self::ZERO } else { Self { permits, per: seconds.saturating_mul(1_000_000_000) } }
    }

    /// The permits of one span.
    #[must_use]
    pub const fn permits(self) -> u32 {
        self.permits
    }

    /// The span; zero means no limit.
    #[must_use]
    pub const fn per(self) -> Duration {
        Duration::from_nanos(self.per)
    }

    /// Whether there is no limit.
    #[must_use]
    pub const fn is_unlimited(self) -> bool {
        self.per == 0
    }

    #[inline]
    pub(crate) const fn span(self) -> u64 {
        self.per
    }
}

/// `5/s`, `90/1m`, `1/250ms`, `0`, `unlimited`.
impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per {
            0 => f.write_str("unlimited"),
            _ if self.permits == 0 => f.write_str("0"),
            1_000_000_000 => write!(f, "{}/s", self.permits),
            per => write!(f, "{}/{}", self.permits, Written(nanos::duration(per))),
        }
    }
}

impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        // 32 + 64 bits fit into 128, so the products are exact.
        let product = |permits: u32, per: u64| u128::from(permits).saturating_mul(per.into());
        product(self.permits, other.per) == product(other.permits, self.per)
    }
}

impl Eq for Rate {}

impl Hash for Rate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let divisor = common_divisor(self.permits.into(), self.per);
        (u64::from(self.permits).checked_div(divisor), self.per.checked_div(divisor)).hash(state);
    }
}

/// The greatest; never zero unless both are.
fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

/// `5/s`, `2.5/s`, `90/m`, `90/1m30s`, `1/250ms`, `0`, `unlimited`.
impl FromStr for Rate {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            let rule = "write it as `5/s`, `2.5/s`, `1/250ms`, `0` or `unlimited`, permits below 2^32";
            ConfigError::new("rate", text, rule)
        };
        match text.trim() {
            "unlimited" => return Ok(Self::UNLIMITED),
            "0" => return Ok(Self::ZERO),
            _ => {}
        }
        let (permits, per) = text.split_once('/').ok_or_else(wrong)?;
        let (permits, per) = (permits.trim(), per.trim());
        let (whole, places) = decimal(permits).ok_or_else(wrong)?;
        // A unit alone is one of it.
        let per = match nanos::unit_of(per) {
            Some(unit) => nanos::duration(unit),
            None => nanos::parse("rate", per).map_err(|error| ConfigError::new("rate", text, error.rule()))?,
        };
        if places.is_empty() {
            return Self::new(whole.parse().map_err(|_| wrong())?, per);
        }
        // 2.5 in a second is 25 in ten, which is 5 in two.
        let scale = u32::try_from(places.len()).ok().and_then(|places| 10_u64.checked_pow(places)).ok_or_else(wrong)?;
        let permits: u64 = format!("{whole}{places}").parse().map_err(|_| wrong())?;
        let divisor = common_divisor(permits, scale);
        let permits = permits.checked_div(divisor).and_then(|permits| u32::try_from(permits).ok()).ok_or_else(wrong)?;
        let times = scale.checked_div(divisor).unwrap_or(1);
        let span = match nanos::nanos(per) {
            FOREVER => FOREVER,
            span => span.checked_mul(times).ok_or_else(wrong)?,
        };
        Self::new(permits, nanos::duration(span)).map_err(|error| ConfigError::new("rate", text, error.rule()))
    }
}
