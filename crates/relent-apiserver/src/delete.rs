//! Deletion: preconditions, finalizers, the grace of pods, whole collections, namespaces.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    crd,
    failure::Failure,
    object,
    request::Call,
    resource::{Builtin, ResourceKind},
    selector::Selector,
    state::State,
    store::Key,
};

/// What a server says to a client that deletes a job and says nothing of its pods.
const JOBS_LEAVE_PODS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// How something is to be deleted: the body of the request, or its query.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    uid: Option<String>,
    revision: Option<String>,
    grace: Option<i64>,
    propagation: String,
    /// The older way to say it.
    orphans: Option<bool>,
}

impl Options {
    pub(super) fn parse(call: &Call, body: &[u8]) -> Result<Self, Failure> {
        let body: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| {
                Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
            })?
        };
        let mut options = Self::read(&body);
        if options.grace.is_none() && !call.query.get("gracePeriodSeconds").is_empty() {
            options.grace = Some(
                call.query
                    .get("gracePeriodSeconds")
                    .parse()
                    .map_err(|_| Failure::bad_request("gracePeriodSeconds is not a number"))?,
            );
        }
        if options.propagation.is_empty() {
            call.query.get("propagationPolicy").clone_into(&mut options.propagation);
        }
        if !matches!(options.propagation.as_str(), "" | "Background" | "Foreground" | "Orphan") {
            let message = format!(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"{}\": supported values: \"Background\", \"Foreground\", \"Orphan\"",
                options.propagation
            );
            return Err(Failure::new(422, "Invalid", message));
        }
        if options.orphans.is_none() {
            options.orphans =
                Some(call.query.get("orphanDependents")).filter(|said| !said.is_empty()).map(|it| it == "true");
        }
        if options.orphans.is_some() && !options.propagation.is_empty() {
            let message = format!(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"{}\": orphanDependents and deletionPropagation cannot be both set",
                options.propagation
            );
            return Err(Failure::new(422, "Invalid", message));
        }
        Ok(options)
    }

    /// Just how what it owns is to go.
    pub(super) fn policy(propagation: &str) -> Self {
        Self { propagation: propagation.to_owned(), ..Self::default() }
    }

    /// From the JSON of `DeleteOptions`.
    pub(super) fn read(body: &Value) -> Self {
        Self {
            uid: object::text(body, "/preconditions/uid").map(str::to_owned),
            revision: object::text(body, "/preconditions/resourceVersion").map(str::to_owned),
            grace: object::number(body, "/gracePeriodSeconds"),
            propagation: object::text(body, "/propagationPolicy").unwrap_or("").to_owned(),
            orphans: body.get("orphanDependents").and_then(Value::as_bool),
        }
    }
}

/// DELETE of one object: the object while it is still there, or a `Status`.
pub(super) fn one(state: &mut State, call: &Call, options: &Options) -> Result<Value, Failure> {
    run(state, &call.resource, &call.key(&call.name), options)
}

pub(super) fn run(
    state: &mut State,
    resource: &Arc<ResourceKind>,
    key: &Key,
    options: &Options,
) -> Result<Value, Failure> {
    let name = key.name.as_str();
    let Some(old) = state.store.get(key).cloned() else {
        return Err(Failure::not_found(resource, name));
    };
    let uid = object::meta(&old, "uid");
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(Failure::precondition(resource, name, &why));
    }
    let revision = object::meta(&old, "resourceVersion");
    if let Some(wanted) = options.revision.as_deref().filter(|wanted| *wanted != revision) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        );
        return Err(Failure::precondition(resource, name, &why));
    }
    if resource.is(Builtin::Namespace) {
        return Ok(namespace(state, key, &old));
    }
    let mut new = (*old).clone();
    let grace = if resource.is(Builtin::Pod) { grace_of_pod(&old, options) } else { Some(0) };
    let Some(grace) = grace else {
        return Ok(new);
    };
    if finalize(resource, &mut new, options) {
        state.warnings.push(JOBS_LEAVE_PODS.to_owned());
    }
    if grace == 0 && object::finalizers(&new).is_empty() {
        let gone = erase(state, key).unwrap_or(Value::Null);
        return Ok(if resource.is(Builtin::Pod) { gone } else { deleted(resource, name, uid) });
    }
    if object::is_terminating(&old) {
        let same = object::number(&old, "/metadata/deletionGracePeriodSeconds") == Some(grace);
        if same && object::finalizers(&new) == object::finalizers(&old) {
            return Ok(new);
        }
    } else if let Some(generation) = object::number(&new, "/metadata/generation") {
        object::set_meta(&mut new, "generation", (generation + 1).into());
    }
    if object::number(&old, "/metadata/deletionGracePeriodSeconds") != Some(grace) {
        object::set_meta(&mut new, "deletionTimestamp", state.stamp(grace).into());
        object::set_meta(&mut new, "deletionGracePeriodSeconds", grace.into());
    }
    Ok((*state.store.put(key.clone(), &new)).clone())
}

/// Whether an object that is being deleted waits for nothing more.
pub(super) fn is_over(resource: &ResourceKind, object: &Value) -> bool {
    object::is_terminating(object)
        && object::finalizers(object).is_empty()
        && object::number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
        && !resource.is(Builtin::Namespace)
}

/// The grace that a pod gets; `None` when its deletion is under way and this changes nothing about it.
fn grace_of_pod(pod: &Value, options: &Options) -> Option<i64> {
    if object::is_terminating(pod) {
        let left = object::number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        return options.grace.filter(|grace| *grace < left).or((left == 0).then_some(0));
    }
    let over = matches!(object::text(pod, "/status/phase"), Some("Failed" | "Succeeded"));
    let scheduled = object::text(pod, "/spec/nodeName").is_some_and(|node| !node.is_empty());
    if over || !scheduled {
        return Some(0);
    }
    let wished = options.grace.or_else(|| object::number(pod, "/spec/terminationGracePeriodSeconds"));
    Some(wished.map_or(0, |grace| if grace < 0 { 1 } else { grace }))
}

/// Writes the finalizers that say how what it owns is to go. Whether that is what no option has asked for.
fn finalize(resource: &ResourceKind, object: &mut Value, options: &Options) -> bool {
    if resource.is(Builtin::Event) {
        return false;
    }
    let held: Vec<String> = object::finalizers(object).into_iter().map(str::to_owned).collect();
    let has = |name: &str| held.iter().any(|known| known == name);
    let unsaid = options.orphans.is_none() && options.propagation.is_empty();
    // Jobs of this version leave their pods unless told otherwise.
    let by_default = unsaid && resource.qualified() == "jobs.batch" && !has("orphan") && !has("foregroundDeletion");
    let orphan = match (options.orphans, options.propagation.as_str()) {
        (Some(orphans), _) => orphans,
        (None, "") => has("orphan") || by_default,
        (None, policy) => policy == "Orphan",
    };
    let foreground = match options.propagation.as_str() {
        "" => options.orphans.is_none() && has("foregroundDeletion"),
        policy => policy == "Foreground",
    };
    let mut all: Vec<String> =
        held.iter().filter(|name| !["orphan", "foregroundDeletion"].contains(&name.as_str())).cloned().collect();
    if orphan {
        all.push("orphan".to_owned());
    }
    if foreground {
        all.push("foregroundDeletion".to_owned());
    }
    if all != held {
        object::set_meta(object, "finalizers", if all.is_empty() { Value::Null } else { all.into() });
    }
    by_default
}

fn deleted(resource: &ResourceKind, name: &str, uid: &str) -> Value {
    let mut details = json!({ "name": name, "kind": resource.plural(), "uid": uid });
    if !resource.group().is_empty() {
        details["group"] = resource.group().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Takes an object out of the store; the namespace that waited for it goes too. What is returned bears the revision of
/// its end.
pub(super) fn erase(state: &mut State, key: &Key) -> Option<Value> {
    if *key.resource == *crd::DEFINITIONS
        && let Some(definition) = state.store.get(key).cloned()
    {
        crd::retire(state, &definition);
    }
    let gone = state.store.remove(key)?;
    let gone = object::at_revision(&gone, state.store.revision());
    if !key.namespace.is_empty() {
        let home = Key { resource: "namespaces".into(), namespace: String::new(), name: key.namespace.clone() };
        let waits = state.store.get(&home).is_some_and(|home| object::is_terminating(home));
        if waits && !state.store.occupied(&key.namespace) {
            state.store.remove(&home);
        }
    }
    Some(gone)
}

/// A namespace goes with all that is in it, and stays while something in it has a finalizer.
fn namespace(state: &mut State, key: &Key, old: &Value) -> Value {
    let mut new = old.clone();
    if !object::is_terminating(old) {
        object::set_meta(&mut new, "deletionTimestamp", state.stamp(0).into());
        object::set(&mut new, &["status", "phase"], "Terminating".into());
        new = (*state.store.put(key.clone(), &new)).clone();
    }
    for inside in state.store.inside(&key.name) {
        let Some(object) = state.store.get(&inside).cloned() else { continue };
        if object::finalizers(&object).is_empty() {
            erase(state, &inside);
        } else if !object::is_terminating(&object) {
            let mut ending = (*object).clone();
            object::set_meta(&mut ending, "deletionTimestamp", state.stamp(0).into());
            object::set_meta(&mut ending, "deletionGracePeriodSeconds", 0.into());
            state.store.put(inside, &ending);
        }
    }
    if !state.store.occupied(&key.name) {
        state.store.remove(key);
    }
    new
}

/// DELETE of a collection: what was chosen, as a list.
pub(super) fn many(state: &mut State, call: &Call, options: &Options) -> Result<Value, Failure> {
    let query = &call.query;
    let selector = Selector::parse(&call.resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let resource = call.stored();
    let namespace = Some(call.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let chosen: Vec<String> = state
        .store
        .list(&resource, namespace)
        .filter(|(_, object)| selector.matches(object))
        .map(|(key, _)| key.name.clone())
        .collect();
    let mut items = Vec::new();
    for name in chosen {
        let call = Call { name, ..call.clone() };
        let Some(object) = state.store.get(&call.key(&call.name)).cloned() else { continue };
        one(state, &call, options)?;
        items.push(call.listed(&object));
    }
    Ok(call.list(items, json!({ "resourceVersion": state.store.revision().to_string() })))
}
