//! Merge patches (RFC 7386) and JSON patches (RFC 6902): by the `json-patch` crate, but for one rule.
//!
//! A real server lets `test` of null pass where nothing is; the crate, as the RFC has it, does not. kube's finalizer
//! helper depends on it. The server's negative indices (`/a/-1`) are refused here.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::failure::Failure;

pub(super) use json_patch::merge;

/// Applies a JSON patch. All of it, or, on failure, a value that must not be kept.
pub(super) fn json(target: &mut Value, patch: &Value) -> Result<(), Failure> {
    if !patch.is_array() {
        return Err(Failure::bad_request("a JSON patch is a list of operations"));
    }
    let Patch(operations) = serde_json::from_value(patch.clone()).map_err(|_| Failure::patch_refused())?;
    for operation in operations {
        if let PatchOperation::Test(test) = &operation
            && test.value.is_null()
            && target.pointer(test.path.as_str()).is_none()
        {
            continue;
        }
        json_patch::patch(target, &[operation]).map_err(|_| Failure::patch_refused())?;
    }
    Ok(())
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
        assert!(apply(list.clone(), json!([{"op":"test","path":"/nothing","value":null}])).is_ok());
        for refused in [
            json!([{"op":"test","path":"/a/0","value":2}]),
            json!([{"op":"test","path":"/nothing","value":1}]),
            json!([{"op":"remove","path":"/nothing"}]),
            json!([{"op":"replace","path":"/nothing","value":1}]),
            json!([{"op":"add","path":"/a/3","value":1}]),
            json!([{"op":"add","path":"/a/01","value":1}]),
            json!([{"op":"add","path":"/no/where","value":1}]),
        ] {
            assert_eq!(apply(list.clone(), refused.clone()), Err(422), "{refused}");
        }
        assert_eq!(apply(list.clone(), json!([{"op":"dance","path":"/a"}])), Err(422));
        assert_eq!(apply(list, json!({"op":"add"})), Err(400));
    }
}
