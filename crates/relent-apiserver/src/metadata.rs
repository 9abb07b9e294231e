//! The rules for `metadata`: names, labels, annotations, finalizers, owners.

use serde_json::Value;

use super::{
    crd,
    failure::Failure,
    object,
    resource::{Builtin, ResourceKind},
};

/// The most that all annotations of an object may hold.
const ANNOTATION_LIMIT: usize = 256 << 10;
/// The finalizers that need no domain.
const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

pub(super) fn check(resource: &ResourceKind, new: &Value) -> Result<(), Failure> {
    let name = object::meta(new, "name");
    let invalid =
        |field: &str, reason: &str, message: String| Failure::invalid(resource, name, field, reason, &message);
    let strict = resource.is(Builtin::Namespace) || resource.is(Builtin::Service);
    if let Err(why) = if strict { label_name(name) } else { subdomain(name) } {
        return Err(invalid("metadata.name", "FieldValueInvalid", format!("Invalid value: \"{name}\": {why}")));
    }
    let map = |field: &str| {
        let map = new.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        map.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    };
    for (key, value) in map("labels") {
        let Some(value) = value else {
            return Err(Failure::bad_request("metadata.labels: the values of labels are strings"));
        };
        if !qualified_name(key) {
            return Err(invalid(
                "metadata.labels",
                "FieldValueInvalid",
                format!(
                    "Invalid value: \"{key}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
                ),
            ));
        }
        if !value.is_empty() && !short_name(value) {
            return Err(invalid(
                "metadata.labels",
                "FieldValueInvalid",
                format!(
                    "Invalid value: \"{value}\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
                ),
            ));
        }
    }
    let mut size = 0;
    for (key, value) in map("annotations") {
        let Some(value) = value else {
            return Err(Failure::bad_request("metadata.annotations: the values of annotations are strings"));
        };
        if !qualified_name(&key.to_ascii_lowercase()) {
            return Err(invalid(
                "metadata.annotations",
                "FieldValueInvalid",
                format!(
                    "Invalid value: \"{key}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
                ),
            ));
        }
        size += key.len() + value.len();
    }
    if size > ANNOTATION_LIMIT {
        let message = format!("Too long: must have at most {ANNOTATION_LIMIT} bytes");
        return Err(invalid("metadata.annotations", "FieldValueTooLong", message));
    }
    for finalizer in object::finalizers(new) {
        if !qualified_name(finalizer) {
            let message = format!(
                "Invalid value: \"{finalizer}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            );
            return Err(invalid("metadata.finalizers", "FieldValueInvalid", message));
        }
        let core = resource.rules.builtin.is_some_and(|kind| kind != Builtin::Lease) && !crd::is_definition(resource);
        if core && !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let message = format!(
                "Invalid value: \"{finalizer}\": name is neither a standard finalizer name nor is it fully qualified"
            );
            return Err(invalid("metadata.finalizers", "FieldValueInvalid", message));
        }
    }
    check_owners(resource, new)
}

/// An owner is named whole, and one at most controls.
fn check_owners(resource: &ResourceKind, new: &Value) -> Result<(), Failure> {
    let owners = new.pointer("/metadata/ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut faults = Vec::new();
    let mut controller: Option<&Value> = None;
    for owner in owners {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner.get(field).and_then(Value::as_str).unwrap_or("").is_empty() {
                let field = format!("metadata.ownerReferences.{field}");
                faults.push((field, "FieldValueInvalid", format!("Invalid value: \"\": {why}")));
            }
        }
        if owner.get("controller") != Some(&Value::Bool(true)) {
            continue;
        }
        match controller {
            None => controller = Some(owner),
            Some(first) => {
                let name = |owner: &Value| owner.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
                let message = format!(
                    "Invalid value: {}: Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    Value::from(owners),
                    name(first),
                    name(owner)
                );
                faults.push(("metadata.ownerReferences".to_owned(), "FieldValueInvalid", message));
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_by_schema(resource, object::meta(new, "name"), &faults))
}

/// RFC 1123, as object names are.
pub(super) fn subdomain(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("must be no more than 253 characters");
    }
    if name.split('.').all(|part| !part.is_empty() && dns(part)) {
        return Ok(());
    }
    Err(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
    )
}

/// RFC 1123, as namespaces are named.
fn label_name(name: &str) -> Result<(), &'static str> {
    if name.len() > 63 {
        return Err("must be no more than 63 characters");
    }
    if !name.is_empty() && dns(name) {
        return Ok(());
    }
    Err(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
    )
}

fn dns(part: &str) -> bool {
    part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !part.starts_with('-')
        && !part.ends_with('-')
}

/// The name part of labels and annotations, and their values.
fn short_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn qualified_name(name: &str) -> bool {
    match name.split_once('/') {
        Some((prefix, name)) => subdomain(prefix).is_ok() && short_name(name),
        None => short_name(name),
    }
}
