//! Policies as text: what is written is read back.

#[cfg(feature = "serde")]
mod serde;

use std::{fmt, str::FromStr, time::Duration};

use crate::policy::config_error::ConfigError;
use crate::policy::{
    nanos::{Exact, FOREVER, Written, duration, parse, parse_exact},
    ratio::Ratio,
    schedule::{
        DELAY_FIRST, FINAL_TRY, Policy, RANDOM_PHASE, SET_BACKOFF, SHARE_RETRY_AFTER,
        attempts::Decision,
        backoff::{Backoff, Schedule, Shape},
        jitter::Jitter,
    },
};

/// The settings of a policy, by the names that they have everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Setting {
    Every,
    RandomPhase,
    Backoff,
    AttemptTimeout,
    StartWithin,
    FinishWithin,
    MaxAttempts,
    FinalTry,
    DelayFirst,
    OnCut,
    MaxRetryAfter,
    ShareRetryAfter,
}

impl Setting {
    /// In the order in which they are written.
    pub(in crate::policy) const ALL: [Self; 12] = [
        Self::Every,
        Self::RandomPhase,
        Self::Backoff,
        Self::AttemptTimeout,
        Self::StartWithin,
        Self::FinishWithin,
        Self::MaxAttempts,
        Self::FinalTry,
        Self::DelayFirst,
        Self::OnCut,
        Self::MaxRetryAfter,
        Self::ShareRetryAfter,
    ];

    /// The names of [`ALL`](Self::ALL).
    pub(in crate::policy) const NAMES: &[&str] = &[
        "every",
        "random_phase",
        "backoff",
        "attempt_timeout",
        "start_within",
        "finish_within",
        "max_attempts",
        "final_try",
        "delay_first",
        "on_cut",
        "max_retry_after",
        "share_retry_after",
    ];

    pub(in crate::policy) fn name(self) -> &'static str {
        Self::ALL.iter().zip(Self::NAMES).find_map(|(&setting, &name)| (setting == self).then_some(name)).unwrap_or("")
    }

    pub(in crate::policy) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().zip(Self::NAMES).find_map(|(setting, &known)| (known == name).then_some(setting))
    }

    /// Its value as text, unless it is the default; that of a switch is empty.
    pub(in crate::policy) fn written(self, policy: &Policy) -> Option<String> {
        let time = |nanos| (nanos != FOREVER).then(|| Written(duration(nanos)).to_string());
        let switch = |on: bool| on.then(String::new);
        match self {
            Self::Every => policy.period().map(|every| Written(duration(every)).to_string()),
            Self::RandomPhase => switch(policy.has(RANDOM_PHASE)),
            Self::Backoff => policy.has(SET_BACKOFF).then(|| policy.schedule().to_string()),
            Self::AttemptTimeout => time(policy.bounds.attempt_timeout),
            Self::StartWithin => time(policy.bounds.start_within),
            Self::FinishWithin => time(policy.bounds.finish_within),
            Self::MaxAttempts => (policy.max_attempts != u32::MAX).then(|| policy.max_attempts.to_string()),
            Self::FinalTry => switch(policy.has(FINAL_TRY)),
            Self::DelayFirst => switch(policy.has(DELAY_FIRST)),
            Self::OnCut => (policy.after_cut() != Decision::Retry).then(|| policy.after_cut().to_string()),
            Self::MaxRetryAfter => time(policy.most_asked()),
            Self::ShareRetryAfter => switch(policy.has(SHARE_RETRY_AFTER)),
        }
    }

    /// Whether it is on or off, and has no other value.
    pub(in crate::policy) fn is_switch(self) -> bool {
        matches!(self, Self::RandomPhase | Self::FinalTry | Self::DelayFirst | Self::ShareRetryAfter)
    }

    /// The policy with this setting as `value` says.
    pub(in crate::policy) fn read(self, policy: Policy, value: &str) -> Result<Policy, ConfigError> {
        let name = self.name();
        if self.is_switch() != value.is_empty() {
            let rule = if value.is_empty() { "a value must follow" } else { "a switch takes no value" };
            return Err(ConfigError::new(name, value, rule));
        }
        Ok(match self {
            Self::Every => policy.every(parse(name, value)?),
            Self::RandomPhase => policy.random_phase(),
            Self::Backoff => policy.backoff(value.parse()?),
            Self::AttemptTimeout => policy.attempt_timeout(parse(name, value)?),
            Self::StartWithin => policy.start_within(parse(name, value)?),
            Self::FinishWithin => policy.finish_within(parse(name, value)?),
            Self::MaxAttempts => policy.max_attempts(number(name, value)?),
            Self::FinalTry => policy.final_try(),
            Self::DelayFirst => policy.delay_first(),
            Self::OnCut => policy.on_cut(decision(name, value, parse)?),
            Self::MaxRetryAfter => policy.max_retry_after(parse(name, value)?),
            Self::ShareRetryAfter => policy.share_retry_after(),
        })
    }
}

/// Digits only.
fn number<N: FromStr>(setting: &'static str, text: &str) -> Result<N, ConfigError> {
    let wrong = || {
        let bits = size_of::<N>().saturating_mul(8);
        ConfigError::new(setting, text, format!("write a whole number below 2^{bits}"))
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

/// What differs from the default, in the words of the methods: `every 50ms, start_within 350ms`; `default` if nothing does.
/// As text, for a setting that is not there has none.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({self})")
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for setting in Setting::ALL {
            let Some(value) = setting.written(self) else { continue };
            let comma = if first { "" } else { ", " };
            let space = if value.is_empty() { "" } else { " " };
            write!(f, "{comma}{}{space}{value}", setting.name())?;
            first = false;
        }
        if first { f.write_str("default") } else { Ok(()) }
    }
}

/// Settings, each at most once, with commas between them: `every 50ms`, `random_phase`, `backoff exponential 100ms..10s take 3` (see
/// [`Backoff`]; the word `backoff` may be left out), `attempt_timeout 10s`, `start_within 350ms`, `finish_within 5s`, `max_attempts 8`, `final_try`,
/// `delay_first`, `on_cut retry`, `on_cut fatal`, `on_cut retry after 5s`, `max_retry_after 1m`. `default`, or nothing,
/// is the default.
impl FromStr for Policy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut policy = Self::new();
        if matches!(text.trim(), "" | "default") {
            return Ok(policy);
        }
        let mut given = Vec::new();
        for item in text.split(',').map(str::trim) {
            let (name, value) = match item.split_once(char::is_whitespace) {
                // A schedule needs no name before it.
                Some((shape, _)) if SHAPE_NAMES.contains(&shape) => (Setting::Backoff.name(), item),
                Some(named) => named,
                None => (item, ""),
            };
            let Some(setting) = Setting::named(name) else {
                let rule = match item {
                    "" => "a setting must stand between two commas".to_owned(),
                    "default" => "default stands alone".to_owned(),
                    _ => format!("the settings are {}", Setting::NAMES.join(", ")),
                };
                return Err(ConfigError::new("policy", format!("`{item}`"), rule));
            };
            if given.contains(&setting) {
                return Err(ConfigError::new(setting.name(), value.trim(), "give a setting once"));
            }
            given.push(setting);
            policy = setting.read(policy, value.trim())?;
        }
        Ok(policy)
    }
}

/// `retry`, `retry after 5s`, `fatal`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry => f.write_str("retry"),
            Self::RetryAfter(pause) => write!(f, "retry after {}", Exact(*pause)),
            Self::Fatal => f.write_str("fatal"),
        }
    }
}

/// `retry`, `retry after 5s`, `fatal`.
impl FromStr for Decision {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        decision("decision", text, parse_exact)
    }
}

fn decision(
    setting: &'static str,
    text: &str,
    read: fn(&'static str, &str) -> Result<Duration, ConfigError>,
) -> Result<Decision, ConfigError> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("retry"), None, ..) => Ok(Decision::Retry),
        (Some("fatal"), None, ..) => Ok(Decision::Fatal),
        (Some("retry"), Some("after"), Some(pause), None) => Ok(Decision::RetryAfter(read(setting, pause)?)),
        _ => Err(ConfigError::new(setting, text.trim(), "write `retry`, `retry after 5s` or `fatal`")),
    }
}

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

const SHAPE_NAMES: [&str; 6] = ["fixed", "exponential", "linear", "fibonacci", "decorrelated", "steps"];
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
