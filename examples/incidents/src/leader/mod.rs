//! Incident 2: a bad timing that goes unnoticed, and then the election itself: a leader that is frozen, one whose calls
//! hang, and a clean handover.

mod candidate;
mod place;
mod world;

use std::{path::Path, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::DeleteParams};
use relent::{
    ConfigError,
    leader::{self, Manager, Timing},
};
use relent_apiserver::ApiServer;
use relent_k8s::{self as k8s, LeaseLock};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::place::Place;
use crate::{
    Options,
    stage::{Failed, Stage, real_time, virtual_time},
};

const SECOND: Duration = Duration::from_secs(1);
const SPACE: &str = "default";
/// How often the scene looks.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn play(options: &Options, stage: &mut Stage) -> Result<(), Failed> {
    virtual_time(bad_timing(stage))??;
    if let Some(file) = &options.kubeconfig {
        return real_time(on_a_cluster(stage, file))?;
    }
    if !options.real {
        // The jitter is drawn from here: the same instants each time, though not always the same names.
        fastrand::seed(6);
        return virtual_time(in_process(stage))?;
    }
    #[cfg(feature = "etcd")]
    return real_time(on_etcd(stage))?;
    #[cfg(not(feature = "etcd"))]
    Err("--real needs the feature etcd: cargo run --example incidents --features demo,etcd -- leader --real".into())
}

async fn bad_timing(stage: &mut Stage) -> Result<(), Failed> {
    const REASON: &str =
        "renew_deadline 20s: must be less than lease * (1 - 2 * clock_drift), here 13.5s of a lease of 15s";
    let bad = || Timing::new(15 * SECOND, 20 * SECOND, 2 * SECOND);

    stage.part(
        "a lease of 15 s and a renew deadline of 20 s",
        "looked at its settings only when it started, and named a rule without the numbers",
    );
    let alone = bad();
    stage.ended(&alone);
    stage.check("the reason", alone.err().map(|error| error.to_string()), Some(REASON.to_owned()));

    stage.part(
        "the same in a manager with a running task",
        "on the error it waited for the end of an election that had never begun: it hung, and the reason never came out",
    );
    let manager = Manager::new();
    let stopped = CancellationToken::new();
    let webhook = stopped.clone();
    manager.add("webhook", |stop: CancellationToken| async move {
        stop.cancelled().await;
        webhook.cancel();
        Ok::<_, ConfigError>(())
    })?;
    let led = CancellationToken::new();
    let controller = led.clone();
    manager.add_leader("controller", |_| async move {
        controller.cancel();
        Ok::<_, ConfigError>(())
    })?;
    let lock = LeaseLock::new(ApiServer::new().client(), SPACE, "controller")?;
    manager.elect_by(async move { Ok::<_, ConfigError>(leader::elect(lock, "a").timing(bad()?)) })?;
    let start = Instant::now();
    let ended = timeout(60 * SECOND, manager.run(CancellationToken::new())).await?;
    stage.ended(&ended);
    stage.check("it took", start.elapsed(), Duration::ZERO);
    let reason = ended.err().map(|error| error.to_string());
    stage.check("the reason", reason, Some(format!("election failed: {REASON}")));
    stage.check("the webhook was told to stop", stopped.is_cancelled(), true);
    stage.check("the controller was started", led.is_cancelled(), false);
    Ok(())
}

async fn in_process(stage: &mut Stage) -> Result<(), Failed> {
    let server = ApiServer::new();
    let timing = Timing::default();
    let lock = LeaseLock::new(server.client(), SPACE, "incidents")?;
    let place = Place { lock, timing, server: Some(&server) };
    place.play(stage, "on the Lease of an API server in this process, in virtual time").await
}

/// Nothing in the cluster is changed but one Lease, which is deleted again.
async fn on_a_cluster(stage: &mut Stage, file: &Path) -> Result<(), Failed> {
    let client: Client = k8s::client_from(file).await?;
    let name = format!("relent-incidents-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let lock = LeaseLock::new(client.clone(), SPACE, &name)?;
    let place = Place { lock, timing: short()?, server: None };
    let played = place.play(stage, &format!("on the Lease {SPACE}/{name} of a cluster, in real time")).await;
    let leases: Api<Lease> = Api::namespaced(client, SPACE);
    let deleted = leases.delete(&name, &DeleteParams::default()).await;
    played?;
    deleted?;
    stage.check("the Lease is left behind", leases.get_opt(&name).await?.is_some(), false);
    Ok(())
}

#[cfg(feature = "etcd")]
async fn on_etcd(stage: &mut Stage) -> Result<(), Failed> {
    let server = crate::server::Server::start(crate::server::Version::V35, 1).await;
    let options = etcd_client::ConnectOptions::new();
    let lock = relent_etcd::EtcdLock::new([server.nodes[0].client_url()], options, "incidents")?;
    let place = Place { lock, timing: short()?, server: None };
    place.play(stage, "on a key of real etcd 3.5, started for this, in real time").await
}

/// For real time: 15 s would be long.
fn short() -> Result<Timing, ConfigError> {
    Timing::new(4 * SECOND, 5 * SECOND / 2, SECOND / 2)
}
