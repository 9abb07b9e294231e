//! Durations as whole nanoseconds in 64 bits, and how they are written.

use std::{fmt, time::Duration};

use crate::policy::config_error::ConfigError;

/// Longer than anything that runs: 584 years. A bound of this length is no bound.
pub(crate) const FOREVER: u64 = u64::MAX;

/// What takes so long never comes: 292 years. It is what is left of forever when any part of it was subtracted.
pub(crate) const NEVER: u64 = FOREVER / 2;

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
        if nanos(self.0) == FOREVER { f.write_str("forever") } else { Exact(self.0).fmt(f) }
    }
}

/// The same of any duration: only `Duration::MAX` is `forever`. [`parse_exact`] reads it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact(pub(crate) Duration);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Duration::MAX {
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

/// A time as `Debug` shows it, or `None` for never.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if nanos(self.0) < NEVER { self.0.fmt(f) } else { f.write_str("None") }
    }
}

/// Writes a measured time to three digits or so: 352.18402ms is `352ms`. What never comes takes `forever`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured(pub(crate) Duration);

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match nanos(self.0) {
            0..1_000 => 1,
            1_000..1_000_000 => 1_000,
            1_000_000..10_000_000_000 => 1_000_000,
            10_000_000_000..60_000_000_000 => 100_000_000,
            60_000_000_000..NEVER => 1_000_000_000,
            NEVER.. => return f.write_str("forever"),
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
    let exact = parse_exact(setting, text)?;
    if nanos(exact) == FOREVER && exact != Duration::MAX {
        return Err(ConfigError::new(setting, text, "at most 584 years, or write `forever`"));
    }
    Ok(exact)
}

/// The same, however long.
pub(super) fn parse_exact(setting: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::new(setting, text, "write a duration as `350ms`, `1.5s`, `1h30m` or `forever`");
    let mut rest = text.trim();
    if rest == "forever" {
        return Ok(Duration::MAX);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = unit_of(unit).ok_or_else(wrong)?;
        total = total.saturating_add(scaled(number, unit).ok_or_else(wrong)?);
        rest = tail.trim_start();
    }
    let whole = |part: Option<u128>| part.and_then(|part| u64::try_from(part).ok());
    let seconds =
        whole(total.checked_div(1_000_000_000)).ok_or_else(|| ConfigError::new(setting, text, "write `forever`"))?;
    let below = whole(total.checked_rem(1_000_000_000)).unwrap_or(0);
    Ok(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(below)))
}

/// The nanoseconds of a unit. The sign for micro is two characters: that of the keyboards, U+00B5, and the Greek
/// letter, U+03BC, which Unicode prefers.
pub(super) fn unit_of(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// The digits before the point and those behind it: at least one before, and where there is a point, at least one
/// behind.
pub(super) fn decimal(text: &str) -> Option<(&str, &str)> {
    let (whole, places) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    (!whole.is_empty() && digits(whole) && digits(places)).then_some((whole, places))
}

/// A decimal number times a unit, if that is a whole number.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, places) = decimal(number)?;
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let mut nanos = whole.saturating_mul(unit.into());
    let mut weight = unit;
    for place in places.chars() {
        let digit = u128::from(place.to_digit(10)?);
        if weight.checked_rem(10)? != 0 {
            // Below a nanosecond there may be zeros.
            if digit != 0 {
                return None;
            }
            continue;
        }
        weight = weight.checked_div(10)?;
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
        assert_eq!(Measured(duration(FOREVER - 7_000_000_000)).to_string(), "forever");
        assert_eq!(Short(duration(FOREVER - 7_000_000_000)).to_string(), "forever");
    }

    #[test]
    fn parts_add_up() {
        let every_unit = parse("x", "1d 1h 1m 1s 1ms 1us 1ns").unwrap();
        assert_eq!(every_unit, Duration::new(90_061, 1_001_001));
        assert_eq!(parse("x", "0.5m1.5h").unwrap(), Duration::from_secs(5430));
    }

    #[test]
    fn both_signs_for_micro() {
        for text in ["1us", "1\u{b5}s", "1\u{3bc}s"] {
            assert_eq!(parse("x", text).unwrap(), Duration::from_micros(1), "{text}");
        }
    }

    #[test]
    fn zeros_behind_say_nothing() {
        for text in ["5.37us", "5.3700us", "5.370000000us", "5370.0ns"] {
            assert_eq!(parse("x", text).unwrap(), Duration::from_nanos(5370), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "1.s",
            ".5s",
            "+1s",
            "1. 5s",
            "1 s",
            "1.+5s",
            "\u{661}s",
            "1\u{b5}",
            "1s forever",
            "",
            "x",
            "5",
            "ms",
            "1.0000001us",
            "-1s",
            "1s x",
            "99999999999999999999s",
            "1..5s",
            "600000d",
        ] {
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
        fn so_is_the_longest(seconds in prop_oneof![any::<u64>(), Just(u64::MAX)], sub in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, sub);
            prop_assert_eq!(parse_exact("x", &Exact(duration).to_string()).unwrap(), duration);
        }

        #[test]
        fn conversions_saturate(seconds: u64, sub in 0_u32..1_000_000_000) {
            let exact = Duration::new(seconds, sub);
            prop_assert_eq!(u128::from(nanos(exact)), exact.as_nanos().min(u128::from(u64::MAX)));
        }
    }
}
