//! Deletion.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::world::World, Ran, facts};

facts![
    deletion_tells_what_is_gone,
    preconditions_are_checked,
    finalizers_hold_an_object,
    no_finalizer_is_added_to_what_is_going,
    a_pod_without_a_node_goes_at_once,
    a_pod_on_a_node_is_given_time,
    a_finished_pod_goes_at_once,
    a_collection_is_deleted_by_selector,
    foreground_deletion_waits_for_its_finalizer,
    nothing_is_made_in_a_namespace_that_is_going,
];

async fn deletion_tells_what_is_gone(world: Arc<World>) -> Ran {
    let map = world.map("a").await;
    let gone = world.delete(&world.core("configmaps/a")).await;
    assert_eq!(gone.is(200).body["kind"], "Status");
    assert_eq!(gone.body["status"], "Success");
    assert_eq!(gone.body["details"], json!({ "name": "a", "kind": "configmaps", "uid": map.uid() }));
    world.get(&world.core("configmaps/a")).await.is(404);
    let lease = world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await;
    let gone = world.delete(&world.leases("/a")).await;
    assert_eq!(
        gone.is(200).body["details"],
        json!({ "name": "a", "group": "coordination.k8s.io", "kind": "leases", "uid": lease.uid() })
    );
    Ran::Yes
}

async fn preconditions_are_checked(world: Arc<World>) -> Ran {
    let first = world.map("a").await;
    let path = world.core("configmaps/a");
    let now = world.patch("merge", &path, json!({ "data": { "a": "2" } })).await;
    let stale =
        world.delete_with(&path, json!({ "preconditions": { "resourceVersion": first.revision().to_string() } })).await;
    stale.fails(409, "Conflict", "Operation cannot be fulfilled on ");
    let other =
        world.delete_with(&path, json!({ "preconditions": { "uid": "11111111-2222-3333-4444-555555555555" } })).await;
    other.fails(409, "Conflict", "11111111-2222-3333-4444-555555555555");
    let right = json!({ "preconditions": { "resourceVersion": now.revision().to_string(), "uid": now.uid() } });
    world.delete_with(&path, right).await.is(200);
    Ran::Yes
}

async fn finalizers_hold_an_object(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "finalizers": ["example.com/a", "example.com/b"] } });
    world.post(&world.core("configmaps"), map).await.is(201);
    let path = world.core("configmaps/a");
    let going = world.delete(&path).await;
    assert_eq!(going.is(200).body["kind"], "ConfigMap", "{}", going.text);
    assert!(going.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(going.body["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = world.delete(&path).await;
    assert_eq!(again.is(200).revision(), going.revision(), "asking twice changes nothing");
    let finalizers = |words: &[&str]| json!({ "metadata": { "finalizers": words } });
    world.patch("merge", &path, finalizers(&["example.com/b"])).await.is(200);
    world.get(&path).await.is(200);
    world.patch("merge", &path, finalizers(&[])).await.is(200);
    world.get(&path).await.is(404);
    Ran::Yes
}

async fn no_finalizer_is_added_to_what_is_going(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "finalizers": ["example.com/a"] } });
    world.post(&world.core("configmaps"), map).await.is(201);
    let path = world.core("configmaps/a");
    world.delete(&path).await.is(200);
    let more = json!({ "metadata": { "finalizers": ["example.com/a", "example.com/b"] } });
    let refused = world.patch("merge", &path, more).await;
    refused.fails(
        422,
        "Invalid",
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted",
    );
    world.patch("merge", &path, json!({ "metadata": { "finalizers": null } })).await.is(200);
    Ran::Yes
}

async fn a_pod_without_a_node_goes_at_once(world: Arc<World>) -> Ran {
    let pod = world.pod("a", "").await;
    assert_eq!(pod.body["status"]["phase"], "Pending");
    assert_eq!(pod.body["spec"]["terminationGracePeriodSeconds"], 30);
    let gone = world.delete(&world.core("pods/a")).await;
    assert_eq!(gone.is(200).body["kind"], "Pod", "{}", gone.text);
    world.get(&world.core("pods/a")).await.is(404);
    Ran::Yes
}

async fn a_pod_on_a_node_is_given_time(world: Arc<World>) -> Ran {
    world.pod("a", "no-such-node").await;
    let path = world.core("pods/a");
    let going = world.delete_with(&path, json!({ "gracePeriodSeconds": 20 })).await;
    let meta = &going.is(200).body["metadata"];
    assert_eq!(meta["deletionGracePeriodSeconds"], 20);
    assert!(meta["deletionTimestamp"].as_str() >= meta["creationTimestamp"].as_str(), "{meta}");
    let longer = world.delete_with(&path, json!({ "gracePeriodSeconds": 25 })).await;
    assert_eq!(longer.is(200).body["metadata"]["deletionGracePeriodSeconds"], 20);
    let shorter = world.delete_with(&path, json!({ "gracePeriodSeconds": 5 })).await;
    assert_eq!(shorter.is(200).body["metadata"]["deletionGracePeriodSeconds"], 5);
    world.get(&path).await.is(200);
    // As a kubelet does it.
    world.delete_with(&path, json!({ "gracePeriodSeconds": 0 })).await.is(200);
    world.get(&path).await.is(404);
    Ran::Yes
}

async fn a_finished_pod_goes_at_once(world: Arc<World>) -> Ran {
    world.pod("a", "no-such-node").await;
    world.patch("merge", &world.core("pods/a/status"), json!({ "status": { "phase": "Succeeded" } })).await.is(200);
    world.delete(&world.core("pods/a")).await.is(200);
    world.get(&world.core("pods/a")).await.is(404);
    Ran::Yes
}

async fn a_collection_is_deleted_by_selector(world: Arc<World>) -> Ran {
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        world
            .post(&world.core("configmaps"), json!({ "metadata": { "name": name, "labels": { "l": label } } }))
            .await
            .is(201);
    }
    let gone = world.delete(&world.core("configmaps?labelSelector=l%3Dx")).await;
    assert_eq!(gone.is(200).body["kind"], "ConfigMapList");
    assert_eq!(gone.body["items"].as_array().map(Vec::len), Some(2));
    let left = world.get(&world.core("configmaps?labelSelector=l")).await;
    assert_eq!(left.body["items"].as_array().map(Vec::len), Some(1));
    Ran::Yes
}

async fn foreground_deletion_waits_for_its_finalizer(world: Arc<World>) -> Ran {
    world.map("a").await;
    let path = world.core("configmaps/a");
    let going = world.delete_with(&path, json!({ "propagationPolicy": "Foreground" })).await;
    assert_eq!(going.is(200).body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    // A garbage collector may be there, and be quick.
    let removed = world.patch("merge", &path, json!({ "metadata": { "finalizers": null } })).await;
    assert!(matches!(removed.code, 200 | 404), "{}", removed.text);
    world.get(&path).await.is(404);
    Ran::Yes
}

async fn nothing_is_made_in_a_namespace_that_is_going(world: Arc<World>) -> Ran {
    let name = format!("{}-going", world.namespace);
    world.post("/api/v1/namespaces", json!({ "metadata": { "name": name } })).await.is(201);
    let path = format!("/api/v1/namespaces/{name}");
    let map = |name: &str| json!({ "metadata": { "name": name, "finalizers": ["example.com/hold"] } });
    world.post(&format!("{path}/configmaps"), map("held")).await.is(201);
    let going = world.delete(&path).await;
    going.is(200);
    assert_eq!(going.body["status"]["phase"], "Terminating", "{}", going.text);
    let made = world.post(&format!("{path}/configmaps"), map("late")).await;
    made.fails(403, "Forbidden", &format!("configmaps \"late\" is forbidden: unable to create new content in namespace {name} because it is being terminated"));
    let cause = made.body["details"]["causes"]
        .as_array()
        .and_then(|all| all.iter().find(|cause| cause["reason"] == "NamespaceTerminating").cloned());
    assert!(cause.is_some_and(|cause| cause["message"] != Value::Null), "{}", made.text);
    world
        .patch("merge", &format!("{path}/configmaps/held"), json!({ "metadata": { "finalizers": null } }))
        .await
        .is(200);
    Ran::Yes
}
