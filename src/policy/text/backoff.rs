//! Backoffs and jitters as text.

use std::{fmt, str::FromStr, time::Duration};

use super::number::number;
use crate::policy::{
    config_error::ConfigError,
    nanos::{Written, duration, parse},
    ratio::Ratio,
    schedule::{
        backoff::{Backoff, Schedule, Shape},
        jitter::Jitter,
    },
};

/// `none`, `full`, `equal`, `plus 1/2`, `plus_minus 1/10`.
impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Full => f.write_str("full"),
            Self::Equal => f.write_str("equal"),
            Self::Plus(ratio) => write!(f, "plus {ratio}"),
            Self::PlusMinus(ratio) => write!(f, "plus_minus {ratio}"),
        }
    }
}

/// `none`, `full`, `equal`, `plus 1/2`, `plus_minus 10%`.
impl FromStr for Jitter {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut words = Words(text.trim());
        let jitter = words.jitter()?;
        if words.0.is_empty() { Ok(jitter) } else { Err(ConfigError::new("jitter", text.trim(), JITTERS)) }
    }
}

pub(super) const SHAPE_NAMES: [&str; 6] = ["fixed", "exponential", "linear", "fibonacci", "decorrelated", "steps"];
const JITTERS: &str = "write `none`, `full`, `equal`, `plus 1/2` or `plus_minus 10%`";
const SHAPES: &str = "write `fixed 50ms`, `exponential 100ms..10s`, `linear 1s..10s`, `fibonacci 1s..10s`, \
                      `decorrelated 1s..10s` or `steps 1s 2s 5s`";
const OPTIONS: &str = "after a schedule come `factor 3/2`, `jitter full`, `take 3`, `reset_after 5m`, `seed 7`, and at \
                       last `then` with another schedule";

/// A schedule with what was set about it: `exponential 100ms..10s factor 3/2 take 3 then fixed 10s`.
impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backoff({self})")
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schedule().fmt(f)
    }
}

impl fmt::Display for Schedule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_one(f)?;
        for next in self.followers() {
            f.write_str(" then ")?;
            next.write_one(f)?;
        }
        Ok(())
    }
}

impl Schedule<'_> {
    /// Without what comes then.
    fn write_one(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, cap) = (Written(duration(self.plain.base)), Written(duration(self.plain.cap)));
        match self.plain.shape {
            Shape::Fixed => write!(f, "fixed {base}")?,
            Shape::Exponential => write!(f, "exponential {base}..{cap}")?,
            Shape::Linear => write!(f, "linear {base}..{cap}")?,
            Shape::Fibonacci => write!(f, "fibonacci {base}..{cap}")?,
            Shape::Decorrelated => write!(f, "decorrelated {base}..{cap}")?,
            Shape::Steps => {
                f.write_str("steps")?;
                for &step in self.steps() {
                    write!(f, " {}", Written(duration(step)))?;
                }
            }
        }
        if self.factor() != Ratio::whole(2) {
            write!(f, " factor {}", self.factor())?;
        }
        if self.plain.jitter != self.plain.shape.usual_jitter() {
            write!(f, " jitter {}", self.jitter())?;
        }
        let Some(more) = self.more else { return Ok(()) };
        if let Some(take) = more.take {
            write!(f, " take {take}")?;
        }
        if let Some(healthy) = more.reset_after {
            write!(f, " reset_after {}", Written(duration(healthy)))?;
        }
        if let Some(seed) = more.seed {
            write!(f, " seed {seed}")?;
        }
        Ok(())
    }
}

/// `fixed 50ms`, `exponential 100ms..10s`, `linear 1s..10s`, `fibonacci 1s..10s`, `decorrelated 1s..10s` or
/// `steps 1s 2s 5s`; behind it in any order, each at most once, `factor 3/2`, `jitter full` (see [`Jitter`]), `take 3`,
/// `reset_after 5m`, `seed 7`; and at last, if need be, `then` with another schedule.
impl FromStr for Backoff {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut words = Words(text.trim());
        let mut chain = words.schedule()?;
        while !words.0.is_empty() {
            chain = chain.then(words.schedule()?);
        }
        Ok(chain)
    }
}

/// What is left to read.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// The next word; empty at the end.
    fn next(&mut self) -> &'a str {
        let (word, rest) = self.0.split_once(char::is_whitespace).unwrap_or((self.0, ""));
        self.0 = rest.trim_start();
        word
    }

    /// One schedule of a chain, and the `then` behind it.
    fn schedule(&mut self) -> Result<Backoff, ConfigError> {
        let mut backoff = match self.next() {
            "fixed" => Backoff::fixed(parse("fixed", self.next())?),
            "exponential" => self.span("exponential", Backoff::exponential)?,
            "linear" => self.span("linear", Backoff::linear)?,
            "fibonacci" => self.span("fibonacci", Backoff::fibonacci)?,
            "decorrelated" => self.span("decorrelated", Backoff::decorrelated)?,
            "steps" => {
                let mut steps = Vec::new();
                while self.0.starts_with(|first: char| first.is_ascii_digit()) || self.at("forever") {
                    steps.push(parse("steps", self.next())?);
                }
                Backoff::steps(steps)
            }
            other => return Err(ConfigError::new("backoff", format!("`{other}`"), SHAPES)),
        };
        let mut given = Vec::new();
        while !self.0.is_empty() {
            let option = self.next();
            if given.contains(&option) {
                return Err(ConfigError::new("backoff", format!("`{option}`"), "give an option once"));
            }
            given.push(option);
            backoff = match option {
                "factor" => backoff.factor(self.ratio("factor")?),
                "jitter" => backoff.jitter(self.jitter()?),
                "take" => backoff.take(number("take", self.next())?),
                "reset_after" => backoff.reset_after(parse("reset_after", self.next())?),
                "seed" => backoff.seed(number("seed", self.next())?),
                "then" if self.0.is_empty() => return Err(ConfigError::new("backoff", "`then`", SHAPES)),
                "then" => break,
                other => return Err(ConfigError::new("backoff", format!("`{other}`"), OPTIONS)),
            };
        }
        Ok(backoff)
    }

    /// Whether this is the next word.
    fn at(&self, word: &str) -> bool {
        self.0.split_whitespace().next() == Some(word)
    }

    fn span(&mut self, shape: &'static str, make: fn(Duration, Duration) -> Backoff) -> Result<Backoff, ConfigError> {
        let word = self.next();
        let wrong = || ConfigError::new(shape, word, "write its first delay and its cap as `100ms..10s`");
        let (base, cap) = word.split_once("..").ok_or_else(wrong)?;
        Ok(make(parse(shape, base)?, parse(shape, cap)?))
    }

    fn jitter(&mut self) -> Result<Jitter, ConfigError> {
        Ok(match self.next() {
            "none" => Jitter::None,
            "full" => Jitter::Full,
            "equal" => Jitter::Equal,
            "plus" => Jitter::Plus(self.ratio("jitter")?),
            "plus_minus" => Jitter::PlusMinus(self.ratio("jitter")?),
            other => return Err(ConfigError::new("jitter", format!("`{other}`"), JITTERS)),
        })
    }

    fn ratio(&mut self, setting: &'static str) -> Result<Ratio, ConfigError> {
        self.next().parse().map_err(|wrong: ConfigError| ConfigError::new(setting, wrong.value(), wrong.rule()))
    }
}
