//! What a body says that its kind does not know, and what it says twice: told as warnings, or refused.

use std::{cell::RefCell, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{
    failure::Failure,
    path::{Path, Step, below, written},
    request::{Call, Verb},
    state::State,
};

/// Names what `read` has lost of `given`.
pub(super) fn lost(given: &Value, read: &Value, path: &[Step], unknown: &mut Vec<Path>) {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = below(path, Step::Field(name.clone()));
                match read.get(name) {
                    Some(read) => lost(value, read, &path, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(read)) => {
            for (at, (given, read)) in given.iter().zip(read).enumerate() {
                lost(given, read, &below(path, Step::At(at)), unknown);
            }
        }
        _ => {}
    }
}

/// Reads JSON; names what stands there twice. The last one counts.
pub(super) fn parse(body: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let twice = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Seed { path: Vec::new(), twice: &twice }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, twice.into_inner()))
}

struct Seed<'a> {
    path: Path,
    twice: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        loop {
            let path = below(&self.path, Step::At(all.len()));
            match items.next_element_seed(Seed { path, twice: self.twice })? {
                Some(item) => all.push(item),
                None => return Ok(Value::Array(all)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = below(&self.path, Step::Field(name.clone()));
            if all.contains_key(&name) {
                self.twice.borrow_mut().push(written(&path));
            }
            let value = fields.next_value_seed(Seed { path, twice: self.twice })?;
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

/// What is to be done about fields that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Ignore,
    Warn,
    Strict,
}

fn mode(call: &Call) -> Result<Mode, Failure> {
    match call.query.get("fieldValidation") {
        "" | "Warn" => Ok(Mode::Warn),
        "Ignore" => Ok(Mode::Ignore),
        "Strict" => Ok(Mode::Strict),
        other => {
            let options = match call.verb {
                Verb::Create => "CreateOptions",
                Verb::Update => "UpdateOptions",
                _ => "PatchOptions",
            };
            let message = format!("Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\"");
            let text = format!("{options}.meta.k8s.io \"\" is invalid: fieldValidation: {message}");
            Err(Failure::new(422, "Invalid", text).cause("FieldValueNotSupported", &message, "fieldValidation"))
        }
    }
}

/// Warns of what was not known or stood there twice, or refuses it.
pub(super) fn tell(state: &mut State, call: &Call, unknown: &[Path], twice: &[String]) -> Result<(), Failure> {
    let mode = mode(call)?;
    let unknown = unknown.iter().map(|path| format!("unknown field \"{}\"", written(path)));
    let twice = twice.iter().map(|path| format!("duplicate field \"{path}\""));
    let told: Vec<String> = unknown.chain(twice).collect();
    match mode {
        _ if told.is_empty() => Ok(()),
        Mode::Ignore => Ok(()),
        Mode::Warn => {
            state.warnings.extend(told);
            Ok(())
        }
        Mode::Strict => {
            let why = format!("strict decoding error: {}", told.join(", "));
            if call.verb == Verb::Patch {
                return Err(Failure::invalid_patch(&why));
            }
            let kind = call.resource.kind();
            let version = &call.version;
            Err(Failure::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_twice_is_named() {
        let (value, twice) = parse(br#"{"a":1,"b":[{"c":1,"c":2}],"a":{"d":null,"d":-1.5}}"#).unwrap();
        assert_eq!(value, serde_json::json!({ "a": { "d": -1.5 }, "b": [{ "c": 2 }] }));
        assert_eq!(twice, ["b[0].c", "a", "a.d"]);
        assert!(parse(b"{}x").is_err());
    }
}
