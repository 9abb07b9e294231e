//! Reading and writing objects as they are stored: plain JSON.

use serde_json::{Map, Value};

/// The text at a JSON pointer; `None` when there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// The number at a JSON pointer.
pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// `metadata.field`, as text; empty when absent.
pub(super) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or("")
}

/// Writes `metadata.field`; `Null` takes the field away.
pub(super) fn set_meta(object: &mut Value, field: &str, value: Value) {
    set(object, &["metadata", field], value);
}

/// Writes at a path of fields, making maps on the way; `Null` takes the field away.
pub(super) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((last, way)) = path.split_last() else { return };
    let mut place = object;
    for field in way {
        if value.is_null() && place.get(*field).is_none() {
            return;
        }
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(*field).or_insert_with(|| Value::Object(Map::new()));
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
    }
    if let Value::Object(map) = place {
        if value.is_null() {
            map.remove(*last);
        } else {
            map.insert((*last).to_owned(), value);
        }
    }
}

/// Copies one field of `from` to `to`, its absence included.
pub(super) fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    let mut place = from;
    for field in path {
        place = place.get(*field).unwrap_or(&Value::Null);
    }
    set(to, path, place.clone());
}

/// The names in `metadata.finalizers`.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    let listed = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    listed.map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Being deleted: it has a `deletionTimestamp`.
pub(super) fn is_terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// The same object with another resourceVersion.
pub(super) fn at_revision(object: &Value, revision: u64) -> Value {
    let mut object = object.clone();
    set_meta(&mut object, "resourceVersion", revision.to_string().into());
    object
}

/// Takes away what a server never keeps: nulls, and what is empty in `metadata`.
pub(super) fn tidy(object: &mut Value) {
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        meta.retain(|field, value| match value {
            Value::Null => false,
            // An empty list of these is a wish.
            _ if field == "managedFields" => true,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        });
        meta.remove("selfLink");
    }
}
