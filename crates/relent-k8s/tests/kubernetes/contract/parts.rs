//! Parts with paths of their own: scale, ephemeral containers, resize, logs.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World, unique};

facts![
    a_scale_is_read_and_written,
    a_stale_scale_conflicts,
    a_scale_is_not_negative,
    a_scale_is_owned_by_itself,
    a_custom_scale,
    a_debug_container_is_added,
    a_pod_is_resized,
    logs_of_a_pod_without_a_node,
    logs_name_their_container,
    what_runs_on_no_node_cannot_be_entered,
];

async fn deployment(world: &World) -> String {
    let labels = json!({ "app": "d" });
    let pod = json!({ "containers": [{ "name": "c", "image": "i" }] });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "labels": labels },
        "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": pod } },
    });
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", world.namespace);
    world.post(&path, deployment).await.is(201);
    format!("{path}/d")
}

async fn a_scale_is_read_and_written(world: Arc<World>) -> Ran {
    let path = deployment(&world).await;
    let scale = format!("{path}/scale");
    let read = world.get(&scale).await;
    assert_eq!((&read.is(200).body["kind"], &read.body["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(read.body["spec"], json!({ "replicas": 2 }));
    assert_eq!(read.body["status"]["selector"], "app=d");
    assert_eq!(read.body["metadata"].get("labels"), None);
    let whole = world.get(&path).await;
    assert_eq!(read.body["metadata"]["resourceVersion"], whole.body["metadata"]["resourceVersion"]);
    let mut wanted = read.body.clone();
    wanted["spec"]["replicas"] = 5.into();
    let put = world.put(&scale, &wanted).await;
    assert_eq!(put.is(200).body["spec"]["replicas"], 5);
    let merged = world.patch("merge", &scale, json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!(merged.is(200).body["spec"]["replicas"], 3);
    let whole = world.get(&path).await;
    assert_eq!((&whole.body["spec"]["replicas"], &whole.body["metadata"]["generation"]), (&json!(3), &json!(3)));
    world.get(&path.replace("deployments/d", "deployments/none/scale")).await.fails(
        404,
        "NotFound",
        " \"none\" not found",
    );
    Ran::Yes
}

async fn a_stale_scale_conflicts(world: Arc<World>) -> Ran {
    let scale = format!("{}/scale", deployment(&world).await);
    let stale = world.get(&scale).await.body;
    world.patch("merge", &scale, json!({ "spec": { "replicas": 3 } })).await.is(200);
    let refused = world.put(&scale, &stale).await;
    refused.fails(409, "Conflict", "Operation cannot be fulfilled on deployments.apps \"d\"");
    Ran::Yes
}

async fn a_scale_is_not_negative(world: Arc<World>) -> Ran {
    let scale = format!("{}/scale", deployment(&world).await);
    let refused = world.patch("merge", &scale, json!({ "spec": { "replicas": -1 } })).await;
    refused.fails(422, "Invalid", "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1");
    Ran::Yes
}

async fn apply(world: &World, path: &str, body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    world.raw(&world.client, Method::PATCH, path, "application/apply-patch+yaml", body).await
}

async fn a_scale_is_owned_by_itself(world: Arc<World>) -> Ran {
    if world.minor < 23 {
        return Ran::No("servers before 1.23 do not note which manager scales");
    }
    let path = deployment(&world).await;
    world.patch("merge", &format!("{path}/scale?fieldManager=sc"), json!({ "spec": { "replicas": 3 } })).await.is(200);
    let whole = world.get(&path).await;
    let entries = whole.body["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "sc").expect("it owns something");
    assert_eq!(entry["subresource"], "scale");
    assert_eq!(entry["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
    let wish = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" }, "spec": { "replicas": 7 },
    });
    let refused = apply(&world, &format!("{path}?fieldManager=m"), &wish).await;
    refused.fails(409, "Conflict", "conflict with \"sc\" with subresource \"scale\" using apps/v1");
    let scale = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "d" }, "spec": { "replicas": 4 } });
    let applied = apply(&world, &format!("{path}/scale?fieldManager=hpa&force=true"), &scale).await;
    assert_eq!(applied.is(200).body["spec"]["replicas"], 4);
    Ran::Yes
}

async fn a_custom_scale(world: Arc<World>) -> Ran {
    let group = format!("{}.example.com", unique("relent"));
    let free = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("fleets.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced", "names": { "kind": "Fleet", "plural": "fleets" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": free, "status": free } } },
                "subresources": { "status": {}, "scale": {
                    "specReplicasPath": ".spec.ships", "statusReplicasPath": ".status.ships", "labelSelectorPath": ".status.selector",
                } },
            }],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world.post(definitions, definition).await.is(201);
    let path = format!("/apis/{group}/v1/namespaces/{}/fleets", world.namespace);
    for _ in 0..200 {
        if world.get(&path).await.code == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let fleet = json!({ "apiVersion": format!("{group}/v1"), "kind": "Fleet", "metadata": { "name": "f" }, "spec": { "ships": 2 } });
    world.post(&path, fleet).await.is(201);
    let scale = format!("{path}/f/scale");
    assert_eq!(world.get(&scale).await.is(200).body["spec"]["replicas"], 2);
    let patched = world.patch("merge", &scale, json!({ "spec": { "replicas": 9 } })).await;
    assert_eq!(patched.is(200).body["spec"]["replicas"], 9);
    assert_eq!(world.get(&format!("{path}/f")).await.body["spec"]["ships"], 9);
    let told = json!({ "status": { "ships": 4, "selector": "a=b" } });
    world.patch("merge", &format!("{path}/f/status"), told).await.is(200);
    assert_eq!(world.get(&scale).await.body["status"], json!({ "replicas": 4, "selector": "a=b" }));
    world.delete(&format!("{definitions}/fleets.{group}")).await.is(200);
    Ran::Yes
}

async fn a_debug_container_is_added(world: Arc<World>) -> Ran {
    if world.minor < 25 {
        return Ran::No("servers before 1.25 have ephemeral containers behind a gate");
    }
    world.pod("p", "").await;
    let path = world.core("pods/p/ephemeralcontainers");
    let debug = json!({ "name": "debug", "image": "busybox" });
    let added = world.patch("strategic-merge", &path, json!({ "spec": { "ephemeralContainers": [debug] } })).await;
    assert_eq!(added.is(200).body["spec"]["ephemeralContainers"][0]["name"], "debug");
    let gone = world.patch("json", &path, json!([{ "op": "remove", "path": "/spec/ephemeralContainers" }])).await;
    gone.fails(422, "Invalid", "existing ephemeral containers \"debug\" may not be removed");
    let elsewhere = world.patch("merge", &path, json!({ "metadata": { "labels": { "new": "1" } } })).await;
    assert_eq!(elsewhere.is(200).body["metadata"]["labels"].get("new"), None, "only the containers count");
    Ran::Yes
}

async fn a_pod_is_resized(world: Arc<World>) -> Ran {
    if world.minor < 33 {
        return Ran::No("servers before 1.33 do not resize pods");
    }
    world.pod("p", "").await;
    let resources = json!({ "requests": { "cpu": "100m" } });
    let patch = json!({ "spec": { "containers": [{ "name": "main", "resources": resources }] } });
    let resized = world.patch("strategic-merge", &world.core("pods/p/resize"), patch.clone()).await;
    assert_eq!(resized.is(200).body["spec"]["containers"][0]["resources"], resources);
    world
        .patch(
            "strategic-merge",
            &world.core("pods/p"),
            json!({ "spec": { "containers": [{ "name": "main", "resources": { "requests": { "cpu": "200m" } } }] } }),
        )
        .await
        .is(422);
    Ran::Yes
}

async fn logs_of_a_pod_without_a_node(world: Arc<World>) -> Ran {
    world.pod("p", "").await;
    let log = world.get(&world.core("pods/p/log")).await;
    assert!(log.code == 204 || log.code == 200, "{}", log.text);
    assert_eq!(log.text, "");
    world.get(&world.core("pods/none/log")).await.fails(404, "NotFound", "pods \"none\" not found");
    Ran::Yes
}

async fn logs_name_their_container(world: Arc<World>) -> Ran {
    world.pod("p", "").await;
    let unknown = world.get(&world.core("pods/p/log?container=other")).await;
    unknown.fails(400, "BadRequest", "container other is not valid for pod p");
    let containers = json!([{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }]);
    let pod = json!({ "metadata": { "name": "two" }, "spec": { "containers": containers, "automountServiceAccountToken": false } });
    world.post(&world.core("pods"), pod).await.is(201);
    let which = world.get(&world.core("pods/two/log")).await;
    which.fails(400, "BadRequest", "a container name must be specified for pod two, choose one of: [a b]");
    if let Some(server) = &world.ours {
        server.set_log(&world.namespace, "two", "b", "one\ntwo\nthree\n");
        let log = world.get(&world.core("pods/two/log?container=b")).await;
        assert_eq!(
            (log.is(200).text.as_str(), &log.headers["content-type"]),
            ("one\ntwo\nthree\n", &"text/plain".parse().unwrap())
        );
        assert_eq!(world.get(&world.core("pods/two/log?container=b&tailLines=2")).await.text, "two\nthree\n");
        assert_eq!(world.get(&world.core("pods/two/log?container=b&limitBytes=4")).await.text, "one\n");
    }
    Ran::Yes
}

async fn what_runs_on_no_node_cannot_be_entered(world: Arc<World>) -> Ran {
    world.pod("p", "no-such-node").await;
    let entered = world.get(&world.core("pods/p/exec?command=ls&stdout=true")).await;
    assert!(entered.code >= 400, "{}", entered.text);
    if world.ours.is_some() {
        entered.fails(501, "NotImplemented", "pods/exec");
        world.get(&world.core("pods/p/log")).await.fails(501, "NotImplemented", "set by ApiServer::set_log");
    }
    Ran::Yes
}
