//! Whole numbers as text.

use std::str::FromStr;

use crate::policy::config_error::ConfigError;

/// Digits only.
pub(super) fn number<N: FromStr>(setting: &'static str, text: &str) -> Result<N, ConfigError> {
    let wrong = || {
        let bits = size_of::<N>().saturating_mul(8);
        ConfigError::new(setting, text, format!("write a whole number below 2^{bits}"))
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}
