//! Strategic merge patches: merge patches that know which lists are merged by a key.

use serde_json::Value;

use super::{failure::Failure, patch, resource::Resource};

/// Lays a strategic merge patch over an object.
pub(super) fn merge(_resource: &Resource, object: &mut Value, patch: &Value) -> Result<(), Failure> {
    if !plain(patch) {
        return Err(Failure::not_implemented("a strategic merge patch with lists or directives; send a merge patch"));
    }
    patch::merge(object, patch);
    Ok(())
}

/// Whether a patch means the same as a merge patch.
fn plain(patch: &Value) -> bool {
    match patch {
        Value::Array(_) => false,
        Value::Object(map) => map.iter().all(|(field, value)| !field.starts_with('$') && plain(value)),
        _ => true,
    }
}
