//! `k8s::wait` on both servers: by labels, and from one life of an object to the next.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::conditions,
};
use relent_k8s::{wait, wait_labelled};
use serde_json::json;
use tokio::time::sleep;

use super::{
    place::{Place, everywhere},
    waiting::at_step,
};

const S: Duration = Duration::from_secs(1);

everywhere! {
    all_with_these_labels
    deleted_and_created_anew
}

fn labelled(name: &str, labels: &serde_json::Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "data": {"step": "0"}})).unwrap()
}

async fn all_with_these_labels(place: &Place) {
    let api: Api<ConfigMap> = Api::namespaced(place.world.client.clone(), &place.world.namespace);
    let waiting = |condition: fn(&[ConfigMap]) -> bool| {
        tokio::spawn(
            wait_labelled(api.clone(), "app=web,tier in (a, b)", condition).finish_within(10 * S).into_future(),
        )
    };
    let three = waiting(|maps| maps.len() == 3 && maps.iter().all(|map| at_step("1")(Some(map))));
    sleep(S / 5).await;
    for (name, labels) in [
        ("one", json!({"app": "web", "tier": "a"})),
        ("other", json!({"app": "web", "tier": "c"})),
        ("two", json!({"app": "web", "tier": "b"})),
        ("three", json!({"app": "web", "tier": "c"})),
    ] {
        api.create(&PostParams::default(), &labelled(name, &labels)).await.unwrap();
    }
    for name in ["one", "other", "two", "three"] {
        sleep(S / 20).await;
        api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"data": {"step": "1"}}))).await.unwrap();
    }
    sleep(S / 5).await;
    assert!(!three.is_finished());
    // A label makes it one of them.
    api.patch("three", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"tier": "a"}}})))
        .await
        .unwrap();
    let mut names: Vec<_> = three.await.unwrap().unwrap().into_iter().filter_map(|map| map.metadata.name).collect();
    names.sort();
    assert_eq!(names, ["one", "three", "two"]);

    let none = waiting(<[ConfigMap]>::is_empty);
    sleep(S / 5).await;
    api.patch("three", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"tier": "c"}}})))
        .await
        .unwrap();
    for name in ["one", "two"] {
        assert!(!none.is_finished());
        api.delete(name, &DeleteParams::default()).await.unwrap();
        sleep(S / 10).await;
    }
    assert!(none.await.unwrap().unwrap().is_empty());
    let ends = wait_labelled(api.clone(), "app=web", |maps: &[ConfigMap]| maps.len() == 9).finish_within(S).await;
    let text = ends.unwrap_err().to_string();
    assert!(
        text.contains("does not hold for app=web, last seen as 2 objects")
            && text.contains("configmaps in the namespace"),
        "{text}"
    );
    // What is no selector is an answer.
    let wrong = wait_labelled(api, "a in", |_: &[ConfigMap]| true).finish_within(5 * S).await.unwrap_err();
    assert!(wrong.is_fatal(), "{wrong}");
}

/// From one life of the object to the next.
async fn deleted_and_created_anew(place: &Place) {
    let api: Api<ConfigMap> = Api::namespaced(place.world.client.clone(), &place.world.namespace);
    let first = api.create(&PostParams::default(), &labelled("it", &json!({}))).await.unwrap();
    let uid = first.metadata.uid.unwrap();
    let gone = tokio::spawn({
        let (api, uid) = (api.clone(), uid.clone());
        async move { wait(api, "it", conditions::is_deleted(&uid)).finish_within(10 * S).await.map(drop) }
    });
    let next = tokio::spawn({
        let api = api.clone();
        let another = move |map: Option<&ConfigMap>| map.is_some_and(|map| map.metadata.uid.as_ref() != Some(&uid));
        async move { wait(api, "it", another).finish_within(10 * S).await.map(drop) }
    });
    sleep(S / 5).await;
    assert!(!gone.is_finished() && !next.is_finished());
    api.delete("it", &DeleteParams::default()).await.unwrap();
    gone.await.unwrap().unwrap();
    api.create(&PostParams::default(), &labelled("it", &json!({}))).await.unwrap();
    next.await.unwrap().unwrap();
}
