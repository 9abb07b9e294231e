//! What the server knows of the built-in kinds: how they are read, what they are given when they are made, and what
//! they may not be. Custom kinds are kept as they come.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use serde_json::{Value, json};

use super::{
    crd, event,
    failure::Failure,
    kinds, metadata, object,
    path::Path,
    request::Call,
    resource::{Builtin, ResourceKind},
    strict,
};

/// The most that a ConfigMap or a Secret may hold.
const DATA_LIMIT: usize = 1 << 20;

/// Reads an object as its kind: fields that the kind does not have are dropped, and named; values of the wrong type are
/// refused.
pub(super) fn read(
    resource: &ResourceKind,
    version: &str,
    mut value: Value,
    unknown: &mut Vec<Path>,
) -> Result<Value, Failure> {
    let cannot = |why: String| {
        let kind = resource.kind();
        Failure::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    };
    if !value.is_object() {
        return Err(cannot("json: an object is wanted".to_owned()));
    }
    let expected = resource.api_version(version);
    for (field, wanted) in [("kind", resource.kind()), ("apiVersion", expected.as_str())] {
        match value.get(field).map(|is| is.as_str().unwrap_or("")) {
            None | Some("") if resource.rules.builtin.is_some() => value[field] = wanted.into(),
            None | Some("") => {
                return Err(Failure::bad_request(format!("Object '{field}' is missing in the body of the request")));
            }
            Some(is) if is == wanted => {}
            Some(is) => {
                return Err(Failure::bad_request(format!(
                    "the {field} in the data ({is}) does not match the expected {field} ({wanted})"
                )));
            }
        }
    }
    if !value.get("metadata").is_none_or(Value::is_object) {
        return Err(cannot("metadata is not an object".to_owned()));
    }
    if resource.is(Builtin::Lease) {
        for field in ["acquireTime", "renewTime"] {
            if let Some(text) = object::text(&value, &format!("/spec/{field}")) {
                micro_time(text).map_err(&cannot)?;
            }
        }
    }
    if resource.is(Builtin::Secret) {
        plain_secrets(&mut value);
    }
    for map in ["/data", "/binaryData", "/metadata/labels", "/metadata/annotations"] {
        let strings = map.starts_with("/metadata")
            || matches!(resource.rules.builtin, Some(Builtin::ConfigMap | Builtin::Secret));
        empty_strings(value.pointer_mut(map).filter(|_| strings));
    }
    if resource.is(Builtin::Lease) && value.get("spec").is_none_or(Value::is_null) {
        value["spec"] = json!({});
    }
    let read = match resource.rules.read {
        Some(read) => read(value.clone()),
        None => read_metadata(value.clone()),
    };
    let mut read = read.map_err(cannot)?;
    strict::lost(&value, &read, &[], unknown);
    if resource.is(Builtin::Lease) {
        // Behind a gate that is closed.
        for field in ["strategy", "preferredHolder"] {
            object::set(&mut read, &["spec", field], Value::Null);
        }
    }
    if !read.get("metadata").is_some_and(Value::is_object) {
        read["metadata"] = json!({});
    }
    if resource.is_event_view() {
        read = event::to_stored(read);
    }
    if let Some(custom) = resource.known() {
        unknown.extend(custom.read(version, &mut read));
    }
    object::tidy(&mut read);
    (resource.rules.defaults)(&mut read);
    for data in ["data", "binaryData"] {
        let empty = read.get(data).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
        if empty && matches!(resource.rules.builtin, Some(Builtin::ConfigMap | Builtin::Secret)) {
            object::set(&mut read, &[data], Value::Null);
        }
    }
    Ok(read)
}

/// Of a kind whose fields are not known, the metadata is known all the same.
fn read_metadata(mut value: Value) -> Result<Value, String> {
    if let Some(metadata) = value.get_mut("metadata") {
        let read: ObjectMeta = serde_json::from_value(metadata.take()).map_err(|error| error.to_string())?;
        *metadata = serde_json::to_value(read).map_err(|error| error.to_string())?;
    }
    Ok(value)
}

/// In a map of strings, null is the empty one.
fn empty_strings(map: Option<&mut Value>) {
    for value in map.and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
        if value.is_null() {
            *value = "".into();
        }
    }
}

/// Go reads these strictly: six digits after the point, and a zone.
fn micro_time(text: &str) -> Result<(), String> {
    let wrong = || format!("parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse");
    let (_, fraction) = text.split_once('.').ok_or_else(wrong)?;
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 6 || text.as_bytes().get(10) != Some(&b'T') {
        return Err(wrong());
    }
    text.parse::<Timestamp>().map(drop).map_err(|_| wrong())
}

/// `stringData` goes into `data`, encoded.
fn plain_secrets(value: &mut Value) {
    let Some(Value::Object(plain)) = value.as_object_mut().and_then(|secret| secret.remove("stringData")) else {
        return;
    };
    for (name, text) in plain {
        let bytes = k8s_openapi::ByteString(text.as_str().unwrap_or("").as_bytes().to_vec());
        if let Ok(encoded) = serde_json::to_value(bytes) {
            object::set(value, &["data", &name], encoded);
        }
    }
}

/// What the server adds to a new object of this kind.
pub(super) fn complete(resource: &ResourceKind, new: &mut Value) {
    match resource.rules.builtin {
        Some(Builtin::Namespace) => {
            let name = object::meta(new, "name").to_owned();
            object::set_meta(new, "labels", labelled(new, &name));
            new["spec"] = json!({ "finalizers": ["kubernetes"] });
            new["status"] = json!({ "phase": "Active" });
        }
        Some(Builtin::Pod) => new["status"] = json!({ "phase": "Pending" }),
        Some(Builtin::Service) => new["status"] = json!({ "loadBalancer": {} }),
        _ if crd::is_definition(resource) => {
            new["status"] =
                json!({ "conditions": [], "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": [] });
        }
        _ if resource.kind() == "Job" => {
            kinds::own_selector(new);
            object::set(new, &["status"], Value::Null);
        }
        _ if matches!(resource.kind(), "PersistentVolumeClaim" | "PersistentVolume") => {
            new["status"] = json!({ "phase": "Pending" });
        }
        Some(Builtin::PodDisruptionBudget) => {
            new["status"] =
                json!({ "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 });
        }
        _ if resource.has_status() && !resource.is(Builtin::Node) => object::set(new, &["status"], Value::Null),
        _ => {}
    }
}

/// Every namespace bears its name as a label.
fn labelled(namespace: &Value, name: &str) -> Value {
    let mut labels = namespace.pointer("/metadata/labels").cloned().unwrap_or(json!({}));
    labels["kubernetes.io/metadata.name"] = name.into();
    labels
}

/// The rules for any object of this kind, new or changed.
pub(super) fn check(resource: &ResourceKind, new: &Value) -> Result<(), Failure> {
    let name = object::meta(new, "name");
    let invalid =
        |field: &str, reason: &str, message: String| Failure::invalid(resource, name, field, reason, &message);
    metadata::check(resource, new)?;
    if matches!(resource.kind(), "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet")
        && resource.is(Builtin::Plain)
        && !kinds::selects_itself(new)
    {
        let labels = new.pointer("/spec/template/metadata/labels").cloned().unwrap_or(json!({}));
        let message = format!("Invalid value: {labels}: `selector` does not match template `labels`");
        return Err(invalid("spec.template.metadata.labels", "FieldValueInvalid", message));
    }
    if resource.is_event_view() {
        event::check(resource, new)?;
    }
    if crd::is_definition(resource) {
        crd::check(resource, new)?;
    }
    let faults = resource.known().map(|custom| custom.check(new)).unwrap_or_default();
    if !faults.is_empty() {
        return Err(Failure::invalid_by_schema(resource, name, &faults));
    }
    match resource.rules.builtin {
        Some(Builtin::ConfigMap | Builtin::Secret) => {
            let size: usize = ["data", "binaryData"].iter().map(|field| held(resource, new, field)).sum();
            if size > DATA_LIMIT {
                let field = if resource.is(Builtin::Secret) { "data" } else { "[]" };
                return Err(invalid(
                    field,
                    "FieldValueTooLong",
                    format!("Too long: must have at most {DATA_LIMIT} bytes"),
                ));
            }
            let keys = |field: &str| new.get(field).and_then(Value::as_object);
            if let Some(twice) = keys("data").and_then(|data| {
                data.keys().find(|key| keys("binaryData").is_some_and(|other| other.contains_key(*key)))
            }) {
                let message = format!("Invalid value: \"{twice}\": duplicate of key present in binaryData");
                return Err(invalid(&format!("data[{twice}]"), "FieldValueInvalid", message));
            }
            for field in ["data", "binaryData"] {
                for key in new.get(field).and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys) {
                    let fits = !key.is_empty()
                        && key.len() <= 253
                        && key != "."
                        && key != ".."
                        && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                    if !fits {
                        let message = format!(
                            "Invalid value: \"{key}\": a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                        );
                        return Err(invalid(&format!("{field}[{key}]"), "FieldValueInvalid", message));
                    }
                }
            }
        }
        Some(Builtin::Lease) => {
            if let Some(seconds) = object::number(new, "/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
                let message = format!("Invalid value: {seconds}: must be greater than 0");
                return Err(invalid("spec.leaseDurationSeconds", "FieldValueInvalid", message));
            }
            if let Some(times) = object::number(new, "/spec/leaseTransitions").filter(|times| *times < 0) {
                let message = format!("Invalid value: {times}: must be greater than or equal to 0");
                return Err(invalid("spec.leaseTransitions", "FieldValueInvalid", message));
            }
        }
        Some(Builtin::Event) => {
            let is = object::text(new, "/involvedObject/namespace").unwrap_or("");
            let home = object::meta(new, "namespace");
            if is != home && !(is.is_empty() && home == "default") {
                let message = format!("Invalid value: \"{is}\": does not match event.namespace");
                return Err(invalid("involvedObject.namespace", "FieldValueInvalid", message));
            }
        }
        Some(Builtin::Pod) if new.pointer("/spec/containers").and_then(Value::as_array).is_none_or(Vec::is_empty) => {
            return Err(invalid("spec.containers", "FieldValueRequired", "Required value".to_owned()));
        }
        _ => {}
    }
    Ok(())
}

/// The bytes that a map of data holds: the keys are not counted.
fn held(resource: &ResourceKind, object: &Value, field: &str) -> usize {
    let encoded = resource.is(Builtin::Secret) || field == "binaryData";
    let values = object.get(field).and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let sizes = values
        .filter_map(Value::as_str)
        .map(|text| if encoded { text.trim_end_matches('=').len() * 3 / 4 } else { text.len() });
    sizes.sum()
}

/// The rules that tie a change to what was there before.
pub(super) fn check_change(call: &Call, old: &Value, new: &Value) -> Result<(), Failure> {
    let resource = &call.resource;
    let name = object::meta(new, "name");
    let invalid =
        |field: &str, reason: &str, message: String| Failure::invalid(resource, name, field, reason, &message);
    if object::is_terminating(old) {
        let had = object::finalizers(old);
        let added: Vec<_> = object::finalizers(new).into_iter().filter(|name| !had.contains(name)).collect();
        if !added.is_empty() {
            let message = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
            );
            return Err(invalid("metadata.finalizers", "FieldValueForbidden", message));
        }
    }
    if resource.is_event_view() {
        event::check_change(resource, old, new)?;
    }
    if resource.is(Builtin::Plain) {
        for (path, field) in kinds::fixed(resource) {
            if old.pointer(path) != new.pointer(path) {
                let is = new.pointer(path).unwrap_or(&Value::Null);
                let why = if *field == "roleRef" { "cannot change roleRef" } else { "field is immutable" };
                return Err(invalid(field, "FieldValueInvalid", format!("Invalid value: {is}: {why}")));
            }
        }
    }
    match resource.rules.builtin {
        Some(Builtin::ConfigMap | Builtin::Secret) if old.get("immutable") == Some(&Value::Bool(true)) => {
            for field in ["immutable", "data", "binaryData"] {
                if old.get(field) != new.get(field) {
                    let message = "Forbidden: field is immutable when `immutable` is set".to_owned();
                    return Err(invalid(field, "FieldValueForbidden", message));
                }
            }
        }
        Some(Builtin::Secret) if old.get("type") != new.get("type") => {
            let is = new.get("type").unwrap_or(&Value::Null);
            return Err(invalid("type", "FieldValueInvalid", format!("Invalid value: {is}: field is immutable")));
        }
        Some(Builtin::Pod) if call.subresource.is_empty() && fixed_of_pod(old) != fixed_of_pod(new) => {
            let message = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)";
            return Err(invalid("spec", "FieldValueForbidden", message.to_owned()));
        }
        _ => {}
    }
    Ok(())
}

/// The spec of a pod without what may be changed in it.
fn fixed_of_pod(pod: &Value) -> Value {
    let mut spec = pod.get("spec").cloned().unwrap_or(Value::Null);
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            object::set(container, &["image"], Value::Null);
        }
    }
    for free in ["activeDeadlineSeconds", "tolerations"] {
        object::set(&mut spec, &[free], Value::Null);
    }
    spec
}
