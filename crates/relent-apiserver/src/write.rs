//! Create, update, patch.

use serde_json::Value;

use super::{
    apply::{self, Writer},
    crd, delete,
    failure::Failure,
    object, patch, pod_parts,
    request::Call,
    resource::Builtin,
    shape,
    state::State,
    store::Key,
    strategic, strict,
};

/// The media type of server-side apply.
const APPLY: &str = "application/apply-patch+yaml";
/// What a manager may be called at most, in bytes.
const MANAGER_LIMIT: usize = 128;

/// What no update changes, whatever it says.
const KEPT: [&str; 7] = [
    "uid",
    "namespace",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Reads a body as JSON, and as the kind that is asked for. What is said of a field that is not known is said here.
fn read(state: &mut State, call: &Call, body: &[u8]) -> Result<Value, Failure> {
    let (value, twice) = json(call, body)?;
    let mut unknown = Vec::new();
    let new = shape::read(&call.resource, &call.version, value, &mut unknown)?;
    strict::tell(state, call, &unknown, &twice)?;
    Ok(new)
}

/// A body as JSON, and what stands in it twice.
pub(super) fn json(call: &Call, body: &[u8]) -> Result<(Value, Vec<String>), Failure> {
    if !matches!(call.content_type.as_str(), "" | "application/json") {
        return Err(Failure::unsupported_media("application/json"));
    }
    strict::parse(body)
        .map_err(|error| Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
}

/// POST to a collection.
pub(super) fn create(state: &mut State, call: &Call, body: &[u8]) -> Result<Value, Failure> {
    let mut new = read(state, call, body)?;
    object::set_meta(&mut new, "managedFields", Value::Null);
    make(state, call, new, None)
}

/// The writer, if the request names it in a way that can be kept.
pub(super) fn writer(state: &State, call: &Call) -> Result<Writer, Failure> {
    let wrong = |message: String| Err(Failure::invalid_options("fieldManager", &message));
    let manager = call.manager.clone();
    if manager.len() > MANAGER_LIMIT {
        return wrong(format!("Too long: may not be more than {MANAGER_LIMIT} bytes"));
    }
    if let Some((at, bad)) = manager.chars().enumerate().find(|(_, c)| c.is_control()) {
        return wrong(format!(
            "Invalid value: {manager:?}: invalid character U+{:04X} (at position {at})",
            u32::from(bad)
        ));
    }
    let api_version = call.resource.api_version(&call.version);
    Ok(Writer { manager, subresource: call.subresource.clone(), api_version, now: state.stamp(0) })
}

/// Checks and stores what does not exist yet. `applied`: the fields have their owners, by server-side apply.
pub(super) fn make(
    state: &mut State,
    call: &Call,
    mut new: Value,
    applied: Option<Vec<Value>>,
) -> Result<Value, Failure> {
    let resource = &call.resource;
    let namespace = object::meta(&new, "namespace");
    if !namespace.is_empty() && namespace != call.namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object::set_meta(&mut new, "namespace", named(&call.namespace));
    if object::meta(&new, "name").is_empty() {
        let prefix = object::meta(&new, "generateName").to_owned();
        if !prefix.is_empty() {
            object::set_meta(&mut new, "name", state.generated(&prefix).into());
        }
    }
    let name = object::meta(&new, "name").to_owned();
    if resource.is_namespaced() {
        let home = Key { resource: "namespaces".into(), namespace: String::new(), name: call.namespace.clone() };
        match state.store.get(&home) {
            None => return Err(Failure::not_found(&state.namespaces(), &call.namespace)),
            Some(home) if object::is_terminating(home) => {
                return Err(Failure::terminating(resource, &name, &call.namespace));
            }
            Some(_) => {}
        }
    }
    if name.is_empty() {
        let message = "Required value: name or generateName is required";
        return Err(Failure::invalid(resource, "", "metadata.name", "FieldValueRequired", message));
    }
    let stamp = state.stamp(0);
    object::set_meta(&mut new, "uid", state.uid().into());
    object::set_meta(&mut new, "creationTimestamp", stamp.into());
    for nobodys in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        object::set_meta(&mut new, nobodys, Value::Null);
    }
    if resource.rules.generation {
        object::set_meta(&mut new, "generation", 1.into());
    }
    shape::complete(resource, &mut new);
    if resource.is(Builtin::Service)
        && new.pointer("/spec/clusterIP").is_none()
        && object::text(&new, "/spec/type") != Some("ExternalName")
    {
        object::set(&mut new, &["spec", "clusterIP"], state.address().into());
    }
    shape::check(resource, &new)?;
    let key = call.key(&name);
    if state.store.get(&key).is_some() {
        return Err(Failure::already_exists(resource, &name));
    }
    if !object::meta(&new, "resourceVersion").is_empty() {
        return Err(Failure::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    match applied {
        Some(entries) => object::set_meta(&mut new, "managedFields", entries.into()),
        None => apply::updated(&resource.merge_schema(), None, &mut new, &writer(state, call)?),
    }
    let made = (*state.store.put(key.clone(), &new)).clone();
    if crd::is_definition(resource) {
        crd::establish(state, &key);
    }
    Ok(made)
}

pub(super) fn named(namespace: &str) -> Value {
    if namespace.is_empty() { Value::Null } else { namespace.into() }
}

/// PUT. The code tells whether it was made (201) or changed (200).
pub(super) fn update(state: &mut State, call: &Call, body: &[u8]) -> Result<(u16, Value), Failure> {
    let mut new = read(state, call, body)?;
    same_place(call, &new)?;
    let Some(old) = state.store.get(&call.key(&call.name)).cloned() else {
        if !call.resource.rules.creates_on_update || !call.subresource.is_empty() {
            return Err(Failure::not_found(&call.resource, &call.name));
        }
        let uid = object::meta(&new, "uid");
        if !uid.is_empty() {
            return Err(Failure::other_uid(&call.resource, &call.namespace, &call.name, uid, ""));
        }
        object::set_meta(&mut new, "resourceVersion", Value::Null);
        return make(state, call, new, None).map(|made| (201, made));
    };
    replace(state, call, &old, new, false).map(|changed| (200, changed))
}

/// PATCH, but for server-side apply. The code tells whether it was made (201) or changed (200).
pub(super) fn change(state: &mut State, call: &Call, body: &[u8]) -> Result<(u16, Value), Failure> {
    let resource = &call.resource;
    if call.query.flag("force") {
        return Err(Failure::invalid_options("force", "Forbidden: may not be specified for non-apply patch"));
    }
    let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
    if resource.rules.builtin.is_some() {
        accepted.push("application/strategic-merge-patch+json");
    }
    if !accepted.contains(&call.content_type.as_str()) {
        accepted.push(APPLY);
        return Err(Failure::unsupported_media(&accepted.join(", ")));
    }
    let (patch, twice) =
        strict::parse(body).map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    let Some(old) = state.store.get(&call.key(&call.name)).cloned() else {
        return Err(Failure::not_found(resource, &call.name));
    };
    let mut new = call.whole(&old);
    match call.content_type.as_str() {
        "application/json-patch+json" => patch::json(&mut new, &patch)?,
        "application/merge-patch+json" if patch.is_object() => patch::merge(&mut new, &patch),
        "application/merge-patch+json" => return Err(Failure::bad_request("a merge patch is an object")),
        _ => strategic::merge(resource, &mut new, &patch)?,
    }
    let mut unknown = Vec::new();
    // That the patch is what is wrong, a real server says with another code.
    let new = shape::read(resource, &call.version, new, &mut unknown).map_err(Failure::of_patch)?;
    strict::tell(state, call, &unknown, &twice)?;
    same_place(call, &new)?;
    let (uid, is) = (object::meta(&new, "uid"), object::meta(&old, "uid"));
    if !uid.is_empty() && uid != is {
        return Err(Failure::immutable(resource, &call.name, "metadata.uid", &uid.into()));
    }
    replace(state, call, &old, new, false).map(|changed| (200, changed))
}

pub(super) fn same_place(call: &Call, new: &Value) -> Result<(), Failure> {
    let (name, namespace) = (object::meta(new, "name"), object::meta(new, "namespace"));
    if name.is_empty() {
        return Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        )));
    }
    if name != call.name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        )));
    }
    if !namespace.is_empty() && namespace != call.namespace {
        return Err(Failure::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            call.namespace
        )));
    }
    Ok(())
}

/// Puts a new state of an object in the place of the old one, if the caller knew the old one or does not care.
/// `applied`: the fields have their owners, by server-side apply.
pub(super) fn replace(
    state: &mut State,
    call: &Call,
    old: &Value,
    mut new: Value,
    applied: bool,
) -> Result<Value, Failure> {
    let resource = &call.resource;
    let (uid, is) = (object::meta(&new, "uid"), object::meta(old, "uid"));
    if !uid.is_empty() && uid != is {
        return Err(Failure::other_uid(resource, &call.namespace, &call.name, uid, is));
    }
    match object::meta(&new, "resourceVersion") {
        "" | "0" if resource.rules.unconditional_update => {}
        "" | "0" => {
            let message = "Invalid value: 0x0: must be specified for an update";
            return Err(Failure::invalid_update(resource, &call.name, "metadata.resourceVersion", message));
        }
        known if known == object::meta(old, "resourceVersion") => {}
        known if known.parse::<u64>().is_err() => return Err(Failure::unparsed(known)),
        _ => return Err(Failure::modified(resource, &call.name)),
    }
    for kept in KEPT {
        object::copy(old, &mut new, &["metadata", kept]);
    }
    if call.subresource == "status" {
        new = only_status(call, old, new);
    } else if matches!(call.subresource.as_str(), "ephemeralcontainers" | "resize") {
        new = pod_parts::written(call, old, &new)?;
    } else if resource.has_status() {
        object::copy(old, &mut new, &["status"]);
    }
    if resource.is(Builtin::Namespace) {
        object::copy(old, &mut new, &["spec"]);
    }
    // What is stored is written in one version only.
    object::copy(old, &mut new, &["apiVersion"]);
    if let Some(generation) = object::number(old, "/metadata/generation").filter(|_| is_new_generation(call, old, &new))
    {
        object::set_meta(&mut new, "generation", (generation + 1).into());
    }
    shape::check(resource, &new)?;
    shape::check_change(call, old, &new)?;
    if !applied {
        let owners = "/metadata/managedFields";
        let given = new.pointer(owners);
        if (given.is_none() || given == old.pointer(owners)) && without_owners(&new) == without_owners(old) {
            object::copy(old, &mut new, &["metadata", "managedFields"]);
        } else {
            apply::updated(&resource.merge_schema(), Some(old), &mut new, &writer(state, call)?);
        }
    }
    if new == *old {
        return Ok(new);
    }
    let key = call.key(&call.name);
    if delete::is_over(resource, &new) {
        delete::erase(state, &key);
        return Ok(new);
    }
    let changed = (*state.store.put(key.clone(), &new)).clone();
    if crd::is_definition(resource) {
        crd::establish(state, &key);
    }
    Ok(changed)
}

fn without_owners(object: &Value) -> Value {
    let mut bare = object.clone();
    object::set_meta(&mut bare, "managedFields", Value::Null);
    bare
}

/// A write to the status subresource: custom kinds take the status alone, built-in ones some metadata too.
fn only_status(call: &Call, old: &Value, mut new: Value) -> Value {
    if call.resource.rules.builtin.is_none() {
        let mut kept = old.clone();
        object::copy(&new, &mut kept, &["status"]);
        object::copy(&new, &mut kept, &["metadata", "managedFields"]);
        return kept;
    }
    object::copy(old, &mut new, &["spec"]);
    object::copy(old, &mut new, &["metadata", "ownerReferences"]);
    new
}

/// Whether a change is one of the wish (`spec`), and not only of metadata or status.
fn is_new_generation(call: &Call, old: &Value, new: &Value) -> bool {
    if call.resource.rules.builtin.is_some() {
        return old.get("spec") != new.get("spec");
    }
    let wish = |object: &Value| {
        let mut wish = object.clone();
        object::set(&mut wish, &["metadata"], Value::Null);
        if call.resource.has_status() {
            object::set(&mut wish, &["status"], Value::Null);
        }
        wish
    };
    wish(old) != wish(new)
}
