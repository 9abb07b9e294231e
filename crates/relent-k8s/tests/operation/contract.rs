//! The contract of an operation, with a controller that behaves, or does not.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use relent::{Change, Stop, error::Detail};
use relent_apiserver::{ApiServer, Fault, ResourceKind, Verb};
use relent_k8s::{Contract, ErrorClass, LongOperation, LongOperationError};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);
const OPERATION: &str = "gardener.cloud/operation";
const TIMESTAMP: &str = "gardener.cloud/timestamp";

async fn world() -> (ApiServer, Api<DynamicObject>) {
    let server = ApiServer::new();
    server.register(ResourceKind::new("druid.gardener.cloud", "v1alpha1", "Etcd", "etcds").with_status());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("druid.gardener.cloud", "v1alpha1", "Etcd"));
    let api: Api<DynamicObject> = Api::namespaced_with(server.client(), "default", &kind);
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "druid.gardener.cloud/v1alpha1", "kind": "Etcd",
        "metadata": {"name": "main"}, "spec": {"replicas": 1},
    }))
    .unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    (server, api)
}

async fn status(api: &Api<DynamicObject>, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status("main", &PatchParams::default(), &patch).await.unwrap();
}

async fn take_annotation(api: &Api<DynamicObject>) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {OPERATION: null}}}));
    api.patch("main", &PatchParams::default(), &patch).await.unwrap();
}

fn conditions(updated: &str, ready: &str) -> Value {
    json!([
        {"type": "AllMembersUpdated", "status": updated, "reason": "Rolling", "message": "1 of 3"},
        {"type": "Ready", "status": ready},
    ])
}

/// What druid does, in time.
async fn druid(api: Api<DynamicObject>) {
    sleep(7 * S).await;
    let object = api.get("main").await.unwrap();
    status(&api, json!({"conditions": conditions("False", "True"), "lastErrors": [{"code": "ERR_SYNC", "description": "quota"}]})).await;
    sleep(20 * S).await;
    status(&api, json!({"lastErrors": null, "observedGeneration": object.metadata.generation})).await;
    take_annotation(&api).await;
    sleep(20 * S).await;
    status(&api, json!({"conditions": conditions("True", "True")})).await;
}

#[tokio::test(start_paused = true)]
async fn all_of_it() {
    let (_server, api) = world().await;
    let scale = LongOperation::new(api.clone(), "main", Contract::druid_etcd())
        .unwrap()
        .change(json!({"spec": {"replicas": 3}}))
        .unwrap();
    let triggered = scale.trigger().await.unwrap();
    assert_eq!((triggered.change, triggered.value.generation), (Change::Applied, Some(2)));
    let controller = tokio::spawn(druid(api.clone()));

    let heard = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&heard);
    let done = scale
        .settled_with(move |text| report.lock().unwrap().push(text.to_owned()))
        .stable_for(2)
        .stall_after(60 * S)
        .await
        .unwrap();
    assert_eq!(done.data["spec"]["replicas"], 3);
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "generation 2 is not observed yet (none)",
            "the controller reports: quota",
            "condition AllMembersUpdated is False: Rolling, 1 of 3",
        ]
    );
    controller.await.unwrap();
    assert_eq!(scale.trigger().await.unwrap().change, Change::AlreadySo);
}

/// The stuck annotation: found after the stall time, with the reason.
#[tokio::test(start_paused = true)]
async fn a_controller_that_never_comes() {
    let (_server, api) = world().await;
    status(&api, json!({"observedGeneration": 1, "conditions": conditions("True", "True")})).await;
    let operation = LongOperation::new(api.clone(), "main", Contract::druid_etcd()).unwrap();
    operation.trigger().await.unwrap();
    let gave_up = operation.settled().stall_after(60 * S).finish_within(300 * S).await.unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Stalled);
    let Some(Detail::Settle { on, .. }) = gave_up.detail() else { panic!("{gave_up}") };
    assert_eq!(on, "annotation gardener.cloud/operation=reconcile is not yet picked up");
    assert_eq!(gave_up.elapsed(), 60 * S);

    // Another operation waits for it, and says so.
    let other = LongOperation::new(api, "main", Contract::druid_etcd()).unwrap().with_token("another");
    let gave_up = other.trigger().finish_within(10 * S).await.unwrap_err();
    assert!(gave_up.to_string().contains("(never acted); last attempt: not ready: main: annotation gardener.cloud/operation=reconcile of another operation is still set"), "{gave_up}");
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_the_patch_is_lost() {
    for fault in [
        Fault::lose_answer(),
        Fault::hang().after_applying(),
        Fault::status(504).after_applying(),
        Fault::refuse(),
        Fault::status(503),
        Fault::overloaded(1),
        Fault::hang(),
    ] {
        let (server, api) = world().await;
        let applied = server.inject(fault.clone().verb(Verb::Patch).times(1));
        let operation = LongOperation::new(api.clone(), "main", Contract::druid_etcd()).unwrap();
        let triggered = operation.trigger().await.unwrap();
        assert_eq!(applied.hits(), 1);
        let object = api.get("main").await.unwrap();
        assert_eq!(object.metadata.annotations.unwrap()[TIMESTAMP], operation.token());
        let sent = server.journal().iter().filter(|entry| entry.verb == Verb::Patch).count();
        // Nothing is sent twice that was applied once.
        assert_eq!(sent, if triggered.change == Change::AppliedDespiteError { 1 } else { 2 }, "{fault:?}");
    }
}

/// What others write in between is not in the way: the patch carries what it depends on, and no version.
#[tokio::test(start_paused = true)]
async fn another_writes_in_between() {
    let (server, api) = world().await;
    server.inject(Fault::delay(S).verb(Verb::Patch).times(1));
    let operation = LongOperation::new(api.clone(), "main", Contract::druid_etcd()).unwrap();
    let writing = api.clone();
    let other = tokio::spawn(async move {
        sleep(S / 2).await;
        let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
        writing.patch("main", &PatchParams::default(), &patch).await.unwrap();
    });
    let triggered = operation.trigger().await.unwrap();
    other.await.unwrap();
    assert_eq!(triggered.change, Change::Applied);
    let refused = server.journal().iter().filter(|entry| entry.code.is_some_and(|code| code >= 400)).count();
    assert_eq!(refused, 0);
    assert_eq!(api.get("main").await.unwrap().metadata.labels.unwrap()["a"], "b");
}

/// The controller had read before the trigger was set and takes it away: with an echo that is found, and said.
#[tokio::test(start_paused = true)]
async fn a_controller_that_has_not_seen_the_token() {
    let (server, api) = world().await;
    status(&api, json!({"observedGeneration": 1, "token": "before", "conditions": conditions("True", "True")})).await;
    let contract = Contract::druid_etcd().echo("/status/token");
    let operation = LongOperation::new(api.clone(), "main", contract.clone()).unwrap().with_token("mine");
    operation.trigger().await.unwrap();
    take_annotation(&api).await;
    server.clear_journal();
    let gave_up = operation.settled().stall_after(60 * S).await.unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Stalled);
    assert!(
        gave_up.to_string().contains("the token mine is not echoed in /status/token yet: there is \"before\""),
        "{gave_up}"
    );
    assert!(server.journal().iter().all(|entry| entry.verb == Verb::Get), "it only looks");
    // To set it off again is for the caller to decide: a new operation does.
    let again = LongOperation::new(api.clone(), "main", contract).unwrap().with_token("again");
    assert_eq!(again.trigger().await.unwrap().change, Change::Applied);
}

#[tokio::test(start_paused = true)]
async fn another_takes_over() {
    let (_server, api) = world().await;
    let operation = LongOperation::new(api.clone(), "main", Contract::druid_etcd()).unwrap().with_token("mine");
    operation.trigger().await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {TIMESTAMP: "theirs"}}}));
    api.patch("main", &PatchParams::default(), &patch).await.unwrap();
    let gave_up = operation.settled().await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.attempts() == 1);
    assert!(
        matches!(gave_up.last_error(), Some(LongOperationError::Superseded { found: Some(found), .. }) if found == "theirs"),
        "{gave_up}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_said_at_once() {
    let (_server, api) = world().await;
    let gave_up =
        LongOperation::new(api.clone(), "missing", Contract::druid_etcd()).unwrap().trigger().await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.attempts() == 1, "{gave_up}");
    assert!(gave_up.to_string().contains("get missing: "), "{gave_up}");
    assert!(gave_up.to_string().ends_with("check the name, and that the namespace exists"), "{gave_up}");
}

/// What may follow an error is decided as `k8s::get` does, and said with the same advice.
#[tokio::test(start_paused = true)]
async fn errors_are_classed_as_everywhere() {
    for (code, text) in [(401, "renew the token"), (403, "grant this right"), (413, ""), (422, "")] {
        for verb in [Verb::Get, Verb::Patch] {
            let (server, api) = world().await;
            server.inject(Fault::status(code).verb(verb));
            let operation = LongOperation::new(api, "main", Contract::druid_etcd()).unwrap();
            let gave_up = operation.trigger().await.unwrap_err();
            // A refusal may pass: it is final when it has lasted two seconds.
            let tries = if matches!(code, 401 | 403) { 3 } else { 1 };
            assert!(gave_up.is_fatal() && gave_up.attempts() == tries, "{gave_up}");
            let Some(LongOperationError::Api { error, .. }) = gave_up.last_error() else { panic!("{gave_up}") };
            assert_eq!(error.class(), ErrorClass::Final);
            assert!(gave_up.to_string().contains(text), "{gave_up}");
        }
    }
    let (server, api) = world().await;
    server.inject(Fault::overloaded(1).verb(Verb::Patch).times(1));
    let start = Instant::now();
    LongOperation::new(api, "main", Contract::druid_etcd()).unwrap().trigger().every(S / 100).await.unwrap();
    assert_eq!(start.elapsed(), S, "not before the server said");
}

/// On a real server where there is one, else on ours: a ConfigMap, and a controller that only takes the annotation away.
#[tokio::test]
async fn on_whatever_server_there_is() {
    let client = match std::env::var_os("RELENT_KUBECONFIG") {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path).unwrap();
            let config =
                kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.unwrap();
            kube::Client::try_from(config).unwrap()
        }
        None => ApiServer::new().client(),
    };
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &kind);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let name = format!("relent-operation-{:x}", now.as_nanos());
    let object =
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();

    let operation = LongOperation::new(api.clone(), name.clone(), Contract::new("relent.test/do", "it")).unwrap();
    let triggered = operation.trigger().every(S / 20).await.unwrap();
    assert_eq!(triggered.change, Change::Applied);
    let second = LongOperation::new(api.clone(), name.clone(), Contract::new("relent.test/do", "it"))
        .unwrap()
        .with_token("second");
    let occupied = second.trigger().every(S / 20).finish_within(S / 2).await.unwrap_err();
    assert!(matches!(occupied.last_error(), Some(LongOperationError::Occupied { .. })), "{occupied}");

    let waiting = tokio::spawn(
        relent_k8s::wait(api.clone(), &name, |map: Option<&DynamicObject>| {
            map.is_some_and(|map| {
                !map.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("relent.test/do"))
            })
        })
        .finish_within(20 * S)
        .into_future(),
    );
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"relent.test/do": null}}}));
    api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    let done = operation.settled().every(S / 20).stall_after(10 * S).await.unwrap();
    assert_eq!(done.metadata.annotations.unwrap()["relent.test/do-token"], operation.token());
    assert!(waiting.await.unwrap().is_ok());
    api.delete(&name, &DeleteParams::default()).await.unwrap();
}
