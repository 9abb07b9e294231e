//! Custom kinds by their definitions: established, served, validated, and gone.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{World, unique};

facts![
    a_definition_is_established_and_served,
    objects_are_kept_by_their_schema,
    objects_are_refused_by_their_schema,
    lists_are_applied_by_the_keys_of_the_schema,
    a_definition_takes_its_objects_along,
    a_definition_that_cannot_be,
];

/// A definition of `Gadget` in a group of its own.
fn definition(group: &str) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": { "type": "integer", "minimum": 1, "maximum": 9 },
                    "color": { "type": "string", "default": "red", "enum": ["red", "blue"] },
                    "names": { "type": "array", "items": { "type": "string" } },
                    "parts": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object", "required": ["name"],
                            "properties": { "name": { "type": "string" }, "n": { "type": "integer" } },
                        },
                    },
                    "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                },
            },
            "status": { "type": "object", "properties": { "n": { "type": "integer" } } },
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("gadgets.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced", "names": { "kind": "Gadget", "plural": "gadgets" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema }, "subresources": { "status": {} } }],
        },
    })
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A group with its definition, until it is served.
async fn defined(world: &World) -> (String, String) {
    let group = format!("{}.example.com", unique("relent"));
    world.post(DEFINITIONS, definition(&group)).await.is(201);
    let path = format!("/apis/{group}/v1/namespaces/{}/gadgets", world.namespace);
    for _ in 0..200 {
        if world.get(&path).await.code == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (group, path)
}

fn gadget(group: &str, spec: &Value) -> Value {
    json!({ "apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": { "name": "g" }, "spec": spec })
}

async fn a_definition_is_established_and_served(world: Arc<World>) -> Ran {
    let (group, path) = defined(&world).await;
    let definition = world.get(&format!("{DEFINITIONS}/gadgets.{group}")).await;
    let names = &definition.is(200).body["spec"]["names"];
    assert_eq!((&names["singular"], &names["listKind"]), (&json!("gadget"), &json!("GadgetList")));
    let status = &definition.body["status"];
    let condition = |kind: &str| {
        let all = status["conditions"].as_array().unwrap();
        all.iter().find(|condition| condition["type"] == kind).unwrap()["status"].clone()
    };
    assert_eq!((condition("NamesAccepted"), condition("Established")), (json!("True"), json!("True")));
    assert_eq!(status["storedVersions"], json!(["v1"]));
    assert_eq!(status["acceptedNames"]["plural"], "gadgets");
    assert_eq!(world.get(&path).await.is(200).body["kind"], "GadgetList");
    let served = world.get(&format!("/apis/{group}/v1")).await;
    assert!(served.is(200).body["resources"].as_array().unwrap().iter().any(|one| one["name"] == "gadgets/status"));
    world.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await.is(200);
    Ran::Yes
}

async fn objects_are_kept_by_their_schema(world: Arc<World>) -> Ran {
    let (group, path) = defined(&world).await;
    let spec = json!({ "size": 2, "what": 1, "free": { "any": { "thing": 1 } }, "names": null });
    let made = world.post(&path, gadget(&group, &spec)).await;
    assert_eq!(made.is(201).body["spec"], json!({ "size": 2, "color": "red", "free": { "any": { "thing": 1 } } }));
    assert_eq!(made.body["metadata"]["generation"], 1);
    let status = world.patch("merge", &format!("{path}/g/status"), json!({ "status": { "n": 1, "m": 2 } })).await;
    assert_eq!(status.is(200).body["status"], json!({ "n": 1 }));
    assert_eq!(status.body["metadata"]["generation"], 1);
    world.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await.is(200);
    Ran::Yes
}

async fn objects_are_refused_by_their_schema(world: Arc<World>) -> Ran {
    let (group, path) = defined(&world).await;
    for (spec, words) in [
        (json!({ "size": 0 }), "spec.size in body should be greater than or equal to 1"),
        (json!({ "size": 10 }), "spec.size in body should be less than or equal to 9"),
        (json!({ "size": "big" }), "spec.size in body must be of type integer: \"string\""),
        (json!({}), "spec.size: Required value"),
        (
            json!({ "size": 1, "color": "green" }),
            "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        ),
        (json!({ "size": 1, "parts": [{ "n": 1 }] }), "name: Required value"),
    ] {
        world.post(&path, gadget(&group, &spec)).await.fails(422, "Invalid", words);
    }
    world.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await.is(200);
    Ran::Yes
}

async fn lists_are_applied_by_the_keys_of_the_schema(world: Arc<World>) -> Ran {
    let (group, path) = defined(&world).await;
    let apply = async |manager: &str, spec: Value| {
        let path = format!("{path}/g?fieldManager={manager}");
        let body = gadget(&group, &spec).to_string().into_bytes();
        world.raw(&world.client, Method::PATCH, &path, "application/apply-patch+yaml", body).await
    };
    apply("m", json!({ "size": 1, "parts": [{ "name": "a", "n": 1 }], "names": ["x"] })).await.is(201);
    let both = apply("n", json!({ "size": 1, "parts": [{ "name": "b", "n": 2 }] })).await;
    assert_eq!(both.is(200).body["spec"]["parts"], json!([{ "name": "a", "n": 1 }, { "name": "b", "n": 2 }]));
    apply("n", json!({ "size": 1, "names": ["y"] })).await.fails(409, "Conflict", ".spec.names");
    let gone = apply("n", json!({ "size": 1 })).await;
    assert_eq!(gone.is(200).body["spec"]["parts"], json!([{ "name": "a", "n": 1 }]));
    world.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await.is(200);
    Ran::Yes
}

async fn a_definition_takes_its_objects_along(world: Arc<World>) -> Ran {
    let (group, path) = defined(&world).await;
    world.post(&path, gadget(&group, &json!({ "size": 1 }))).await.is(201);
    world.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await.is(200);
    let mut code = 0;
    for _ in 0..200 {
        code = world.get(&path).await.code;
        if code == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code, 404);
    world.post(DEFINITIONS, definition(&group)).await.is(201);
    for _ in 0..200 {
        if world.get(&path).await.code == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.get(&path).await.is(200).body["items"], json!([]));
    world.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await.is(200);
    Ran::Yes
}

async fn a_definition_that_cannot_be(world: Arc<World>) -> Ran {
    let group = format!("{}.example.com", unique("relent"));
    let mut misnamed = definition(&group);
    misnamed["metadata"]["name"] = "other".into();
    world.post(DEFINITIONS, misnamed).await.fails(422, "Invalid", "must be spec.names.plural+\".\"+spec.group");
    let mut bare = definition(&group);
    bare["spec"]["versions"][0]["schema"] = Value::Null;
    world.post(DEFINITIONS, bare).await.fails(422, "Invalid", "Required value");
    Ran::Yes
}
