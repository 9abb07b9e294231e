//! Sets of fields, as `fieldsV1` writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of paths, as a tree. A step of a path is written as in `fieldsV1`: `f:name` a field, `k:{..}` the item of a
/// list with these keys, `v:..` the item of a set with this value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct FieldSet {
    /// Whether the path that leads here is in the set itself.
    pub(super) member: bool,
    /// What is in the set below, by the next step. Never an empty set.
    pub(super) below: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// The set of the path that leads here.
    pub(super) fn here() -> Self {
        Self { member: true, below: BTreeMap::new() }
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Puts a set below a step.
    pub(super) fn put(&mut self, step: String, set: Self) {
        if !set.is_empty() {
            self.below.insert(step, set);
        }
    }

    pub(in super::super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.member |= other.member;
        for (step, set) in &other.below {
            let union = all.below.get(step).map_or_else(|| set.clone(), |known| known.union(set));
            all.below.insert(step.clone(), union);
        }
        all
    }

    pub(in super::super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { member: self.member && other.member, below: BTreeMap::new() };
        for (step, set) in &self.below {
            if let Some(known) = other.below.get(step) {
                both.put(step.clone(), set.intersection(known));
            }
        }
        both
    }

    pub(in super::super) fn difference(&self, other: &Self) -> Self {
        let mut rest = Self { member: self.member && !other.member, below: BTreeMap::new() };
        for (step, set) in &self.below {
            rest.put(step.clone(), other.below.get(step).map_or_else(|| set.clone(), |known| set.difference(known)));
        }
        rest
    }

    /// Without this path and all below it.
    pub(in super::super) fn without(mut self, path: &[&str]) -> Self {
        self.cut(path);
        self
    }

    fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            *self = Self::default();
            return;
        };
        if let Some(set) = self.below.get_mut(*first) {
            set.cut(rest);
            if set.is_empty() {
                self.below.remove(*first);
            }
        }
    }

    /// Without the path of this first step itself; what is below it stays.
    pub(in super::super) fn without_member(mut self, step: &str) -> Self {
        if let Some(set) = self.below.get_mut(step) {
            set.member = false;
            if set.is_empty() {
                self.below.remove(step);
            }
        }
        self
    }

    /// Only what is below one of these first steps.
    pub(in super::super) fn only(mut self, first: &[&str]) -> Self {
        self.member = false;
        self.below.retain(|step, _| first.contains(&step.as_str()));
        self
    }

    /// All paths, those of a level before deeper ones, each level by name: as conflicts are told.
    pub(in super::super) fn paths(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        let mut way = Vec::new();
        self.walk(&mut way, &mut all);
        all
    }

    fn walk(&self, way: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
        for (step, set) in &self.below {
            if set.member {
                way.push(step.clone());
                all.push(way.clone());
                way.pop();
            }
        }
        for (step, set) in &self.below {
            way.push(step.clone());
            set.walk(way, all);
            way.pop();
        }
    }

    /// As `fieldsV1`.
    pub(in super::super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (step, set) in &self.below {
            let mut inside = set.to_json();
            if set.member && !set.below.is_empty() {
                inside["."] = Value::Object(Map::new());
            }
            map.insert(step.clone(), inside);
        }
        Value::Object(map)
    }

    /// From `fieldsV1`; `None` where it is none.
    pub(in super::super) fn from_json(json: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (step, inside) in json.as_object()? {
            if step == "." {
                set.member = true;
                continue;
            }
            if !["f:", "k:", "v:"].iter().any(|kind| step.starts_with(kind)) {
                return None;
            }
            let mut below = Self::from_json(inside)?;
            below.member |= below.below.is_empty();
            set.below.insert(step.clone(), below);
        }
        Some(set)
    }
}

/// A path as conflicts name it: `.spec.containers[name="c"].image`.
pub(super) fn written(path: &[String]) -> String {
    path.iter()
        .map(|step| match step.split_at(2) {
            ("k:", keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            ("v:", value) => format!("[={value}]"),
            (_, name) => format!(".{name}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_it_writes_and_names_paths_as_the_server_does() {
        let json = json!({
            "f:data": { ".": {}, "f:a": {} },
            "f:spec": {
                "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:env": { "k:{\"name\":\"A\"}": { "f:value": {} } } } },
                "f:list": { "v:\"x\"": {} },
            },
        });
        let set = FieldSet::from_json(&json).unwrap();
        assert_eq!(set.to_json(), json);
        let paths: Vec<_> = set.paths().iter().map(|path| written(path)).collect();
        assert_eq!(
            paths,
            [
                ".data",
                ".data.a",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].env[name=\"A\"].value",
                ".spec.list[=\"x\"]",
            ]
        );
        assert!(FieldSet::from_json(&json!({ "x:y": {} })).is_none());
    }
}
