//! Watches.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::world::{World, revision},
    Ran, facts,
};

facts![
    changes_come_once_and_in_order,
    without_a_revision_what_is_there_comes_first,
    a_stale_start_is_told_what_it_missed,
    labels_move_objects_in_and_out,
    one_object_can_be_watched,
    a_future_revision_is_silent,
    bookmarks_come_every_minute,
    an_ancient_revision_has_expired,
    a_compacted_revision_has_expired,
    a_finalized_object_ends_once,
    a_match_needs_initial_events,
    what_there_is_ends_with_a_mark,
    initial_events_without_a_mark,
    initial_events_of_the_future,
    a_list_has_no_initial_events,
];

async fn changes_come_once_and_in_order(world: Arc<World>) -> Ran {
    let from = world.map("before").await.revision();
    let mut watch =
        world.watch(&world.core(&format!("configmaps?watch=true&resourceVersion={from}&timeoutSeconds=60"))).await;
    let made = world.map("a").await;
    let changed = world.patch("merge", &world.core("configmaps/a"), json!({ "data": { "a": "2" } })).await;
    world.delete(&world.core("configmaps/a")).await.is(200);
    let (kind, object) = watch.change().await;
    assert_eq!((kind.as_str(), &object), ("ADDED", &made.body));
    let (kind, object) = watch.change().await;
    assert_eq!((kind.as_str(), &object), ("MODIFIED", &changed.body));
    let (kind, object) = watch.change().await;
    assert_eq!(kind, "DELETED");
    assert_eq!(object["data"]["a"], "2");
    assert!(revision(&object) > changed.revision(), "a deletion bears its own revision");
    Ran::Yes
}

async fn without_a_revision_what_is_there_comes_first(world: Arc<World>) -> Ran {
    world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await.is(201);
    for revision in ["", "&resourceVersion=0"] {
        let mut watch = world.watch(&world.leases(&format!("?watch=true&timeoutSeconds=60{revision}"))).await;
        let (kind, object) = watch.change().await;
        assert_eq!((kind.as_str(), object["metadata"]["name"].as_str()), ("ADDED", Some("a")));
    }
    Ran::Yes
}

async fn a_stale_start_is_told_what_it_missed(world: Arc<World>) -> Ran {
    let from = world.map("a").await.revision();
    for value in ["2", "3"] {
        world.patch("merge", &world.core("configmaps/a"), json!({ "data": { "a": value } })).await.is(200);
    }
    let mut watch =
        world.watch(&world.core(&format!("configmaps?watch=1&resourceVersion={from}&timeoutSeconds=60"))).await;
    assert_eq!(watch.change().await.1["data"]["a"], "2");
    assert_eq!(watch.change().await.1["data"]["a"], "3");
    Ran::Yes
}

async fn labels_move_objects_in_and_out(world: Arc<World>) -> Ran {
    let from = world.map("a").await.revision();
    let path =
        world.core(&format!("configmaps?watch=true&resourceVersion={from}&labelSelector=l%3Dx&timeoutSeconds=60"));
    let mut watch = world.watch(&path).await;
    let label = |value: Value| json!({ "metadata": { "labels": { "l": value } } });
    let path = world.core("configmaps/a");
    for value in [json!("y"), json!("x"), json!("y")] {
        world.patch("merge", &path, label(value)).await.is(200);
    }
    let (kind, object) = watch.change().await;
    assert_eq!((kind.as_str(), &object["metadata"]["labels"]["l"]), ("ADDED", &json!("x")));
    let (kind, object) = watch.change().await;
    assert_eq!(
        (kind.as_str(), &object["metadata"]["labels"]["l"]),
        ("DELETED", &json!("x")),
        "as it was when it was chosen"
    );
    assert_eq!(revision(&object), world.get(&path).await.revision());
    Ran::Yes
}

async fn one_object_can_be_watched(world: Arc<World>) -> Ran {
    let from = world.map("a").await.revision();
    let path = world.core(&format!(
        "configmaps?watch=true&resourceVersion={from}&fieldSelector=metadata.name%3Db&timeoutSeconds=60"
    ));
    let mut watch = world.watch(&path).await;
    world.delete(&world.core("configmaps/a")).await.is(200);
    world.map("b").await;
    assert_eq!(watch.change().await.1["metadata"]["name"], "b");
    Ran::Yes
}

async fn a_future_revision_is_silent(world: Arc<World>) -> Ran {
    let now = world.map("a").await.revision();
    let path = world.core(&format!("configmaps?watch=true&resourceVersion={}&timeoutSeconds=2", now + 1_000_000));
    let mut watch = world.watch(&path).await;
    world.map("b").await;
    assert!(watch.next().await.is_none());
    Ran::Yes
}

async fn bookmarks_come_every_minute(world: Arc<World>) -> Ran {
    if world.is_port() {
        return Ran::No("a minute is too long for what is asked in process anyway");
    }
    let from = world.map("a").await.revision();
    let path = |seconds: u32, marks: &str| {
        world.core(&format!("configmaps?watch=true&resourceVersion={from}&timeoutSeconds={seconds}{marks}"))
    };
    let mut watch = world.watch(&path(66, "&allowWatchBookmarks=true")).await;
    let mut marks = Vec::new();
    while let Some(event) = watch.next().await {
        assert_eq!(event["type"], "BOOKMARK", "{event}");
        assert_eq!(event["object"]["kind"], "ConfigMap");
        marks.push(revision(&event["object"]));
    }
    assert!(marks.last().is_some_and(|mark| *mark >= from), "{marks:?} from {from}");
    let mut watch = world.watch(&path(3, "")).await;
    assert!(watch.next().await.is_none(), "only for those that want them");
    Ran::Yes
}

async fn an_ancient_revision_has_expired(world: Arc<World>) -> Ran {
    if let Some(server) = &world.ours {
        server.compact();
    }
    let path = world.core("configmaps?watch=true&resourceVersion=1&timeoutSeconds=10");
    // A real server sometimes closes the stream before it has said why, and an old one may do so every time.
    let mut said = None;
    for _ in 0..3 {
        let mut watch = world.watch(&path).await;
        if let Some(event) = watch.next().await {
            said = Some((watch, event));
            break;
        }
        assert!(world.ours.is_none(), "no event");
    }
    let Some((mut watch, event)) = said else { return Ran::No("it ends such a watch without a word") };
    if event["type"] != "ERROR" {
        return Ran::No("it still has its whole history");
    }
    expired(&event);
    assert!(watch.next().await.is_none());
    Ran::Yes
}

fn expired(event: &Value) {
    assert_eq!(event["type"], "ERROR", "{event}");
    let status = &event["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&"Status".into(), &410.into(), &"Expired".into())
    );
    assert!(status["message"].as_str().is_some_and(|text| text.contains("too old resource version")), "{status}");
}

async fn a_compacted_revision_has_expired(world: Arc<World>) -> Ran {
    let Some(server) = &world.ours else {
        return Ran::No("only its administrator compacts its history");
    };
    let from = world.map("a").await.revision();
    let mut open = world.watch(&world.core(&format!("configmaps?watch=true&resourceVersion={from}"))).await;
    let last = world.map("b").await.revision();
    server.compact();
    // A watch that is open already misses nothing.
    assert_eq!(open.change().await.1["metadata"]["name"], "b");
    let mut late = world.watch(&world.core(&format!("configmaps?watch=true&resourceVersion={from}"))).await;
    expired(&late.next().await.expect("an event"));
    assert!(late.next().await.is_none());
    let mut fresh = world.watch(&world.core(&format!("configmaps?watch=true&resourceVersion={last}"))).await;
    world.map("c").await;
    assert_eq!(fresh.change().await.1["metadata"]["name"], "c");
    Ran::Yes
}

async fn a_finalized_object_ends_once(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a", "finalizers": ["example.com/a"] } });
    let from = world.post(&world.core("configmaps"), map).await.is(201).revision();
    let path = world.core(&format!(
        "configmaps?watch=true&resourceVersion={from}&fieldSelector=metadata.name%3Da&timeoutSeconds=60"
    ));
    let mut watch = world.watch(&path).await;
    world.delete(&world.core("configmaps/a")).await.is(200);
    world.patch("merge", &world.core("configmaps/a"), json!({ "metadata": { "finalizers": null } })).await.is(200);
    world.map("a").await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(watch.change().await.0);
    }
    assert_eq!(kinds, ["MODIFIED", "DELETED", "ADDED"]);
    Ran::Yes
}

async fn a_match_needs_initial_events(world: Arc<World>) -> Ran {
    let path = world.core("configmaps?watch=true&timeoutSeconds=1&resourceVersionMatch=NotOlderThan&resourceVersion=1");
    world.get(&path).await.fails(
        422,
        "Invalid",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch",
    );
    Ran::Yes
}

const END: &str = "k8s.io/initial-events-end";

async fn what_there_is_ends_with_a_mark(world: Arc<World>) -> Ran {
    if world.minor < 33 {
        return Ran::No("servers before 1.33 mark the end only where sendInitialEvents asks for it");
    }
    let made = world.map("a").await;
    for revision in ["", "&resourceVersion=0"] {
        let path = format!(
            "configmaps?watch=true&timeoutSeconds=60&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da{revision}"
        );
        let mut watch = world.watch(&world.core(&path)).await;
        assert_eq!(watch.next().await.unwrap()["type"], "ADDED");
        let end = watch.next().await.unwrap();
        assert_eq!(
            (&end["type"], &end["object"]["metadata"]["annotations"][END]),
            (&json!("BOOKMARK"), &json!("true"))
        );
        assert!(revision_of(&end) >= made.revision());
    }
    Ran::Yes
}

fn revision_of(event: &Value) -> u64 {
    revision(&event["object"])
}

/// Where the gate `WatchList` is closed, or not there.
async fn no_initial_events(world: &World) -> bool {
    let path = "configmaps?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    world.minor < 32 || world.get(&world.core(path)).await.code == 422
}

const NO_INITIAL: Ran = Ran::No("its feature gate WatchList is off");

async fn initial_events_without_a_mark(world: Arc<World>) -> Ran {
    if no_initial_events(&world).await {
        return NO_INITIAL;
    }
    world.map("a").await.is(201);
    let query = "watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Da";
    let told = world.get(&world.core(&format!("configmaps?{query}"))).await;
    let kinds: Vec<Value> =
        told.is(200).text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
    assert_eq!(kinds, ["ADDED"], "{}", told.text);
    let without = world.get(&world.core("configmaps?watch=true&timeoutSeconds=1&sendInitialEvents=false")).await;
    without.fails(422, "Invalid", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    Ran::Yes
}

async fn initial_events_of_the_future(world: Arc<World>) -> Ran {
    if no_initial_events(&world).await {
        return NO_INITIAL;
    }
    let from = world.map("a").await.revision() + 1_000_000;
    let query =
        "watch=true&timeoutSeconds=5&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let told = world.get(&world.core(&format!("configmaps?{query}&resourceVersion={from}"))).await;
    let first: Value = serde_json::from_str(told.is(200).text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["object"]["code"]), (&json!("ERROR"), &json!(504)), "{}", told.text);
    Ran::Yes
}

async fn a_list_has_no_initial_events(world: Arc<World>) -> Ran {
    if world.minor < 32 {
        return Ran::No("servers before 1.32 do not know sendInitialEvents");
    }
    let refused = world
        .get(&world.core("configmaps?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0"))
        .await;
    refused.fails(422, "Invalid", "sendInitialEvents is forbidden for list");
    Ran::Yes
}
