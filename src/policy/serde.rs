//! Policies in configuration files: a map of the names and texts of [`text`](super::text).

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{Policy, attempts::Decision, backoff::Backoff, jitter::Jitter, rate::Rate, ratio::Ratio, text::Setting};

/// A map of what differs from the default: times and the backoff as text, `max_attempts` as a number, switches as booleans.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let given = Setting::ALL.map(|setting| (setting, setting.written(self)));
        let mut map = serializer.serialize_map(Some(given.iter().filter(|(_, value)| value.is_some()).count()))?;
        for (setting, value) in given {
            let Some(value) = value else { continue };
            match setting {
                Setting::MaxAttempts => map.serialize_entry(setting.name(), &self.max_attempts)?,
                Setting::FinalTry | Setting::DelayFirst => map.serialize_entry(setting.name(), &true)?,
                _ => map.serialize_entry(setting.name(), &value)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Settings)
    }
}

struct Settings;

impl<'de> Visitor<'de> for Settings {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings such as `every: 50ms`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        let mut policy = Policy::new();
        let mut given = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let setting = Setting::named(&name).ok_or_else(|| Error::unknown_field(&name, Setting::NAMES))?;
            if given.contains(&setting) {
                return Err(Error::duplicate_field(setting.name()));
            }
            given.push(setting);
            policy = match setting {
                Setting::MaxAttempts => policy.max_attempts(map.next_value()?),
                Setting::FinalTry | Setting::DelayFirst if !map.next_value::<bool>()? => policy,
                Setting::FinalTry => policy.final_try(),
                Setting::DelayFirst => policy.delay_first(),
                _ => setting.read(policy, &map.next_value::<String>()?).map_err(Error::custom)?,
            };
        }
        Ok(policy)
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
