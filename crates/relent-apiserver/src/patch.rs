//! Merge patches (RFC 7386) and JSON patches (RFC 6902).

use serde_json::{Map, Value};

use super::failure::Failure;

/// Lays a merge patch over a value: `null` takes away, maps are merged, all else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (field, value) in patch {
            if value.is_null() {
                target.remove(field);
            } else {
                merge(target.entry(field).or_insert(Value::Null), value);
            }
        }
    }
}

/// Applies a JSON patch. All of it, or, on failure, a value that must not be kept.
pub(super) fn json(target: &mut Value, patch: &Value) -> Result<(), Failure> {
    let Value::Array(operations) = patch else {
        return Err(Failure::bad_request("a JSON patch is a list of operations"));
    };
    for operation in operations {
        perform(target, operation)?;
    }
    Ok(())
}

fn perform(target: &mut Value, operation: &Value) -> Result<(), Failure> {
    let text = |field: &str| {
        operation
            .get(field)
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::bad_request(format!("a JSON patch operation needs \"{field}\"")))
    };
    let value = || operation.get("value").cloned().ok_or_else(Failure::patch_refused);
    let path = text("path")?;
    match text("op")? {
        "add" => add(target, path, value()?),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            let place = target.pointer_mut(path).ok_or_else(Failure::patch_refused)?;
            *place = value()?;
            Ok(())
        }
        "move" => {
            let moved = remove(target, text("from")?)?;
            add(target, path, moved)
        }
        "copy" => {
            let copied = target.pointer(text("from")?).cloned().ok_or_else(Failure::patch_refused)?;
            add(target, path, copied)
        }
        "test" => {
            let is = target.pointer(path).unwrap_or(&Value::Null);
            if *is == value()? { Ok(()) } else { Err(Failure::patch_refused()) }
        }
        other => Err(Failure::bad_request(format!("Unexpected kind: {other}"))),
    }
}

/// The parent of a path, and its last step.
fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, step) = path.rsplit_once('/')?;
    Some((target.pointer_mut(parent)?, step.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    match parent(target, path).ok_or_else(Failure::patch_refused)? {
        (Value::Object(map), step) => {
            map.insert(step, value);
            Ok(())
        }
        (Value::Array(list), step) => {
            let at = if step == "-" { Some(list.len()) } else { index(&step) };
            let at = at.filter(|at| *at <= list.len()).ok_or_else(Failure::patch_refused)?;
            list.insert(at, value);
            Ok(())
        }
        _ => Err(Failure::patch_refused()),
    }
}

fn remove(target: &mut Value, path: &str) -> Result<Value, Failure> {
    match parent(target, path).ok_or_else(Failure::patch_refused)? {
        (Value::Object(map), step) => map.remove(&step).ok_or_else(Failure::patch_refused),
        (Value::Array(list), step) => {
            let at = index(&step).filter(|at| *at < list.len()).ok_or_else(Failure::patch_refused)?;
            Ok(list.remove(at))
        }
        _ => Err(Failure::patch_refused()),
    }
}

fn index(text: &str) -> Option<usize> {
    let plain = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_do_what_the_rfc_says() {
        // The examples of RFC 7386, appendix A.
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, result, "{target} + {patch}");
        }
    }

    #[test]
    fn json_patches_do_what_the_rfc_says() {
        let apply =
            |mut target: Value, patch: Value| json(&mut target, &patch).map(|()| target).map_err(|error| error.code);
        let list = json!({ "a": [1, 2], "b": { "x/y": 1 } });
        assert_eq!(apply(list.clone(), json!([{"op":"add","path":"/a/1","value":9}])).unwrap()["a"], json!([1, 9, 2]));
        assert_eq!(apply(list.clone(), json!([{"op":"add","path":"/a/-","value":9}])).unwrap()["a"], json!([1, 2, 9]));
        assert_eq!(apply(list.clone(), json!([{"op":"remove","path":"/a/0"}])).unwrap()["a"], json!([2]));
        assert_eq!(apply(list.clone(), json!([{"op":"replace","path":"/b/x~1y","value":2}])).unwrap()["b"]["x/y"], 2);
        assert_eq!(
            apply(list.clone(), json!([{"op":"move","from":"/a","path":"/c"}])).unwrap(),
            json!({"b":{"x/y":1},"c":[1,2]})
        );
        assert_eq!(apply(list.clone(), json!([{"op":"copy","from":"/a/0","path":"/c"}])).unwrap()["c"], 1);
        assert!(apply(list.clone(), json!([{"op":"test","path":"/a/0","value":1}])).is_ok());
        for refused in [
            json!([{"op":"test","path":"/a/0","value":2}]),
            json!([{"op":"remove","path":"/nothing"}]),
            json!([{"op":"replace","path":"/nothing","value":1}]),
            json!([{"op":"add","path":"/a/3","value":1}]),
            json!([{"op":"add","path":"/a/01","value":1}]),
            json!([{"op":"add","path":"/no/where","value":1}]),
        ] {
            assert_eq!(apply(list.clone(), refused.clone()), Err(422), "{refused}");
        }
        assert_eq!(apply(list.clone(), json!([{"op":"dance","path":"/a"}])), Err(400));
        assert_eq!(apply(list, json!({"op":"add"})), Err(400));
    }
}
