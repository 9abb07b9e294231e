//! A server that goes away and comes back: watches that are cut, connections that are refused, rights that are not
//! known yet.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::{await_condition, conditions},
};
use relent_apiserver::{AccessRule, ApiServer, Fault, User};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

const S: Duration = Duration::from_secs(1);

fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// The text of an error with all its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test(start_paused = true)]
async fn watches_that_are_cut_end_with_an_error_and_lose_nothing_that_is_stored() {
    let server = ApiServer::new();
    let maps = maps(server.client());
    let from = server.revision().to_string();
    let mut watch = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    let quiet = server.inject(Fault::silence_stream(0).times(1));
    let mut silent = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    assert_eq!(quiet.hits(), 1);
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    assert_eq!(server.cut_watches(), 2);
    assert!(watch.next().await.unwrap().is_err(), "the connection is gone, with what was on its way");
    assert!(watch.next().await.is_none());
    assert!(silent.next().await.unwrap().is_err(), "one that says nothing is cut like any other");
    assert_eq!(server.cut_watches(), 0, "each is cut once");
    let mut again = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    assert!(again.next().await.unwrap().is_ok(), "a new one is told what the old one missed");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_refuses_and_keeps_everything() {
    let server = ApiServer::new();
    let maps = maps(server.client());
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.next().await.unwrap().is_ok());
    // One that is under way when it happens.
    server.inject(Fault::hang().path("**/configmaps/slow"));
    let slow = tokio::spawn({
        let maps = maps.clone();
        async move { maps.get("slow").await }
    });
    sleep(S).await;
    server.stop();
    assert!(
        whole(&slow.await.unwrap().unwrap_err()).contains("connection reset"),
        "requests under way lose their answer"
    );
    assert!(watch.next().await.unwrap().is_err());
    let refused = maps.get("a").await.unwrap_err();
    assert!(whole(&refused).contains("Connection refused"), "{}", whole(&refused));
    sleep(100 * S).await;
    assert!(maps.get("a").await.is_err());
    server.start(Duration::ZERO);
    assert!(maps.get("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_limited_users_wait_for_their_rights() {
    let server = ApiServer::new();
    server.add_user(User::new("admin"));
    server.add_user(User::new("ruled").token("t"));
    server.rule(AccessRule::allow().user("ruled"));
    server.add_user(User::new("bound").bound_by_rbac());
    let (admin, ruled, bound) =
        (maps(server.client_as("admin")), maps(server.client_with_token("t")), maps(server.client_as("bound")));
    let list = ListParams::default();
    assert_eq!(code(&bound.list(&list).await.unwrap_err()), 403, "it has no role");
    let begun = Instant::now();
    server.restart(2 * S, 3 * S);
    for (seconds, wanted) in [(0, [0, 0]), (1, [0, 0]), (2, [200, 403]), (4, [200, 403]), (5, [200, 200])] {
        sleep((begun + seconds * S).saturating_duration_since(Instant::now())).await;
        for (api, wanted) in [&admin, &ruled].into_iter().zip(wanted) {
            let is = api.list(&list).await.map_or_else(|error| code(&error), |_| 200);
            assert_eq!(is, wanted, "after {seconds} s");
        }
    }
}

#[tokio::test]
async fn while_it_is_down_its_port_is_closed() {
    let server = ApiServer::new();
    let port = server.listen().await.unwrap();
    let file = Kubeconfig::from_yaml(&port.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let maps = maps(client);
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.next().await.unwrap().is_ok());
    server.stop();
    timeout(20 * S, async { while let Ok(Some(_)) = watch.try_next().await {} }).await.expect("the watch ends");
    timeout(20 * S, async { while tokio::net::TcpStream::connect(port.address()).await.is_ok() {} })
        .await
        .expect("the port is closed");
    server.start(Duration::ZERO);
    timeout(20 * S, async {
        while maps.get("a").await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the same port serves again");
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_lags_behind_and_misses_nothing() {
    let server = ApiServer::new();
    let maps = maps(server.client());
    server.inject(Fault::slow_stream(3 * S));
    let from = server.revision().to_string();
    let mut watch = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    let begun = Instant::now();
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    for seconds in [3, 6] {
        assert!(watch.next().await.unwrap().is_ok());
        assert_eq!(begun.elapsed(), seconds * S);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_kind_is_not_served_at_once() {
    let server = ApiServer::new();
    server.establish_after(S);
    server.initialize_for(2 * S);
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let definition = json!({
        "metadata": { "name": "things.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": { "kind": "Thing", "plural": "things" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    });
    let definitions: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(server.client());
    definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    let resource = kube::core::ApiResource {
        group: "example.com".into(),
        version: "v1".into(),
        api_version: "example.com/v1".into(),
        kind: "Thing".into(),
        plural: "things".into(),
    };
    let things: Api<kube::core::DynamicObject> = Api::namespaced_with(server.client(), "default", &resource);
    assert_eq!(code(&things.list(&ListParams::default()).await.unwrap_err()), 404, "it is not established");
    let begun = Instant::now();
    let is_there = conditions::is_crd_established();
    await_condition(definitions, "things.example.com", is_there).await.unwrap();
    assert_eq!(begun.elapsed(), S);
    let early = things.list(&ListParams::default()).await.unwrap_err();
    assert_eq!(code(&early), 429);
    assert!(early.to_string().contains("storage is (re)initializing"), "{early}");
    sleep(2 * S).await;
    assert!(things.list(&ListParams::default()).await.is_ok());
    // The same as a fault, once.
    server.inject(Fault::initializing().path("**/things").times(1));
    assert_eq!(code(&things.list(&ListParams::default()).await.unwrap_err()), 429);
    assert!(things.list(&ListParams::default()).await.is_ok());
}
