//! The subresources of pods that change a part of them: `ephemeralcontainers` and `resize`.

use serde_json::Value;

use super::{failure::Failure, object, request::Call};

/// Of what is written to a part of a pod, what counts.
pub(super) fn written(call: &Call, old: &Value, new: &Value) -> Result<Value, Failure> {
    let mut kept = old.clone();
    object::copy(new, &mut kept, &["metadata", "managedFields"]);
    if call.subresource == "ephemeralcontainers" {
        let list = |pod: &Value| {
            pod.pointer("/spec/ephemeralContainers").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let now = list(new);
        for was in list(old) {
            if !now.contains(&was) {
                let name = object::text(&was, "/name").unwrap_or("").to_owned();
                let same = now.iter().any(|other| object::text(other, "/name") == Some(&name));
                let what = if same { "changed" } else { "removed" };
                let message = format!("Forbidden: existing ephemeral containers \"{name}\" may not be {what}");
                let field = "spec.ephemeralContainers";
                return Err(Failure::invalid(&call.resource, &call.name, field, "FieldValueForbidden", &message));
            }
        }
        object::copy(new, &mut kept, &["spec", "ephemeralContainers"]);
        return Ok(kept);
    }
    let wished = new.pointer("/spec/containers").and_then(Value::as_array);
    for container in kept.pointer_mut("/spec/containers").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = container.get("name").cloned();
        let wish = wished.and_then(|all| all.iter().find(|other| other.get("name") == name.as_ref()));
        if let Some(wish) = wish {
            object::copy(wish, container, &["resources"]);
        }
    }
    Ok(kept)
}
