//! `CustomResourceDefinition` objects: once one is there, its kind is served.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    apply::Schema,
    custom::Custom,
    failure::Failure,
    object,
    openapi::OpenApi,
    resource::{ResourceKind, Scale},
    state::State,
    store::Key,
};

/// Under which name definitions are stored.
pub(super) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

pub(super) fn is_definition(resource: &ResourceKind) -> bool {
    resource.qualified() == DEFINITIONS
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    object::text(value, pointer).unwrap_or("")
}

/// The rules for a definition.
pub(super) fn check(resource: &ResourceKind, definition: &Value) -> Result<(), Failure> {
    let name = object::meta(definition, "name");
    let invalid =
        |field: &str, reason: &str, message: &str| Err(Failure::invalid(resource, name, field, reason, message));
    let wanted = format!("{}.{}", text(definition, "/spec/names/plural"), text(definition, "/spec/group"));
    if name != wanted {
        let message = format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group");
        return invalid("metadata.name", "FieldValueInvalid", &message);
    }
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let stored = versions.iter().filter(|version| version["storage"] == true).count();
    if stored != 1 {
        let message = "Invalid value: must have exactly one version marked as storage version";
        return invalid("spec.versions", "FieldValueInvalid", message);
    }
    for (at, version) in versions.iter().enumerate() {
        if !version.pointer("/schema/openAPIV3Schema").is_some_and(Value::is_object) {
            let field = format!("spec.versions[{at}].schema.openAPIV3Schema");
            return invalid(&field, "FieldValueRequired", "Required value: schemas are required");
        }
    }
    if text(definition, "/spec/conversion/strategy") == "Webhook" {
        return Err(Failure::not_implemented("conversion by a webhook"));
    }
    Ok(())
}

/// The kind that a definition is about. Objects are stored as they come: no version is converted to another.
fn defined(definition: &Value) -> ResourceKind {
    let listed = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let (mut served, mut schemas, mut merged) = (Vec::new(), BTreeMap::new(), Schema::default());
    let mut columns = BTreeMap::new();
    let (mut status, mut scale) = (false, None);
    for version in listed {
        let name = text(version, "/name").to_owned();
        let schema = OpenApi::new(version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or(json!({})));
        if version["storage"] == true {
            merged = schema.merged();
        }
        status |= version.pointer("/subresources/status").is_some();
        if let Some(paths) = version.pointer("/subresources/scale") {
            let path = |field: &str| text(paths, field).replace('.', "/");
            let (wanted, there) = (path("/specReplicasPath"), path("/statusReplicasPath"));
            scale = Some(Scale { wanted, there, selector: path("/labelSelectorPath") });
        }
        if let Some(shown) = version.get("additionalPrinterColumns").and_then(Value::as_array) {
            columns.insert(name.clone(), shown.clone());
        }
        schemas.insert(name.clone(), schema);
        match version["served"] == true {
            true if version["storage"] == true => served.insert(0, name),
            true => served.push(name),
            false => {}
        }
    }
    let mut served = served.into_iter();
    let first = served.next().unwrap_or_default();
    let (kind, plural) = (text(definition, "/spec/names/kind"), text(definition, "/spec/names/plural"));
    let mut resource = ResourceKind::new(text(definition, "/spec/group"), first, kind, plural);
    resource = served.fold(resource, ResourceKind::also);
    if text(definition, "/spec/scope") == "Cluster" {
        resource = resource.cluster_wide();
    }
    if status {
        resource = resource.with_status();
    }
    if let Some(scale) = scale {
        resource = resource.scaled(scale);
    }
    resource.custom(Arc::new(Custom { versions: schemas, columns, merged }))
}

/// A definition is there or has changed: its kind is served as it says, and its status tells so.
pub(super) fn establish(state: &mut State, key: &Key) {
    let Some(definition) = state.store.get(key).cloned() else { return };
    let known = definition.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if !known && !state.establishing.is_zero() {
        state.to_establish.push((key.clone(), object::meta(&definition, "uid").to_owned()));
        return;
    }
    establish_now(state, key, &definition);
}

/// What was put off, unless the definition has gone meanwhile.
pub(super) fn establish_late(state: &mut State, key: &Key, uid: &str) {
    let there = state.store.get(key).cloned().filter(|definition| object::meta(definition, "uid") == uid);
    if let Some(definition) = there {
        establish_now(state, key, &definition);
    }
}

fn establish_now(state: &mut State, key: &Key, definition: &Value) {
    state.resources.register(defined(definition));
    let conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ];
    let stamp = state.stamp(0);
    let known = definition.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if known {
        return;
    }
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, reason, message)| json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": stamp }))
        .collect();
    let stored = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let stored: Vec<Value> =
        stored.filter(|version| version["storage"] == true).map(|version| version["name"].clone()).collect();
    state.established(text(definition, "/metadata/name"));
    let mut new = definition.clone();
    new["status"] = json!({
        "acceptedNames": definition.pointer("/spec/names"), "conditions": conditions, "storedVersions": stored,
    });
    state.store.put(key.clone(), &new);
}

/// A definition goes, and with it all objects of its kind.
pub(super) fn retire(state: &mut State, definition: &Value) {
    let resource = defined(definition);
    for key in state.store.of(&resource.stored()) {
        state.store.remove(&key);
    }
    state.resources.forget(resource.group(), resource.plural());
}
