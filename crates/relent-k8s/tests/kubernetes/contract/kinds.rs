//! Where the built-in kinds differ.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::world::{World, unique},
    Ran, facts,
};

facts![
    a_put_makes_or_overwrites_as_the_kind_has_it,
    a_pod_keeps_its_spec,
    a_status_is_written_by_its_subresource,
    a_service_gets_an_address,
    events_are_objects_too,
    a_node_keeps_its_status,
    initial_events_end_with_a_bookmark,
];

/// A minimal object of a kind: the path of its collection, and what is in it besides metadata.
fn minimal(world: &World) -> Vec<(&'static str, String, Value)> {
    let selector = json!({ "matchLabels": { "a": "b" } });
    let about = json!({ "kind": "Pod", "namespace": world.namespace, "name": "a" });
    vec![
        ("configmaps", world.core("configmaps"), json!({})),
        ("secrets", world.core("secrets"), json!({})),
        ("serviceaccounts", world.core("serviceaccounts"), json!({})),
        ("endpoints", world.core("endpoints"), json!({})),
        ("events", world.core("events"), json!({ "involvedObject": about, "reason": "Testing", "type": "Normal" })),
        ("leases", world.leases(""), json!({})),
        ("poddisruptionbudgets", world.budgets(""), json!({ "spec": { "minAvailable": 1, "selector": selector } })),
        ("nodes", "/api/v1/nodes".to_owned(), json!({})),
    ]
}

async fn a_put_makes_or_overwrites_as_the_kind_has_it(world: Arc<World>) -> Ran {
    let mut seen = Vec::new();
    for (kind, path, mut object) in minimal(&world) {
        let name = unique("put");
        object["metadata"] = json!({ "name": name });
        let put = world.put(&format!("{path}/{name}"), &object).await.code;
        if put == 404 {
            world.post(&path, object.clone()).await.is(201);
        }
        object["metadata"]["labels"] = json!({ "a": "b" });
        let again = world.put(&format!("{path}/{name}"), &object).await.code;
        world.delete(&format!("{path}/{name}")).await.is(200);
        seen.push((kind, put, again));
    }
    assert_eq!(
        seen,
        [
            ("configmaps", 404, 200),
            ("secrets", 404, 200),
            ("serviceaccounts", 404, 200),
            ("endpoints", 201, 200),
            ("events", 201, 200),
            ("leases", 201, 422),
            ("poddisruptionbudgets", 404, 422),
            ("nodes", 404, 200),
        ],
        "kind, PUT to a missing name, PUT without a revision"
    );
    Ran::Yes
}

async fn a_pod_keeps_its_spec(world: Arc<World>) -> Ran {
    let pod = world.pod("a", "").await;
    let path = world.core("pods/a");
    let mut changed = pod.body.clone();
    changed["spec"]["containers"][0]["image"] = "example.com/other".into();
    changed["spec"]["activeDeadlineSeconds"] = 60.into();
    let image = world.put(&path, &changed).await;
    assert_eq!(image.is(200).body["spec"]["containers"][0]["image"], "example.com/other");
    for (field, value) in
        [("nodeName", json!("elsewhere")), ("restartPolicy", json!("Never")), ("hostNetwork", json!(true))]
    {
        let mut spec = json!({});
        spec[field] = value;
        let refused = world.patch("merge", &path, json!({ "spec": spec })).await;
        refused.fails(
            422,
            "Invalid",
            "Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than",
        );
    }
    let empty = json!({ "metadata": { "name": "b" }, "spec": { "containers": [] } });
    world.post(&world.core("pods"), empty).await.fails(422, "Invalid", "spec.containers: Required value");
    Ran::Yes
}

async fn a_status_is_written_by_its_subresource(world: Arc<World>) -> Ran {
    let budget = json!({
        "metadata": { "name": "a" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "a": "b" } } },
        "status": { "disruptionsAllowed": 7, "currentHealthy": 7, "desiredHealthy": 7, "expectedPods": 7 },
    });
    let made = world.post(&world.budgets(""), budget).await;
    assert_eq!(made.is(201).body["status"]["disruptionsAllowed"], 0, "{}", made.text);
    let patch = json!({ "spec": { "minAvailable": 2 }, "status": { "expectedPods": 3 } });
    let main = world.patch("merge", &world.budgets("/a"), patch.clone()).await;
    assert_eq!(
        (&main.is(200).body["spec"]["minAvailable"], &main.body["status"]["expectedPods"]),
        (&2.into(), &0.into())
    );
    let patch = json!({ "spec": { "minAvailable": 5 }, "status": { "expectedPods": 3 } });
    let status = world.patch("merge", &world.budgets("/a/status"), patch).await;
    assert_eq!(
        (&status.is(200).body["spec"]["minAvailable"], &status.body["status"]["expectedPods"]),
        (&2.into(), &3.into())
    );
    assert_eq!(status.body["metadata"]["generation"], 2);
    world.get(&world.budgets("/a/status")).await.is(200);
    Ran::Yes
}

async fn a_service_gets_an_address(world: Arc<World>) -> Ran {
    let service = |name: &str| json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } });
    let one = world.post(&world.core("services"), service("one")).await;
    let two = world.post(&world.core("services"), service("two")).await;
    let address =
        |answer: &super::super::world::Answer| answer.is(201).body["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert_ne!(address(&one), address(&two));
    assert_eq!(one.body["spec"]["type"], "ClusterIP");
    let same =
        world.patch("merge", &world.core("services/one"), json!({ "metadata": { "labels": { "a": "b" } } })).await;
    assert_eq!(same.is(200).body["spec"]["clusterIP"], one.body["spec"]["clusterIP"]);
    for name in ["one", "two"] {
        world.delete(&world.core(&format!("services/{name}"))).await.is(200);
    }
    Ran::Yes
}

async fn events_are_objects_too(world: Arc<World>) -> Ran {
    let about = json!({ "kind": "Pod", "namespace": world.namespace, "name": "a", "uid": "1" });
    let event = json!({ "metadata": { "generateName": "a." }, "involvedObject": about, "reason": "Tested", "message": "it was", "type": "Normal" });
    world.post(&world.core("events"), event.clone()).await.is(201);
    let found = world.get(&world.core("events?fieldSelector=involvedObject.name%3Da,reason%3DTested")).await;
    assert_eq!(found.is(200).body["items"][0]["message"], "it was");
    let mut elsewhere = event;
    elsewhere["involvedObject"]["namespace"] = "kube-system".into();
    world.post(&world.core("events"), elsewhere).await.fails(422, "Invalid", "involvedObject.namespace: Invalid value");
    Ran::Yes
}

async fn a_node_keeps_its_status(world: Arc<World>) -> Ran {
    let name = unique("node");
    let path = format!("/api/v1/nodes/{name}");
    let node = json!({ "metadata": { "name": name }, "status": { "phase": "Running" } });
    let made = world.post("/api/v1/nodes", node).await;
    assert_eq!(made.is(201).body["status"]["phase"], "Running", "a new node brings its status");
    let main = world.patch("merge", &path, json!({ "status": { "phase": "Pending" } })).await;
    assert_eq!(main.is(200).body["status"]["phase"], "Running");
    let status = world.patch("merge", &format!("{path}/status"), json!({ "status": { "phase": "Pending" } })).await;
    assert_eq!(status.is(200).body["status"]["phase"], "Pending");
    world.delete(&path).await.is(200);
    Ran::Yes
}

async fn initial_events_end_with_a_bookmark(world: Arc<World>) -> Ran {
    if world.minor < 32 {
        return Ran::No("servers before 1.32 do not know sendInitialEvents");
    }
    world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await.is(201);
    let query = |seconds: u32| {
        format!(
            "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds={seconds}"
        )
    };
    // A feature gate, which 1.33 has off.
    if world.ours.is_none() && world.get(&world.leases(&query(1))).await.code == 422 {
        return Ran::No("its feature gate WatchList is off");
    }
    let mut watch = world.watch(&world.leases(&query(60))).await;
    let first = watch.next().await.unwrap();
    assert_eq!((&first["type"], &first["object"]["metadata"]["name"]), (&"ADDED".into(), &"a".into()));
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    world.delete(&world.leases("/a")).await.is(200);
    assert_eq!(watch.change().await.0, "DELETED");
    Ran::Yes
}
