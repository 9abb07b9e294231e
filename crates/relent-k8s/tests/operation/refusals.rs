//! What a server says that has just started: down, then 403 to every user for a moment. And what it means when it goes
//! on.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
};
use relent::Stop;
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{self as k8s, Contract, LongOperation, WaitError};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::place::{DO, MS, Place};

const S: fn(u64) -> Duration = Duration::from_secs;

async fn world() -> (ApiServer, Api<ConfigMap>) {
    let server = ApiServer::new();
    let api = Api::default_namespaced(server.client());
    let map = serde_json::from_value(json!({"metadata": {"name": "it"}, "data": {"step": "0"}})).unwrap();
    api.create(&PostParams::default(), &map).await.unwrap();
    (server, api)
}

/// The answers of a server that starts: none, then refusals, of every kind that was seen.
fn refusals() -> Vec<Fault> {
    vec![
        Fault::status(403),
        Fault::status(401),
        Fault::text(404, "404 page not found"),
        Fault::text(403, "no"),
        Fault::status(404),
    ]
}

/// Down for `down`, then refusing for `refusing`, then well.
fn restart(server: &ApiServer, refusal: &Fault, down: Duration, refusing: Duration) {
    let (server, refusal) = (server.clone(), refusal.clone());
    let is_down = server.inject(Fault::refuse());
    tokio::spawn(async move {
        sleep(down).await;
        is_down.lift();
        let refuses = server.inject(refusal);
        sleep(refusing).await;
        refuses.lift();
    });
}

fn any(map: Option<&ConfigMap>) -> bool {
    map.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_restart_ends_nothing() {
    for refusal in refusals() {
        let (server, api) = world().await;
        restart(&server, &refusal, MS(0), MS(460));
        k8s::get(&api, "it").await.unwrap_or_else(|gave_up| panic!("{refusal:?}: {gave_up}"));

        restart(&server, &refusal, S(3), MS(460));
        k8s::get(&api, "it").finish_within(S(60)).await.unwrap_or_else(|gave_up| panic!("{refusal:?}: {gave_up}"));

        restart(&server, &refusal, S(3), MS(460));
        k8s::wait(api.clone(), "it", any).await.unwrap_or_else(|gave_up| panic!("{refusal:?}: {gave_up}"));

        // In the middle of a wait, twice.
        let waiting = tokio::spawn(k8s::wait(api.clone(), "later", any).finish_within(S(600)).into_future());
        for _ in 0..2 {
            sleep(S(40)).await;
            restart(&server, &refusal, S(5), MS(460));
        }
        sleep(S(60)).await;
        let later = serde_json::from_value(json!({"metadata": {"name": "later"}})).unwrap();
        api.create(&PostParams::default(), &later).await.unwrap();
        waiting.await.unwrap().unwrap_or_else(|gave_up| panic!("{refusal:?}: {gave_up}"));

        let place = Place::ours().await;
        let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
        restart(place.server().unwrap(), &refusal, S(3), MS(460));
        operation.trigger().await.unwrap_or_else(|gave_up| panic!("{refusal:?}: {gave_up}"));
        restart(place.server().unwrap(), &refusal, S(3), MS(460));
        let settling = tokio::spawn(operation.settled().every(S(1)).into_future());
        sleep(S(10)).await;
        // Five minutes later the next one begins anew.
        sleep(S(300)).await;
        restart(place.server().unwrap(), &refusal, MS(0), MS(460));
        sleep(S(10)).await;
        place.annotate(json!({DO: null})).await;
        settling.await.unwrap().unwrap_or_else(|gave_up| panic!("{refusal:?}: {gave_up}"));
    }
}

/// What lasts is what the server means: after two seconds it is said, with what to do.
#[tokio::test(start_paused = true)]
async fn what_lasts_is_final() {
    for refusal in refusals() {
        let (server, api) = world().await;
        server.inject(refusal.clone());
        for get in [k8s::get(&api, "it"), k8s::get_when_created(&api, "it").finish_within(S(600))] {
            let gave_up = get.await.unwrap_err();
            assert_eq!((gave_up.stop(), gave_up.elapsed(), gave_up.attempts()), (&Stop::Fatal, S(2), 7), "{gave_up}");
            assert_eq!(gave_up.last_error().unwrap().refused_for(), Some(S(2)));
            let text = gave_up.to_string();
            assert!(text.contains("\"it\"") && text.contains("(refused for 2s)"), "{text}");
        }
        let gave_up = k8s::wait(api.clone(), "it", |_: Option<&ConfigMap>| false).await.unwrap_err();
        assert!(gave_up.is_fatal() && gave_up.elapsed() >= S(2) && gave_up.elapsed() < S(10), "{gave_up}");

        let place = Place::ours().await;
        place.server().unwrap().inject(refusal.clone());
        let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
        let gave_up = operation.trigger().await.unwrap_err();
        assert!(gave_up.is_fatal() && gave_up.elapsed() == S(2), "{gave_up}");
        let gave_up = operation.settled().await.unwrap_err();
        assert!(gave_up.is_fatal() && gave_up.elapsed() == S(5), "{gave_up}");
    }
}

/// One call is refused and the others are not: a right to watch is missing.
#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_for_one_call() {
    let (server, api) = world().await;
    server.inject(Fault::status(403).verb(Verb::Watch));
    let gave_up = k8s::wait(api, "it", |_: Option<&ConfigMap>| false).finish_within(S(600)).await.unwrap_err();
    assert!(gave_up.is_fatal(), "{gave_up}");
    assert!(matches!(gave_up.last_error(), Some(WaitError::Api { call: "watch", .. })), "{gave_up}");

    // Where there is no object, the right to list; that there is none is no other answer to it.
    let (server, api) = world().await;
    server.inject(Fault::status(403).verb(Verb::List));
    let gave_up = k8s::wait(api, "later", any).await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.elapsed() >= S(2) && gave_up.elapsed() < S(10), "{gave_up}");
    assert!(matches!(gave_up.last_error(), Some(WaitError::Api { call: "list", .. })), "{gave_up}");
}

/// Refused by two servers, with a time between in which there was none: that is not one refusal.
#[tokio::test(start_paused = true)]
async fn refusals_with_something_else_between_are_not_one() {
    let (server, api) = world().await;
    server.inject(Fault::status(403).verb(Verb::Watch).times(1));
    let waiting = tokio::spawn(k8s::wait(api.clone(), "later", any).finish_within(S(600)).into_future());
    sleep(MS(50)).await;
    restart(&server, &Fault::status(403).verb(Verb::Watch).times(1), S(30), S(30));
    sleep(S(60)).await;
    let later = serde_json::from_value(json!({"metadata": {"name": "later"}})).unwrap();
    api.create(&PostParams::default(), &later).await.unwrap();
    waiting.await.unwrap().unwrap_or_else(|gave_up| panic!("{gave_up}"));

    // Nor where there was no answer.
    let waiting = tokio::spawn(k8s::wait(api.clone(), "last", any).finish_within(S(600)).into_future());
    for fault in [Fault::status(403), Fault::hang(), Fault::status(403)] {
        server.inject(fault.verb(Verb::Watch).times(1));
    }
    sleep(S(60)).await;
    let last = serde_json::from_value(json!({"metadata": {"name": "last"}})).unwrap();
    api.create(&PostParams::default(), &last).await.unwrap();
    waiting.await.unwrap().unwrap_or_else(|gave_up| panic!("{gave_up}"));
}

/// Only a 404 that names the object says that there is none.
#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_served_is_not_an_absent_object() {
    let server = ApiServer::new();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Nothing"));
    let api: Api<DynamicObject> = Api::namespaced_with(server.client(), "default", &kind);
    let absent = |object: Option<&DynamicObject>| object.is_none();
    let gave_up = k8s::wait(api.clone(), "it", absent).finish_within(S(60)).await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.elapsed() >= S(2), "{gave_up}");
    let text = gave_up.to_string();
    assert!(text.contains("nothings \"it\"") && text.ends_with("in this version (`kubectl api-resources`)"), "{text}");
    let gave_up = k8s::get_when_created(&api, "it").finish_within(S(60)).await.unwrap_err();
    assert!(gave_up.is_fatal() && !gave_up.last_error().unwrap().is_not_found(), "{gave_up}");

    let (_server, maps) = world().await;
    let absent = |object: Option<&ConfigMap>| object.is_none();
    let start = Instant::now();
    assert!(k8s::wait(maps, "other", absent).await.unwrap().is_none());
    assert_eq!(start.elapsed(), MS(0));
}
