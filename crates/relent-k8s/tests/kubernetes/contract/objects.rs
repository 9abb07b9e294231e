//! Objects: making, reading, changing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::world::World, Ran, facts};

facts![
    a_new_object_gets_its_metadata,
    names_are_generated,
    one_revision_counts_for_all,
    a_new_life_has_a_new_uid,
    a_stale_put_conflicts,
    a_stale_merge_patch_conflicts,
    a_put_of_the_same_is_no_write,
    a_patch_of_the_same_is_no_write,
    a_map_is_overwritten_without_a_revision,
    a_put_to_a_missing_map_is_not_found,
    a_put_with_another_uid_conflicts,
    merge_patches_merge,
    json_patches_apply,
    a_json_patch_that_does_not_apply_is_invalid,
    an_empty_map_has_no_data,
    an_immutable_map_stays,
    a_map_holds_a_mebibyte,
    secrets_are_encoded,
    clients_do_not_write_what_the_server_writes,
    generation_is_kept_where_it_is_kept,
    a_dry_run_changes_nothing,
    strategic_patches_merge_maps,
    strategic_patches_merge_lists_by_key,
];

async fn a_new_object_gets_its_metadata(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    made.is(201);
    assert_eq!(made.body["kind"], "ConfigMap");
    assert_eq!(made.body["apiVersion"], "v1");
    assert_eq!(made.body["metadata"]["namespace"], world.namespace.as_str());
    assert_eq!(made.uid().len(), 36, "{}", made.text);
    let stamp = made.body["metadata"]["creationTimestamp"].as_str().unwrap();
    assert!(stamp.len() == 20 && stamp.ends_with('Z'), "{stamp}");
    assert!(made.revision() > 0);
    assert!(made.body["metadata"].get("generation").is_none());
    let got = world.get(&world.core("configmaps/a")).await;
    got.is(200);
    assert_eq!(got.body["data"], json!({ "a": "1" }));
    assert_eq!(got.revision(), made.revision());
    Ran::Yes
}

async fn names_are_generated(world: Arc<World>) -> Ran {
    let made = world.post(&world.core("configmaps"), json!({ "metadata": { "generateName": "gen-" } })).await;
    made.is(201);
    let name = made.body["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
    let other = world.post(&world.core("configmaps"), json!({ "metadata": { "generateName": "gen-" } })).await;
    assert_ne!(other.is(201).body["metadata"]["name"], name.as_str());
    Ran::Yes
}

async fn one_revision_counts_for_all(world: Arc<World>) -> Ran {
    let map = world.map("a").await.revision();
    let lease = world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await.is(201).revision();
    let patched =
        world.patch("merge", &world.core("configmaps/a"), json!({ "data": { "b": "2" } })).await.is(200).revision();
    assert!(map < lease && lease < patched, "{map} {lease} {patched}");
    Ran::Yes
}

async fn a_new_life_has_a_new_uid(world: Arc<World>) -> Ran {
    let first = world.map("a").await;
    world.delete(&world.core("configmaps/a")).await.is(200);
    let second = world.map("a").await;
    second.is(201);
    assert_ne!(first.uid(), second.uid());
    assert!(second.revision() > first.revision() + 1, "deletion is a revision too");
    Ran::Yes
}

async fn a_stale_put_conflicts(world: Arc<World>) -> Ran {
    let path = world.leases("/demo");
    let made = world.post(&world.leases(""), json!({ "metadata": { "name": "demo" } })).await;
    let mut lease = made.is(201).body.clone();
    lease["spec"]["holderIdentity"] = "a".into();
    world.put(&path, &lease).await.is(200);
    lease["spec"]["holderIdentity"] = "b".into();
    let stale = world.put(&path, &lease).await;
    stale.fails(
        409,
        "Conflict",
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"demo\": the object has been modified; please apply your changes to the latest version and try again",
    );
    assert_eq!(stale.body["details"], json!({ "name": "demo", "group": "coordination.k8s.io", "kind": "leases" }));
    Ran::Yes
}

async fn a_stale_merge_patch_conflicts(world: Arc<World>) -> Ran {
    let first = world.map("a").await.revision();
    let path = world.core("configmaps/a");
    let patch = |value: &str| json!({ "metadata": { "resourceVersion": first.to_string() }, "data": { "a": value } });
    world.patch("merge", &path, patch("2")).await.is(200);
    let stale = world.patch("merge", &path, patch("3")).await;
    stale.fails(409, "Conflict", "Operation cannot be fulfilled on configmaps \"a\": the object has been modified");
    assert_eq!(world.get(&path).await.body["data"]["a"], "2");
    Ran::Yes
}

async fn a_put_of_the_same_is_no_write(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let same = world.put(&world.core("configmaps/a"), &made.body).await;
    assert_eq!(same.is(200).revision(), made.revision());
    Ran::Yes
}

async fn a_patch_of_the_same_is_no_write(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let same = world.patch("merge", &world.core("configmaps/a"), json!({ "data": { "a": "1" } })).await;
    assert_eq!(same.is(200).revision(), made.revision());
    Ran::Yes
}

async fn a_map_is_overwritten_without_a_revision(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let map = json!({ "metadata": { "name": "a" }, "data": { "b": "2" } });
    let changed = world.put(&world.core("configmaps/a"), &map).await;
    changed.is(200);
    assert_eq!(changed.body["data"], json!({ "b": "2" }));
    assert_eq!(changed.uid(), made.uid());
    assert_eq!(changed.body["metadata"]["creationTimestamp"], made.body["metadata"]["creationTimestamp"]);
    Ran::Yes
}

async fn a_put_to_a_missing_map_is_not_found(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a" } });
    world.put(&world.core("configmaps/a"), &map).await.fails(404, "NotFound", "configmaps \"a\" not found");
    Ran::Yes
}

async fn a_put_with_another_uid_conflicts(world: Arc<World>) -> Ran {
    let made = world.map("a").await;
    let map = json!({ "metadata": { "name": "a", "uid": "11111111-2222-3333-4444-555555555555" } });
    let refused = world.put(&world.core("configmaps/a"), &map).await;
    let message = format!(
        "Precondition failed: UID in precondition: 11111111-2222-3333-4444-555555555555, UID in object meta: {}",
        made.uid()
    );
    refused.fails(409, "Conflict", &message).fails(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": ",
    );
    Ran::Yes
}

async fn merge_patches_merge(world: Arc<World>) -> Ran {
    world.map("a").await;
    let path = world.core("configmaps/a");
    let patch = json!({ "metadata": { "labels": { "x": "y" } }, "data": { "a": null, "b": "2" } });
    let patched = world.patch("merge", &path, patch).await;
    patched.is(200);
    assert_eq!(patched.body["data"], json!({ "b": "2" }));
    assert_eq!(patched.body["metadata"]["labels"], json!({ "x": "y" }));
    let rest = world.patch("merge", &path, json!({ "metadata": { "labels": null } })).await;
    assert!(rest.is(200).body["metadata"].get("labels").is_none());
    world.patch("merge", &world.core("configmaps/b"), json!({})).await.fails(
        404,
        "NotFound",
        "configmaps \"b\" not found",
    );
    Ran::Yes
}

async fn json_patches_apply(world: Arc<World>) -> Ran {
    world.map("a").await;
    let path = world.core("configmaps/a");
    let patch = json!([
        { "op": "test", "path": "/data/a", "value": "1" },
        { "op": "add", "path": "/data/b", "value": "2" },
        { "op": "move", "from": "/data/a", "path": "/data/c" },
    ]);
    let patched = world.patch("json", &path, patch).await;
    assert_eq!(patched.is(200).body["data"], json!({ "b": "2", "c": "1" }));
    Ran::Yes
}

async fn a_json_patch_that_does_not_apply_is_invalid(world: Arc<World>) -> Ran {
    world.map("a").await;
    let path = world.core("configmaps/a");
    for patch in [
        json!([{ "op": "test", "path": "/data/a", "value": "2" }]),
        json!([{ "op": "remove", "path": "/data/b" }]),
        json!([{ "op": "test", "path": "/data/a", "value": "1" }, { "op": "test", "path": "/data/b", "value": "2" }]),
    ] {
        let refused = world.patch("json", &path, patch).await;
        refused.fails(422, "Invalid", "the server rejected our request due to an error in our request");
    }
    assert_eq!(world.get(&path).await.body["data"], json!({ "a": "1" }));
    Ran::Yes
}

async fn an_empty_map_has_no_data(world: Arc<World>) -> Ran {
    let made = world.post(&world.core("configmaps"), json!({ "metadata": { "name": "a" }, "data": {} })).await;
    assert!(made.is(201).body.get("data").is_none(), "{}", made.text);
    Ran::Yes
}

async fn an_immutable_map_stays(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a" }, "data": { "a": "1" }, "immutable": true });
    world.post(&world.core("configmaps"), map).await.is(201);
    let path = world.core("configmaps/a");
    let refused = world.patch("merge", &path, json!({ "data": { "a": "2" } })).await;
    refused.fails(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
    );
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "FieldValueForbidden");
    world.patch("merge", &path, json!({ "metadata": { "labels": { "x": "y" } } })).await.is(200);
    Ran::Yes
}

async fn a_map_holds_a_mebibyte(world: Arc<World>) -> Ran {
    let map = |name: &str, size: usize| json!({ "metadata": { "name": name }, "data": { "a": "x".repeat(size) } });
    world.post(&world.core("configmaps"), map("fits", 1 << 20)).await.is(201);
    let over = world.post(&world.core("configmaps"), map("over", (1 << 20) + 1)).await;
    // Versions word it differently, and some count characters.
    over.fails(422, "Invalid", "Too long: ").fails(422, "Invalid", " 1048576 ");
    assert_eq!(over.body["details"]["causes"][0]["reason"], "FieldValueTooLong");
    let huge = world.post(&world.core("configmaps"), map("huge", 3 << 20)).await;
    huge.fails(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728");
    Ran::Yes
}

async fn secrets_are_encoded(world: Arc<World>) -> Ran {
    let secret = json!({ "metadata": { "name": "a" }, "stringData": { "word": "open sesame" } });
    let made = world.post(&world.core("secrets"), secret).await;
    made.is(201);
    assert_eq!(made.body["data"]["word"], "b3BlbiBzZXNhbWU=");
    assert_eq!(made.body["type"], "Opaque");
    assert!(made.body.get("stringData").is_none());
    let wrong = json!({ "metadata": { "name": "b" }, "data": { "word": "?" } });
    world.post(&world.core("secrets"), wrong).await.fails(400, "BadRequest", "Secret");
    Ran::Yes
}

async fn clients_do_not_write_what_the_server_writes(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": {
        "name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": "2001-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 3, "generation": 7,
    } });
    let made = world.post(&world.core("configmaps"), map).await;
    let meta = &made.is(201).body["metadata"];
    assert_ne!(meta["uid"], "mine");
    assert_ne!(meta["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert_eq!(meta["deletionTimestamp"], Value::Null);
    let mut changed = made.body.clone();
    changed["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    changed["metadata"]["generation"] = 8.into();
    changed["data"] = json!({ "a": "1" });
    let kept = world.put(&world.core("configmaps/a"), &changed).await;
    for field in ["creationTimestamp", "generation"] {
        assert_eq!(kept.is(200).body["metadata"][field], meta[field], "{field}");
    }
    Ran::Yes
}

async fn generation_is_kept_where_it_is_kept(world: Arc<World>) -> Ran {
    let budget = json!({
        "metadata": { "name": "a" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "x" } } },
    });
    let made = world.post(&world.budgets(""), budget).await;
    assert_eq!(made.is(201).body["metadata"]["generation"], 1);
    let labelled = world.patch("merge", &world.budgets("/a"), json!({ "metadata": { "labels": { "a": "b" } } })).await;
    assert_eq!(labelled.is(200).body["metadata"]["generation"], 1);
    let wished = world.patch("merge", &world.budgets("/a"), json!({ "spec": { "minAvailable": 2 } })).await;
    assert_eq!(wished.is(200).body["metadata"]["generation"], 2);
    let lease = world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await;
    assert!(lease.is(201).body["metadata"].get("generation").is_none());
    Ran::Yes
}

async fn a_dry_run_changes_nothing(world: Arc<World>) -> Ran {
    let map = json!({ "metadata": { "name": "a" } });
    let made = world.post(&world.core("configmaps?dryRun=All"), map).await;
    assert!(made.is(201).body["metadata"].get("resourceVersion").is_none(), "{}", made.text);
    world.get(&world.core("configmaps/a")).await.is(404);
    let made = world.map("b").await;
    let patched = world.patch("merge", &world.core("configmaps/b?dryRun=All"), json!({ "data": { "a": "2" } })).await;
    assert_eq!((patched.is(200).revision(), &patched.body["data"]["a"]), (made.revision(), &"2".into()));
    world.delete(&world.core("configmaps/b?dryRun=All")).await.is(200);
    assert_eq!(world.get(&world.core("configmaps/b")).await.is(200).revision(), made.revision());
    Ran::Yes
}

async fn strategic_patches_merge_maps(world: Arc<World>) -> Ran {
    world.map("a").await;
    let patch = json!({ "metadata": { "labels": { "x": "y" } }, "data": { "a": null, "b": "2" } });
    let patched = world.patch("strategic-merge", &world.core("configmaps/a"), patch).await;
    assert_eq!(patched.is(200).body["data"], json!({ "b": "2" }));
    Ran::Yes
}

async fn strategic_patches_merge_lists_by_key(world: Arc<World>) -> Ran {
    world.pod("a", "").await;
    let path = world.core("pods/a");
    let patched = world
        .patch(
            "strategic-merge",
            &path,
            json!({ "spec": { "containers": [{ "name": "main", "image": "example.com/other" }] } }),
        )
        .await;
    patched.is(200);
    assert_eq!(patched.body["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(patched.body["spec"]["containers"][0]["image"], "example.com/other");
    let status = |kind: &str, value: &str| json!({ "status": { "conditions": [{ "type": kind, "status": value }] } });
    let path = world.core("pods/a/status");
    world.patch("strategic-merge", &path, status("One", "True")).await.is(200);
    world.patch("strategic-merge", &path, status("Two", "True")).await.is(200);
    let both = world.patch("strategic-merge", &path, status("One", "False")).await;
    let conditions = both.is(200).body["status"]["conditions"].as_array().unwrap().clone();
    let is = |kind: &str| conditions.iter().find(|one| one["type"] == kind).map(|one| one["status"].clone());
    assert_eq!((is("One"), is("Two")), (Some("False".into()), Some("True".into())), "{conditions:?}");
    let gone = json!({ "status": { "conditions": [{ "type": "One", "$patch": "delete" }] } });
    let left = world.patch("strategic-merge", &path, gone).await;
    assert!(!left.is(200).text.contains("\"One\""), "{}", left.text);
    // Finalizers are a set of words.
    let path = world.core("pods/a");
    let finalizers = |words: &[&str]| json!({ "metadata": { "finalizers": words } });
    world.patch("strategic-merge", &path, finalizers(&["example.com/a"])).await.is(200);
    let both = world.patch("strategic-merge", &path, finalizers(&["example.com/b"])).await;
    assert_eq!(both.is(200).body["metadata"]["finalizers"], json!(["example.com/b", "example.com/a"]));
    let less = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["example.com/a", "example.com/b"] } });
    let none = world.patch("strategic-merge", &path, less).await;
    assert!(none.is(200).body["metadata"].get("finalizers").is_none(), "{}", none.text);
    Ran::Yes
}
