//! Every caller, with every word, awaited in an async block that is spawned. It is a matter of types: this is only compiled.

use std::{future::pending, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client};
use relent::{Budget, Limiter, Ratio, leader::elect};
use relent_k8s::{self as k8s, LeaseLock, LongOperation, eviction::Evictor};
use tokio_util::sync::CancellationToken;

type Any = Box<dyn std::error::Error + Send + Sync>;

/// What `tokio::spawn` asks for.
fn spawns<F>(_: F)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
}

macro_rules! words {
    ($with:ident, $run:expr) => {{
        let mine = $with.clone();
        spawns(async move {
            let $with = &mine;
            $run.await.map(drop)
        });
        let mine = $with.clone();
        spawns(async move {
            let $with = &mine;
            let (limiter, budget) = (Limiter::unlimited(), Budget::ratio(Ratio::percent(10)));
            let run = $run.finish_within(Duration::from_secs(1)).when(|_| true).notify(|_| {}).throttle(&limiter);
            run.budget(&budget).cancel_on(CancellationToken::new()).cancel_when(pending::<()>()).await.map(drop)
        });
    }};
}

const _: fn(Client, Api<Pod>, LongOperation) = |client, pods, operation| {
    words!(client, k8s::get_config_map(client, "kube-system", "kube-proxy"));
    words!(client, k8s::get_when_created(&Api::<ConfigMap>::default_namespaced(client.clone()), "kube-proxy"));
    words!(pods, k8s::wait(pods.clone(), "web", |pod: Option<&Pod>| pod.is_some()));
    words!(pods, k8s::wait_labelled(pods.clone(), "app=web", |pods: &[Pod]| pods.len() == 3));
    words!(operation, operation.trigger());
    words!(operation, operation.settled());
    words!(operation, operation.settled_with(|seen| println!("{seen}")));
    let again = client.clone();
    spawns(async move {
        let lock = LeaseLock::new(again, "default", "a")?;
        let lost = async |term: relent::leader::Term| {
            term.lost().await;
            Ok::<(), Any>(())
        };
        elect(lock, "a").again().run(lost).await.map(drop).map_err(Any::from)
    });
    spawns(async move { Evictor::new(client, "a").run(CancellationToken::new(), |_| {}).await.waiting.len() });
};
