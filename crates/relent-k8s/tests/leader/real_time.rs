//! Elections on a real API server in real time.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use relent::leader::{ElectError, Ended, Timing, elect};
use relent_apiserver::ApiServer;
use relent_k8s::LeaseLock;
use tokio::time::Instant;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// A real API server: three candidates, real time, clean handovers and a frozen one.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_server() {
    let Ok(path) = std::env::var("RELENT_KUBECONFIG") else { return real_time(ApiServer::new().client()).await };
    let config = Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("a cluster");
    real_time(Client::try_from(config).expect("a client")).await;
}

async fn real_time(client: Client) {
    let name = format!("relent-{:x}", fastrand_name());
    let timing = Timing::new(S(2), MS(1_200), MS(300)).unwrap();
    let lock = || LeaseLock::new(client.clone(), "default", &name).unwrap();
    let elect = |who: &str| elect(lock(), format!("{who}-{name}")).timing(timing);
    let fence = |ended: Result<Ended<u128>, ElectError>| ended.unwrap().into_finished().unwrap();
    let first = fence(elect("a").lead_on_create().run(|term| async move { term.fence() }).await);
    let second = fence(elect("b").run(|term| async move { term.fence() }).await);
    assert!(second > first);
    // One is dropped in its term, as if it had crashed: the next waits for a lease, not longer than explained.
    let crashed = elect("c").run(|_| std::future::pending::<()>());
    assert!(tokio::time::timeout(S(1), crashed).await.is_err());
    let began = Instant::now();
    let third = fence(elect("d").run(|term| async move { term.fence() }).await);
    assert!(third > second);
    let bound = timing.explain().after_crash() + S(2);
    assert!(began.elapsed() >= S(2) && began.elapsed() <= bound, "{:?} of {bound:?}", began.elapsed());
    Api::<Lease>::namespaced(client, "default").delete(&name, &Default::default()).await.unwrap();
}

pub(crate) fn fastrand_name() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
