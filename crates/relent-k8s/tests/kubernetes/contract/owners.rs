//! Owners: how deletion spreads, and what a garbage collector does.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{super::world::World, Ran, facts};

facts![
    a_policy_is_a_finalizer,
    another_policy_takes_its_place,
    two_policies_are_refused,
    an_unknown_policy_is_refused,
    jobs_leave_their_pods_by_default,
    events_know_no_policy,
    owners_are_named_whole,
    one_owner_controls,
    what_has_no_owner_left_goes,
    one_owner_is_enough,
    foreground_goes_from_the_leaves,
    orphans_stay,
    an_owner_elsewhere_is_none,
    another_life_is_no_owner,
];

const NOBODY: Ran = Ran::No("no garbage collector is there");

fn owner(of: &Value, blocks: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": of["metadata"]["name"], "uid": of["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    })
}

async fn owned(world: &World, name: &str, owners: &[Value]) -> Value {
    let map = json!({ "metadata": { "name": name, "ownerReferences": owners } });
    world.post(&world.core("configmaps"), map).await.is(201).body.clone()
}

/// A garbage collector is there, or is put there.
fn collects(world: &World) -> bool {
    if let Some(server) = &world.ours {
        let _ = server.clone().with_garbage_collector();
    }
    world.ours.is_some() || world.managed
}

/// Until it is gone.
async fn goes(world: &World, path: &str) {
    for _ in 0..300 {
        if world.get(path).await.code == 404 {
            return;
        }
        assert!(world.ours.is_none(), "{path} stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} stays");
}

async fn a_policy_is_a_finalizer(world: Arc<World>) -> Ran {
    if world.managed {
        return Ran::No("a garbage collector is quicker");
    }
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        world.map("a").await.is(201);
        let path = world.core("configmaps/a");
        let going = world.delete_with(&path, json!({ "propagationPolicy": policy })).await;
        let metadata = &going.is(200).body["metadata"];
        assert_eq!(metadata["finalizers"], json!([finalizer]));
        assert_eq!(metadata["deletionGracePeriodSeconds"], 0);
        assert!(metadata["deletionTimestamp"].is_string());
        world.patch("merge", &path, json!({ "metadata": { "finalizers": null } })).await.is(200);
        world.get(&path).await.is(404);
    }
    Ran::Yes
}

async fn another_policy_takes_its_place(world: Arc<World>) -> Ran {
    if world.managed {
        return Ran::No("a garbage collector is quicker");
    }
    world.map("a").await.is(201);
    let path = world.core("configmaps/a");
    world.delete_with(&path, json!({ "propagationPolicy": "Foreground" })).await.is(200);
    let orphaned = world.delete_with(&path, json!({ "propagationPolicy": "Orphan" })).await;
    assert_eq!(orphaned.is(200).body["metadata"]["finalizers"], json!(["orphan"]));
    let ended = world.delete_with(&path, json!({ "propagationPolicy": "Background" })).await;
    assert_eq!(ended.is(200).body["status"], "Success");
    world.get(&path).await.is(404);
    Ran::Yes
}

async fn two_policies_are_refused(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let both = json!({ "propagationPolicy": "Background", "orphanDependents": false });
    let refused = world.delete_with(&world.core("configmaps/a"), both).await;
    refused.fails(422, "Invalid", "orphanDependents and deletionPropagation cannot be both set");
    world.get(&world.core("configmaps/a")).await.is(200);
    Ran::Yes
}

async fn an_unknown_policy_is_refused(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let refused = world.delete_with(&world.core("configmaps/a"), json!({ "propagationPolicy": "Sideways" })).await;
    refused.fails(422, "Invalid", "propagationPolicy");
    Ran::Yes
}

async fn jobs_leave_their_pods_by_default(world: Arc<World>) -> Ran {
    if world.managed {
        return Ran::No("a garbage collector is quicker");
    }
    let jobs = format!("/apis/batch/v1/namespaces/{}/jobs", world.namespace);
    let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] });
    let job = json!({ "metadata": { "name": "j" }, "spec": { "template": { "spec": pod } } });
    world.post(&jobs, job).await.is(201);
    let going = world.delete(&format!("{jobs}/j")).await;
    assert_eq!(going.is(200).body["metadata"]["finalizers"], json!(["orphan"]));
    if world.minor >= 22 {
        let warning = going.headers["warning"].to_str().unwrap();
        assert!(warning.starts_with("299 - \"child pods are preserved by default when jobs are deleted"), "{warning}");
    }
    let ended = world.delete_with(&format!("{jobs}/j"), json!({ "propagationPolicy": "Background" })).await;
    ended.is(200);
    world.get(&format!("{jobs}/j")).await.is(404);
    Ran::Yes
}

async fn events_know_no_policy(world: Arc<World>) -> Ran {
    let about = json!({ "kind": "ConfigMap", "namespace": world.namespace, "name": "a" });
    world.post(&world.core("events"), json!({ "metadata": { "name": "e" }, "involvedObject": about })).await.is(201);
    world.delete_with(&world.core("events/e"), json!({ "propagationPolicy": "Foreground" })).await.is(200);
    world.get(&world.core("events/e")).await.is(404);
    Ran::Yes
}

async fn owners_are_named_whole(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "ownerReferences": [{}] } });
    let refused = world.post(&world.core("configmaps"), map).await;
    refused.fails(
        422,
        "Invalid",
        "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
    );
    let causes = refused.body["details"]["causes"].as_array().unwrap();
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["apiVersion", "kind", "name", "uid"].map(|field| format!("metadata.ownerReferences.{field}")));
    Ran::Yes
}

async fn one_owner_controls(world: Arc<World>) -> Ran {
    let (a, b) = (world.map("a").await.body, world.map("b").await.body);
    let mut owners = [owner(&a, false), owner(&b, false)];
    for owner in &mut owners {
        owner["controller"] = true.into();
    }
    let map = json!({ "metadata": { "name": "c", "ownerReferences": owners } });
    let refused = world.post(&world.core("configmaps"), map).await;
    refused.fails(422, "Invalid", "Only one reference can have Controller set to true");
    Ran::Yes
}

async fn what_has_no_owner_left_goes(world: Arc<World>) -> Ran {
    if !collects(&world) {
        return NOBODY;
    }
    let a = world.map("a").await.body;
    let b = owned(&world, "b", &[owner(&a, false)]).await;
    owned(&world, "c", &[owner(&b, false)]).await;
    world.delete_with(&world.core("configmaps/a"), json!({ "propagationPolicy": "Background" })).await.is(200);
    goes(&world, &world.core("configmaps/b")).await;
    goes(&world, &world.core("configmaps/c")).await;
    Ran::Yes
}

async fn one_owner_is_enough(world: Arc<World>) -> Ran {
    if !collects(&world) {
        return NOBODY;
    }
    let (a, b) = (world.map("a").await.body, world.map("b").await.body);
    owned(&world, "c", &[owner(&a, false), owner(&b, false)]).await;
    owned(&world, "d", &[owner(&a, false)]).await;
    world.delete(&world.core("configmaps/a")).await.is(200);
    goes(&world, &world.core("configmaps/d")).await;
    // The reference to the one that is gone goes, sooner or later.
    for _ in 0..300 {
        let left = world.get(&world.core("configmaps/c")).await;
        if left.is(200).body["metadata"]["ownerReferences"] == json!([owner(&b, false)]) {
            return Ran::Yes;
        }
        assert!(world.ours.is_none(), "{}", left.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the reference stays");
}

async fn foreground_goes_from_the_leaves(world: Arc<World>) -> Ran {
    if !collects(&world) {
        return NOBODY;
    }
    let a = world.map("a").await.body;
    let hold = json!({ "metadata": {
        "name": "b", "finalizers": ["example.com/hold"], "ownerReferences": [owner(&a, true)],
    } });
    world.post(&world.core("configmaps"), hold).await.is(201);
    let going = world.delete_with(&world.core("configmaps/a"), json!({ "propagationPolicy": "Foreground" })).await;
    assert_eq!(going.is(200).body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    // What it owns is held, so it is held.
    for _ in 0..300 {
        let held = world.get(&world.core("configmaps/b")).await;
        if held.is(200).body["metadata"]["deletionTimestamp"].is_string() {
            break;
        }
        assert!(world.ours.is_none(), "{}", held.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.get(&world.core("configmaps/a")).await.is(200);
    world.patch("merge", &world.core("configmaps/b"), json!({ "metadata": { "finalizers": null } })).await.is(200);
    goes(&world, &world.core("configmaps/b")).await;
    goes(&world, &world.core("configmaps/a")).await;
    Ran::Yes
}

async fn orphans_stay(world: Arc<World>) -> Ran {
    if !collects(&world) {
        return NOBODY;
    }
    let a = world.map("a").await.body;
    owned(&world, "b", &[owner(&a, true)]).await;
    world.delete_with(&world.core("configmaps/a"), json!({ "propagationPolicy": "Orphan" })).await.is(200);
    goes(&world, &world.core("configmaps/a")).await;
    let left = world.get(&world.core("configmaps/b")).await;
    assert!(left.is(200).body["metadata"].get("ownerReferences").is_none(), "{}", left.text);
    Ran::Yes
}

async fn an_owner_elsewhere_is_none(world: Arc<World>) -> Ran {
    if !collects(&world) {
        return NOBODY;
    }
    let elsewhere = json!({ "metadata": { "name": format!("{}-a", world.namespace) } });
    let elsewhere = world.post("/api/v1/namespaces/default/configmaps", elsewhere).await;
    owned(&world, "b", &[owner(&elsewhere.is(201).body, false)]).await;
    goes(&world, &world.core("configmaps/b")).await;
    world.delete(&format!("/api/v1/namespaces/default/configmaps/{}-a", world.namespace)).await.is(200);
    Ran::Yes
}

async fn another_life_is_no_owner(world: Arc<World>) -> Ran {
    if !collects(&world) {
        return NOBODY;
    }
    let a = world.map("a").await.body;
    world.delete(&world.core("configmaps/a")).await.is(200);
    world.map("a").await.is(201);
    owned(&world, "b", &[owner(&a, false)]).await;
    goes(&world, &world.core("configmaps/b")).await;
    world.get(&world.core("configmaps/a")).await.is(200);
    Ran::Yes
}
