//! Server-side apply: which manager owns which field, and what is refused.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World};

facts![
    made_and_owned,
    again_is_no_write,
    what_is_left_out_goes,
    shared_fields_stay,
    a_conflict_names_owner_and_field,
    force_takes_the_field,
    updates_own_what_they_change,
    a_manager_conflicts_with_its_own_updates,
    lists_with_keys_are_shared,
    sets_are_shared,
    two_items_of_one_key,
    yaml_is_read,
    a_manager_is_required,
    what_cannot_be_applied,
    dry_runs_keep_nothing,
    status_is_applied_by_itself,
    free_form_objects,
    resource_versions,
    many_managers_at_once,
];

async fn apply(world: &World, path: &str, query: &str, body: &Value) -> Answer {
    let (path, body) = (format!("{path}?{query}"), body.to_string().into_bytes());
    world.raw(&world.client, Method::PATCH, &path, "application/apply-patch+yaml", body).await
}

fn map(data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": data })
}

/// The entry of a manager in `managedFields`.
fn entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    object["metadata"]["managedFields"].as_array()?.iter().find(|entry| entry["manager"] == manager)
}

fn owned(object: &Value, manager: &str) -> Value {
    entry(object, manager).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

async fn made_and_owned(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let made = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await;
    made.is(201);
    let entry = entry(&made.body, "m").unwrap();
    assert_eq!((&entry["operation"], &entry["apiVersion"]), (&json!("Apply"), &json!("v1")));
    assert_eq!((&entry["fieldsType"], &entry["fieldsV1"]), (&json!("FieldsV1"), &json!({ "f:data": { "f:x": {} } })));
    assert!(entry["time"].is_string(), "{entry}");
    assert_eq!(made.body["data"], json!({ "x": "1" }));
    Ran::Yes
}

async fn again_is_no_write(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let made = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await;
    let again = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await;
    assert_eq!(again.is(200).body, made.is(201).body);
    Ran::Yes
}

async fn what_is_left_out_goes(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "labels": { "l": "1" } }, "data": { "x": "1", "y": "2" } });
    apply(&world, &path, "fieldManager=m", &body).await.is(201);
    let less = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await;
    assert_eq!(less.is(200).body["data"], json!({ "x": "1" }));
    assert_eq!(less.body["metadata"]["labels"], Value::Null);
    let nothing = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let nothing = apply(&world, &path, "fieldManager=m", &nothing).await;
    assert_eq!(nothing.is(200).body["data"], Value::Null);
    assert_eq!(entry(&nothing.body, "m"), None);
    Ran::Yes
}

async fn shared_fields_stay(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let made = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1", "y": "2" }))).await;
    let both = apply(&world, &path, "fieldManager=n", &map(&json!({ "x": "1" }))).await;
    assert!(both.is(200).revision() > made.revision());
    assert_eq!(owned(&both.body, "n"), json!({ "f:data": { "f:x": {} } }));
    assert_eq!(owned(&both.body, "m"), json!({ "f:data": { "f:x": {}, "f:y": {} } }));
    let kept = apply(&world, &path, "fieldManager=m", &map(&json!({ "y": "2" }))).await;
    assert_eq!(kept.is(200).body["data"], json!({ "x": "1", "y": "2" }));
    assert_eq!(owned(&kept.body, "m"), json!({ "f:data": { "f:y": {} } }));
    Ran::Yes
}

async fn a_conflict_names_owner_and_field(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1", "y": "1" }))).await.is(201);
    let one = apply(&world, &path, "fieldManager=n", &map(&json!({ "x": "2" }))).await;
    one.fails(409, "Conflict", "Apply failed with 1 conflict: conflict with \"m\"");
    let cause = &one.body["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".data.x")));
    assert!(cause["message"].as_str().unwrap().starts_with("conflict with \"m\""), "{cause}");
    let two = apply(&world, &path, "fieldManager=n", &map(&json!({ "x": "2", "y": "2", "z": "2" }))).await;
    two.fails(409, "Conflict", "Apply failed with 2 conflicts: conflicts with \"m\"");
    two.fails(409, "Conflict", ":\n- .data.x\n- .data.y");
    Ran::Yes
}

async fn force_takes_the_field(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await.is(201);
    let taken = apply(&world, &path, "fieldManager=n&force=true", &map(&json!({ "x": "2" }))).await;
    assert_eq!(taken.is(200).body["data"], json!({ "x": "2" }));
    assert_eq!(entry(&taken.body, "m"), None);
    Ran::Yes
}

async fn updates_own_what_they_change(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let made = json!({ "metadata": { "name": "a" }, "data": { "x": "1" } });
    let made = world.post(&world.core("configmaps?fieldManager=maker"), made).await;
    assert_eq!(owned(&made.is(201).body, "maker"), json!({ "f:data": { ".": {}, "f:x": {} } }));
    let patched = world.patch("merge", &format!("{path}?fieldManager=other"), json!({ "data": { "y": "2" } })).await;
    assert_eq!(owned(&patched.is(200).body, "other"), json!({ "f:data": { "f:y": {} } }));
    let refused = apply(&world, &path, "fieldManager=m", &map(&json!({ "y": "3" }))).await;
    refused.fails(409, "Conflict", "conflict with \"other\" using v1");
    let unchanged = world.patch("merge", &format!("{path}?fieldManager=third"), json!({ "data": { "y": "2" } })).await;
    assert_eq!(unchanged.is(200).body, patched.body);
    Ran::Yes
}

async fn a_manager_conflicts_with_its_own_updates(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let made = json!({ "metadata": { "name": "a" }, "data": { "x": "1" } });
    world.post(&world.core("configmaps?fieldManager=m"), made).await.is(201);
    let refused = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "2" }))).await;
    refused.fails(409, "Conflict", "conflict with \"m\" using v1");
    let same = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await;
    assert_eq!(same.is(200).body["metadata"]["managedFields"].as_array().unwrap().len(), 2);
    Ran::Yes
}

async fn lists_with_keys_are_shared(world: Arc<World>) -> Ran {
    let path = world.core("serviceaccounts/a");
    let account = |names: &[&str]| {
        let secrets: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a" }, "secrets": secrets })
    };
    let names = |answer: &Answer| {
        let secrets = answer.body["secrets"].as_array().unwrap();
        secrets.iter().map(|secret| secret["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    apply(&world, &path, "fieldManager=m", &account(&["b", "a"])).await.is(201);
    let both = apply(&world, &path, "fieldManager=n", &account(&["c"])).await;
    assert_eq!(names(both.is(200)), ["b", "a", "c"]);
    let key = "k:{\"name\":\"c\"}";
    assert_eq!(owned(&both.body, "n"), json!({ "f:secrets": { key: { ".": {}, "f:name": {} } } }));
    let turned = apply(&world, &path, "fieldManager=m", &account(&["a", "d", "b"])).await;
    // In 1.20 shared items keep the order that they have.
    let order = if world.minor > 20 { ["a", "c", "d", "b"] } else { ["b", "a", "c", "d"] };
    assert_eq!(names(turned.is(200)), order);
    let less = apply(&world, &path, "fieldManager=m", &account(&["d"])).await;
    assert_eq!(names(less.is(200)), ["c", "d"]);
    Ran::Yes
}

async fn sets_are_shared(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let held = |finalizers: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "finalizers": finalizers } });
    apply(&world, &path, "fieldManager=m", &held(json!(["example.com/m"]))).await.is(201);
    let both = apply(&world, &path, "fieldManager=n", &held(json!(["example.com/n"]))).await;
    assert_eq!(both.is(200).body["metadata"]["finalizers"], json!(["example.com/m", "example.com/n"]));
    assert_eq!(owned(&both.body, "n"), json!({ "f:metadata": { "f:finalizers": { "v:\"example.com/n\"": {} } } }));
    let gone = apply(&world, &path, "fieldManager=m", &held(json!([]))).await;
    assert_eq!(gone.is(200).body["metadata"]["finalizers"], json!(["example.com/n"]));
    apply(&world, &path, "fieldManager=n", &held(json!([]))).await.is(200);
    Ran::Yes
}

async fn two_items_of_one_key(world: Arc<World>) -> Ran {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a" }, "secrets": [{ "name": "a" }, { "name": "a" }] });
    let refused = apply(&world, &world.core("serviceaccounts/a"), "fieldManager=m", &account).await;
    refused.is(500);
    assert!(refused.text.contains(".secrets: duplicate entries for key"), "{}", refused.text);
    Ran::Yes
}

async fn yaml_is_read(world: Arc<World>) -> Ran {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n";
    let path = format!("{}?fieldManager=m", world.core("configmaps/a"));
    let yaml = "application/apply-patch+yaml";
    let made = world.raw(&world.client, Method::PATCH, &path, yaml, text.into()).await;
    assert_eq!(made.is(201).body["data"], json!({ "x": "1" }));
    let broken = world.raw(&world.client, Method::PATCH, &path, yaml, "a: [".into()).await;
    broken.fails(400, "BadRequest", "error decoding YAML");
    Ran::Yes
}

async fn a_manager_is_required(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let refused = apply(&world, &path, "", &map(&json!({ "x": "1" }))).await;
    refused.fails(422, "Invalid", "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value");
    let long = format!("fieldManager={}", "m".repeat(129));
    apply(&world, &path, &long, &map(&json!({ "x": "1" }))).await.fails(422, "Invalid", "fieldManager: Too long");
    world.map("b").await.is(201);
    let forced = world.patch("merge", &format!("{}?force=true", world.core("configmaps/b")), json!({})).await;
    forced.fails(422, "Invalid", "force: Forbidden: may not be specified for non-apply patch");
    Ran::Yes
}

async fn what_cannot_be_applied(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let body = |change: fn(&mut Value)| {
        let mut body = map(&json!({ "x": "1" }));
        change(&mut body);
        body
    };
    let query = "fieldManager=m";
    if world.minor > 20 {
        let other = apply(&world, &path, query, &body(|body| body["kind"] = "Secret".into())).await;
        other.fails(400, "BadRequest", "invalid object type: /v1, Kind=Secret");
    }
    let named = apply(&world, &path, query, &body(|body| body["metadata"]["name"] = "b".into())).await;
    named.fails(400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)");
    let placed = apply(&world, &path, query, &body(|body| body["metadata"]["namespace"] = "other".into())).await;
    placed.fails(400, "BadRequest", "the namespace of the ");
    let fields = apply(&world, &path, query, &body(|body| body["metadata"]["managedFields"] = json!([{}]))).await;
    fields.fails(400, "BadRequest", "metadata.managedFields must be nil");
    let json = world.raw(&world.client, Method::PATCH, &path, "application/json", Vec::new()).await;
    json.is(if world.minor > 20 { 415 } else { 406 });
    Ran::Yes
}

async fn dry_runs_keep_nothing(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let tried = apply(&world, &path, "fieldManager=m&dryRun=All", &map(&json!({ "x": "1" }))).await;
    assert_eq!(tried.is(201).body["metadata"]["resourceVersion"], Value::Null);
    world.get(&path).await.is(404);
    apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await.is(201);
    let conflict = apply(&world, &path, "fieldManager=n&dryRun=All", &map(&json!({ "x": "2" }))).await;
    conflict.fails(409, "Conflict", "Apply failed with 1 conflict");
    Ran::Yes
}

async fn status_is_applied_by_itself(world: Arc<World>) -> Ran {
    if world.minor <= 20 {
        return Ran::No("1.20 lets the manager that applies the object own its status");
    }
    let (path, version) = world.custom("Widget", true).await;
    let body = |spec: Value, status: Value| json!({ "apiVersion": version, "kind": "Widget", "metadata": { "name": "a" }, "spec": spec, "status": status });
    let object = format!("{path}/a");
    let missing =
        apply(&world, &format!("{object}/status"), "fieldManager=s", &body(json!({}), json!({ "n": 1 }))).await;
    missing.is(404);
    let made = apply(&world, &object, "fieldManager=m", &body(json!({ "n": 1 }), json!({ "n": 1 }))).await;
    assert_eq!(made.is(201).body["status"], Value::Null);
    let status =
        apply(&world, &format!("{object}/status"), "fieldManager=s", &body(json!({ "n": 9 }), json!({ "n": 2 }))).await;
    assert_eq!(status.is(200).body["spec"], json!({ "n": 1 }));
    assert_eq!(status.body["status"], json!({ "n": 2 }));
    assert_eq!(status.body["metadata"]["generation"], 1);
    let of_status = owned(&status.body, "s");
    assert!(of_status["f:status"].is_object() && of_status["f:spec"].is_null(), "{of_status}");
    world.forget_custom(&path).await;
    Ran::Yes
}

async fn free_form_objects(world: Arc<World>) -> Ran {
    let (path, version) = world.custom("Widget", false).await;
    let body =
        |spec: Value| json!({ "apiVersion": version, "kind": "Widget", "metadata": { "name": "a" }, "spec": spec });
    let object = format!("{path}/a");
    let made = apply(&world, &object, "fieldManager=m", &body(json!({ "a": { "b": 1 }, "list": [1, 2] }))).await;
    let fields = json!({ "f:spec": { ".": {}, "f:a": { ".": {}, "f:b": {} }, "f:list": {} } });
    assert_eq!(owned(&made.is(201).body, "m"), fields);
    let other = apply(&world, &object, "fieldManager=n", &body(json!({ "list": [3] }))).await;
    other.fails(409, "Conflict", ".spec.list");
    let beside = apply(&world, &object, "fieldManager=n", &body(json!({ "a": { "c": 2 } }))).await;
    assert_eq!(beside.is(200).body["spec"], json!({ "a": { "b": 1, "c": 2 }, "list": [1, 2] }));
    assert_eq!(beside.body["metadata"]["generation"], 2);
    world.forget_custom(&path).await;
    Ran::Yes
}

async fn resource_versions(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let made = apply(&world, &path, "fieldManager=m", &map(&json!({ "x": "1" }))).await;
    let of = |version: &str, value: &str| {
        let mut body = map(&json!({ "x": value }));
        body["metadata"]["resourceVersion"] = version.into();
        body
    };
    let right = apply(&world, &path, "fieldManager=m", &of(&made.revision().to_string(), "2")).await;
    right.is(200);
    let stale = apply(&world, &path, "fieldManager=m", &of(&made.revision().to_string(), "3")).await;
    stale.fails(409, "Conflict", "the object has been modified");
    Ran::Yes
}

async fn many_managers_at_once(world: Arc<World>) -> Ran {
    let path = world.core("configmaps/a");
    let all = (0..20).map(|number| {
        let (world, path) = (Arc::clone(&world), path.clone());
        async move {
            let data = map(&json!({ format!("k{number}"): "1" }));
            apply(&world, &path, &format!("fieldManager=m{number}"), &data).await.code
        }
    });
    let codes = futures_util::future::join_all(all).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 19, "{codes:?}");
    let data = world.get(&path).await.body["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 20);
    Ran::Yes
}
