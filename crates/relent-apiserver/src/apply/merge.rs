//! What is in a value, how two values differ, and how one is laid over another: by the schema.

use serde_json::{Map, Value};

use super::{
    super::path::Step,
    schema::{List, Schema},
    set::FieldSet,
};

/// An item without the keys of its list, or two with the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct BadList {
    /// The path of the list, as errors name it.
    pub(in super::super) path: String,
    pub(in super::super) why: String,
}

/// What differs between two values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// The step to an item of a list.
fn step(list: &List<'_>, item: &Value) -> Option<String> {
    match list {
        List::Atomic => None,
        List::Set => Some(format!("v:{item}")),
        List::Keyed(keys) => {
            let mut found = Map::new();
            for (key, default) in *keys {
                if let Some(value) = item.get(key).filter(|value| !value.is_null()).or(default.as_ref()) {
                    found.insert(key.clone(), value.clone());
                }
            }
            let given = keys.iter().any(|(key, _)| item.get(key).is_some());
            given.then(|| format!("k:{}", Value::Object(found)))
        }
    }
}

/// The fields of an object that is merged; `None` for what is one piece.
fn fields<'v>(schema: &Schema, value: &'v Value) -> Option<&'v Map<String, Value>> {
    value.as_object().filter(|_| !schema.is_atomic())
}

/// The items of a list that is merged, each with its step; `None` for a list that is one piece.
fn items<'v>(schema: &Schema, list: &'v Value) -> Option<Vec<(String, &'v Value)>> {
    let (list, kind) = (list.as_array()?, schema.list());
    if matches!(kind, List::Atomic) {
        return None;
    }
    list.iter().map(|item| Some((step(&kind, item)?, item))).collect()
}

fn item<'v>(items: &[(String, &'v Value)], step: &str) -> Option<&'v Value> {
    items.iter().find(|(known, _)| known == step).map(|(_, item)| *item)
}

/// Finds lists whose items cannot be told apart.
pub(in super::super) fn check(schema: &Schema, value: &Value, path: &str) -> Result<(), BadList> {
    match value {
        _ if schema.is_atomic() => Ok(()),
        Value::Object(map) => {
            map.iter().try_for_each(|(name, value)| check(schema.field(name), value, &format!("{path}.{name}")))
        }
        Value::Array(list) => {
            let kind = schema.list();
            if matches!(kind, List::Atomic) {
                return Ok(());
            }
            let bad = |why: String| Err(BadList { path: path.to_owned(), why });
            let mut known: Vec<String> = Vec::new();
            for value in list {
                let Some(step) = step(&kind, value) else {
                    let List::Keyed(keys) = kind else { continue };
                    let keys: Vec<_> = keys.iter().map(|(key, _)| format!("{key:?}")).collect();
                    return bad(format!(
                        "associative list with keys has an element that omits all key fields [{}]",
                        keys.join(" ")
                    ));
                };
                let written = super::set::written(std::slice::from_ref(&step));
                if known.contains(&step) {
                    return bad(format!("duplicate entries for key {written}"));
                }
                check(schema.item(), value, &format!("{path}{written}"))?;
                known.push(step);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// How errors name a way into an object: with the keys of lists that have some.
pub(in super::super) fn named(schema: &Schema, object: &Value, path: &[Step]) -> String {
    let (mut schema, mut place, mut text) = (schema, object, String::new());
    for part in path {
        match part {
            Step::Field(name) => {
                text = format!("{text}.{name}");
                (schema, place) = (schema.field(name), place.get(name).unwrap_or(&Value::Null));
            }
            Step::At(index) => {
                let item = place.get(*index).unwrap_or(&Value::Null);
                let key = step(&schema.list(), item).map(|key| super::set::written(&[key]));
                text.push_str(&key.unwrap_or_else(|| format!("[{index}]")));
                (schema, place) = (schema.item(), item);
            }
        }
    }
    text
}

/// The fields that are owned by applying this value. `declared`: the value's name is a field that its kind has.
pub(in super::super) fn members(schema: &Schema, value: &Value, declared: bool) -> FieldSet {
    let mut set = FieldSet::default();
    if let Some(fields) = fields(schema, value) {
        set.member = fields.is_empty() || !declared;
        for (name, value) in fields {
            set.put(format!("f:{name}"), members(schema.field(name), value, schema.declares(name)));
        }
    } else if let Some(items) = items(schema, value) {
        set.member = !declared;
        for (step, value) in items {
            let mut item = members(schema.item(), value, true);
            item.member = true;
            set.put(step, item);
        }
    } else {
        set.member = true;
    }
    set
}

/// Every path in a value, the ones of objects and lists that are merged included.
fn everything(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = FieldSet::here();
    for (name, value) in fields(schema, value).into_iter().flatten() {
        set.put(format!("f:{name}"), everything(schema.field(name), value));
    }
    for (step, value) in items(schema, value).into_iter().flatten() {
        set.put(step, everything(schema.item(), value));
    }
    set
}

/// How `new` differs from `old`. The order of a list that is merged does not count.
pub(super) fn compare(schema: &Schema, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut difference = Difference::default();
    let (old, new) = match (old, new) {
        (None, None) => return difference,
        (None, Some(new)) => {
            difference.added = everything(schema, new);
            return difference;
        }
        (Some(old), None) => {
            difference.removed = everything(schema, old);
            return difference;
        }
        (Some(old), Some(new)) if old == new => return difference,
        (Some(old), Some(new)) => (old, new),
    };
    if let (Some(old), Some(new)) = (fields(schema, old), fields(schema, new)) {
        for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
            difference.put(&format!("f:{name}"), compare(schema.field(name), old.get(name), new.get(name)));
        }
    } else if let (Some(old), Some(new)) = (items(schema, old), items(schema, new)) {
        for (step, _) in old.iter().chain(new.iter().filter(|(step, _)| item(&old, step).is_none())) {
            difference.put(step, compare(schema.item(), item(&old, step), item(&new, step)));
        }
    } else {
        difference.modified.member = true;
    }
    difference
}

impl Difference {
    fn put(&mut self, step: &str, below: Self) {
        self.added.put(step.to_owned(), below.added);
        self.modified.put(step.to_owned(), below.modified);
        self.removed.put(step.to_owned(), below.removed);
    }

    /// What was written.
    pub(super) fn written(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

/// Lays what is applied over what is there.
pub(super) fn lay(schema: &Schema, live: Option<&Value>, applied: &Value) -> Value {
    if let Some(applied) = fields(schema, applied) {
        let mut laid = live.and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, value) in applied {
            let (live, schema) = (laid.get(name), schema.field(name));
            // Nothing at all is wanted in the place of an object or a list: that is as if it had not been said.
            if value.is_null() && live.is_none_or(|live| live.is_object() || live.is_array()) {
                continue;
            }
            let value = lay(schema, live, value);
            laid.insert(name.clone(), value);
        }
        return Value::Object(laid);
    }
    match items(schema, applied) {
        Some(applied) => {
            let live = live.and_then(|live| items(schema, live)).unwrap_or_default();
            Value::Array(lay_list(schema, &live, &applied))
        }
        None => applied.clone(),
    }
}

/// Items that are not applied stay before the shared one that follows them; shared ones and new ones come as applied.
fn lay_list(schema: &Schema, live: &[(String, &Value)], applied: &[(String, &Value)]) -> Vec<Value> {
    let laid = |(step, value): &(String, &Value)| lay(schema.item(), item(live, step), value);
    let (mut list, mut next) = (Vec::new(), 0);
    for (step, value) in live {
        if item(applied, step).is_none() {
            list.push((*value).clone());
            continue;
        }
        let rest = &applied[next..];
        let shared = rest.iter().position(|(step, _)| item(live, step).is_some());
        if let Some(at) = shared.filter(|at| rest[*at].0 == *step) {
            list.extend(rest[..=at].iter().map(laid));
            next += at + 1;
        }
    }
    list.extend(applied[next..].iter().map(laid));
    list
}

/// Takes a field or an item away. A list that becomes empty goes as well.
pub(super) fn prune(schema: &Schema, value: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    match value {
        Value::Object(map) => {
            let Some(name) = first.strip_prefix("f:") else { return };
            if rest.is_empty() {
                map.remove(name);
                return;
            }
            let Some(below) = map.get_mut(name) else { return };
            prune(schema.field(name), below, rest);
            if below.as_array().is_some_and(Vec::is_empty) {
                map.remove(name);
            }
        }
        Value::Array(list) => {
            let kind = schema.list();
            let Some(at) = list.iter().position(|item| step(&kind, item).as_ref() == Some(first)) else { return };
            if rest.is_empty() {
                list.remove(at);
            } else {
                prune(schema.item(), &mut list[at], rest);
            }
        }
        _ => {}
    }
}

/// The set, and those prefixes of its paths that are fields which the kind has.
pub(super) fn closure(schema: &Schema, set: &FieldSet, declared: bool) -> FieldSet {
    let mut all = FieldSet { member: set.member || declared, ..FieldSet::default() };
    for (step, below) in &set.below {
        let inner = match step.strip_prefix("f:") {
            Some(name) => closure(schema.field(name), below, schema.declares(name)),
            None => closure(schema.item(), below, false),
        };
        all.put(step.clone(), inner);
    }
    all
}
