//! `k8s::wait`: whatever happens to the watch.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::conditions,
};
use relent::{
    k8s::{WaitError, wait},
    testing::kube::{ApiServer, Fault, Verb},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

fn world() -> (ApiServer, Api<ConfigMap>) {
    let server = ApiServer::new();
    let api = Api::default_namespaced(server.client());
    (server, api)
}

async fn create(api: &Api<ConfigMap>) {
    let map = serde_json::from_value(json!({"metadata": {"name": "it"}, "data": {"step": "0"}})).unwrap();
    api.create(&PostParams::default(), &map).await.unwrap();
}

fn at_step(step: &'static str) -> impl Fn(Option<&ConfigMap>) -> bool + Send + Sync + 'static {
    move |map: Option<&ConfigMap>| map.and_then(|map| map.data.as_ref()?.get("step")).is_some_and(|at| at == step)
}

/// Created after 10 s, a step each 10 s from then on.
async fn steps(api: Api<ConfigMap>) {
    sleep(10 * S).await;
    create(&api).await;
    for step in 1..=3 {
        sleep(10 * S).await;
        let patch = Patch::Merge(json!({"data": {"step": step.to_string()}}));
        api.patch("it", &PatchParams::default(), &patch).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_the_watch() {
    for (fault, late) in [
        (None, 1),
        (Some(Fault::close_stream(0)), 10),
        (Some(Fault::break_stream(1)), 10),
        (Some(Fault::expire_stream(1)), 10),
        (Some(Fault::expire_stream(0)), 10),
        (Some(Fault::silence_stream(0)), 31),
        (Some(Fault::status(503).verb(Verb::Watch)), 11),
        (Some(Fault::hang().verb(Verb::Watch).times(1)), 61),
        (Some(Fault::status(500).verb(Verb::Get).times(5)), 11),
        (Some(Fault::status(500).verb(Verb::List).times(5)), 11),
        (Some(Fault::status(410).verb(Verb::Watch).times(3)), 11),
        (Some(Fault::status(404).verb(Verb::Watch).times(3)), 11),
        (Some(Fault::overloaded(7).verb(Verb::Watch).times(1)), 11),
    ] {
        let (server, api) = world();
        let told = format!("{fault:?}");
        if let Some(fault) = fault {
            server.inject(fault);
        }
        let start = Instant::now();
        let steps = tokio::spawn(steps(api.clone()));
        let found = wait(api, "it", at_step("3")).finish_within(300 * S).await;
        let found = found.unwrap_or_else(|gave_up| panic!("{told}: {gave_up}"));
        assert_eq!(found.unwrap().data.unwrap()["step"], "3");
        assert!(start.elapsed() <= (40 + late) * S, "{told}: {:?}", start.elapsed());
        steps.await.unwrap();
    }
}

/// An API server that lags behind would show in its cache what is gone.
#[tokio::test(start_paused = true)]
async fn no_watch_begins_with_what_a_cache_may_hold() {
    let (server, api) = world();
    let steps = tokio::spawn(steps(api.clone()));
    wait(api, "it", at_step("1")).await.unwrap();
    let journal = server.journal();
    let mut watches = journal.iter().filter(|entry| entry.verb == Verb::Watch).peekable();
    assert!(watches.peek().is_some());
    for watch in watches {
        let from = watch.query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        assert!(from.unwrap().parse::<u64>().unwrap() > 0, "{watch}");
    }
    steps.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_appears_between_the_looks_is_read() {
    let (server, api) = world();
    server.inject(Fault::delay(5 * S).verb(Verb::List));
    let (start, creating) = (Instant::now(), api.clone());
    let created = tokio::spawn(async move {
        sleep(2 * S).await;
        create(&creating).await;
    });
    assert!(wait(api, "it", at_step("0")).await.unwrap().is_some());
    assert_eq!(start.elapsed(), 5 * S);
    created.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn absence_is_a_condition_too() {
    let (_server, api) = world();
    create(&api).await;
    let delete = tokio::spawn({
        let api = api.clone();
        async move {
            sleep(5 * S).await;
            api.delete("it", &DeleteParams::default()).await.unwrap();
        }
    });
    let uid = api.get("it").await.unwrap().metadata.uid.unwrap();
    assert!(wait(api, "it", conditions::is_deleted(&uid)).finish_within(20 * S).await.unwrap().is_none());
    delete.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_last_saw() {
    let (server, api) = world();
    create(&api).await;
    server.inject(Fault::close_stream(0));
    let gave_up = wait(api, "it", at_step("9")).finish_within(20 * S).await.unwrap_err();
    assert!(matches!(gave_up.last_error(), Some(WaitError::NotYet { seen: Some(_), .. })), "{gave_up:?}");
    let text = gave_up.to_string();
    assert!(
        text.contains("the condition does not hold for it, last seen at resourceVersion")
            && text.contains("the watch was closed"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_final() {
    let (server, api) = world();
    server.inject(Fault::status(403));
    let gave_up = wait(api, "it", at_step("1")).await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.elapsed() >= 2 * S, "{gave_up}");
    let Some(WaitError::Api { call: "get", error, .. }) = gave_up.last_error() else { panic!("{gave_up}") };
    assert!(error.is_forbidden());
    assert!(gave_up.to_string().contains(error.advice().unwrap()), "{gave_up}");
}
