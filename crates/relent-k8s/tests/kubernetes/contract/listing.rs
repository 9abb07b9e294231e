//! Lists: selectors, pages, revisions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::world::World, Ran, facts};

facts![
    a_list_says_what_it_is_once,
    labels_select,
    fields_select,
    pods_are_selected_by_node_and_phase,
    an_unknown_field_is_refused,
    pages_are_of_one_revision,
    a_broken_continue_is_refused,
    an_exact_revision_is_answered_exactly,
    an_expired_continue_is_gone,
    all_namespaces_are_listed_together,
];

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn labelled(world: &World, name: &str, labels: Value) {
    world.post(&world.core("configmaps"), json!({ "metadata": { "name": name, "labels": labels } })).await.is(201);
}

async fn a_list_says_what_it_is_once(world: Arc<World>) -> Ran {
    labelled(&world, "b", json!({ "mine": "1" })).await;
    labelled(&world, "a", json!({ "mine": "1" })).await;
    let list = world.get(&world.core("configmaps?labelSelector=mine")).await;
    assert_eq!((&list.is(200).body["kind"], &list.body["apiVersion"]), (&"ConfigMapList".into(), &"v1".into()));
    assert!(list.body["items"][0].get("kind").is_none());
    assert_eq!(names(&list.body), ["a", "b"]);
    assert!(list.revision() >= super::super::world::revision(&list.body["items"][0]));
    Ran::Yes
}

async fn labels_select(world: Arc<World>) -> Ran {
    labelled(&world, "a", json!({ "app": "web", "tier": "1" })).await;
    labelled(&world, "b", json!({ "app": "db" })).await;
    for (selector, found) in [
        ("app=web", vec!["a"]),
        ("app==db", vec!["b"]),
        ("app", vec!["a", "b"]),
        ("app,!tier", vec!["b"]),
        ("app!=web,app", vec!["b"]),
        ("app in (web,db),tier=1", vec!["a"]),
        ("app in (web, db)", vec!["a", "b"]),
        ("app notin (web),app", vec!["b"]),
    ] {
        let encoded = selector.replace(' ', "%20").replace('=', "%3D").replace('!', "%21");
        let list = world.get(&world.core(&format!("configmaps?labelSelector={encoded}"))).await;
        assert_eq!(names(&list.is(200).body), found, "{selector}");
    }
    world.get(&world.core("configmaps?labelSelector=%3D")).await.fails(400, "BadRequest", "");
    Ran::Yes
}

async fn fields_select(world: Arc<World>) -> Ran {
    labelled(&world, "a", json!({})).await;
    labelled(&world, "b", json!({})).await;
    let one = world.get(&world.core("configmaps?fieldSelector=metadata.name%3Da")).await;
    assert_eq!(names(&one.is(200).body), ["a"]);
    let path = format!("/api/v1/configmaps?fieldSelector=metadata.namespace%3D{},metadata.name!%3Da", world.namespace);
    let others = world.get(&path).await;
    assert!(names(&others.is(200).body).contains(&"b") && !names(&others.body).contains(&"a"));
    Ran::Yes
}

async fn pods_are_selected_by_node_and_phase(world: Arc<World>) -> Ran {
    world.pod("pending", "").await;
    world.running_pod("running").await;
    for (selector, found) in [
        ("spec.nodeName%3Dno-such-node", "running"),
        ("status.phase%3DRunning", "running"),
        ("status.phase%3DPending", "pending"),
        ("spec.nodeName%3D", "pending"),
    ] {
        let list = world.get(&world.core(&format!("pods?fieldSelector={selector}"))).await;
        assert_eq!(names(&list.is(200).body), [found], "{selector}");
    }
    Ran::Yes
}

async fn an_unknown_field_is_refused(world: Arc<World>) -> Ran {
    let list = world.get(&world.core("configmaps?fieldSelector=data.a%3D1")).await;
    list.fails(
        400,
        "BadRequest",
        "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    );
    let list = world.get(&world.core("pods?fieldSelector=spec.hostname%3D1")).await;
    list.fails(400, "BadRequest", "field label not supported: spec.hostname");
    Ran::Yes
}

async fn pages_are_of_one_revision(world: Arc<World>) -> Ran {
    // Leases: of other kinds a new namespace may have some already.
    for name in ["a", "b", "c", "d", "e"] {
        world.post(&world.leases(""), json!({ "metadata": { "name": name } })).await.is(201);
    }
    let first = world.get(&world.leases("?limit=2")).await;
    assert_eq!(names(&first.is(200).body), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    // What changes now is not in the pages that follow.
    world.post(&world.leases(""), json!({ "metadata": { "name": "bb" } })).await.is(201);
    world.delete(&world.leases("/d")).await.is(200);
    let mut token = first.body["metadata"]["continue"].as_str().unwrap().to_owned();
    let mut rest = Vec::new();
    while !token.is_empty() {
        let page = world.get(&world.leases(&format!("?limit=2&continue={token}"))).await;
        page.is(200);
        assert_eq!(page.revision(), first.revision());
        rest.extend(names(&page.body).into_iter().map(str::to_owned));
        page.body["metadata"]["continue"].as_str().unwrap_or("").clone_into(&mut token);
    }
    assert_eq!(rest, ["c", "d", "e"]);
    let now = world.get(&world.leases("?limit=500")).await;
    assert_eq!(names(&now.body), ["a", "b", "bb", "c", "e"]);
    assert!(now.body["metadata"].get("continue").is_none_or(|token| token == ""));
    Ran::Yes
}

async fn a_broken_continue_is_refused(world: Arc<World>) -> Ran {
    world.get(&world.core("secrets?limit=2&continue=nonsense")).await.fails(
        400,
        "BadRequest",
        "continue key is not valid",
    );
    Ran::Yes
}

async fn an_exact_revision_is_answered_exactly(world: Arc<World>) -> Ran {
    let then = world.map("a").await.revision();
    world.map("b").await;
    let exact = world.get(&world.core(&format!("configmaps?resourceVersion={then}&resourceVersionMatch=Exact"))).await;
    assert!(names(&exact.is(200).body).contains(&"a") && !names(&exact.body).contains(&"b"), "{}", exact.text);
    assert_eq!(exact.revision(), then);
    let newer =
        world.get(&world.core(&format!("configmaps?resourceVersion={then}&resourceVersionMatch=NotOlderThan"))).await;
    assert!(newer.is(200).revision() >= then);
    world.get(&world.core("configmaps?resourceVersionMatch=Exact")).await.is(422);
    Ran::Yes
}

async fn an_expired_continue_is_gone(world: Arc<World>) -> Ran {
    let Some(server) = &world.ours else {
        return Ran::No("only its administrator compacts its history");
    };
    for name in ["a", "b", "c"] {
        world.map(name).await;
    }
    let first = world.get(&world.core("configmaps?limit=1")).await;
    let token = first.body["metadata"]["continue"].as_str().unwrap().to_owned();
    world.map("d").await;
    server.compact();
    let late = world.get(&world.core(&format!("configmaps?limit=1&continue={token}"))).await;
    late.fails(410, "Expired", "The provided continue parameter is too old to display a consistent list result");
    let fresh = late.body["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = world.get(&world.core(&format!("configmaps?continue={fresh}"))).await;
    assert_eq!(names(&rest.is(200).body), ["b", "c", "d"]);
    let exact = format!("configmaps?resourceVersion={}&resourceVersionMatch=Exact", first.revision());
    world.get(&world.core(&exact)).await.fails(410, "Expired", "The resourceVersion for the provided list is too old");
    Ran::Yes
}

async fn all_namespaces_are_listed_together(world: Arc<World>) -> Ran {
    world
        .post(&world.leases(""), json!({ "metadata": { "name": "a", "labels": { "of": world.namespace } } }))
        .await
        .is(201);
    let path = format!("/apis/coordination.k8s.io/v1/leases?labelSelector=of%3D{}", world.namespace);
    assert_eq!(names(&world.get(&path).await.is(200).body), ["a"]);
    world.post("/apis/coordination.k8s.io/v1/leases", json!({ "metadata": { "name": "b" } })).await.is(405);
    Ran::Yes
}
