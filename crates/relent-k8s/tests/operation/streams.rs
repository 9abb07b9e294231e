//! Watches that a script answers: what no server of ours would send.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, client::Body};
use relent_k8s as k8s;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const IT: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"it","namespace":"default","uid":"u","resourceVersion":"7"}}"#;

/// Every GET has the object, every watch these lines.
fn scripted<L>(lines: impl Fn() -> L + Send + Sync + 'static) -> Api<ConfigMap>
where
    L: Iterator<Item = String> + Send + 'static,
{
    let lines = Arc::new(lines);
    let service = tower::service_fn(move |request: Request<Body>| {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let body = if watch {
            let frames = lines().map(|line| Ok::<_, std::io::Error>(Frame::data(Bytes::from(line + "\n"))));
            StreamBody::new(stream::iter(frames)).boxed_unsync()
        } else {
            Full::from(IT).map_err(|never| match never {}).boxed_unsync()
        };
        async move { Ok::<_, std::io::Error>(Response::new(body)) }
    });
    Api::default_namespaced(Client::new(service, "default"))
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn never(_: Option<&ConfigMap>) -> bool {
    false
}

/// A server that has always something to say does not keep the task to itself: it can be cancelled, and its time passes.
#[tokio::test(start_paused = true)]
async fn one_that_never_pauses_starves_none() {
    const ALL: usize = 1_000_000;
    for kind in ["MODIFIED", "BOOKMARK"] {
        let said = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&said);
        let object = if kind == "BOOKMARK" {
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"9"}}"#
        } else {
            IT
        };
        let api = scripted(move || {
            let (count, line) = (Arc::clone(&count), event(kind, object));
            std::iter::repeat_with(move || {
                count.fetch_add(1, Ordering::Relaxed);
                line.clone()
            })
            .take(ALL)
        });
        let stop = CancellationToken::new();
        let wait = k8s::wait(api, "it", never).cancel_on(stop.clone()).finish_within(Duration::from_secs(60));
        let cancel = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(wait, cancel);
        assert!(ended.unwrap_err().is_cancelled());
        let said = said.load(Ordering::Relaxed);
        assert!(said < ALL / 10, "{kind}: {said} events were heard before another task ran");
    }
}

/// What is no event, or an error without words, ends the watch, not the wait; and it is told.
#[tokio::test(start_paused = true)]
async fn what_is_no_event_ends_the_watch_alone() {
    let status = |body: &str| event("ERROR", body);
    for (line, says) in [
        ("garbage".to_owned(), "watch: "),
        (event("MODIFIED", "7"), "watch: "),
        (event("NEWS", IT), "watch: "),
        ("{}".to_owned(), "watch: "),
        (status(r#"{"kind":"Status","code":500}"#), "watch: the server answered 500 without a word"),
        (
            status(r#"{"kind":"Status","code":500,"reason":"InternalError"}"#),
            "watch: the server answered 500 InternalError",
        ),
        (status(r#"{"kind":"Status"}"#), "watch: the server answered with an error that is no Status"),
        (status(r#"{"code":403,"reason":"Forbidden","message":"not\nyours."}"#), "watch: not yours"),
        (status(r#"{"code":410,"reason":"Expired","message":"too old"}"#), "watch: what it began from is too old"),
        (String::new(), "the watch was closed"),
    ] {
        let told = line.clone();
        let api = scripted(move || std::iter::once(line.clone()));
        let start = Instant::now();
        let gave_up = k8s::wait(api, "it", never).finish_within(Duration::from_secs(20)).await.unwrap_err();
        let text = gave_up.to_string();
        assert!(gave_up.is_deadline() && start.elapsed() <= Duration::from_secs(20), "{told}: {text}");
        assert!(gave_up.attempts() < 40, "{told}: {} looks in 20 s", gave_up.attempts());
        assert!(text.contains(says) && text.contains("last seen at resourceVersion 7"), "{told}: {text}");
        assert!(!text.contains('\n') && !text.contains("watch: )"), "{told}: {text}");
    }
}
