//! Other forms of what is there: metadata alone, events in two groups, discovery.

use std::sync::Arc;

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World, answer};

facts![
    metadata_alone,
    metadata_of_a_list,
    metadata_in_a_watch,
    an_unknown_form,
    events_are_stored_once,
    a_series_is_patched,
    events_need_their_fields,
    events_are_selected_by_what_they_regard,
    discovery_tells_what_is_served,
    discovery_in_one_document,
];

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

async fn ask(world: &World, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    answer(world.client.send(request).await.expect("an answer")).await
}

async fn metadata_alone(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let path = world.core("configmaps/a");
    let partial = ask(&world, &path, METADATA).await;
    assert_eq!(partial.is(200).body["kind"], "PartialObjectMetadata");
    assert_eq!(partial.body["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(partial.body["metadata"], made.body["metadata"]);
    assert_eq!(partial.body["data"], Value::Null);
    assert_eq!(partial.headers["content-type"], "application/json");
    Ran::Yes
}

async fn metadata_of_a_list(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let path = world.core("configmaps?fieldSelector=metadata.name=a");
    let list = ask(&world, &path, METADATA_LIST).await;
    assert_eq!(list.is(200).body["kind"], "PartialObjectMetadataList");
    let item = &list.body["items"][0];
    assert_eq!((&item["metadata"]["name"], &item["data"]), (&json!("a"), &Value::Null));
    ask(&world, &path, METADATA).await.fails(
        406,
        "NotAcceptable",
        "you requested PartialObjectMetadata, but the requested object is a list",
    );
    Ran::Yes
}

async fn metadata_in_a_watch(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let path = world.core(&format!(
        "configmaps?watch=true&timeoutSeconds=1&fieldSelector=metadata.name=a&resourceVersion={}",
        made.revision()
    ));
    world.patch("merge", &world.core("configmaps/a"), json!({ "data": { "a": "2" } })).await.is(200);
    let events = ask(&world, &path, METADATA).await;
    let first: Value = serde_json::from_str(events.is(200).text.lines().next().unwrap()).unwrap();
    assert_eq!(first["object"]["kind"], "PartialObjectMetadata");
    assert_eq!((&first["type"], &first["object"]["data"]), (&json!("MODIFIED"), &Value::Null));
    Ran::Yes
}

async fn an_unknown_form(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    let unknown = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v9";
    ask(&world, &world.core("configmaps/a"), unknown).await.is(406);
    let either = format!("{unknown},application/json");
    assert_eq!(ask(&world, &world.core("configmaps/a"), &either).await.is(200).body["kind"], "ConfigMap");
    Ran::Yes
}

fn events(world: &World, rest: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events{rest}", world.namespace)
}

fn event(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": name },
        "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1",
        "action": "Testing", "reason": "Tested", "type": "Normal", "note": "it was tested",
        "regarding": { "kind": "ConfigMap", "namespace": world.namespace, "name": "a" },
    })
}

async fn events_are_stored_once(world: Arc<World>) -> Ran {
    let made = world.post(&events(&world, ""), event(&world, "e")).await;
    assert_eq!((&made.is(201).body["note"], &made.body["regarding"]["name"]), (&json!("it was tested"), &json!("a")));
    let old = world.get(&world.core("events/e")).await;
    assert_eq!((&old.is(200).body["message"], &old.body["kind"]), (&json!("it was tested"), &json!("Event")));
    assert_eq!(old.body["involvedObject"]["name"], "a");
    assert_eq!(old.body["reportingComponent"], "example.com/c");
    assert_eq!(old.uid(), made.uid());
    Ran::Yes
}

async fn a_series_is_patched(world: Arc<World>) -> Ran {
    world.post(&events(&world, ""), event(&world, "e")).await.is(201);
    let mut again = event(&world, "e");
    again["series"] = json!({ "count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z" });
    let patched = world.patch("merge", &events(&world, "/e"), again.clone()).await;
    assert_eq!(patched.is(200).body["series"]["count"], 2);
    if world.minor <= 20 {
        // There all of it may change.
        return Ran::Yes;
    }
    again["note"] = "something else".into();
    world.patch("merge", &events(&world, "/e"), again).await.fails(422, "Invalid", "field is immutable");
    Ran::Yes
}

async fn events_need_their_fields(world: Arc<World>) -> Ran {
    for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason"] {
        let mut event = event(&world, "e");
        event[field] = Value::Null;
        world.post(&events(&world, ""), event).await.fails(422, "Invalid", field);
    }
    let mut odd = event(&world, "e");
    odd["type"] = "Odd".into();
    world.post(&events(&world, ""), odd).await.fails(422, "Invalid", "type");
    let mut elsewhere = event(&world, "e");
    elsewhere["regarding"]["namespace"] = Value::Null;
    let refused = world.post(&events(&world, ""), elsewhere).await;
    refused.fails(422, "Invalid", "does not match event.namespace");
    Ran::Yes
}

async fn events_are_selected_by_what_they_regard(world: Arc<World>) -> Ran {
    world.post(&events(&world, ""), event(&world, "e")).await.is(201);
    for (path, count) in [
        (events(&world, "?fieldSelector=regarding.name%3Da"), 1),
        (events(&world, "?fieldSelector=regarding.name%3Db"), 0),
        (world.core("events?fieldSelector=involvedObject.name%3Da"), 1),
    ] {
        let list = world.get(&path).await;
        assert_eq!(list.is(200).body["items"].as_array().map_or(0, Vec::len), count, "{path}");
    }
    Ran::Yes
}

async fn discovery_tells_what_is_served(world: Arc<World>) -> Ran {
    let apps = world.get("/apis/apps/v1").await;
    let resources = apps.is(200).body["resources"].as_array().unwrap();
    let names: Vec<_> = resources.iter().map(|resource| resource["name"].as_str().unwrap()).collect();
    for name in ["deployments", "deployments/status", "statefulsets", "daemonsets", "replicasets"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let groups = world.get("/apis").await;
    let groups = groups.is(200).body["groups"].as_array().unwrap().clone();
    for name in ["apps", "batch", "rbac.authorization.k8s.io", "networking.k8s.io", "events.k8s.io", "policy"] {
        assert!(groups.iter().any(|group| group["name"] == name), "{name}");
    }
    Ran::Yes
}

async fn discovery_in_one_document(world: Arc<World>) -> Ran {
    if world.minor < 30 {
        return Ran::No("servers before 1.30 do not know apidiscovery.k8s.io/v2");
    }
    let form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = ask(&world, "/apis", &format!("{form},application/json")).await;
    assert_eq!(all.is(200).body["kind"], "APIGroupDiscoveryList");
    assert_eq!(all.headers["content-type"], form);
    let items = all.body["items"].as_array().unwrap();
    let apps = items.iter().find(|group| group["metadata"]["name"] == "apps").unwrap();
    let deployments =
        apps["versions"][0]["resources"].as_array().unwrap().iter().find(|one| one["resource"] == "deployments");
    let deployments = deployments.unwrap();
    assert_eq!((&deployments["scope"], &deployments["singularResource"]), (&json!("Namespaced"), &json!("deployment")));
    assert_eq!(deployments["responseKind"], json!({ "group": "apps", "version": "v1", "kind": "Deployment" }));
    let core = ask(&world, "/api", form).await;
    assert!(core.is(200).body["items"][0]["versions"][0]["resources"].as_array().is_some_and(|all| all.len() > 5));
    Ran::Yes
}
