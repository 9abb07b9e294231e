//! Custom kinds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::world::World, Ran, facts};

facts![
    a_custom_kind_keeps_its_generation,
    a_status_is_written_apart,
    without_a_status_subresource_it_is_a_field,
    a_custom_kind_has_its_rules
];

fn druid(api: &str, kind: &str, rest: &Value) -> Value {
    let mut object = json!({ "apiVersion": api, "kind": kind, "metadata": { "name": "a" } });
    for (field, value) in rest.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

async fn a_custom_kind_keeps_its_generation(world: Arc<World>) -> Ran {
    let (path, api) = world.custom("Etcd", true).await;
    let made = world.post(&path, druid(&api, "Etcd", &json!({ "spec": { "replicas": 1 } }))).await;
    assert_eq!(made.is(201).body["metadata"]["generation"], 1);
    let object = format!("{path}/a");
    let generation =
        async |patch: Value| world.patch("merge", &object, patch).await.is(200).body["metadata"]["generation"].clone();
    assert_eq!(generation(json!({ "metadata": { "annotations": { "a": "b" } } })).await, 1);
    assert_eq!(generation(json!({ "spec": { "replicas": 3 } })).await, 2);
    assert_eq!(generation(json!({ "spec": { "replicas": 3 } })).await, 2);
    assert_eq!(generation(json!({ "other": { "a": "b" } })).await, 3, "whatever is not metadata or status counts");
    world.patch("merge", &format!("{object}/status"), json!({ "status": { "ready": true } })).await.is(200);
    assert_eq!(world.get(&object).await.body["metadata"]["generation"], 3);
    world.patch("merge", &object, json!({ "metadata": { "finalizers": ["example.com/a"] } })).await.is(200);
    let going = world.delete(&object).await;
    assert_eq!(going.is(200).body["metadata"]["generation"], 4, "deletion is a wish too");
    world.patch("merge", &object, json!({ "metadata": { "finalizers": null } })).await.is(200);
    world.forget_custom(&path).await;
    Ran::Yes
}

async fn a_status_is_written_apart(world: Arc<World>) -> Ran {
    let (path, api) = world.custom("Etcd", true).await;
    let made = world
        .post(&path, druid(&api, "Etcd", &json!({ "spec": { "replicas": 1 }, "status": { "ready": true } })))
        .await;
    assert!(made.is(201).body.get("status").is_none(), "a new object has no status: {}", made.text);
    let object = format!("{path}/a");
    let mut body = made.body.clone();
    body["status"] = json!({ "ready": true });
    body["spec"]["replicas"] = 5.into();
    body["metadata"]["labels"] = json!({ "a": "b" });
    let status = world.put(&format!("{object}/status"), &body).await;
    status.is(200);
    assert_eq!(status.body["status"], json!({ "ready": true }));
    assert_eq!(status.body["spec"]["replicas"], 1);
    assert!(status.body["metadata"].get("labels").is_none());
    let mut body = status.body.clone();
    body["status"] = json!({ "ready": false });
    body["spec"]["replicas"] = 3.into();
    let main = world.put(&object, &body).await;
    main.is(200);
    assert_eq!((&main.body["status"], &main.body["spec"]["replicas"]), (&json!({ "ready": true }), &3.into()));
    assert_eq!(world.get(&format!("{object}/status")).await.is(200).body, main.body);
    world.forget_custom(&path).await;
    Ran::Yes
}

async fn without_a_status_subresource_it_is_a_field(world: Arc<World>) -> Ran {
    let (path, api) = world.custom("Plain", false).await;
    let made = world.post(&path, druid(&api, "Plain", &json!({ "status": { "ready": true } }))).await;
    assert_eq!(made.is(201).body["status"], json!({ "ready": true }));
    let changed = world.patch("merge", &format!("{path}/a"), json!({ "status": { "ready": false } })).await;
    assert_eq!(changed.is(200).body["metadata"]["generation"], 2);
    world.get(&format!("{path}/a/status")).await.is(404);
    world.forget_custom(&path).await;
    Ran::Yes
}

async fn a_custom_kind_has_its_rules(world: Arc<World>) -> Ran {
    let (path, api) = world.custom("Etcd", true).await;
    let object = format!("{path}/a");
    let body = druid(&api, "Etcd", &json!({ "spec": { "list": [1, 2] } }));
    world.put(&object, &body).await.fails(404, "NotFound", "etcds.");
    let made = world.post(&path, body.clone()).await;
    let put = world.put(&object, &body).await;
    put.fails(422, "Invalid", "metadata.resourceVersion: Invalid value: 0").fails(
        422,
        "Invalid",
        ": must be specified for an update",
    );
    let patched = world.patch("merge", &object, json!({ "spec": { "list": [3] } })).await;
    assert_eq!(patched.is(200).body["spec"]["list"], json!([3]));
    world.put(&object, &made.body).await.fails(409, "Conflict", "the object has been modified");
    world.patch("strategic-merge", &object, json!({})).await.fails(415, "UnsupportedMediaType", "");
    world.post(&path, json!({ "metadata": { "name": "b" } })).await.fails(400, "BadRequest", "");
    let list = world.get(&path).await;
    assert_eq!(list.is(200).body["kind"], "EtcdList");
    assert_eq!(list.body["items"][0]["kind"], "Etcd", "custom items say what they are");
    let gone = world.delete(&object).await;
    assert_eq!(gone.is(200).body["kind"], "Status");
    world.forget_custom(&path).await;
    Ran::Yes
}
