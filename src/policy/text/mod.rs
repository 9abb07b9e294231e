//! Policies as text: what is written is read back.

mod backoff;
mod number;
#[cfg(feature = "serde")]
mod serde;

use std::{fmt, str::FromStr, time::Duration};

use self::{backoff::SHAPE_NAMES, number::number};
use crate::policy::{
    config_error::ConfigError,
    nanos::{Exact, FOREVER, Written, duration, parse, parse_exact},
    schedule::{
        DELAY_FIRST, FINAL_TRY, Policy, RANDOM_PHASE, SET_BACKOFF, SET_ON_CUT, SHARE_RETRY_AFTER, attempts::Decision,
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
            Self::OnCut => policy.has(SET_ON_CUT).then(|| policy.after_cut().to_string()),
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

/// What differs from the default, in the words of the methods: `every 50ms, start_within 350ms`; `default` if nothing
/// does. As text, for a setting that is not there has none.
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

/// Settings, each at most once, with commas between them: `every 50ms`, `random_phase`,
/// `backoff exponential 100ms..10s take 3` (see [`Backoff`](crate::Backoff); the word `backoff` may be left out),
/// `attempt_timeout 10s`, `start_within 350ms`, `finish_within 5s`, `max_attempts 8`, `final_try`, `delay_first`,
/// `on_cut retry`, `on_cut fatal`, `on_cut retry after 5s`, `max_retry_after 1m`, `share_retry_after`.
/// `default` is the default. An empty text is refused: the default never gives up, and a value that was forgotten in a
/// configuration is not to mean that.
impl FromStr for Policy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut policy = Self::new();
        match text.trim() {
            "default" => return Ok(policy),
            "" => {
                return Err(ConfigError::new("policy", "``", "write `default` for the default, which never gives up"));
            }
            _ => {}
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
