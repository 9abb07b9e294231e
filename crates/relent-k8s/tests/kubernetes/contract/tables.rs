//! Tables, as kubectl shows them, and OpenAPI v3.

use std::sync::Arc;

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World, answer, unique};

facts![
    a_list_as_a_table,
    one_object_as_a_table,
    what_stands_beside_the_cells,
    a_watch_as_a_table,
    the_columns_of_a_definition,
    documents_tell_what_is_taken,
    a_custom_kind_is_described,
];

const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

async fn ask(world: &World, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    answer(world.client.send(request).await.expect("an answer")).await
}

fn names(table: &Value) -> Vec<&str> {
    table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect()
}

async fn a_list_as_a_table(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let table = ask(&world, &world.core("configmaps?fieldSelector=metadata.name%3Da"), TABLE).await;
    assert_eq!((&table.is(200).body["kind"], &table.body["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert!(table.body["metadata"]["resourceVersion"].is_string());
    assert_eq!(names(&table.body), ["Name", "Data", "Age"]);
    let row = &table.body["rows"][0];
    assert_eq!((&row["cells"][0], row["cells"][1].to_string().trim_matches('"')), (&json!("a"), "1"));
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["object"]["metadata"]["uid"], made.uid());
    Ran::Yes
}

async fn one_object_as_a_table(world: Arc<World>) -> Ran {
    world.pod("p", "").await;
    // As kubectl asks for it.
    let accept = format!("{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json");
    let table = ask(&world, &world.core("pods/p"), &accept).await;
    assert_eq!(table.is(200).body["kind"], "Table");
    assert_eq!(names(&table.body)[..4], ["Name", "Ready", "Status", "Restarts"]);
    let cells = table.body["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("p"), json!("0/1"), json!("Pending")]);
    ask(&world, &world.core("pods/none"), &accept).await.fails(404, "NotFound", "pods \"none\" not found");
    Ran::Yes
}

async fn what_stands_beside_the_cells(world: Arc<World>) -> Ran {
    world.map("a").await.is(201);
    for (beside, kind) in
        [("None", Value::Null), ("Metadata", json!("PartialObjectMetadata")), ("Object", json!("ConfigMap"))]
    {
        let table = ask(&world, &world.core(&format!("configmaps/a?includeObject={beside}")), TABLE).await;
        let row = &table.is(200).body["rows"][0];
        assert_eq!(row["object"].get("kind").cloned().unwrap_or(Value::Null), kind, "{beside}: {}", table.text);
    }
    Ran::Yes
}

async fn a_watch_as_a_table(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    for value in ["2", "3"] {
        world.patch("merge", &world.core("configmaps/a"), json!({ "data": { "a": value } })).await.is(200);
    }
    let from = made.revision();
    let path = world.core(&format!(
        "configmaps?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Da&resourceVersion={from}"
    ));
    let events = ask(&world, &path, TABLE).await;
    let events: Vec<Value> =
        events.is(200).text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("MODIFIED"), &json!("Table")));
        assert_eq!(event["object"]["rows"][0]["cells"][0], "a");
    }
    assert_eq!(names(&events[0]["object"])[0], "Name");
    assert!(events[1]["object"]["columnDefinitions"].as_array().is_none_or(Vec::is_empty), "the columns are told once");
    Ran::Yes
}

async fn defined(world: &World) -> (String, String) {
    let group = format!("{}.example.com", unique("relent"));
    let properties = json!({ "spec": { "type": "object", "properties": { "size": { "type": "integer" } } } });
    let columns = json!([
        { "name": "Size", "type": "integer", "jsonPath": ".spec.size" },
        { "name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("boxes.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced", "names": { "kind": "Box", "plural": "boxes" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } },
            }],
        },
    });
    world.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.is(201);
    let path = format!("/apis/{group}/v1/namespaces/{}/boxes", world.namespace);
    for _ in 0..200 {
        if world.get(&path).await.code == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    (group, path)
}

async fn undefined(world: &World, group: &str) {
    world.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boxes.{group}")).await.is(200);
}

async fn the_columns_of_a_definition(world: Arc<World>) -> Ran {
    let (group, path) = defined(&world).await;
    let made = json!({ "apiVersion": format!("{group}/v1"), "kind": "Box", "metadata": { "name": "b" }, "spec": { "size": 3 } });
    world.post(&path, made).await.is(201);
    let table = ask(&world, &path, TABLE).await;
    assert_eq!(names(&table.is(200).body), ["Name", "Size", "Born"]);
    let cells = table.body["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..2], [json!("b"), json!(3)]);
    assert!(cells[2].as_str().is_some_and(|age| age.ends_with('s')), "{cells:?}");
    undefined(&world, &group).await;
    Ran::Yes
}

const TOO_OLD: Ran = Ran::No("servers before 1.27 have no OpenAPI v3");

async fn documents_tell_what_is_taken(world: Arc<World>) -> Ran {
    if world.minor < 27 {
        return TOO_OLD;
    }
    let index = world.get("/openapi/v3").await;
    let place = index.is(200).body["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("apps/v1").to_owned();
    let document = world.get(&place).await;
    // What kubectl looks for to know that the server validates fields.
    let patch = &document.is(200).body["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({ "group": "apps", "version": "v1", "kind": "Deployment" })
    );
    let parameters: Vec<_> =
        patch["parameters"].as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
        assert!(parameters.contains(&name), "{parameters:?}");
    }
    world.get("/openapi/v3/apis/nobody.example.com/v1").await.is(404);
    Ran::Yes
}

async fn a_custom_kind_is_described(world: Arc<World>) -> Ran {
    if world.minor < 27 {
        return TOO_OLD;
    }
    let (group, _) = defined(&world).await;
    let mut described = Value::Null;
    for _ in 0..100 {
        let document = world.get(&format!("/openapi/v3/apis/{group}/v1")).await;
        let schemas = document.body["components"]["schemas"].as_object().cloned().unwrap_or_default();
        let kind = json!([{ "group": group, "version": "v1", "kind": "Box" }]);
        described = schemas
            .into_iter()
            .find(|(_, schema)| schema["x-kubernetes-group-version-kind"] == kind)
            .map_or(Value::Null, |(_, schema)| schema);
        if !described.is_null() || world.ours.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(described["properties"]["spec"]["properties"]["size"]["type"], "integer", "{described}");
    undefined(&world, &group).await;
    Ran::Yes
}
