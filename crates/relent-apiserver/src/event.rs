//! Events have two groups, and are stored once: `v1` and `events.k8s.io/v1` are two views of one object.

use serde_json::Value;

use super::{failure::Failure, object, resource::ResourceKind};

/// As `events.k8s.io` names a field, and as it is stored. The names that are alike are left out.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// A field of the view as it is stored: the first step of a path.
pub(super) fn stored_field(path: &str) -> String {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let first = NAMES.iter().find(|(view, _)| *view == first).map_or(first, |(_, stored)| stored);
    rest.map_or_else(|| first.to_owned(), |rest| format!("{first}.{rest}"))
}

pub(super) fn to_stored(event: Value) -> Value {
    let mut stored = renamed(event, |name| NAMES.iter().find(|(view, _)| *view == name).map(|(_, stored)| *stored));
    stored["apiVersion"] = "v1".into();
    stored
}

pub(super) fn from_stored(event: Value) -> Value {
    renamed(event, |name| NAMES.iter().find(|(_, stored)| *stored == name).map(|(view, _)| *view))
}

fn renamed(event: Value, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = event else { return event };
    fields.into_iter().map(|(field, value)| (name(&field).map_or(field, str::to_owned), value)).collect()
}

/// The rules of the newer view, for an event as it is stored.
pub(super) fn check(resource: &ResourceKind, new: &Value) -> Result<(), Failure> {
    let invalid = |field: &str, reason: &str, message: String| {
        Err(Failure::invalid(resource, object::meta(new, "name"), field, reason, &message))
    };
    let text = |field: &str| new.get(field).and_then(Value::as_str).unwrap_or("");
    for (field, stored) in [
        ("eventTime", "eventTime"),
        ("reportingController", "reportingComponent"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ] {
        if text(stored).is_empty() {
            return invalid(field, "FieldValueRequired", "Required value".to_owned());
        }
    }
    let kind = text("type");
    if !["Normal", "Warning"].contains(&kind) {
        return invalid("type", "FieldValueInvalid", format!("Invalid value: \"{kind}\": has invalid value: {kind}"));
    }
    for (field, stored, most) in [("note", "message", 1024), ("reason", "reason", 128)] {
        if text(stored).chars().count() > most {
            let message = format!("Invalid value: \"{}\": can have at most {most} characters", text(stored));
            return invalid(field, "FieldValueInvalid", message);
        }
    }
    let count = object::number(new, "/series/count");
    if let Some(count) = count.filter(|count| *count < 2) {
        let message = format!("Invalid value: {count}: should be at least 2");
        return invalid("series.count", "FieldValueInvalid", message);
    }
    let about = new.pointer("/involvedObject/namespace").and_then(Value::as_str).unwrap_or("");
    let namespace = object::meta(new, "namespace");
    let home = if about.is_empty() { "default" } else { about };
    if namespace != home {
        let message = format!("Invalid value: \"{about}\": does not match event.namespace");
        return invalid("involvedObject.namespace", "FieldValueInvalid", message);
    }
    Ok(())
}

/// What of an event may not change once it is told: all but its series.
pub(super) fn check_change(resource: &ResourceKind, old: &Value, new: &Value) -> Result<(), Failure> {
    const FIXED: [&str; 9] = [
        "involvedObject",
        "reason",
        "message",
        "type",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
        "eventTime",
    ];
    for field in FIXED {
        let (was, is) = (old.get(field), new.get(field));
        if was != is {
            let message = format!("Invalid value: {}: field is immutable", is.unwrap_or(&Value::Null));
            return Err(Failure::invalid(resource, object::meta(new, "name"), field, "FieldValueInvalid", &message));
        }
    }
    Ok(())
}
