//! How often: permits per span of time, as whole numbers.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use crate::{
    ConfigError,
    policy::nanos::{self, FOREVER, Written},
};

/// So many permits per span of time, kept exactly as it was written: 3 per second is 3 per 1 000 000 000 ns.
///
/// ```
/// use std::time::Duration;
/// use relent::Rate;
///
/// assert_eq!(Rate::new(3, Duration::from_secs(1))?, Rate::per_second(3));
/// assert_eq!(Rate::every(Duration::from_millis(250))?.to_string(), "1/250ms");
/// assert_eq!(Rate::per_minute(90).to_string(), "90/1m");
/// assert_eq!("90/m".parse::<Rate>()?, Rate::per_minute(90));
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// `5/s`, `90/m`, `90/1m30s`, `1/250ms`, `0`, `unlimited`.
impl FromStr for Rate {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong =
            || ConfigError::new("rate", text, "write it as `5/s`, `1/250ms`, `0` or `unlimited`, permits below 2^32");
        match text.trim() {
            "unlimited" => return Ok(Self::UNLIMITED),
            "0" => return Ok(Self::ZERO),
            _ => {}
        }
        let (permits, per) = text.split_once('/').ok_or_else(wrong)?;
        let (permits, per) = (permits.trim(), per.trim());
        if !permits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let permits = permits.parse().map_err(|_| wrong())?;
        // A unit alone is one of it.
        let per = match per {
            "ns" | "us" | "µs" | "ms" | "s" | "m" | "h" | "d" => Cow::Owned(format!("1{per}")),
            _ => Cow::Borrowed(per),
        };
        let per = nanos::parse("rate", &per).map_err(|error| ConfigError::new("rate", text, error.rule()))?;
        Self::new(permits, per)
    }
}
