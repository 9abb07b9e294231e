//! What is refused, and in which words.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::{super::world::World, Ran, facts};

facts![
    what_is_missing_is_named,
    what_exists_is_not_made_again,
    in_a_missing_namespace_nothing_is_found_or_made,
    a_namespace_in_the_body_must_be_that_of_the_path,
    a_name_in_the_body_must_be_that_of_the_path,
    names_have_a_form,
    labels_have_a_form,
    a_name_is_needed,
    a_new_object_has_no_revision,
    another_kind_is_refused,
    broken_json_is_refused,
    values_of_the_wrong_type_are_refused,
    an_unknown_resource_is_not_found,
    a_put_to_a_collection_is_not_allowed,
    an_unknown_patch_is_refused,
    a_future_revision_times_out,
    an_unknown_token_is_unauthorized,
    without_rights_it_is_forbidden,
    versions_and_resources_are_listed,
];

async fn what_is_missing_is_named(world: Arc<World>) -> Ran {
    let map = world.get(&world.core("configmaps/kube-proxy")).await;
    map.fails(404, "NotFound", "configmaps \"kube-proxy\" not found");
    assert_eq!(map.body["details"], json!({ "name": "kube-proxy", "kind": "configmaps" }));
    let lease = world.get(&world.leases("/a")).await;
    lease.fails(404, "NotFound", "leases.coordination.k8s.io \"a\" not found");
    assert_eq!(lease.body["details"], json!({ "name": "a", "group": "coordination.k8s.io", "kind": "leases" }));
    assert_eq!(lease.headers["content-type"], "application/json");
    world.delete(&world.core("configmaps/a")).await.fails(404, "NotFound", "configmaps \"a\" not found");
    Ran::Yes
}

async fn what_exists_is_not_made_again(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let again = world.map("a").await;
    again.fails(409, "AlreadyExists", "configmaps \"a\" already exists");
    assert_eq!(again.body["details"], json!({ "name": "a", "kind": "configmaps" }));
    Ran::Yes
}

async fn in_a_missing_namespace_nothing_is_found_or_made(world: Arc<World>) -> Ran {
    let missing = format!("{}-not", world.namespace);
    let path = format!("/api/v1/namespaces/{missing}/configmaps");
    world.get(&format!("{path}/a")).await.fails(404, "NotFound", "configmaps \"a\" not found");
    let made = world.post(&path, json!({ "metadata": { "name": "a" } })).await;
    made.fails(404, "NotFound", &format!("namespaces \"{missing}\" not found"));
    let listed = world.get(&path).await;
    assert_eq!(listed.is(200).body["items"], json!([]));
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{missing}/leases/a");
    let put = world.put(&lease, &json!({ "metadata": { "name": "a" } })).await;
    put.fails(404, "NotFound", &format!("namespaces \"{missing}\" not found"));
    Ran::Yes
}

async fn a_namespace_in_the_body_must_be_that_of_the_path(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "namespace": "kube-system" } });
    let made = world.post(&world.core("configmaps"), map.clone()).await;
    made.fails(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    world.map("a").await;
    world.put(&world.core("configmaps/a"), &map).await.fails(400, "BadRequest", "the namespace of the");
    Ran::Yes
}

async fn a_name_in_the_body_must_be_that_of_the_path(world: Arc<World>) -> Ran {
    world.map("a").await;
    let put = world.put(&world.core("configmaps/a"), &json!({ "metadata": { "name": "b" } })).await;
    put.fails(400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)");
    Ran::Yes
}

async fn names_have_a_form(world: Arc<World>) -> Ran {
    for name in ["Upper", "under_score", "-dash", "dash-", "dot.", "a/b", &"a".repeat(254)] {
        let made = world.post(&world.core("configmaps"), json!({ "metadata": { "name": name } })).await;
        made.fails(
            422,
            "Invalid",
            &format!("ConfigMap \"{name}\" is invalid: metadata.name: Invalid value: \"{name}\""),
        );
        assert_eq!(made.body["details"]["kind"], "ConfigMap");
        assert_eq!(made.body["details"]["causes"][0]["field"], "metadata.name");
        assert_eq!(made.body["details"]["causes"][0]["reason"], "FieldValueInvalid");
    }
    let lease = world.post(&world.leases(""), json!({ "metadata": { "name": "Upper" } })).await;
    lease.fails(422, "Invalid", "Lease.coordination.k8s.io \"Upper\" is invalid: metadata.name: Invalid value");
    for name in ["a", "a.b-c.1", &"a".repeat(253)] {
        world.post(&world.core("configmaps"), json!({ "metadata": { "name": name } })).await.is(201);
    }
    Ran::Yes
}

async fn labels_have_a_form(world: Arc<World>) -> Ran {
    for labels in [json!({ "a": "b c" }), json!({ "a b": "c" }), json!({ "a": "x".repeat(64) })] {
        let made =
            world.post(&world.core("configmaps"), json!({ "metadata": { "name": "a", "labels": labels } })).await;
        made.fails(422, "Invalid", "metadata.labels: Invalid value");
    }
    let annotations = json!({ "a": "x".repeat(256 << 10) });
    let made =
        world.post(&world.core("configmaps"), json!({ "metadata": { "name": "a", "annotations": annotations } })).await;
    made.fails(422, "Invalid", "metadata.annotations: Too long");
    let fine = json!({ "example.com/a_B.c": "", "b": "x".repeat(63) });
    world.post(&world.core("configmaps"), json!({ "metadata": { "name": "a", "labels": fine } })).await.is(201);
    Ran::Yes
}

async fn a_name_is_needed(world: Arc<World>) -> Ran {
    let made = world.post(&world.core("configmaps"), json!({ "metadata": {} })).await;
    made.fails(422, "Invalid", "metadata.name: Required value: name or generateName is required");
    world.map("a").await;
    world.put(&world.core("configmaps/a"), &json!({ "metadata": {} })).await.fails(400, "BadRequest", "");
    Ran::Yes
}

async fn a_new_object_has_no_revision(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "resourceVersion": "1" } });
    let made = world.post(&world.core("configmaps"), map).await;
    made.fails(500, "", "resourceVersion should not be set on objects to be created");
    Ran::Yes
}

async fn another_kind_is_refused(world: Arc<World>) -> Ran {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } });
    world.post(&world.core("configmaps"), pod).await.fails(400, "BadRequest", "");
    Ran::Yes
}

async fn broken_json_is_refused(world: Arc<World>) -> Ran {
    let made =
        world.raw(&world.client, Method::POST, &world.core("configmaps"), "application/json", b"{".to_vec()).await;
    made.fails(400, "BadRequest", "");
    Ran::Yes
}

async fn values_of_the_wrong_type_are_refused(world: Arc<World>) -> Ran {
    let made = world.post(&world.core("configmaps"), json!({ "metadata": { "name": "a" }, "data": { "a": 1 } })).await;
    made.fails(400, "BadRequest", "ConfigMap in version \"v1\" cannot be handled as a ConfigMap");
    Ran::Yes
}

async fn an_unknown_resource_is_not_found(world: Arc<World>) -> Ran {
    for path in [
        "/apis/nobody.example.com/v1/things".to_owned(),
        world.core("things"),
        world.core("things/a"),
        "/apis/nobody.example.com".to_owned(),
    ] {
        // Some of these are no `Status` at all on a real server.
        world.get(&path).await.is(404);
    }
    Ran::Yes
}

async fn a_put_to_a_collection_is_not_allowed(world: Arc<World>) -> Ran {
    let put = world.put(&world.core("configmaps"), &json!({ "metadata": { "name": "a" } })).await;
    put.fails(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    Ran::Yes
}

async fn an_unknown_patch_is_refused(world: Arc<World>) -> Ran {
    world.map("a").await;
    let patched =
        world.raw(&world.client, Method::PATCH, &world.core("configmaps/a"), "application/json", b"{}".to_vec()).await;
    // Newer servers say what they accept.
    patched.fails(415, "UnsupportedMediaType", "");
    Ran::Yes
}

async fn a_future_revision_times_out(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let future = made.revision() + 1_000_000;
    for path in [
        world.core(&format!("configmaps/a?resourceVersion={future}")),
        world.core(&format!("configmaps?resourceVersion={future}")),
    ] {
        let asked = world.get(&path).await;
        asked.fails(504, "Timeout", "Too large resource version");
        assert_eq!(asked.body["details"]["retryAfterSeconds"], 1, "{}", asked.text);
        assert_eq!(asked.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{}", asked.text);
        assert_eq!(asked.headers["retry-after"], "1");
    }
    Ran::Yes
}

async fn an_unknown_token_is_unauthorized(world: Arc<World>) -> Ran {
    let client = world.client_of_nobody();
    let asked = world.raw(&client, Method::GET, &world.core("configmaps/a"), "application/json", Vec::new()).await;
    asked.fails(401, "Unauthorized", "Unauthorized");
    Ran::Yes
}

async fn without_rights_it_is_forbidden(world: Arc<World>) -> Ran {
    let (client, user) = world.client_without_rights().await;
    let ask = |method: Method, path: String| {
        let (world, client) = (world.clone(), client.clone());
        async move { world.raw(&client, method, &path, "application/json", Vec::new()).await }
    };
    let namespace = &world.namespace;
    let got = ask(Method::GET, world.core("configmaps/a")).await;
    got.fails(403, "Forbidden", &format!("configmaps \"a\" is forbidden: User \"{user}\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"{namespace}\""));
    assert_eq!(got.body["details"], json!({ "name": "a", "kind": "configmaps" }));
    let listed = ask(Method::GET, world.leases("")).await;
    listed.fails(403, "Forbidden", &format!("leases.coordination.k8s.io is forbidden: User \"{user}\" cannot list resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"{namespace}\""));
    let nodes = ask(Method::GET, "/api/v1/nodes".to_owned()).await;
    nodes.fails(
        403,
        "Forbidden",
        &format!(
            "nodes is forbidden: User \"{user}\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
        ),
    );
    Ran::Yes
}

async fn versions_and_resources_are_listed(world: Arc<World>) -> Ran {
    let version = world.get("/version").await;
    assert!(
        version.is(200).body["gitVersion"].as_str().is_some_and(|text| text.starts_with("v1.")),
        "{}",
        version.text
    );
    let core = world.get("/api/v1").await;
    core.is(200);
    assert_eq!(core.body["kind"], "APIResourceList");
    let resources = core.body["resources"].as_array().unwrap();
    for (name, kind, namespaced) in [
        ("configmaps", "ConfigMap", true),
        ("namespaces", "Namespace", false),
        ("pods/eviction", "Eviction", true),
        ("pods/status", "Pod", true),
    ] {
        let found = resources.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((&found["kind"], &found["namespaced"]), (&kind.into(), &namespaced.into()));
    }
    let groups = world.get("/apis").await;
    assert_eq!(groups.is(200).body["kind"], "APIGroupList");
    assert!(groups.text.contains("coordination.k8s.io/v1"));
    assert_eq!(world.get("/apis/coordination.k8s.io").await.is(200).body["kind"], "APIGroup");
    assert_eq!(world.get("/healthz").await.is(200).text, "ok");
    Ran::Yes
}
