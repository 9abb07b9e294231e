//! `k8s::wait`: whatever happens to the watch.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::conditions,
};
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{WaitError, conditions as ours, unless, wait};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::place::Place;

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

pub fn at_step(step: &'static str) -> impl Fn(Option<&ConfigMap>) -> bool + Send + Sync + 'static {
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

/// A connection that a load balancer has forgotten costs ten seconds, not a minute.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_has_a_deadline_of_its_own() {
    for verb in [Verb::Get, Verb::List, Verb::Watch] {
        let (server, api) = world();
        server.inject(Fault::hang().verb(verb).times(1));
        let creating = api.clone();
        tokio::spawn(async move {
            sleep(5 * S).await;
            create(&creating).await;
        });
        let start = Instant::now();
        wait(api, "it", at_step("0")).finish_within(20 * S).await.unwrap();
        assert!(start.elapsed() >= 10 * S && start.elapsed() <= 11 * S, "{verb:?}: {:?}", start.elapsed());
    }
    let (server, api) = world();
    server.inject(Fault::hang().verb(Verb::Get));
    let gave_up = wait(api, "it", at_step("0")).finish_within(60 * S).await.unwrap_err();
    let text = gave_up.to_string();
    assert!(
        text.contains("get configmaps \"it\" in the namespace \"default\": no answer from the server within "),
        "{text}"
    );
}

/// However short the bounds, the error names the object and says what was last seen.
#[tokio::test(start_paused = true)]
async fn no_bound_is_too_short_to_say_what_was_seen() {
    for bound in [S / 1000, S / 20, S, 5 * S, 20 * S, 29 * S, 31 * S, 59 * S, 3_600 * S] {
        let (_server, api) = world();
        create(&api).await;
        let gave_up = wait(api.clone(), "it", at_step("9")).finish_within(bound).await.unwrap_err();
        let Some(WaitError::NotYet { seen: Some(_), of, watch: None, .. }) = gave_up.last_error() else {
            panic!("{gave_up}")
        };
        assert_eq!((of.name(), of.objects()), ("it", Some(1)));
        let text = gave_up.to_string();
        assert!(text.contains("does not hold for it, last seen at resourceVersion"), "{text}");
        assert!(text.ends_with("(configmaps in the namespace \"default\")"), "{text}");
        assert!(gave_up.attempts() == 1 || bound > 30 * S, "{text}");
        assert!(gave_up.elapsed() + S / 10 >= bound && (gave_up.elapsed() < bound || bound < S / 20), "{text}");
        let gave_up = wait(api.clone(), "absent", at_step("9")).finish_within(bound).await.unwrap_err();
        assert!(gave_up.to_string().contains("does not hold for absent, last seen absent"), "{gave_up}");
        // The bound of each attempt as well.
        let gave_up = wait(api, "it", at_step("9")).attempt_timeout(bound).finish_within(90 * S).await.unwrap_err();
        assert!(gave_up.to_string().contains("does not hold for it, last seen at resourceVersion"), "{gave_up}");
    }
}

/// Whatever goes wrong, there is a look in the last second, however long the pauses have grown.
#[tokio::test(start_paused = true)]
async fn the_last_look_is_at_the_end() {
    for fault in [Fault::close_stream(0), Fault::refuse().verb(Verb::Watch), Fault::status(500).verb(Verb::Get)] {
        for policy in [None, Some(relent::Policy::new().finish_within(20 * S))] {
            let (server, api) = world();
            create(&api).await;
            let injected = server.inject(fault.clone());
            let later = api.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(18_999)).await;
                injected.lift();
                let patch = Patch::Merge(json!({"data": {"step": "1"}}));
                later.patch("it", &PatchParams::default(), &patch).await.unwrap();
            });
            let start = Instant::now();
            let waiting = wait(api, "it", at_step("1"));
            let waiting = match &policy {
                Some(policy) => waiting.policy(policy),
                None => waiting.finish_within(20 * S),
            };
            waiting.await.unwrap_or_else(|gave_up| panic!("{fault:?}: {gave_up}"));
            assert!(start.elapsed() >= 19 * S && start.elapsed() < 20 * S, "{:?}", start.elapsed());
        }
    }
}

/// Two servers of which one lags behind: it is asked again after a pause, not in a circle.
#[tokio::test(start_paused = true)]
async fn what_is_listed_and_cannot_be_got_is_no_reason_to_spin() {
    let (server, api) = world();
    create(&api).await;
    // A get of another name is answered as it would be of this one.
    let stale = api.clone().get("it").await.map(drop);
    assert!(stale.is_ok());
    server.inject(Fault::missing("configmaps", "it").verb(Verb::Get));
    let gave_up = wait(api, "it", at_step("0")).finish_within(20 * S).await.unwrap_err();
    assert!(gave_up.to_string().contains("it is there for a list and not for a get"), "{gave_up}");
    assert!(server.journal().len() < 60, "{}", server.journal().len());
}

/// What was seen before the calls failed is not forgotten.
#[tokio::test(start_paused = true)]
async fn an_error_says_what_was_seen_before() {
    let (server, api) = world();
    create(&api).await;
    server.inject(Fault::close_stream(0));
    server.inject(Fault::refuse().verb(Verb::Get).skip(1));
    let gave_up = wait(api, "it", at_step("9")).finish_within(30 * S).await.unwrap_err();
    let text = gave_up.to_string();
    assert!(
        text.contains("get it (last seen at resourceVersion ") && text.contains("check that the API server runs"),
        "{text}"
    );
}

/// A condition that says "never any more" is heard at once, and in its words.
#[tokio::test(start_paused = true)]
async fn what_will_never_be_is_not_waited_for() {
    let (_server, api) = world();
    create(&api).await;
    let failed = |map: Option<&ConfigMap>| at_step("2")(map).then(|| "it has gone too far".to_owned());
    let stepping = api.clone();
    let steps = tokio::spawn(async move {
        for step in 1..=2 {
            sleep(10 * S).await;
            let patch = Patch::Merge(json!({"data": {"step": step.to_string()}}));
            stepping.patch("it", &PatchParams::default(), &patch).await.unwrap();
        }
    });
    let start = Instant::now();
    assert!(wait(api.clone(), "it", unless(at_step("1"), failed)).await.unwrap().is_some());
    assert_eq!(start.elapsed(), 10 * S);
    let gave_up = wait(api.clone(), "it", unless(at_step("7"), failed)).finish_within(900 * S).await.unwrap_err();
    assert_eq!(start.elapsed(), 20 * S);
    assert!(gave_up.is_fatal() && matches!(gave_up.last_error(), Some(WaitError::Never { .. })), "{gave_up}");
    let text = gave_up.to_string();
    assert!(
        text.contains("never hold for configmaps \"it\" in the namespace \"default\", last seen at resourceVersion"),
        "{text}"
    );
    assert!(text.ends_with(": it has gone too far"), "{text}");
    // So it was to begin with; and where it holds as well, it holds.
    assert!(wait(api.clone(), "it", unless(at_step("7"), failed)).await.unwrap_err().is_fatal());
    assert!(wait(api, "it", unless(at_step("2"), failed)).await.is_ok());
    steps.await.unwrap();
}

/// What a status says of an older generation is not what is waited for.
#[tokio::test(start_paused = true)]
async fn conditions_of_an_older_generation_do_not_count() {
    let place = Place::ours().await;
    let say = async |observed: i64, of: i64, ready: &str, failed: &str| {
        place
            .status(json!({"observedGeneration": observed, "conditions": [
                {"type": "Ready", "status": ready, "observedGeneration": of},
                {"type": "Failed", "status": failed, "observedGeneration": of, "reason": "Broken", "message": "no disk"},
            ]}))
            .await;
    };
    let holds = async |condition| wait(place.api.clone(), "main", condition).finish_within(S).await.is_ok();
    assert!(!holds(ours::is_true("Ready")).await, "there is no status yet");
    say(1, 1, "True", "True").await;
    assert!(holds(ours::is_true("Ready")).await);
    let spec = Patch::Merge(json!({"spec": {"n": 2}}));
    place.api.patch("main", &PatchParams::default(), &spec).await.unwrap();
    assert!(!holds(ours::is_true("Ready")).await, "the spec has changed since");
    assert!(wait(place.api.clone(), "main", ours::is_observed()).finish_within(S).await.is_err());
    let fails = || unless(ours::is_true("Ready"), ours::why_true("Failed"));
    assert!(!wait(place.api.clone(), "main", fails()).finish_within(S).await.unwrap_err().is_fatal());
    say(2, 1, "True", "True").await;
    assert!(!holds(ours::is_true("Ready")).await, "the status is new, this condition is not");
    assert!(wait(place.api.clone(), "main", ours::is_observed()).finish_within(S).await.is_ok());
    say(1, 2, "True", "True").await;
    assert!(!holds(ours::is_true("Ready")).await);
    say(2, 2, "False", "True").await;
    let failed = wait(place.api.clone(), "main", fails()).finish_within(S).await.unwrap_err();
    assert!(failed.is_fatal() && failed.to_string().ends_with("condition Failed is True: Broken, no disk"), "{failed}");
    say(2, 2, "True", "True").await;
    assert!(wait(place.api.clone(), "main", fails()).finish_within(S).await.is_ok());
}

/// A server that has its own time for a watch, sends bookmarks and restarts is all the same in the end.
#[tokio::test(start_paused = true)]
async fn an_hour_of_a_watch() {
    let (server, api) = world();
    create(&api).await;
    let later = api.clone();
    tokio::spawn(async move {
        sleep(3_600 * S).await;
        later.patch("it", &PatchParams::default(), &Patch::Merge(json!({"data": {"step": "1"}}))).await.unwrap();
    });
    let start = Instant::now();
    assert!(wait(api, "it", at_step("1")).await.unwrap().is_some());
    assert!(start.elapsed() <= 3_601 * S, "{:?}", start.elapsed());
    let asked = server.journal().len();
    assert!(asked < 2 * 3_600 / 29, "{asked} requests");
}
