//! Incident 5: Gardener scales an etcd through the annotation that etcd-druid acts upon; the annotation stays.

use std::time::Duration;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use relent::{Change, error::Detail};
use relent_apiserver::{ApiServer, Fault, ResourceKind, Verb};
use relent_k8s::{Contract, LongOperation};
use serde_json::{Value, json};

use crate::{
    Options,
    stage::{Failed, Stage, Timeline, virtual_time},
};

const NAME: &str = "etcd-main";
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn play(_: &Options, stage: &mut Stage) -> Result<(), Failed> {
    stage.say("on an API server inside this process, in virtual time");
    virtual_time(in_process(stage))?
}

/// A server with the object.
async fn cluster() -> Result<(ApiServer, Api<DynamicObject>), Failed> {
    let server = ApiServer::new();
    server.register(ResourceKind::new("druid.gardener.cloud", "v1alpha1", "Etcd", "etcds").with_status());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("druid.gardener.cloud", "v1alpha1", "Etcd"));
    let api: Api<DynamicObject> = Api::namespaced_with(server.client(), "default", &kind);
    let mut object = DynamicObject::new(NAME, &kind);
    object.data = json!({"spec": {"replicas": 0}});
    api.create(&PostParams::default(), &object).await?;
    Ok((server, api))
}

async fn write_status(api: &Api<DynamicObject>, status: Value) -> Result<(), kube::Error> {
    api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.map(drop)
}

async fn take_annotation(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"annotations": {"gardener.cloud/operation": null}}});
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// What a controller does that does all of it.
async fn druid(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    tokio::time::sleep(20 * SECOND).await;
    let object = api.get(NAME).await?;
    let token = object.metadata.annotations.unwrap_or_default().remove("gardener.cloud/timestamp");
    let conditions = json!([{"type": "AllMembersUpdated", "status": "True"}, {"type": "Ready", "status": "True"}]);
    let status = json!({"observedGeneration": object.metadata.generation, "token": token, "conditions": conditions});
    write_status(api, status).await?;
    take_annotation(api).await
}

async fn in_process(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "the stuck annotation",
        "`etcd object still has operation annotation set`, every 5 s until its time was over; nobody said for how long, or what the \
         controller was about",
    );
    let (_server, api) = cluster().await?;
    let scale =
        || LongOperation::new(api.clone(), NAME, Contract::druid_etcd())?.change(json!({"spec": {"replicas": 3}}));
    let operation = scale()?;
    operation.trigger().await?;
    // The controller has seen the new generation, and hangs.
    write_status(&api, json!({"observedGeneration": 2})).await?;
    let timeline = Timeline::default();
    let stuck = operation
        .settled()
        .every(20 * SECOND)
        .stall_after(60 * SECOND)
        .finish_within(300 * SECOND)
        .notify(timeline.listener())
        .await;
    stage.timeline(&timeline);
    stage.ended(&stuck.as_ref().map(|_| "settled"));
    let gave_up = stuck.err().ok_or("it settled")?;
    stage.check("it stalls after", gave_up.elapsed(), 60 * SECOND);
    let on = match gave_up.detail() {
        Some(Detail::Settle { on, .. }) => on.clone(),
        _ => String::new(),
    };
    stage.check("it hangs on", on.as_str(), "annotation gardener.cloud/operation=reconcile is not yet picked up");
    let second = scale()?.trigger().finish_within(10 * SECOND).await;
    stage.ended(&second);
    stage.check("a second trigger does not overwrite the first", second.is_err(), true);

    stage.part(
        "the patch is applied, and its answer is lost",
        "it had noted the new timestamp before the patch had succeeded; where it had not, it waited for a timestamp that never came",
    );
    let (server, api) = cluster().await?;
    server.inject(Fault::lose_answer().verb(Verb::Patch).times(1));
    let operation =
        LongOperation::new(api.clone(), NAME, Contract::druid_etcd())?.change(json!({"spec": {"replicas": 3}}))?;
    let triggered = operation.trigger().await;
    stage.ended(&triggered.as_ref().map(|triggered| triggered.change));
    stage.check(
        "how it came to be",
        triggered.ok().map(|triggered| triggered.change),
        Some(Change::AppliedDespiteError),
    );
    let (settled, controller) = tokio::join!(operation.settled().stall_after(60 * SECOND), druid(&api));
    controller?;
    stage.check("it settles", settled.is_ok(), true);

    stage.part(
        "the annotation is taken away by a controller that has not seen the token",
        "the trigger was lost: it waited until its time was over, or took the old state for the new one",
    );
    let (_server, api) = cluster().await?;
    let contract = Contract::druid_etcd().echo("/status/token");
    let operation = LongOperation::new(api.clone(), NAME, contract.clone())?;
    operation.trigger().await?;
    take_annotation(&api).await?;
    write_status(&api, json!({"observedGeneration": 1})).await?;
    let missed = operation.settled().stall_after(60 * SECOND).await;
    stage.ended(&missed.as_ref().map(|_| "settled"));
    let gave_up = missed.err().ok_or("it settled")?;
    stage.check("it is found after", gave_up.elapsed(), 60 * SECOND);
    stage.check("it says so", gave_up.to_string().contains("is not echoed in /status/token yet"), true);
    let again = LongOperation::new(api.clone(), NAME, contract)?;
    again.trigger().await?;
    let (settled, controller) = tokio::join!(again.settled().stall_after(60 * SECOND), druid(&api));
    controller?;
    stage.check("a new operation settles", settled.is_ok(), true);
    Ok(())
}
