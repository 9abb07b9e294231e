//! Durations as whole nanoseconds in 64 bits, and how they are written.

use std::{fmt, time::Duration};

use crate::ConfigError;

/// Longer than anything that runs: 584 years. A bound of this length is no bound.
pub(crate) const FOREVER: u64 = u64::MAX;

/// Whole nanoseconds, at most [`FOREVER`].
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let Some(seconds) = duration.as_secs().checked_mul(1_000_000_000) else { return FOREVER };
    seconds.saturating_add(duration.subsec_nanos() as u64)
}

/// The duration of so many nanoseconds; [`FOREVER`] becomes `Duration::MAX`.
#[inline]
pub(crate) const fn duration(nanos: u64) -> Duration {
    if nanos == FOREVER { Duration::MAX } else { Duration::from_nanos(nanos) }
}

/// Writes a duration as people do: `350ms`, `1.5s`, `1h30m`, `forever`. Exact; [`parse`] reads it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written(pub(crate) Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if nanos(self.0) == FOREVER {
            return f.write_str("forever");
        }
        let seconds = self.0.as_secs();
        if seconds < 60 {
            return write!(f, "{:?}", self.0);
        }
        let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
        let rest = Duration::new(seconds % 60, self.0.subsec_nanos());
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if rest.is_zero() { Ok(()) } else { write!(f, "{rest:?}") }
    }
}

/// Writes a measured time to three digits or so: 352.18402ms is `352ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured(pub(crate) Duration);

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match nanos(self.0) {
            0..1_000 => 1,
            1_000..1_000_000 => 1_000,
            1_000_000..10_000_000_000 => 1_000_000,
            10_000_000_000..60_000_000_000 => 100_000_000,
            60_000_000_000.. => 1_000_000_000,
        };
        let whole = nanos(self.0);
        Written(duration(whole.saturating_sub(whole.checked_rem(unit).unwrap_or(0)))).fmt(f)
    }
}

/// Writes a time exactly if that is short, and else to three digits or so, rounded down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Written(self.0).to_string() {
            exact if exact.chars().count() <= 8 => f.write_str(&exact),
            _ => Measured(self.0).fmt(f),
        }
    }
}

/// Reads `350ms`, `1.5s`, `1h30m`, `forever`. Units: ns, us (µs), ms, s, m, h, d.
pub(crate) fn parse(setting: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::new(setting, text, "write a duration as `350ms`, `1.5s`, `1h30m` or `forever`");
    if text.trim() == "forever" {
        return Ok(Duration::MAX);
    }
    let mut rest = text.trim();
    let mut total = 0_u128;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(wrong()),
        };
        total = total.saturating_add(scaled(number, unit).ok_or_else(wrong)?);
        rest = tail.trim_start();
    }
    let too_long = |_| ConfigError::new(setting, text, "at most 584 years, or write `forever`");
    u64::try_from(total).map(duration).map_err(too_long)
}

/// A decimal number times a unit, if that is a whole number.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, places) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let mut nanos = whole.saturating_mul(unit.into());
    let mut weight = unit;
    for place in places.chars() {
        if weight.checked_rem(10)? != 0 {
            return None;
        }
        weight = weight.checked_div(10)?;
        let digit = u128::from(place.to_digit(10)?);
        nanos = nanos.saturating_add(digit.saturating_mul(weight.into()));
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written_as_people_write() {
        let written = |nanos| Written(duration(nanos)).to_string();
        assert_eq!(written(0), "0ns");
        assert_eq!(written(350_000_000), "350ms");
        assert_eq!(written(1_500_000_000), "1.5s");
        assert_eq!(written(60_000_000_000), "1m");
        assert_eq!(written(5_400_000_000_000), "1h30m");
        assert_eq!(written(FOREVER), "forever");
        assert_eq!(Measured(Duration::from_nanos(352_184_020)).to_string(), "352ms");
        assert_eq!(Measured(Duration::from_nanos(83_184_020_000)).to_string(), "1m23s");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "5", "ms", "1.0000001us", "-1s", "1s x", "99999999999999999999s", "1..5s", "600000d"] {
            assert!(parse("x", text).is_err(), "{text}: {:?}", parse("x", text));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos: u64) {
            let duration = duration(nanos);
            prop_assert_eq!(parse("x", &Written(duration).to_string()).unwrap(), duration);
        }

        #[test]
        fn conversions_saturate(seconds: u64, sub in 0_u32..1_000_000_000) {
            let exact = Duration::new(seconds, sub);
            prop_assert_eq!(u128::from(nanos(exact)), exact.as_nanos().min(u128::from(u64::MAX)));
        }
    }
}
