//! Which manager owns which field, and what may be applied: the rules of server-side apply.
//!
//! Pure: values in, values out. Measured on kube-apiserver 1.36; `tests/kubernetes/contract` asks a real server the
//! same.

mod merge;
#[cfg(test)]
mod model;
mod schema;
mod set;

use std::fmt::Write;

use serde_json::{Map, Value, json};

use self::{
    merge::{Difference, closure, compare, lay, members, prune},
    set::{FieldSet, written},
};
pub(super) use self::{
    merge::{check, named},
    schema::{List, Schema},
};

/// What no manager owns.
const NOBODYS: [&[&str]; 11] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:deletionTimestamp"],
];
/// Of those that wrote without applying, so many are kept apart.
const MOST_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";
const BEFORE: &str = "before-first-apply";

/// The writer: the identity of an entry in `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) manager: String,
    pub(super) subresource: String,
    pub(super) api_version: String,
    /// Seconds, as metadata has them.
    pub(super) now: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    manager: String,
    applies: bool,
    subresource: String,
    api_version: String,
    time: Option<String>,
    fields: FieldSet,
}

/// Fields that another owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflicts(Vec<(String, String)>);

impl Conflicts {
    /// One cause each, as the `Status` lists them.
    pub(super) fn causes(&self) -> Vec<Value> {
        let cause = |(owner, path): &(String, String)| json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {owner}"), "field": path });
        self.0.iter().map(cause).collect()
    }

    pub(super) fn message(&self) -> String {
        if let [(owner, path)] = &self.0[..] {
            return format!("Apply failed with 1 conflict: conflict with {owner}: {path}");
        }
        let mut text = format!("Apply failed with {} conflicts: ", self.0.len());
        let mut last = "";
        for (owner, path) in &self.0 {
            if owner != last {
                let _ = writeln!(text, "conflicts with {owner}:");
                last = owner;
            }
            let _ = writeln!(text, "- {path}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl Entry {
    fn is(&self, writer: &Writer, applies: bool) -> bool {
        let same = self.manager == writer.manager && self.subresource == writer.subresource;
        same && self.applies == applies && (applies || self.api_version == writer.api_version)
    }

    fn new(writer: &Writer, applies: bool, fields: FieldSet, time: Option<String>) -> Self {
        let Writer { manager, subresource, api_version, .. } = writer.clone();
        Self { manager, applies, subresource, api_version, time, fields }
    }

    /// As conflicts name it.
    fn owner(&self) -> String {
        let mut owner = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            let _ = write!(owner, " with subresource {:?}", self.subresource);
        }
        if !self.applies {
            let _ = write!(owner, " using {}", self.api_version);
        }
        owner
    }

    fn to_json(&self) -> Value {
        let operation = if self.applies { "Apply" } else { "Update" };
        let mut json = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_json(),
        });
        if let Some(time) = &self.time {
            json["time"] = time.clone().into();
        }
        if !self.subresource.is_empty() {
            json["subresource"] = self.subresource.clone().into();
        }
        json
    }

    fn from_json(json: &Value) -> Option<Self> {
        let text = |field: &str| json.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
        Some(Self {
            manager: text("manager"),
            applies: match json.get("operation")?.as_str()? {
                "Apply" => true,
                "Update" => false,
                _ => return None,
            },
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: Some(text("time")).filter(|time| !time.is_empty()),
            fields: FieldSet::from_json(json.get("fieldsV1")?)?,
        })
    }
}

/// The entries of `managedFields`; `None` where there are none, or what there is cannot be read.
fn entries(object: &Value) -> Option<Vec<Entry>> {
    object.pointer("/metadata/managedFields")?.as_array()?.iter().map(Entry::from_json).collect()
}

fn write_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    let key = |entry: &Entry| (!entry.applies, entry.time.clone(), entry.manager.clone(), entry.subresource.clone());
    entries.sort_by_key(key);
    // Those that apply come first, then the others, the oldest of them first.
    let first = entries.iter().take_while(|entry| entry.applies).count();
    let too_many = entries.len().saturating_sub(first + MOST_UPDATERS);
    if too_many > 0 {
        let oldest: Vec<_> = entries.splice(first..=first + too_many, []).collect();
        let fields = oldest.iter().fold(FieldSet::default(), |all, entry| all.union(&entry.fields));
        let last = oldest.last().cloned();
        entries.splice(first..first, last.map(|last| Entry { manager: ANCIENT.to_owned(), fields, ..last }));
    }
    let list: Vec<_> = entries.iter().map(Entry::to_json).collect();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
        if !list.is_empty() {
            metadata.insert("managedFields".to_owned(), list.into());
        }
    }
}

fn without_entries(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(Value::Object(metadata)) = bare.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    bare
}

/// What this writer may own of a set.
fn ownable(set: FieldSet, writer: &Writer) -> FieldSet {
    let set = NOBODYS.iter().fold(set, |set, path| set.without(path)).without_member("f:metadata");
    match writer.subresource.as_str() {
        "status" => set.only(&["f:status"]),
        _ => set,
    }
}

/// Takes what was written or taken away from all others. Returns what was theirs, by owner.
fn take(others: &mut [Entry], difference: &Difference) -> Vec<(Entry, FieldSet)> {
    let written = difference.written();
    let mut theirs = Vec::new();
    for entry in others {
        let lost = entry.fields.intersection(&written);
        if !lost.is_empty() {
            theirs.push((entry.clone(), lost));
        }
        entry.fields = entry.fields.difference(&written).difference(&difference.removed);
    }
    theirs
}

/// A write that applies nothing has made `new` out of `old`: notes which manager owns what now. A write without a
/// change keeps all.
pub(super) fn updated(schema: &Schema, old: Option<&Value>, new: &mut Value, writer: &Writer) {
    let given = new.pointer("/metadata/managedFields").cloned();
    let reset = old.is_some() && given.as_ref().and_then(Value::as_array).is_some_and(Vec::is_empty);
    let known = old.and_then(entries).unwrap_or_default();
    if reset {
        write_entries(new, Vec::new());
        return;
    }
    let mut entries =
        if old.is_some() { entries(new).filter(|given| !given.is_empty()).unwrap_or(known) } else { known };
    let before = old.map_or_else(|| schema.blank(), without_entries);
    let difference = compare(schema, Some(&before), Some(&without_entries(new)));
    let own = entries.iter().position(|entry| entry.is(writer, false)).map(|at| entries.remove(at));
    take(&mut entries, &difference);
    let before = own.as_ref().map(|own| own.fields.clone()).unwrap_or_default();
    let fields = ownable(before.union(&difference.written()).difference(&difference.removed), writer);
    match own {
        Some(own) if own.fields == fields => entries.push(own),
        _ => entries.push(Entry::new(writer, false, fields, Some(writer.now.clone()))),
    }
    write_entries(new, entries);
}

/// Applies `applied` over `live`: the object as it is to be, or which managers are in the way. Lists must have been
/// [checked](check).
///
/// What is not changed is equal to `live`, its `managedFields` too, if nothing is to be written.
pub(super) fn apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    writer: &Writer,
    force: bool,
) -> Result<Value, Conflicts> {
    let mut entries = live.and_then(entries).unwrap_or_default();
    let bare = live.map(without_entries);
    if let Some(bare) = bare.as_ref().filter(|_| entries.is_empty()) {
        let all = Writer { manager: BEFORE.to_owned(), subresource: String::new(), ..writer.clone() };
        let fields = ownable(members(schema, bare, true), &all);
        entries.push(Entry::new(&all, false, fields, Some(writer.now.clone())));
    }
    let own = entries.iter().position(|entry| entry.is(writer, true)).map(|at| entries.remove(at));
    let whole = members(schema, applied, true);
    let fields = ownable(whole.clone(), writer);

    let mut merged = lay(schema, bare.as_ref(), applied);
    if let Some(own) = &own {
        let all = entries.iter().fold(whole, |all, entry| all.union(&entry.fields));
        let gone = closure(schema, &own.fields, true).difference(&closure(schema, &all, true));
        gone.paths().iter().for_each(|path| prune(schema, &mut merged, path));
    }
    let difference = compare(schema, bare.as_ref(), Some(&merged));
    let theirs = take(&mut entries, &difference);
    if !theirs.is_empty() && !force {
        let mut conflicts = Vec::new();
        for (entry, lost) in theirs {
            let owner = entry.owner();
            conflicts.extend(lost.paths().iter().map(|path| (owner.clone(), written(path))));
        }
        conflicts.sort_by(|a, b| a.0.cmp(&b.0));
        return Err(Conflicts(conflicts));
    }
    let changed = bare.as_ref() != Some(&merged);
    let time = match &own {
        _ if changed => Some(writer.now.clone()),
        Some(own) if own.fields == fields => own.time.clone(),
        _ => None,
    };
    entries.push(Entry::new(writer, true, fields, time));
    if !merged.get("metadata").is_some_and(Value::is_object) {
        merged["metadata"] = Value::Object(Map::new());
    }
    write_entries(&mut merged, entries);
    Ok(merged)
}
