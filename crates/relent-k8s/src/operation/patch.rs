//! The trigger as a JSON patch, whose tests are the preconditions that matter: a status that is written meanwhile is
//! none.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::contract::{Contract, Trigger, escaped};

/// What sets the trigger and makes the change, on an object that is as this one in what both touch.
pub(super) fn trigger(object: &DynamicObject, contract: &Contract, token: &str, change: &Value) -> Value {
    let current = serde_json::to_value(object).unwrap_or_default();
    let mut operations = Vec::new();
    if let Some(uid) = current.pointer("/metadata/uid") {
        operations.push(json!({"op": "test", "path": "/metadata/uid", "value": uid}));
    }
    let mut wanted = change.clone();
    set(&mut wanted, &contract.token_at(), token);
    if let Trigger::Taken { annotation, value, .. } = &contract.trigger {
        let at = format!("/metadata/annotations/{}", escaped(annotation));
        set(&mut wanted, &at, value);
        if current.pointer("/metadata/annotations").is_some() {
            // No other trigger has been set since.
            operations.push(json!({"op": "test", "path": at, "value": null}));
        }
    }
    merge(&mut operations, "", Some(&current), &wanted);
    operations.into()
}

/// The operations that lay a merge patch (RFC 7396) over what is there.
fn merge(operations: &mut Vec<Value>, at: &str, current: Option<&Value>, patch: &Value) {
    let (Some(Value::Object(current)), Value::Object(patch)) = (current, patch) else { return };
    for (key, wanted) in patch {
        let path = format!("{at}/{}", escaped(key));
        match (current.get(key), wanted) {
            (None, Value::Null) => {}
            (Some(_), Value::Null) => operations.push(json!({"op": "remove", "path": path})),
            (there @ Some(Value::Object(_)), Value::Object(_)) => merge(operations, &path, there, wanted),
            (there, wanted) => {
                if there.is_none() && wanted.is_object() {
                    // What others have put there since must not go.
                    operations.push(json!({"op": "test", "path": path, "value": null}));
                }
                operations.push(json!({"op": "add", "path": path, "value": without_nulls(wanted)}));
            }
        }
    }
}

/// A null in a merge patch takes away; where nothing is, nothing is put.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}

/// Sets one field of a merge patch; what stands in its way is replaced.
fn set(patch: &mut Value, pointer: &str, value: &str) {
    let mut at = patch;
    for part in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[part.replace("~1", "/").replace("~0", "~")];
    }
    *at = value.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotations: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "example.com/v1", "kind": "Backup",
            "metadata": {"name": "main", "uid": "u", "resourceVersion": "7", "annotations": annotations},
            "spec": {"n": 1, "old": true},
        }))
        .unwrap()
    }

    #[test]
    fn a_change_and_its_trigger() {
        let contract = Contract::new("example.com/do", "it");
        let change = json!({"spec": {"n": 2, "old": null, "absent": null, "new": {"a": 1, "b": null}}});
        assert_eq!(
            trigger(&object(&json!({"a": "b"})), &contract, "t", &change),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/metadata/annotations/example.com~1do", "value": null},
                {"op": "add", "path": "/metadata/annotations/example.com~1do", "value": "it"},
                {"op": "add", "path": "/metadata/annotations/example.com~1do-token", "value": "t"},
                {"op": "add", "path": "/spec/n", "value": 2},
                {"op": "test", "path": "/spec/new", "value": null},
                {"op": "add", "path": "/spec/new", "value": {"a": 1}},
                {"op": "remove", "path": "/spec/old"},
            ])
        );
    }

    #[test]
    fn what_is_not_there_is_made_unless_another_has_made_it() {
        let contract = Contract::field("/spec/restart/at").observed_generation("/status/observedGeneration");
        assert_eq!(
            trigger(&object(&Value::Null), &contract, "t", &json!({})),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/spec/restart", "value": null},
                {"op": "add", "path": "/spec/restart", "value": {"at": "t"}},
            ])
        );
    }
}
