//! Policies in configuration files: a map of the names and texts of [`text`](crate::policy::text), or one text.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Unexpected, Visitor},
    ser::SerializeMap,
};

use crate::policy::{
    limit::rate::Rate,
    ratio::Ratio,
    schedule::{Policy, attempts::Decision, backoff::Backoff, jitter::Jitter},
    text::Setting,
};

/// A map of what differs from the default: times and the backoff as text, `max_attempts` as a number, switches as
/// booleans.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let given = Setting::ALL.map(|setting| (setting, setting.written(self)));
        let mut map = serializer.serialize_map(Some(given.iter().filter(|(_, value)| value.is_some()).count()))?;
        for (setting, value) in given {
            let Some(value) = value else { continue };
            match setting {
                Setting::MaxAttempts => map.serialize_entry(setting.name(), &self.max_attempts)?,
                setting if setting.is_switch() => map.serialize_entry(setting.name(), &true)?,
                _ => map.serialize_entry(setting.name(), &value)?,
            }
        }
        map.end()
    }
}

/// A map of the settings, or, where the format itself tells a text from a map, the one-line text
/// (`every 50ms, start_within 350ms`). What is wrong is reported where it stands.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Settings)
        } else {
            deserializer.deserialize_map(Settings)
        }
    }
}

struct Settings;

impl<'de> Visitor<'de> for Settings {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings such as `every: 50ms`, or their text such as `every 50ms, start_within 350ms`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Policy, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        let mut policy = Policy::new();
        let mut given = Vec::new();
        while let Some(setting) = map.next_key_seed(Name(&given))? {
            given.push(setting);
            policy = map.next_value_seed(Value(setting, policy))?;
        }
        Ok(policy)
    }
}

/// The name of a setting that was not given before. As a seed, so that a wrong one is reported where it stands.
struct Name<'a>(&'a [Setting]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Setting;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Setting, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Setting, E> {
        let setting = Setting::named(name).ok_or_else(|| E::unknown_field(name, Setting::NAMES))?;
        if self.0.contains(&setting) { Err(E::duplicate_field(setting.name())) } else { Ok(setting) }
    }
}

/// The policy with this setting as the value says.
struct Value(Setting, Policy);

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Policy;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Policy, D::Error> {
        match self.0 {
            Setting::MaxAttempts => Ok(self.1.max_attempts(u32::deserialize(deserializer)?)),
            setting if setting.is_switch() => deserializer.deserialize_bool(self),
            _ => deserializer.deserialize_str(self),
        }
    }
}

impl Visitor<'_> for Value {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Setting::Backoff => "a backoff such as `exponential 100ms..10s`",
            Setting::OnCut => "a decision such as `retry`",
            setting if setting.is_switch() => "a boolean",
            _ => "a duration such as `350ms`",
        })
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Policy, E> {
        match self {
            Self(setting, policy) if on && setting.is_switch() => setting.read(policy, "").map_err(E::custom),
            Self(setting, policy) if setting.is_switch() => Ok(policy),
            other => Err(E::invalid_type(Unexpected::Bool(on), &other)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Policy, E> {
        if self.0.is_switch() {
            return Err(E::invalid_type(Unexpected::Str(text), &self));
        }
        self.0.read(self.1, text).map_err(E::custom)
    }
}

/// As its text: what `Display` writes and `FromStr` reads.
macro_rules! as_text {
    ($($type:ty, $expecting:literal;)+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    )+};
}

as_text! {
    Backoff, "a backoff such as `exponential 100ms..10s`";
    Jitter, "a jitter such as `full`";
    Rate, "a rate such as `5/s`";
    Ratio, "a ratio such as `3/2`";
    Decision, "a decision such as `retry`";
}
