//! The fault plan and the journal of the in-process server, under the paused clock.

use std::{io::ErrorKind, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Error,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use relent_apiserver::{ApiServer, Fault, Verb};
use serde_json::json;
use tokio::time::{Instant, timeout};

use futures_util::StreamExt;

const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

fn maps(client: Client) -> Api<ConfigMap> {
    Api::default_namespaced(client)
}

fn map(value: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": "a" }, "data": { "a": value } })).unwrap()
}

/// A server with one map.
async fn prepared() -> (ApiServer, Api<ConfigMap>) {
    let server = ApiServer::new();
    let maps = maps(server.client());
    maps.create(&PostParams::default(), &map("1")).await.unwrap();
    server.clear_journal();
    (server, maps)
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        other => panic!("{other:?}"),
    }
}

/// The kind of the I/O error at the bottom of an error.
fn cause(error: &Error) -> Option<ErrorKind> {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        at = error.source();
    }
    None
}

async fn value(maps: &Api<ConfigMap>) -> String {
    maps.get("a").await.unwrap().data.unwrap()["a"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_as_long_as_it_says() {
    let (server, maps) = prepared().await;
    server.inject(Fault::delay(Duration::from_millis(340)).path(MAP).times(1));
    let start = Instant::now();
    maps.get("a").await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(340));
    maps.get("a").await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(340));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_hangs_and_leaves_nothing_done() {
    let (server, maps) = prepared().await;
    let hang = server.inject(Fault::hang().verb(Verb::Patch));
    let patch = Patch::Merge(json!({ "data": { "a": "2" } }));
    let parameters = PatchParams::default();
    let patched = timeout(Duration::from_secs(86_400), maps.patch("a", &parameters, &patch)).await;
    assert!(patched.is_err());
    assert_eq!(hang.hits(), 1);
    assert_eq!(value(&maps).await, "1");
    hang.lift();
    maps.patch("a", &parameters, &patch).await.unwrap();
    assert_eq!(value(&maps).await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_was_applied_and_a_refused_call_was_not() {
    let (server, maps) = prepared().await;
    server.inject(Fault::lose_answer().verb(Verb::Update).times(1));
    server.inject(Fault::refuse().verb(Verb::Update).times(1));
    let lost = maps.replace("a", &PostParams::default(), &map("2")).await.unwrap_err();
    assert_eq!(cause(&lost), Some(ErrorKind::ConnectionReset), "{lost:?}");
    assert_eq!(value(&maps).await, "2");
    let refused = maps.replace("a", &PostParams::default(), &map("3")).await.unwrap_err();
    assert_eq!(cause(&refused), Some(ErrorKind::ConnectionRefused), "{refused:?}");
    assert_eq!(value(&maps).await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_lands_though_its_caller_has_gone() {
    let (server, maps) = prepared().await;
    let slow = Fault::delay(Duration::from_secs(10)).verb(Verb::Update);
    server.inject(slow.clone().times(1));
    server.inject(slow.detached().times(1));
    for (written, stays) in [("2", "1"), ("3", "1")] {
        let cut = timeout(Duration::from_secs(1), maps.replace("a", &PostParams::default(), &map(written))).await;
        assert!(cut.is_err());
        assert_eq!(value(&maps).await, stays);
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(value(&maps).await, "1");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(value(&maps).await, "3", "the one that was cut is gone, the detached one lands");
}

#[tokio::test(start_paused = true)]
async fn answers_are_those_of_servers_and_proxies() {
    let (server, maps) = prepared().await;
    for (fault, wanted, text) in [
        (Fault::overloaded(1), 429, "Too many requests, please try again later."),
        (Fault::status(429).retry_after(3), 429, "too many requests"),
        (Fault::status(500), 500, "Internal error occurred"),
        (Fault::status(503), 503, "the server is currently unable to handle the request"),
        (Fault::status(504), 504, "Timeout"),
        (Fault::text(502, "<html>bad gateway</html>"), 502, "bad gateway"),
    ] {
        let injected = server.inject(fault.times(1));
        let error = maps.get("a").await.unwrap_err();
        assert_eq!(code(&error), wanted);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(injected.hits(), 1);
    }
    server.inject(Fault::overloaded(7));
    let request = http::Request::get(MAP).body(kube::client::Body::empty()).unwrap();
    let answer = server.client().send(request).await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "7");
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_replace_one_that_was_applied() {
    let (server, maps) = prepared().await;
    server.inject(Fault::status(504).after_applying().verb(Verb::Update).times(1));
    let error = maps.replace("a", &PostParams::default(), &map("2")).await.unwrap_err();
    assert_eq!(code(&error), 504);
    assert_eq!(value(&maps).await, "2");
}

#[tokio::test(start_paused = true)]
async fn the_journal_has_every_request_at_its_instant() {
    let (server, maps) = prepared().await;
    server.inject(Fault::status(503).verb(Verb::Get).times(1));
    let start = Instant::now();
    maps.get("a").await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(50)).await;
    maps.list(&ListParams::default().labels("x=y")).await.unwrap();
    let _ = timeout(Duration::from_secs(1), async {
        server.inject(Fault::hang().verb(Verb::Delete));
        maps.delete("a", &kube::api::DeleteParams::default()).await
    })
    .await;
    let journal = server.journal();
    let seen: Vec<_> = journal.iter().map(|entry| (entry.verb, entry.path.as_str(), entry.code)).collect();
    let all = "/api/v1/namespaces/default/configmaps";
    assert_eq!(seen, [(Verb::Get, MAP, Some(503)), (Verb::List, all, Some(200)), (Verb::Delete, MAP, None)]);
    assert_eq!(journal[1].at, journal[0].at + Duration::from_millis(50));
    assert_eq!(journal[1].query, "&labelSelector=x%3Dy");
    assert_eq!(start.elapsed(), Duration::from_millis(1050));
    assert!(
        journal[2].to_string().ends_with("delete /api/v1/namespaces/default/configmaps/a -> no answer"),
        "{}",
        journal[2]
    );
}

#[tokio::test(start_paused = true)]
async fn watches_end_as_they_do_in_life() {
    let (server, maps) = prepared().await;
    let events = async |fault: Fault| {
        let injected = server.inject(fault.times(1));
        let parameters = WatchParams::default().timeout(10);
        let mut stream = Box::pin(maps.watch(&parameters, "0").await.unwrap());
        let mut seen = Vec::new();
        let start = Instant::now();
        while let Ok(Some(event)) = timeout(Duration::from_secs(100), stream.next()).await {
            seen.push(match event {
                Ok(WatchEvent::Added(_)) => "added".to_owned(),
                // The end of what was there.
                Ok(WatchEvent::Bookmark(_)) => continue,
                Ok(WatchEvent::Error(status)) => format!("{} {}", status.code, status.reason),
                Ok(other) => format!("{other:?}"),
                Err(error) => format!("{error}"),
            });
        }
        assert_eq!(injected.hits(), 1);
        (seen, start.elapsed().as_secs())
    };
    assert_eq!(events(Fault::close_stream(0)).await, (vec![], 0));
    assert_eq!(events(Fault::close_stream(1)).await, (vec!["added".to_owned()], 0));
    assert_eq!(
        events(Fault::close_stream(2)).await,
        (vec!["added".to_owned()], 10),
        "nothing else happened: its time was up"
    );
    assert_eq!(events(Fault::expire_stream(1)).await, (vec!["added".to_owned(), "410 Expired".to_owned()], 0));
    assert_eq!(events(Fault::silence_stream(1)).await, (vec!["added".to_owned()], 100), "not even its end");
    let (seen, _) = events(Fault::break_stream(1)).await;
    assert_eq!(seen.len(), 2);
    assert!(seen[1].contains("connection reset"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_leaves_nothing() {
    let (server, maps) = prepared().await;
    for _ in 0..3 {
        let mut stream = Box::pin(maps.watch(&WatchParams::default(), "0").await.unwrap());
        assert!(matches!(stream.next().await, Some(Ok(WatchEvent::Added(_)))));
    }
    let before = server.revision();
    server.compact();
    maps.replace("a", &PostParams::default(), &map("2")).await.unwrap();
    assert_eq!(server.revision(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_it_does_not_do_it_says() {
    let (_, maps) = prepared().await;
    let scaled = maps.get_subresource("scale", "a").await.unwrap_err();
    assert_eq!(code(&scaled), 501);
    assert!(scaled.to_string().contains("the subresource configmaps/scale"), "{scaled}");
}

#[tokio::test(start_paused = true)]
async fn times_follow_the_clock_of_tokio() {
    let (_, maps) = prepared().await;
    let made = maps.get("a").await.unwrap().metadata.creation_timestamp.unwrap().0;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut later = map("1");
    later.metadata.name = Some("b".to_owned());
    let later = maps.create(&PostParams::default(), &later).await.unwrap().metadata.creation_timestamp.unwrap().0;
    assert_eq!(later.as_second() - made.as_second(), 3600);
}
