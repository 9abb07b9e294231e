//! The same rules over plain lists of paths, without a thought for speed, and random histories that must end alike.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Entry, Schema, Writer, apply, entries, schema::MAP, set::FieldSet, updated};

/// Every path in an object, with its value where it is one piece.
type Paths = BTreeMap<Vec<String>, Option<Value>>;
type Set = BTreeSet<Vec<String>>;

/// `spec`: a number, an object whose names are data, a list with keys, a set, and a list that is one piece.
fn schema() -> Schema {
    Schema::object()
        .with("spec.data", MAP.clone())
        .with("spec.items", Schema::keyed(&["k"], Schema::default()))
        .with("spec.tags", Schema::set())
}

/// A number for each: `a`, the names in `data`, `v` and `w` of two items, three tags, and the list.
#[derive(Clone, Debug)]
struct Wish {
    a: Option<u8>,
    data: [Option<u8>; 2],
    items: [Option<(Option<u8>, Option<u8>)>; 2],
    tags: [bool; 3],
    list: Option<u8>,
}

impl Wish {
    fn object(&self) -> Value {
        let mut spec = json!({});
        if let Some(a) = self.a {
            spec["a"] = a.into();
        }
        for (name, value) in ["x", "y"].iter().zip(self.data) {
            if let Some(value) = value {
                spec["data"][name] = value.into();
            }
        }
        let mut items = Vec::new();
        for (key, item) in self.items.iter().enumerate() {
            let Some((v, w)) = item else { continue };
            let mut item = json!({ "k": key });
            for (name, value) in [("v", v), ("w", w)] {
                if let Some(value) = value {
                    item[name] = (*value).into();
                }
            }
            items.push(item);
        }
        if !items.is_empty() {
            spec["items"] = items.into();
        }
        let tags: Vec<_> =
            ["p", "q", "r"].into_iter().zip(self.tags).filter(|(_, is)| *is).map(|(tag, _)| tag).collect();
        if !tags.is_empty() {
            spec["tags"] = tags.into();
        }
        if let Some(list) = self.list {
            spec["list"] = json!([list]);
        }
        json!({ "metadata": { "name": "a" }, "spec": spec })
    }
}

fn flatten(object: &Value) -> Paths {
    let mut paths = Paths::new();
    flatten_into(&mut Vec::new(), object, &mut paths);
    paths.retain(|path, _| path[0] == "f:spec");
    paths
}

fn flatten_into(way: &mut Vec<String>, value: &Value, paths: &mut Paths) {
    let list = way.last().cloned().unwrap_or_default();
    let mut below = |step: String, value: &Value| {
        way.push(step);
        paths.insert(way.clone(), None);
        flatten_into(way, value, paths);
        way.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| below(format!("f:{name}"), value)),
        Value::Array(items) if list == "f:items" => {
            for item in items {
                below(format!("k:{{\"k\":{}}}", item["k"]), item);
            }
        }
        Value::Array(items) if list == "f:tags" => {
            for item in items {
                below(format!("v:{item}"), &Value::Null);
            }
        }
        Value::Null => {}
        piece => {
            paths.insert(way.clone(), Some(piece.clone()));
        }
    }
}

fn is_item(path: &[String]) -> bool {
    path.last().is_some_and(|step| !step.starts_with("f:"))
}

/// Whether the last step is a field that its kind has: all but what is in `data`.
fn declared(path: &[String]) -> bool {
    let is_data = path.len() == 3 && path[1] == "f:data";
    !is_item(path) && !is_data
}

/// What an applier owns: pieces, items, names that are data, and what has nothing in it.
fn members(wish: &Paths) -> Set {
    let below = |path: &Vec<String>| wish.keys().any(|other| other != path && other.starts_with(path));
    let owned = wish.iter().filter(|(path, piece)| piece.is_some() || !declared(path) || !below(path));
    owned.map(|(path, _)| path.clone()).collect()
}

fn closure(set: &Set) -> Set {
    let prefixes = set.iter().flat_map(|path| (1..path.len()).map(|end| path[..end].to_vec()));
    prefixes.filter(|path| declared(path)).chain(set.iter().cloned()).collect()
}

#[derive(Default)]
struct Model {
    object: Option<Paths>,
    owners: BTreeMap<(String, bool), Set>,
}

impl Model {
    /// The fields in the way, or nothing.
    fn apply(&mut self, manager: &str, wish: &Paths, force: bool) -> Set {
        let live = self.object.clone().unwrap_or_default();
        let mut merged = live.clone();
        merged.extend(wish.clone());
        let own = members(wish);
        let key = (manager.to_owned(), true);
        let unowned = self.object.as_ref().filter(|_| self.owners.is_empty());
        let first = unowned.map(|object| ((super::BEFORE.to_owned(), false), members(object)));
        self.owners.extend(first.clone());
        if let Some(before) = self.owners.get(&key) {
            let others =
                self.owners.iter().filter(|(other, _)| **other != key).flat_map(|(_, set)| set.iter().cloned());
            let kept = closure(&others.chain(own.iter().cloned()).chain([vec!["f:spec".to_owned()]]).collect());
            for gone in closure(before).difference(&kept) {
                merged.retain(|path, _| !path.starts_with(gone));
            }
            // A list without items is no list.
            for list in [["f:spec", "f:items"], ["f:spec", "f:tags"]].map(|list| list.map(str::to_owned).to_vec()) {
                let items = merged.keys().filter(|path| path.starts_with(&list)).count();
                if items == 1 && live.keys().filter(|path| path.starts_with(&list)).count() > 1 {
                    merged.remove(&list);
                }
            }
        }
        let conflicts = self.write(&key, &live, &merged, force);
        if conflicts.is_empty() || force {
            self.owners.insert(key, own);
            self.owners.retain(|_, set| !set.is_empty());
            self.object = Some(merged);
        } else if let Some((first, _)) = first {
            self.owners.remove(&first);
        }
        conflicts
    }

    fn update(&mut self, manager: &str, new: &Paths) {
        // Every object has a spec.
        let live = self.object.clone().unwrap_or_else(|| [(vec!["f:spec".to_owned()], None)].into());
        let key = (manager.to_owned(), false);
        self.write(&key, &live, new, true);
        let written = new.iter().filter(|(path, piece)| live.get(*path) != Some(piece)).map(|(path, _)| path.clone());
        let own = self.owners.entry(key).or_default();
        own.extend(written);
        own.retain(|path| new.contains_key(path));
        self.owners.retain(|_, set| !set.is_empty());
        self.object = Some(new.clone());
    }

    fn write(&mut self, key: &(String, bool), live: &Paths, new: &Paths, force: bool) -> Set {
        let written: Set =
            new.iter().filter(|(path, piece)| live.get(*path) != Some(piece)).map(|(path, _)| path.clone()).collect();
        let mut conflicts = Set::new();
        for (owner, set) in &self.owners {
            if owner != key {
                conflicts.extend(set.intersection(&written).cloned());
            }
        }
        if conflicts.is_empty() || force {
            for (owner, set) in &mut self.owners {
                if owner != key {
                    set.retain(|path| !written.contains(path) && (!live.contains_key(path) || new.contains_key(path)));
                }
            }
        }
        conflicts
    }
}

fn paths(set: &FieldSet) -> Set {
    set.paths().into_iter().collect()
}

fn owners(object: &Value) -> BTreeMap<(String, bool), Set> {
    let entries = entries(object).unwrap_or_default();
    entries.iter().map(|Entry { manager, applies, fields, .. }| ((manager.clone(), *applies), paths(fields))).collect()
}

#[derive(Clone, Debug)]
struct Step {
    manager: u8,
    update: bool,
    force: bool,
    wish: Wish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || prop::option::weighted(0.6, 0..3_u8);
    let item = || prop::option::of((number(), number()));
    let wish = (number(), [number(), number()], [item(), item()], any::<[bool; 3]>(), number())
        .prop_map(|(a, data, items, tags, list)| Wish { a, data, items, tags, list });
    let step = (0..3_u8, prop::bool::weighted(0.25), any::<bool>(), wish)
        .prop_map(|(manager, update, force, wish)| Step { manager, update, force, wish });
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn applied_and_updated_as_in_the_model(steps in steps()) {
        let schema = schema();
        let (mut model, mut live) = (Model::default(), None::<Value>);
        for (number, Step { manager, update, force, wish }) in steps.iter().enumerate() {
            let object = wish.object();
            let writer = Writer { manager: format!("m{manager}"), subresource: String::new(), api_version: "v1".to_owned(), now: number.to_string() };
            if *update {
                let mut new = object.clone();
                updated(&schema, live.as_ref(), &mut new, &writer);
                model.update(&writer.manager, &flatten(&object));
                live = Some(new);
            } else {
                let expected = model.apply(&writer.manager, &flatten(&object), *force);
                match apply(&schema, live.as_ref(), &object, &writer, *force) {
                    Ok(new) => {
                        prop_assert!(expected.is_empty() || *force, "step {}: {:?}", number, expected);
                        live = Some(new);
                    }
                    Err(conflicts) => {
                        prop_assert!(!*force);
                        let told: BTreeSet<_> = conflicts.0.into_iter().map(|(_, path)| path).collect();
                        let expected: BTreeSet<_> = expected.iter().map(|path| super::written(path)).collect();
                        prop_assert_eq!(told, expected, "step {}", number);
                    }
                }
            }
            let Some(live) = &live else { continue };
            prop_assert_eq!(Some(flatten(live)), model.object.clone(), "step {}", number);
            prop_assert_eq!(owners(live), model.owners.clone(), "step {}", number);
        }
    }
}

#[test]
fn items_come_in_the_order_that_was_applied_among_those_that_were_there() {
    let schema = Schema::default().with("items", Schema::keyed(&["k"], Schema::default()));
    let list = |keys: &str| json!({ "metadata": {}, "items": keys.chars().map(|key| json!({ "k": key.to_string() })).collect::<Vec<_>>() });
    let writer = |manager: &str| Writer {
        manager: manager.to_owned(),
        subresource: String::new(),
        api_version: "v1".to_owned(),
        now: String::new(),
    };
    for (live, applied, expected) in [
        ("abc", "cb", "acb"),
        ("ba", "ab", "ab"),
        ("bac", "adb", "acdb"),
        ("abcd", "xbyd", "axbcyd"),
        ("", "ba", "ba"),
        ("ab", "", "ab"),
    ] {
        let before = apply(&schema, None, &list(live), &writer("m"), false).unwrap();
        let after = apply(&schema, Some(&before), &list(applied), &writer("n"), false).unwrap();
        let order: String =
            after["items"].as_array().into_iter().flatten().map(|item| item["k"].as_str().unwrap()).collect();
        assert_eq!(order, expected, "{applied} over {live}");
    }
}
