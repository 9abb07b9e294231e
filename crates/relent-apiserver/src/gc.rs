//! The garbage collector: what has no owner left goes, and deletion in the foreground or with orphans comes to its end.
//!
//! The rules of the collector in kube-controller-manager (`attemptToDeleteItem`). Here it acts at the instant of the
//! write that gives it work, and goes on until nothing is left to do.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    apply::{self, Writer},
    delete::{self, Options},
    object,
    resource::ResourceKind,
    state::State,
    store::{Key, Store},
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const MANAGER: &str = "kube-controller-manager";

/// What is known of an owner that an object names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It is there, or its kind is not known: then nothing can be said.
    Solid,
    /// It is going, and waits for what it owns.
    Waiting,
    Absent,
}

/// Does all there is to do.
pub(super) fn collect(state: &mut State) {
    // What happened before the history begins may be anything.
    let known = state.collected >= state.store.floor();
    if known && !concerns(&state.store, state.collected) {
        state.collected = state.store.revision();
        return;
    }
    while pass(state) {}
    state.collected = state.store.revision();
}

/// Whether anything since this revision can give the collector work.
fn concerns(store: &Store, since: u64) -> bool {
    store.since(since).any(|change| match &change.after {
        None => true,
        Some(after) => {
            object::is_terminating(after)
                || after.pointer("/metadata/ownerReferences").is_some_and(|owners| !owners.is_null())
        }
    })
}

fn references(object: &Value) -> &[Value] {
    object.pointer("/metadata/ownerReferences").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn uid(reference: &Value) -> &str {
    reference.get("uid").and_then(Value::as_str).unwrap_or("")
}

fn waits_for_dependents(object: &Value) -> bool {
    object::is_terminating(object) && object::finalizers(object).contains(&FOREGROUND)
}

/// One look at everything. Whether anything was done.
fn pass(state: &mut State) -> bool {
    let mut dependents: HashMap<String, Vec<Key>> = HashMap::new();
    let mut work: Vec<Key> = Vec::new();
    for (key, object) in state.store.everything() {
        for reference in references(object) {
            dependents.entry(uid(reference).to_owned()).or_default().push(key.clone());
        }
        if object::is_terminating(object) || !references(object).is_empty() {
            work.push(key.clone());
        }
    }
    let before = state.store.revision();
    for key in work {
        let Some(object) = state.store.get(&key).cloned() else { continue };
        let Some(resource) = state.resources.stored_as(&key.resource).cloned() else { continue };
        let own = dependents.get(object::meta(&object, "uid")).map_or(&[][..], Vec::as_slice);
        attempt(state, &resource, &key, &object, own);
    }
    state.store.revision() != before
}

fn attempt(state: &mut State, resource: &Arc<ResourceKind>, key: &Key, object: &Arc<Value>, dependents: &[Key]) {
    let own = object::meta(object, "uid").to_owned();
    // What of the dependents is there still.
    let there: Vec<(&Key, Arc<Value>)> = dependents
        .iter()
        .filter_map(|key| Some((key, state.store.get(key)?.clone())))
        .filter(|(_, object)| references(object).iter().any(|reference| uid(reference) == own))
        .collect();
    if object::is_terminating(object) && object::finalizers(object).contains(&ORPHAN) {
        for (key, dependent) in &there {
            without_owners(state, key, dependent, |reference| uid(reference) == own);
        }
        return without_finalizer(state, resource, key, object, ORPHAN);
    }
    if waits_for_dependents(object) {
        let blocks = |dependent: &Value| {
            references(dependent)
                .iter()
                .any(|it| uid(it) == own && it.get("blockOwnerDeletion") == Some(&Value::Bool(true)))
        };
        if !there.iter().any(|(_, dependent)| blocks(dependent)) {
            without_finalizer(state, resource, key, object, FOREGROUND);
        }
        return;
    }
    if object::is_terminating(object) || references(object).is_empty() {
        return;
    }
    let owners: Vec<(String, Owner)> =
        references(object).iter().map(|reference| (uid(reference).to_owned(), owner(state, key, reference))).collect();
    let any = |wanted: Owner| owners.iter().any(|(_, is)| *is == wanted);
    let policy = if any(Owner::Solid) {
        if owners.iter().all(|(_, is)| *is == Owner::Solid) {
            return;
        }
        let lost: HashSet<String> =
            owners.into_iter().filter(|(_, is)| *is != Owner::Solid).map(|(uid, _)| uid).collect();
        return without_owners(state, key, object, |reference| lost.contains(uid(reference)));
    } else if any(Owner::Waiting) && !there.is_empty() {
        if there.iter().any(|(_, dependent)| waits_for_dependents(dependent)) {
            // A circle: each would wait for the other.
            unblock(state, key, object);
        }
        "Foreground"
    } else {
        match &object::finalizers(object)[..] {
            held if held.contains(&ORPHAN) => "Orphan",
            held if held.contains(&FOREGROUND) => "Foreground",
            _ => "Background",
        }
    };
    // What cannot be deleted stays; a real collector would try it again.
    let _ = delete::run(state, resource, key, &Options::policy(policy));
}

/// What has become of an owner. One that is named in another namespace counts as absent.
fn owner(state: &State, dependent: &Key, reference: &Value) -> Owner {
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or("");
    let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    let Some(resource) = state.resources.of_kind(group, text("kind")) else { return Owner::Solid };
    let namespace = match (resource.is_namespaced(), dependent.namespace.is_empty()) {
        // Something outside of namespaces cannot be owned from within one: nothing can be said.
        (true, true) => return Owner::Solid,
        (true, false) => dependent.namespace.clone(),
        (false, _) => String::new(),
    };
    let key = Key { resource: resource.stored().into(), namespace, name: text("name").to_owned() };
    match state.store.get(&key) {
        Some(owner) if object::meta(owner, "uid") != text("uid") => Owner::Absent,
        Some(owner) if waits_for_dependents(owner) => Owner::Waiting,
        Some(_) => Owner::Solid,
        None => Owner::Absent,
    }
}

/// Stores what the collector has changed about an object.
fn write(state: &mut State, key: &Key, old: &Value, mut new: Value) {
    if let Some(resource) = state.resources.stored_as(&key.resource).cloned() {
        let api_version = new.get("apiVersion").and_then(Value::as_str).unwrap_or("").to_owned();
        let (manager, subresource) = (MANAGER.to_owned(), String::new());
        let writer = Writer { manager, subresource, api_version, now: state.stamp(0) };
        apply::updated(&resource.merge_schema(), Some(old), &mut new, &writer);
    }
    state.store.put(key.clone(), &new);
}

fn without_owners(state: &mut State, key: &Key, object: &Value, lost: impl Fn(&Value) -> bool) {
    let kept: Vec<Value> = references(object).iter().filter(|reference| !lost(reference)).cloned().collect();
    let mut new = object.clone();
    object::set_meta(&mut new, "ownerReferences", if kept.is_empty() { Value::Null } else { kept.into() });
    write(state, key, object, new);
}

fn unblock(state: &mut State, key: &Key, object: &Value) {
    let mut new = object.clone();
    let references = new.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    for reference in references.into_iter().flatten() {
        if reference.get("blockOwnerDeletion").is_some() {
            reference["blockOwnerDeletion"] = false.into();
        }
    }
    if new != *object {
        write(state, key, object, new);
    }
}

fn without_finalizer(state: &mut State, resource: &Arc<ResourceKind>, key: &Key, object: &Value, finalizer: &str) {
    let left: Vec<&str> = object::finalizers(object).into_iter().filter(|held| *held != finalizer).collect();
    let mut new = object.clone();
    object::set_meta(&mut new, "finalizers", if left.is_empty() { Value::Null } else { left.into() });
    if delete::is_over(resource, &new) {
        delete::erase(state, key);
    } else {
        write(state, key, object, new);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HOLD: &str = "example.com/hold";

    #[derive(Clone, Debug)]
    enum Step {
        /// An object with these owners, by number, and whether they wait for it.
        Make {
            at: usize,
            owners: Vec<(usize, bool)>,
            held: bool,
        },
        Delete {
            at: usize,
            policy: &'static str,
        },
        Release {
            at: usize,
        },
        Compact,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let number = || 0..6_usize;
        let owners = prop::collection::vec((number(), any::<bool>()), 0..3);
        let policy = prop::sample::select(vec!["", "Background", "Foreground", "Orphan"]);
        let step = prop_oneof![
            5 => (number(), owners, prop::bool::weighted(0.2)).prop_map(|(at, owners, held)| Step::Make { at, owners, held }),
            4 => (number(), policy).prop_map(|(at, policy)| Step::Delete { at, policy }),
            2 => number().prop_map(|at| Step::Release { at }),
            1 => Just(Step::Compact),
        ];
        prop::collection::vec(step, 0..40)
    }

    fn key(number: usize) -> Key {
        Key { resource: "configmaps".into(), namespace: "default".to_owned(), name: format!("o{number}") }
    }

    /// The objects by uid.
    fn snapshot(state: &State) -> BTreeMap<String, Arc<Value>> {
        let maps = state.store.list(&"configmaps".into(), Some("default"));
        maps.map(|(_, object)| (object::meta(object, "uid").to_owned(), object.clone())).collect()
    }

    fn step(state: &mut State, step: &Step) -> Option<String> {
        let maps = state.resources.stored_as("configmaps").unwrap().clone();
        match step {
            Step::Make { at, owners, held } if state.store.get(&key(*at)).is_none() => {
                let mut references = Vec::new();
                for (owner, blocks) in owners {
                    let uid =
                        state.store.get(&key(*owner)).map_or("gone", |owner| object::meta(owner, "uid")).to_owned();
                    references.push(json!({
                        "apiVersion": "v1", "kind": "ConfigMap", "name": key(*owner).name, "uid": uid, "blockOwnerDeletion": blocks,
                    }));
                }
                let mut made = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": key(*at).name, "uid": state.uid() },
                });
                if !references.is_empty() {
                    made["metadata"]["ownerReferences"] = references.into();
                }
                if *held {
                    made["metadata"]["finalizers"] = json!([HOLD]);
                }
                state.store.put(key(*at), &made);
                None
            }
            Step::Delete { at, policy } => {
                let uid = state.store.get(&key(*at)).map(|object| object::meta(object, "uid").to_owned());
                let _ = delete::run(state, &maps, &key(*at), &Options::policy(policy));
                uid
            }
            Step::Release { at } => {
                if let Some(object) = state.store.get(&key(*at)).cloned() {
                    without_finalizer(state, &maps, &key(*at), &object, HOLD);
                }
                None
            }
            Step::Compact => {
                state.store.compact();
                None
            }
            Step::Make { .. } => None,
        }
    }

    proptest! {
        /// What must go goes, and what has an owner, or never had one, stays.
        #[test]
        fn what_is_left_is_owned_or_held(all in steps(), at_once in any::<bool>()) {
            let mut state = State::new();
            let mut deleted = HashSet::new();
            for (number, done) in all.iter().enumerate() {
                let before = snapshot(&state);
                deleted.extend(step(&mut state, done));
                if !at_once && number % 3 != 0 {
                    continue;
                }
                let between = snapshot(&state);
                collect(&mut state);
                let after = snapshot(&state);
                let owner_of = |all: &BTreeMap<String, Arc<Value>>, reference: &Value| all.get(uid(reference)).cloned();
                for (own, object) in &after {
                    let held = object::finalizers(object);
                    if object::is_terminating(object) {
                        prop_assert!(!held.is_empty() && !held.contains(&ORPHAN), "{object}");
                        let mut dependents = after.values().flat_map(|other| references(other));
                        let blocked = dependents.any(|it| uid(it) == own && it["blockOwnerDeletion"] == true);
                        prop_assert!(blocked || !held.contains(&FOREGROUND), "nothing blocks {object}");
                        continue;
                    }
                    for reference in references(object) {
                        let owner = owner_of(&after, reference);
                        prop_assert!(owner.is_some_and(|owner| !waits_for_dependents(&owner)), "{object} is owned by what is gone");
                    }
                }
                // What went was deleted by a request, or has no owner left.
                for (own, object) in before.iter().chain(&between) {
                    let there = after.get(own).is_some_and(|now| !object::is_terminating(now));
                    if there || deleted.contains(own) || object::is_terminating(object) {
                        continue;
                    }
                    prop_assert!(!references(object).is_empty(), "{object} had no owner and went");
                    for reference in references(object) {
                        let (was, is) = (owner_of(&between, reference), owner_of(&after, reference));
                        // One that began to go on the way may have waited for what it owns.
                        let left = match (was, is) {
                            (Some(_), Some(is)) if !object::is_terminating(&is) => true,
                            (Some(was), Some(_)) => {
                                object::is_terminating(&was)
                                    && !object::finalizers(&was).iter().any(|held| [ORPHAN, FOREGROUND].contains(held))
                            }
                            _ => false,
                        };
                        prop_assert!(!left, "{object} has an owner and went");
                    }
                }
                let revision = state.store.revision();
                state.collected = 0;
                collect(&mut state);
                prop_assert_eq!(state.store.revision(), revision, "nothing is left to do");
            }
        }
    }
}
