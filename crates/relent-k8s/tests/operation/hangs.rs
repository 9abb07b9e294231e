//! A call that never answers, at each call of each caller: no caller waits for it for ever, whatever policy is handed
//! in.

use std::{pin::Pin, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use relent::Policy;
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{self as k8s, Contract, LongOperation};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::place::{DO, Place};

type Run = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// A run of a builder with this policy, if any.
macro_rules! run {
    ($builder:expr, $policy:expr) => {{
        let builder = $builder;
        let builder = match $policy {
            Some(policy) => builder.policy(policy),
            None => builder,
        };
        let run = builder.into_future();
        Box::pin(async move { run.await.map(drop).map_err(|gave_up| gave_up.to_string()) }) as Run
    }};
}

fn maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::default_namespaced(server.client())
}

fn step(step: &'static str) -> impl Fn(Option<&ConfigMap>) -> bool + Send + Sync + 'static {
    move |map: Option<&ConfigMap>| map.and_then(|map| map.data.as_ref()?.get("step")).is_some_and(|at| at == step)
}

/// `it`, whose data changes after 5 s.
async fn world() -> ApiServer {
    let server = ApiServer::new();
    let api = maps(&server);
    let map = |step: &str| {
        serde_json::from_value(json!({"metadata": {"name": "it", "labels": {"a": "b"}}, "data": {"step": step}}))
            .unwrap()
    };
    api.create(&PostParams::default(), &map("0")).await.unwrap();
    let later = map("1");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        api.replace("it", &PostParams::default(), &later).await.unwrap();
    });
    server
}

/// A call that goes wrong so, and the run that makes it.
pub async fn runs(case: usize, policy: Option<&Policy>, wrong: &Fault) -> Option<(&'static str, Run)> {
    let server = world().await;
    let api = maps(&server);
    let wrong = |verb| wrong.clone().verb(verb);
    let (told, run, fault) = match case {
        0 => ("get: get", run!(k8s::get(&api, "it"), policy), wrong(Verb::Get)),
        1 => ("get, waiting: get", run!(k8s::get_when_created(&api, "it"), policy), wrong(Verb::Get)),
        2 => ("wait: get", run!(k8s::wait(api, "it", step("1")), policy), wrong(Verb::Get)),
        3 => ("wait: watch", run!(k8s::wait(api, "it", step("1")), policy), wrong(Verb::Watch)),
        4 => (
            "wait: list",
            run!(k8s::wait(api, "absent", |map: Option<&ConfigMap>| map.is_some()), policy),
            wrong(Verb::List),
        ),
        5 => (
            "wait_labelled: list",
            run!(k8s::wait_labelled(api, "a=b", |all: &[ConfigMap]| step("1")(all.first())), policy),
            wrong(Verb::List),
        ),
        6 => (
            "wait_labelled: watch",
            run!(k8s::wait_labelled(api, "a=b", |all: &[ConfigMap]| step("1")(all.first())), policy),
            wrong(Verb::Watch),
        ),
        7..=10 => {
            let place = Place::ours().await;
            let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
            let server = place.server().unwrap();
            let (told, run, fault) = match case {
                7 => ("trigger: get", run!(operation.trigger(), policy), wrong(Verb::Get)),
                8 => ("trigger: patch", run!(operation.trigger(), policy), wrong(Verb::Patch)),
                9 => ("trigger: the closing get", run!(operation.trigger(), policy), wrong(Verb::Get).skip(1)),
                _ => {
                    operation.trigger().await.unwrap();
                    place.annotate(json!({DO: null})).await;
                    ("settled: get", run!(operation.settled(), policy), wrong(Verb::Get))
                }
            };
            server.inject(fault);
            return Some((told, run));
        }
        _ => return None,
    };
    server.inject(fault);
    if told == "wait: list" {
        let api = maps(&server);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let map = serde_json::from_value(json!({"metadata": {"name": "absent"}})).unwrap();
            api.create(&PostParams::default(), &map).await.unwrap();
        });
    }
    Some((told, run))
}

#[tokio::test(start_paused = true)]
async fn no_caller_hangs() {
    let policies: [Option<Policy>; 5] = [
        None,
        Some(Policy::new()),
        Some("every 1s".parse().unwrap()),
        Some("attempt_timeout forever, backoff fixed 1s".parse().unwrap()),
        Some("max_attempts 100, finish_within 1h".parse().unwrap()),
    ];
    let mut longest = (Duration::ZERO, String::new());
    for policy in &policies {
        for case in 0.. {
            let Some((told, run)) = runs(case, policy.as_ref(), &Fault::hang().times(1)).await else {
                assert_eq!(case, 11);
                break;
            };
            let start = Instant::now();
            let policy = policy.as_ref().map_or("no policy".to_owned(), |policy| format!("`{policy}`"));
            let ended = timeout(Duration::from_secs(3_600), run).await;
            let took = start.elapsed();
            // With its own bounds `get` does not try again what hung for 10 s.
            if let Err(text) = ended.unwrap_or_else(|_| panic!("{told}, {policy}: it hangs")) {
                assert!(told.starts_with("get") && took == Duration::from_secs(10), "{told}, {policy}: {text}");
            }
            if took > longest.0 {
                longest = (took, format!("{told}, {policy}"));
            }
        }
    }
    println!("the longest: {:?}: {}", longest.0, longest.1);
    assert!(longest.0 <= Duration::from_secs(20), "{longest:?}");
}
