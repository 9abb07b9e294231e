//! Strategic merge patches: merge patches that know which lists are merged, and by which key.
//!
//! Known are the lists of metadata, pods, service accounts, services, budgets and nodes, of which the API says that
//! they are merged; every other list of a built-in kind is replaced as a whole. What a patch asks beyond that is
//! refused.

use serde_json::{Map, Value};

use super::{apply::List, failure::Failure, resource::ResourceKind};

/// How a list is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Merge {
    /// Items with the same value of this field are one.
    By(String),
    /// It is a set of words.
    Set,
}

fn merging(resource: &ResourceKind, within: &str) -> Option<Merge> {
    // These two differ from how they are applied.
    match (resource.kind(), within) {
        ("Job", "status.conditions") => return Some(Merge::By("type".to_owned())),
        ("Pod", "status.hostIPs") => return Some(Merge::By("ip".to_owned())),
        _ => {}
    }
    match resource.merge_schema().at(within).list() {
        List::Atomic => None,
        List::Set => Some(Merge::Set),
        List::Keyed(keys) => keys.first().map(|(key, _)| Merge::By(key.clone())),
    }
}

/// Lays a strategic merge patch over an object.
pub(super) fn merge(resource: &ResourceKind, object: &mut Value, patch: &Value) -> Result<(), Failure> {
    if !patch.is_object() {
        return Err(Failure::bad_request("a strategic merge patch is an object"));
    }
    lay(resource, "", object, patch)
}

fn lay(resource: &ResourceKind, within: &str, target: &mut Value, patch: &Value) -> Result<(), Failure> {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match fields.get("$patch").and_then(Value::as_str) {
        None if fields.contains_key("$patch") => return Err(unknown("$patch")),
        None | Some("merge") => {}
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("replace") => {
            let mut fields = fields.clone();
            fields.remove("$patch");
            *target = Value::Object(fields);
            return Ok(());
        }
        Some(other) => return Err(unknown(other)),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return Ok(()) };
    if let Some(kept) = fields.get("$retainKeys") {
        let kept: Vec<&str> =
            kept.as_array().ok_or_else(|| unknown("$retainKeys"))?.iter().filter_map(Value::as_str).collect();
        map.retain(|field, _| kept.contains(&field.as_str()));
    }
    for (field, value) in fields {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().ok_or_else(|| unknown(field))?;
            if let Some(Value::Array(items)) = map.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
        } else if let Some(list) = field.strip_prefix("$setElementOrder/") {
            // An order without a patch of its list still puts what is there in order.
            if !fields.contains_key(list) {
                let inner = below(within, list);
                let merge = merging(resource, &inner).ok_or_else(|| unknown(field))?;
                if let Some(Value::Array(items)) = map.get_mut(list) {
                    *items = in_order(&merge, Vec::new(), &std::mem::take(items), value)?;
                }
            }
        } else if field == "$patch" || field == "$retainKeys" {
        } else if field.starts_with('$') {
            return Err(unknown(field));
        } else if value.is_null() {
            map.remove(field);
        } else {
            let inner = below(within, field);
            let place = map.entry(field).or_insert(Value::Null);
            match (value, merging(resource, &inner)) {
                (Value::Array(items), Some(merge)) => {
                    let order = fields.get(&format!("$setElementOrder/{field}"));
                    list(resource, &inner, &merge, place, items, order)?;
                }
                _ => lay(resource, &inner, place, value)?,
            }
        }
    }
    Ok(())
}

fn below(within: &str, field: &str) -> String {
    if within.is_empty() { field.to_owned() } else { format!("{within}.{field}") }
}

/// Merges the items of a patch into a list.
fn list(
    resource: &ResourceKind,
    within: &str,
    merge: &Merge,
    target: &mut Value,
    patch: &[Value],
    order: Option<&Value>,
) -> Result<(), Failure> {
    let before = target.as_array().cloned().unwrap_or_default();
    let directive = |item: &Value| item.get("$patch").and_then(Value::as_str).map(str::to_owned);
    let replaces = patch.iter().any(|item| directive(item).as_deref() == Some("replace"));
    let mut live = if replaces { Vec::new() } else { before };
    let mut patched = Vec::new();
    for item in patch {
        match directive(item).as_deref() {
            Some("replace") if key(merge, item).is_none() => {}
            Some("delete") => {
                let wanted = key(merge, item)
                    .ok_or_else(|| Failure::bad_request(format!("an item to delete from {within} has no key")))?;
                live.retain(|known| key(merge, known) != Some(wanted));
            }
            None | Some("replace") => {
                let wanted = key(merge, item)
                    .ok_or_else(|| Failure::bad_request(format!("an item of {within} has no key: {item}")))?;
                let mut merged =
                    live.iter().find(|known| key(merge, known) == Some(wanted)).cloned().unwrap_or(Value::Null);
                lay(resource, within, &mut merged, item)?;
                patched.push(merged);
            }
            Some(other) => return Err(unknown(other)),
        }
    }
    let own_order = Value::Array(patched.iter().filter_map(|item| key(merge, item)).cloned().collect());
    let keys = |items: &Value| -> Value {
        let keys = items.as_array().into_iter().flatten().filter_map(|item| key(merge, item).cloned());
        Value::Array(keys.collect())
    };
    let order = order.map_or(own_order, keys);
    *target = Value::Array(in_order(merge, patched, &live, &order)?);
    Ok(())
}

/// What makes an item itself.
fn key<'v>(merge: &Merge, item: &'v Value) -> Option<&'v Value> {
    match merge {
        Merge::By(field) => item.get(field),
        Merge::Set => Some(item),
    }
}

/// Puts patched and other live items together. `order` (keys, or items with keys) is that of the patched ones; the
/// others keep theirs and come before the first patched one that they were before.
fn in_order(merge: &Merge, patched: Vec<Value>, live: &[Value], order: &Value) -> Result<Vec<Value>, Failure> {
    let order = order.as_array().ok_or_else(|| unknown("$setElementOrder"))?;
    let place = |item: &Value| {
        let wanted = key(merge, item);
        order.iter().position(|known| wanted == Some(known) || wanted.is_some() && key(merge, known) == wanted)
    };
    let was = |item: &Value| live.iter().position(|known| key(merge, known) == key(merge, item));
    // Those in the order are its own, patched or not.
    let mut first: Vec<Value> = patched;
    for item in live {
        if place(item).is_some() && !first.iter().any(|known| key(merge, known) == key(merge, item)) {
            first.push(item.clone());
        }
    }
    first.sort_by_key(|item| place(item).unwrap_or(usize::MAX));
    let rest: Vec<&Value> =
        live.iter().filter(|item| !first.iter().any(|known| key(merge, known) == key(merge, item))).collect();
    let mut all = Vec::with_capacity(first.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for item in first {
        while let Some(other) = rest.peek().copied() {
            match (was(other), was(&item)) {
                (Some(left), Some(right)) if left < right => {
                    all.push(other.clone());
                    rest.next();
                }
                _ => break,
            }
        }
        all.push(item);
    }
    all.extend(rest.cloned());
    Ok(all)
}

fn unknown(what: &str) -> Failure {
    Failure::not_implemented(&format!("\"{what}\" in a strategic merge patch"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Resources;

    fn patched(kind: &str, object: Value, patch: &Value) -> Result<Value, u16> {
        let resources = Resources::builtin();
        let mut object = object;
        merge(resources.qualified(kind).unwrap(), &mut object, patch).map(|()| object).map_err(|failure| failure.code)
    }

    #[test]
    fn lists_are_merged_where_the_api_merges_them() {
        let pod = json!({ "spec": {
            "containers": [{ "name": "a", "image": "1", "env": [{ "name": "x", "value": "1" }] }, { "name": "b" }],
            "tolerations": [{ "key": "k" }],
        } });
        let patch = json!({ "spec": {
            "containers": [{ "name": "a", "env": [{ "name": "y", "value": "2" }], "args": ["1"] }, { "name": "c" }],
            "tolerations": [{ "key": "l" }],
        } });
        let after = patched("pods", pod, &patch).unwrap();
        let containers = &after["spec"]["containers"];
        assert_eq!(containers[0]["image"], "1");
        assert_eq!(containers[0]["env"], json!([{ "name": "y", "value": "2" }, { "name": "x", "value": "1" }]));
        assert_eq!(
            containers.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(),
            ["a", "c", "b"]
        );
        assert_eq!(after["spec"]["tolerations"], json!([{ "key": "l" }]), "no merge key: replaced");
    }

    #[test]
    fn directives_are_followed() {
        let pod = json!({ "metadata": { "labels": { "a": "1", "b": "2" } }, "spec": { "containers": [{ "name": "a" }, { "name": "b" }] } });
        let delete = json!({ "spec": { "containers": [{ "name": "a", "$patch": "delete" }] } });
        assert_eq!(patched("pods", pod.clone(), &delete).unwrap()["spec"]["containers"], json!([{ "name": "b" }]));
        let replace = json!({ "metadata": { "labels": { "$patch": "replace", "c": "3" } } });
        assert_eq!(patched("pods", pod.clone(), &replace).unwrap()["metadata"]["labels"], json!({ "c": "3" }));
        let all = json!({ "spec": { "containers": [{ "$patch": "replace" }, { "name": "c" }] } });
        assert_eq!(patched("pods", pod.clone(), &all).unwrap()["spec"]["containers"], json!([{ "name": "c" }]));
        let order = json!({ "spec": { "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }], "containers": [{ "name": "a", "image": "2" }] } });
        assert_eq!(
            patched("pods", pod.clone(), &order).unwrap()["spec"]["containers"],
            json!([{ "name": "b" }, { "name": "a", "image": "2" }])
        );
        let keep = json!({ "metadata": { "labels": { "$retainKeys": ["b"], "b": "4" } } });
        assert_eq!(patched("pods", pod.clone(), &keep).unwrap()["metadata"]["labels"], json!({ "b": "4" }));
        for unknown in [json!({ "spec": { "$new": 1 } }), json!({ "spec": { "$patch": "dance" } })] {
            assert_eq!(patched("pods", pod.clone(), &unknown), Err(501), "{unknown}");
        }
        assert_eq!(patched("pods", pod, &json!({ "spec": { "containers": [{ "image": "x" }] } })), Err(400));
    }
}
