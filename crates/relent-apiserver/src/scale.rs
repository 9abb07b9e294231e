//! The parts of an object that are written by paths of their own: `scale`, `ephemeralcontainers`, `resize`.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    object, patch,
    request::{Call, Verb},
    resource::{ResourceKind, Scale},
    selector, ssa,
    state::State,
    write,
};

/// GET, PUT and PATCH of `scale`.
pub(super) fn perform(state: &mut State, call: &Call, scale: &Scale, body: &[u8]) -> Result<Value, Failure> {
    let resource = &call.resource;
    let old = state.store.get(&call.key(&call.name)).cloned();
    let Some(old) = old else { return Err(Failure::not_found(resource, &call.name)) };
    let now = shown(scale, &old);
    let new = match (call.verb, call.content_type.as_str()) {
        (Verb::Get, _) => return Ok(now),
        (Verb::Update, _) => write::json(call, body)?.0,
        _ if call.is_apply() => {
            let applied = ssa::part(state, call, body, ("autoscaling/v1", "Scale"), |wish| {
                // What is applied to the scale is applied to the number in the object.
                let mut part = json!({});
                set(&mut part, &scale.wanted, wish.pointer("/spec/replicas").cloned().unwrap_or(Value::Null));
                part
            })?;
            return Ok(shown(scale, &applied));
        }
        (_, content) => {
            let wish: Value = serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
            let mut new = now.clone();
            match content {
                "application/json-patch+json" => patch::json(&mut new, &wish)?,
                "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                    patch::merge(&mut new, &wish);
                }
                _ => {
                    return Err(Failure::unsupported_media(
                        "application/json-patch+json, application/merge-patch+json",
                    ));
                }
            }
            new
        }
    };
    for (field, wanted) in [("kind", "Scale"), ("apiVersion", "autoscaling/v1")] {
        let is = object::text(&new, &format!("/{field}")).unwrap_or(wanted);
        if is != wanted {
            let message = format!("the {field} in the data ({is}) does not match the expected {field} ({wanted})");
            return Err(Failure::bad_request(message));
        }
    }
    let wanted = object::number(&new, "/spec/replicas").unwrap_or(0);
    if wanted < 0 {
        let of = ResourceKind::new("autoscaling", "v1", "Scale", "scales");
        let message = format!("Invalid value: {wanted}: must be greater than or equal to 0");
        return Err(Failure::invalid(&of, &call.name, "spec.replicas", "FieldValueInvalid", &message));
    }
    let mut changed = (*old).clone();
    set(&mut changed, &scale.wanted, wanted.into());
    for known in ["resourceVersion", "uid"] {
        object::set_meta(&mut changed, known, object::meta(&new, known).into());
    }
    let changed = write::replace(state, call, &old, changed, false)?;
    Ok(shown(scale, &changed))
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let path: Vec<&str> = pointer.trim_start_matches('/').split('/').collect();
    object::set(object, &path, value);
}

/// An object as its scale.
fn shown(scale: &Scale, object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !object::meta(object, field).is_empty() {
            metadata[field] = object::meta(object, field).into();
        }
    }
    let mut status = json!({ "replicas": object::number(object, &scale.there).unwrap_or(0) });
    let selector = match object.pointer(&scale.selector).filter(|_| !scale.selector.is_empty()) {
        Some(Value::String(text)) => text.clone(),
        Some(labels) => selector::written(labels),
        None => String::new(),
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let mut spec = json!({});
    if let Some(wanted) = object::number(object, &scale.wanted) {
        spec["replicas"] = wanted.into();
    }
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status })
}
