//! Fields that are not known, fields that stand there twice, and codes that are easily mistaken.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World};

facts![
    unknown_fields_are_warned_of,
    unknown_fields_are_refused_strictly,
    unknown_fields_are_ignored_on_demand,
    an_unknown_strictness_is_refused,
    a_patch_with_unknown_fields,
    applied_fields_are_declared,
    applied_values_have_their_type,
    a_patch_that_breaks_the_type,
    a_merge_patch_of_another_life,
    an_unknown_operation,
    null_in_a_map_of_strings,
    one_key_in_both_maps,
    no_limit_below_zero,
    finalizers_have_a_domain,
    an_unknown_group_has_no_status,
    a_namespace_bears_its_name,
    a_lease_has_a_spec,
];

/// Before this, servers have no fieldValidation.
fn too_old(world: &World) -> Option<Ran> {
    (world.minor < 27).then_some(Ran::No("servers before 1.27 do not validate fields"))
}

async fn raw(world: &World, method: Method, path: &str, content: &str, body: &str) -> Answer {
    world.raw(&world.client, method, path, content, body.as_bytes().to_vec()).await
}

const ODD: &str =
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","bad":1},"foo":2,"data":{"a":"1","a":"2"}}"#;

fn warnings(answer: &Answer) -> Vec<String> {
    let mut all: Vec<_> =
        answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

async fn unknown_fields_are_warned_of(world: Arc<World>) -> Ran {
    if let Some(ran) = too_old(&world) {
        return ran;
    }
    let made = raw(&world, Method::POST, &world.core("configmaps"), "application/json", ODD).await;
    assert_eq!(made.is(201).body["data"]["a"], "2", "the last one counts");
    assert_eq!(made.body["foo"], Value::Null);
    let wanted = [
        r#"299 - "duplicate field \"data.a\"""#,
        r#"299 - "unknown field \"foo\"""#,
        r#"299 - "unknown field \"metadata.bad\"""#,
    ];
    assert_eq!(warnings(&made), wanted);
    Ran::Yes
}

async fn unknown_fields_are_refused_strictly(world: Arc<World>) -> Ran {
    if let Some(ran) = too_old(&world) {
        return ran;
    }
    let path = world.core("configmaps?fieldValidation=Strict");
    let refused = raw(&world, Method::POST, &path, "application/json", ODD).await;
    refused.fails(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: ",
    );
    for field in ["unknown field \"foo\"", "unknown field \"metadata.bad\"", "duplicate field \"data.a\""] {
        assert!(refused.body["message"].as_str().unwrap().contains(field), "{}", refused.text);
    }
    // Names of fields are told apart by their case, and what is known is let through.
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "Containers": [], "containers": [{ "name": "c", "image": "i" }] } });
    let refused = world.post(&world.core("pods?fieldValidation=Strict"), pod).await;
    refused.fails(400, "BadRequest", "unknown field \"spec.Containers\"");
    let well = json!({ "metadata": { "name": "a", "labels": {} }, "data": {} });
    world.post(&path, well).await.is(201);
    Ran::Yes
}

async fn unknown_fields_are_ignored_on_demand(world: Arc<World>) -> Ran {
    if let Some(ran) = too_old(&world) {
        return ran;
    }
    let path = world.core("configmaps?fieldValidation=Ignore");
    let made = raw(&world, Method::POST, &path, "application/json", ODD).await;
    assert!(warnings(made.is(201)).is_empty());
    Ran::Yes
}

async fn an_unknown_strictness_is_refused(world: Arc<World>) -> Ran {
    if let Some(ran) = too_old(&world) {
        return ran;
    }
    let path = world.core("configmaps?fieldValidation=Sometimes");
    world.post(&path, json!({ "metadata": { "name": "a" } })).await.fails(
        422,
        "Invalid",
        "fieldValidation: Unsupported value: \"Sometimes\"",
    );
    Ran::Yes
}

async fn a_patch_with_unknown_fields(world: Arc<World>) -> Ran {
    if let Some(ran) = too_old(&world) {
        return ran;
    }
    world.map("a").await.is(201);
    let path = world.core("configmaps/a");
    let strict = format!("{path}?fieldValidation=Strict");
    let refused = world.patch("merge", &strict, json!({ "foo": 1 })).await;
    refused.fails(422, "Invalid", "strict decoding error: unknown field \"foo\"");
    let warned = world.patch("merge", &path, json!({ "foo": 1 })).await;
    assert_eq!(warnings(warned.is(200)), [r#"299 - "unknown field \"foo\"""#]);
    Ran::Yes
}

async fn apply(world: &World, path: &str, body: &Value) -> Answer {
    raw(world, Method::PATCH, path, "application/apply-patch+yaml", &body.to_string()).await
}

async fn applied_fields_are_declared(world: Arc<World>) -> Ran {
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/d?fieldManager=m", world.namespace);
    let pod = json!({ "containers": [{ "name": "c", "image": "i", "bar": 1 }] });
    let labels = json!({ "app": "d" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": pod } },
    });
    let refused = apply(&world, &path, &deployment).await;
    assert_eq!(refused.code, 500, "{}", refused.text);
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.starts_with("failed to create typed patch object"), "{message}");
    let field = ".spec.template.spec.containers[name=\"c\"].bar: field not declared in schema";
    assert!(message.contains(field), "{message}");
    Ran::Yes
}

async fn applied_values_have_their_type(world: Arc<World>) -> Ran {
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "x": 1 } });
    let refused = apply(&world, &world.core("configmaps/a?fieldManager=m"), &map).await;
    assert_eq!(refused.code, 500, "{}", refused.text);
    assert!(refused.text.contains("failed to create typed patch object"), "{}", refused.text);
    Ran::Yes
}

async fn a_patch_that_breaks_the_type(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let refused = world.patch("merge", &world.core("configmaps/a"), json!({ "data": "text" })).await;
    assert!(matches!(refused.code, 422) || world.minor < 27, "{}", refused.text);
    if world.minor >= 27 {
        refused.fails(422, "Invalid", "patch: Invalid value");
    }
    assert_eq!(world.get(&world.core("configmaps/a")).await.body["data"], json!({ "a": "1" }));
    Ran::Yes
}

async fn a_merge_patch_of_another_life(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let other = json!({ "metadata": { "uid": "11111111-2222-3333-4444-555555555555" } });
    let refused = world.patch("merge", &world.core("configmaps/a"), other).await;
    refused.fails(
        422,
        "Invalid",
        "metadata.uid: Invalid value: \"11111111-2222-3333-4444-555555555555\": field is immutable",
    );
    Ran::Yes
}

async fn an_unknown_operation(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let path = world.core("configmaps/a");
    let refused = world.patch("json", &path, json!([{ "op": "dance", "path": "/data" }])).await;
    refused.is(422);
    world.patch("json", &path, json!({ "op": "add" })).await.is(400);
    // kube's finalizer helper asks whether nothing is there.
    let nothing = json!([{ "op": "test", "path": "/metadata/finalizers", "value": null }]);
    world.patch("json", &path, nothing).await.is(200);
    Ran::Yes
}

async fn null_in_a_map_of_strings(world: Arc<World>) -> Ran {
    let made =
        world.post(&world.core("configmaps"), json!({ "metadata": { "name": "a" }, "data": { "a": null } })).await;
    assert_eq!(made.is(201).body["data"], json!({ "a": "" }));
    Ran::Yes
}

async fn one_key_in_both_maps(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a" }, "data": { "a": "1" }, "binaryData": { "a": "MQ==" } });
    let refused = world.post(&world.core("configmaps"), map).await;
    refused.fails(422, "Invalid", "data[a]: Invalid value: \"a\": duplicate of key present in binaryData");
    Ran::Yes
}

async fn no_limit_below_zero(world: Arc<World>) -> Ran {
    for name in ["a", "b"] {
        world.map(name).await.is(201);
    }
    let list = world.get(&world.core("configmaps?limit=-1")).await;
    assert!(list.is(200).body["items"].as_array().is_some_and(|items| items.len() >= 2));
    Ran::Yes
}

async fn finalizers_have_a_domain(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "finalizers": ["mine"] } });
    let refused = world.post(&world.core("configmaps"), map).await;
    refused.fails(422, "Invalid", "name is neither a standard finalizer name nor is it fully qualified");
    let (path, api) = world.custom("Held", false).await;
    let held = json!({ "apiVersion": api, "kind": "Held", "metadata": { "name": "a", "finalizers": ["mine"] } });
    world.post(&path, held).await.is(201);
    world.patch("merge", &format!("{path}/a"), json!({ "metadata": { "finalizers": null } })).await.is(200);
    world.forget_custom(&path).await;
    Ran::Yes
}

async fn an_unknown_group_has_no_status(world: Arc<World>) -> Ran {
    for path in ["/apis/nobody.example.com/v1/things", "/apis/nobody.example.com/v1", "/nonsense"] {
        let missing = world.get(path).await;
        missing.is(404);
        assert!(
            missing.text.starts_with("404 page not found") || world.minor < 27 && path == "/nonsense",
            "{path}: {}",
            missing.text
        );
    }
    let known = world.get("/api/v1/things").await;
    known.fails(404, "NotFound", "the server could not find the requested resource");
    assert_eq!(known.body["details"], json!({}));
    Ran::Yes
}

async fn a_namespace_bears_its_name(world: Arc<World>) -> Ran {
    if world.minor < 21 {
        return Ran::No("servers before 1.21 do not label namespaces");
    }
    let space = world.get(&format!("/api/v1/namespaces/{}", world.namespace)).await;
    assert_eq!(space.is(200).body["metadata"]["labels"]["kubernetes.io/metadata.name"], world.namespace);
    Ran::Yes
}

async fn a_lease_has_a_spec(world: Arc<World>) -> Ran {
    let made = world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await;
    assert_eq!(made.is(201).body["spec"], json!({}));
    Ran::Yes
}
