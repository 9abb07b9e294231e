//! Settings that cannot be.

use std::{error::Error, fmt};

/// A setting that cannot be: which one, what it was, and the rule that it breaks.
///
/// ```
/// let error = relent::Ratio::new(1, 0).unwrap_err();
/// assert_eq!(error.to_string(), "ratio 1/0: the denominator must not be zero");
/// assert_eq!(error.setting(), "ratio");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    value: String,
    rule: String,
}

impl ConfigError {
    /// Refuses this value of a setting: for settings of your own beside those of this crate.
    ///
    /// ```
    /// use relent::ConfigError;
    ///
    /// fn replicas(replicas: u32) -> Result<u32, ConfigError> {
    ///     if replicas == 0 { Err(ConfigError::new("replicas", replicas, "there must be at least one")) } else { Ok(replicas) }
    /// }
    /// assert_eq!(replicas(0).unwrap_err().to_string(), "replicas 0: there must be at least one");
    /// ```
    #[must_use]
    pub fn new(setting: &'static str, value: impl fmt::Display, rule: impl Into<String>) -> Self {
        Self { setting, value: value.to_string(), rule: rule.into() }
    }

    /// The name of the setting.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// The value that was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What a valid value looks like.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, rule } = self;
        write!(f, "{setting} {}: {rule}", if value.is_empty() { "``" } else { value })
    }
}

impl Error for ConfigError {}
