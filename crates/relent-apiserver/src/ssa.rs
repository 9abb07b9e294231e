//! Requests of server-side apply. The rules themselves are in [`apply`](super::apply).

use serde_json::Value;

use super::{
    apply::{self, Schema},
    failure::Failure,
    object,
    request::Call,
    shape,
    state::State,
    write,
};

/// A body as YAML, of this kind.
fn read(call: &Call, body: &[u8], api_version: &str, of: &str) -> Result<Value, Failure> {
    if call.query.get("fieldManager").is_empty() {
        return Err(Failure::invalid_options("fieldManager", "Required value: is required for apply patch"));
    }
    let applied: Value = match serde_json::from_slice(body) {
        Ok(json) => json,
        Err(_) => serde_saphyr::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?,
    };
    let typed = |field: &str| applied.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let (version, kind) = (typed("apiVersion"), typed("kind"));
    if (version.as_str(), kind.as_str()) != (api_version, of) {
        let version = if version.contains('/') { version } else { format!("/{version}") };
        return Err(Failure::bad_request(format!("invalid object type: {version}, Kind={kind}")));
    }
    if applied.pointer("/metadata/managedFields").is_some_and(|given| !given.is_null()) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    Ok(applied)
}

/// PATCH with what a manager wants to own. The code tells whether it was made (201) or changed (200).
pub(super) fn patch(state: &mut State, call: &Call, body: &[u8]) -> Result<(u16, Value), Failure> {
    let applied = read(call, body, &call.resource.api_version(&call.version), call.resource.kind())?;
    apply(state, call, applied)
}

/// The same of a part that has a form of its own; `turn` makes of it what of the object is meant.
pub(super) fn part(
    state: &mut State,
    call: &Call,
    body: &[u8],
    (api_version, kind): (&str, &str),
    turn: impl Fn(&Value) -> Value,
) -> Result<Value, Failure> {
    let given = read(call, body, api_version, kind)?;
    let mut wish = turn(&given);
    wish["apiVersion"] = call.resource.api_version(&call.version).into();
    wish["kind"] = call.resource.kind().into();
    wish["metadata"] = given.get("metadata").cloned().unwrap_or(Value::Null);
    apply(state, call, wish).map(|(_, changed)| changed)
}

fn apply(state: &mut State, call: &Call, mut applied: Value) -> Result<(u16, Value), Failure> {
    let resource = &call.resource;
    let writer = write::writer(state, call)?;
    let namespace = object::meta(&applied, "namespace");
    if !namespace.is_empty() && namespace != call.namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let old = state.store.get(&call.key(&call.name)).cloned();
    if old.is_some() && object::meta(&applied, "name").is_empty() {
        object::set_meta(&mut applied, "name", call.name.as_str().into());
    }
    write::same_place(call, &applied)?;
    let uid = object::meta(&applied, "uid");
    match old.as_ref().map(|old| object::meta(old, "uid")) {
        _ if uid.is_empty() => {}
        Some(is) if is == uid => {}
        Some(_) => return Err(Failure::immutable(resource, &call.name, "metadata.uid", &uid.into())),
        None => return Err(Failure::no_such_uid(resource, &call.name, uid)),
    }
    if old.is_none() && !call.subresource.is_empty() {
        return Err(Failure::not_found(resource, &call.name));
    }
    let known = object::meta(&applied, "resourceVersion").to_owned();
    // What the server writes itself is no manager's wish.
    for field in ["creationTimestamp", "generation", "resourceVersion", "uid", "selfLink", "managedFields"] {
        object::set_meta(&mut applied, field, Value::Null);
    }
    if call.subresource == "status" {
        let status = applied.get("status").cloned();
        let wish = applied.as_object_mut().into_iter().flat_map(|wish| wish.iter_mut());
        wish.filter(|(field, _)| !["apiVersion", "kind", "metadata"].contains(&field.as_str()))
            .for_each(|(_, value)| *value = Value::Null);
        object::set(
            &mut applied,
            &["metadata"],
            serde_json::json!({ "name": call.name, "namespace": write::named(&call.namespace) }),
        );
        object::set(&mut applied, &["status"], status.unwrap_or(Value::Null));
        without_nulls(&mut applied);
    } else if resource.has_status() {
        object::set(&mut applied, &["status"], Value::Null);
    }
    let schema = resource.merge_schema();
    declared(call, &schema, &applied)?;
    let live = old.as_ref().map(|old| call.whole(old));
    let merged = apply::apply(&schema, live.as_ref(), &applied, &writer, call.query.flag("force"))
        .map_err(|conflicts| Failure::apply_conflict(conflicts.message(), &conflicts.causes()))?;
    let entries = merged.pointer("/metadata/managedFields").cloned();
    let mut new = shape::read(resource, &call.version, merged, &mut Vec::new())?;
    object::set_meta(&mut new, "managedFields", entries.clone().unwrap_or(Value::Null));
    let Some(old) = old else {
        let entries = entries.and_then(|entries| entries.as_array().cloned()).unwrap_or_default();
        return write::make(state, call, new, Some(entries)).map(|made| (201, made));
    };
    let known =
        if matches!(known.as_str(), "" | "0") { object::meta(&old, "resourceVersion").to_owned() } else { known };
    object::set_meta(&mut new, "resourceVersion", known.into());
    write::replace(state, call, &old, new, true).map(|changed| (200, changed))
}

/// Whether what is applied can be read as its kind: fields that it has, lists whose items can be told apart.
fn declared(call: &Call, schema: &Schema, applied: &Value) -> Result<(), Failure> {
    let resource = &call.resource;
    let untyped = |why: String| {
        let kind = format!("{}, Kind={}", resource.api_version(&call.version), resource.kind());
        let place = format!("{}/{}", call.namespace, call.name);
        Failure::new(500, "", format!("failed to create typed patch object ({place}; {kind}): {why}"))
    };
    let mut unknown = Vec::new();
    if let Err(failure) = shape::read(resource, &call.version, applied.clone(), &mut unknown) {
        return Err(untyped(failure.message().to_owned()));
    }
    let unknown: Vec<String> = unknown
        .iter()
        .map(|path| format!("{}: field not declared in schema", apply::named(schema, applied, path)))
        .collect();
    match &unknown[..] {
        [] => {}
        [one] => return Err(untyped(one.clone())),
        many => return Err(untyped(format!("errors:\n  {}", many.join("\n  ")))),
    }
    apply::check(schema, applied, "").map_err(|bad| {
        let path = if bad.path.is_empty() { String::new() } else { format!("{}: ", bad.path) };
        untyped(format!("{path}{}", bad.why))
    })
}

fn without_nulls(object: &mut Value) {
    if let Value::Object(map) = object {
        map.retain(|_, value| !value.is_null());
    }
}
