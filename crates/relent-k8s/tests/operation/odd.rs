//! Answers that are a success and not what was asked for; watches that end by an error; kinds and namespaces that go.

use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    client::Body,
    runtime::wait::conditions,
};
use relent::{Change, Stop};
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{self as k8s, Contract, LongOperation};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::place::{DO, MS, Place};

const S: fn(u64) -> Duration = Duration::from_secs;

/// `it`, with the label `a=b`.
async fn world() -> (ApiServer, Api<ConfigMap>) {
    let server = ApiServer::new();
    let api = Api::default_namespaced(server.client());
    create(&api).await;
    (server, api)
}

async fn create(api: &Api<ConfigMap>) {
    let map = json!({"metadata": {"name": "it", "labels": {"a": "b"}}, "data": {"step": "0"}});
    api.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
}

/// A client of the server, but for the requests that are answered in its stead.
fn answering(server: &ApiServer, answer: impl Fn(&Request<Body>) -> Option<String> + Send + Sync + 'static) -> Client {
    let (inner, answer) = (server.client(), std::sync::Arc::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, answer) = (inner.clone(), answer(&request));
        async move {
            match answer {
                Some(text) => Ok(Response::new(Body::from(text.into_bytes()))),
                None => inner.send(request).await,
            }
        }
    });
    Client::new(service, "default")
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("watch=true"))
}

/// Lists that are none: nothing is absent because of them.
const LISTS: [&str; 6] = [
    r#"{"items":[]}"#,
    r#"{"items":null}"#,
    r#"{"kind":"Status","apiVersion":"v1","status":"Success"}"#,
    r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[]}"#,
    r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"resourceVersion":""},"items":[]}"#,
    "{}",
];

#[tokio::test(start_paused = true)]
async fn what_is_no_list_proves_no_absence() {
    for list in LISTS {
        let (server, api) = world().await;
        server.inject(Fault::text(200, list).verb(Verb::List).times(1));
        let deleting = api.clone();
        tokio::spawn(async move {
            sleep(S(20)).await;
            deleting.delete("it", &DeleteParams::default()).await.unwrap();
        });
        let begin = Instant::now();
        k8s::wait_labelled(api.clone(), "a=b", |all: &[ConfigMap]| all.is_empty()).await.unwrap();
        assert_eq!(begin.elapsed(), S(20), "{list}");

        // By its name: where a server that lags behind says for a moment that it is not there.
        create(&api).await;
        server.inject(Fault::missing("configmaps", "it").verb(Verb::Get).times(1));
        server.inject(Fault::text(200, list).verb(Verb::List).times(1));
        let absent = |map: Option<&ConfigMap>| map.is_none();
        let gave_up = k8s::wait(api.clone(), "it", absent).finish_within(S(20)).await.unwrap_err();
        assert_eq!(gave_up.stop(), &Stop::Deadline, "{list}: {gave_up}");

        // For good it is an answer of something else.
        server.inject(Fault::text(200, list).verb(Verb::List));
        let gave_up = k8s::wait_labelled(api, "a=b", |all: &[ConfigMap]| all.is_empty()).await.unwrap_err();
        assert!(gave_up.is_fatal() && gave_up.elapsed() >= S(2), "{gave_up}");
        assert!(gave_up.to_string().contains("configmaps with the labels \"a=b\" in the namespace"), "{gave_up}");
    }
}

/// Whatever `ERROR` event ends a watch: it is read again, and the error tells its words.
#[tokio::test(start_paused = true)]
async fn what_ends_a_watch_is_told() {
    for (status, says) in [
        (
            json!({"status": "Failure", "message": "the server is busy", "reason": "InternalError", "code": 500}),
            "the server is busy",
        ),
        (
            json!({"status": "Failure", "message": "not allowed any more", "reason": "Forbidden", "code": 403}),
            "not allowed any more",
        ),
        (json!({"status": "Failure", "message": "who are you", "reason": "Unauthorized", "code": 401}), "who are you"),
        (json!({"status": "Failure", "message": "etcdserver: no leader", "code": 503}), "etcdserver: no leader"),
        (
            json!({"status": "Failure", "message": "", "reason": "Timeout", "code": 504}),
            "the server answered 504 Timeout",
        ),
        (
            json!({"status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}),
            "what it began from is too old",
        ),
        (json!({"status": "Failure", "message": "", "reason": "Gone", "code": 410}), "what it began from is too old"),
        (json!({}), "the server answered with an error that is no Status"),
    ] {
        let (server, api) = world().await;
        let line = format!("{}\n", json!({"type": "ERROR", "object": status}));
        let client = answering(&server, move |request| is_watch(request).then(|| line.clone()));
        let watched: Api<ConfigMap> = Api::default_namespaced(client);
        let step =
            |map: Option<&ConfigMap>| map.and_then(|map| map.data.as_ref()).is_some_and(|data| data["step"] == "1");
        let gave_up = k8s::wait(watched.clone(), "it", step).finish_within(S(30)).await.unwrap_err();
        let text = gave_up.to_string();
        assert!(text.contains(&format!("; watch: {says})")), "{status}: {text}");
        assert!(text.contains("for it, last seen at resourceVersion"), "{text}");
        // It is seen by reading, no more than the longest pause later.
        let writing = api.clone();
        tokio::spawn(async move {
            sleep(S(40)).await;
            let patch = Patch::Merge(json!({"data": {"step": "1"}}));
            writing.patch("it", &PatchParams::default(), &patch).await.unwrap();
        });
        let begin = Instant::now();
        k8s::wait(watched, "it", step).await.unwrap();
        assert!(begin.elapsed() >= S(40) && begin.elapsed() <= S(51), "{status}: {:?}", begin.elapsed());
    }
}

/// A success with another object: not taken for the one that was asked for.
#[tokio::test(start_paused = true)]
async fn another_object_is_not_taken_for_it() {
    for other in [
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"it","namespace":"default","resourceVersion":"7"}}"#,
        r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"resourceVersion":"7"},"items":[]}"#,
        r#"{"apiVersion":"v1","kind":"Status","status":"Success"}"#,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"another","resourceVersion":"7"}}"#,
        r#"{"metadata":{"resourceVersion":"7"}}"#,
    ] {
        let (server, api) = world().await;
        server.inject(Fault::text(200, other).verb(Verb::Get).times(1));
        assert_eq!(k8s::get(&api, "it").await.unwrap().data.unwrap()["step"], "0", "{other}");
        server.inject(Fault::text(200, other).verb(Verb::Get).times(1));
        let found = k8s::wait(api.clone(), "it", |map: Option<&ConfigMap>| map.is_some()).await.unwrap().unwrap();
        assert_eq!(found.data.unwrap()["step"], "0", "{other}");
        server.inject(Fault::text(200, other).verb(Verb::Get));
        let gave_up = k8s::get(&api, "it").await.unwrap_err();
        assert!(gave_up.is_fatal() && gave_up.elapsed() == S(2), "{other}: {gave_up}");
        assert!(gave_up.to_string().contains("configmaps \"it\" in the namespace \"default\""), "{gave_up}");
    }
}

/// The same of an operation, whose object may be of any kind to `kube`.
#[tokio::test(start_paused = true)]
async fn an_operation_is_of_one_kind() {
    for other in [
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"main","uid":"another","resourceVersion":"7"}}"#,
        r#"{"apiVersion":"v1","kind":"Status","status":"Success"}"#,
        "{}",
    ] {
        let place = Place::ours().await;
        let server = place.server().unwrap();
        let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
        for verb in [Verb::Get, Verb::Patch] {
            server.inject(Fault::text(200, other).verb(verb).times(1));
        }
        let triggered = operation.trigger().await.unwrap_or_else(|gave_up| panic!("{other}: {gave_up}"));
        assert_eq!(triggered.change, Change::Applied);
        server.inject(Fault::text(200, other).verb(Verb::Get).times(1));
        place.annotate(json!({DO: null})).await;
        operation.settled().await.unwrap_or_else(|gave_up| panic!("{other}: {gave_up}"));
    }
}

const DEFINITION: &str = "widgets.example.com";

async fn widgets(client: &Client) -> (Api<CustomResourceDefinition>, Api<DynamicObject>) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = json!({
        "metadata": {"name": DEFINITION},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    k8s::wait(definitions.clone(), DEFINITION, conditions::is_crd_established()).finish_within(S(20)).await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    let widgets: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "main"}});
    widgets.create(&PostParams::default(), &serde_json::from_value(widget).unwrap()).await.unwrap();
    (definitions, widgets)
}

/// The definition of a kind is deleted under a wait, and under an operation: it ends, and says that there is no such
/// kind.
#[tokio::test(start_paused = true)]
async fn a_kind_that_goes_ends_what_waits_for_it() {
    let server = ApiServer::new();
    let (definitions, widgets) = widgets(&server.client()).await;
    let operation = LongOperation::new(widgets.clone(), "main", Contract::new(DO, "it")).unwrap();
    operation.trigger().await.unwrap();
    let ready = k8s::wait(widgets.clone(), "main", k8s::conditions::is_true("Ready")).into_future();
    let of_all = k8s::wait_labelled(widgets.clone(), "a=b", |all: &[DynamicObject]| all.len() == 3).into_future();
    let (ready, of_all) = (tokio::spawn(ready), tokio::spawn(of_all));
    let settled = tokio::spawn(operation.settled().into_future());
    sleep(S(5)).await;
    definitions.delete(DEFINITION, &DeleteParams::default()).await.unwrap();
    let ended = timeout(S(60), ready).await.expect("it ends").unwrap().unwrap_err();
    assert!(ended.is_fatal() && ended.to_string().contains("widgets \"main\""), "{ended}");
    assert!(ended.to_string().ends_with("in this version (`kubectl api-resources`)"), "{ended}");
    let ended = timeout(S(60), of_all).await.expect("it ends").unwrap().unwrap_err();
    assert!(ended.is_fatal() && ended.to_string().contains("widgets with the labels \"a=b\""), "{ended}");
    let ended = timeout(S(60), settled).await.expect("it ends").unwrap().unwrap_err();
    assert!(ended.is_fatal() && ended.to_string().contains("main"), "{ended}");
}

/// A namespace that goes takes what is in it away: a wait says what was seen, and an operation that it was deleted.
#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes() {
    let server = ApiServer::new();
    let namespaces: Api<Namespace> = Api::all(server.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "doomed"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "doomed");
    create(&maps).await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let objects = Api::namespaced_with(server.client(), "doomed", &kind);
    let operation = LongOperation::new(objects, "it", Contract::new(DO, "it")).unwrap();
    operation.trigger().await.unwrap();
    let never =
        k8s::wait(maps.clone(), "it", |map: Option<&ConfigMap>| map.is_some_and(|map| map.immutable == Some(true)));
    let waiting = tokio::spawn(never.finish_within(S(60)).into_future());
    let absent = tokio::spawn(k8s::wait(maps.clone(), "it", |map: Option<&ConfigMap>| map.is_none()).into_future());
    let settling = tokio::spawn(operation.settled().into_future());
    sleep(S(5)).await;
    let _ = maps.delete("it", &DeleteParams::default()).await.unwrap();
    let _ = namespaces.delete("doomed", &DeleteParams::default()).await.unwrap();
    timeout(S(1), absent).await.expect("absence holds").unwrap().unwrap();
    let ended = settling.await.unwrap().unwrap_err();
    assert!(
        ended.is_fatal() && ended.to_string().contains("it was deleted since the operation was triggered"),
        "{ended}"
    );
    let ended = waiting.await.unwrap().unwrap_err();
    assert!(ended.to_string().contains("for it, last seen absent (configmaps in the namespace \"doomed\""), "{ended}");
}

/// Cancelled between its look and its patch, an operation is not set off; whenever it is cancelled, what was sent is
/// found by the next run, and not sent again.
#[tokio::test(start_paused = true)]
async fn cancelled_at_any_time_it_is_set_off_once_at_most() {
    for at in (0..=900).step_by(50) {
        let place = Place::ours().await;
        let server = place.server().unwrap();
        // The look takes 300 ms, the patch 300 ms and is carried out without its caller, the closing look 300 ms.
        server.inject(Fault::delay(MS(300)).detached());
        let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
        let stop = CancellationToken::new();
        let run = tokio::spawn(operation.trigger().cancel_on(stop.clone()).into_future());
        sleep(MS(at)).await;
        stop.cancel();
        let ended = run.await.unwrap();
        let patches = || server.journal().iter().filter(|entry| entry.verb == Verb::Patch).count();
        let sent = patches();
        match &ended {
            Ok(_) => assert!(at >= 900, "{at}"),
            Err(gave_up) => {
                assert!(gave_up.is_cancelled(), "{at}: {gave_up}");
                // What was cut while it was being written is said.
                let doubt = gave_up.to_string().contains("whether it was applied is unknown");
                assert_eq!(doubt, sent == 1, "{at}: {gave_up}");
            }
        }
        assert_eq!(sent, usize::from(at >= 300 + usize_is_late(at)), "{at}");
        let again = operation.trigger().await.unwrap_or_else(|gave_up| panic!("{at}: {gave_up}"));
        assert_eq!((patches(), again.change == Change::Applied), (1, sent == 0), "{at}");
    }
}

/// At 300 ms both come at once: the look has been answered, and it is cancelled before it acts.
fn usize_is_late(at: u64) -> u64 {
    u64::from(at == 300)
}

/// The clock jumps while the look is under way: past the bound nothing is written.
#[tokio::test(start_paused = true)]
async fn after_a_stall_nothing_is_written() {
    for stall in [30, 119, 120, 121, 86_400] {
        let place = Place::ours().await;
        let server = place.server().unwrap();
        server.inject(Fault::delay(MS(300)).verb(Verb::Get).times(1));
        let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
        let run = tokio::spawn(operation.trigger().into_future());
        sleep(MS(100)).await;
        tokio::time::advance(S(stall)).await;
        let ended = run.await.unwrap();
        let patches = server.journal().iter().filter(|entry| entry.verb == Verb::Patch).count();
        // The look is cut after 10 s, or has just been answered; the next one finds the time over, or not.
        assert_eq!((ended.is_ok(), patches), (stall < 110, usize::from(stall < 110)), "{stall}: {ended:?}");
    }
}
