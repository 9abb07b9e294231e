//! What a person reads of the errors of this crate, by `{}` and by what `unwrap()` and `fn main() -> Result` print.
//!
//! `texts.txt` is for a person to read. After a change, `RENEW=1 cargo test` writes it anew.

use std::{error::Error, fmt::Write, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
    core::Status,
};
use relent::{
    Backoff,
    fleet::Ledger,
    leader::{Ended, Lock, Manager, elect},
};
use relent_apiserver::{AccessRule, ApiServer, Fault, Verb};
use relent_k8s::{
    self as k8s, ApiError, ConfigMapLedger, Contract, LeaseLock, LongOperation,
    eviction::{Eviction, Evictor, PodKey, evict},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::place::DO;

#[path = "../../../../tests/engine/snapshot.rs"]
mod snapshot;

const S: fn(u64) -> Duration = Duration::from_secs;

/// What is never shown: how things are kept in memory, or nothing at all.
const DUMPS: [&str; 8] = ["Status {", "ErrorResponse", "Some(", "metadata:", "\\\"", ": :", "\n", "cause:"];

#[derive(Default)]
struct Table(String);

impl Table {
    /// An error of ours: its text is what every reporter shows, and it has no source that would be shown again.
    #[track_caller]
    fn error(&mut self, what: &str, error: &(dyn Error + 'static)) {
        let (text, debug) = (error.to_string(), format!("{error:?}"));
        assert_eq!(debug, text, "{what}");
        assert!(error.source().is_none(), "{what}: {text}");
        self.line(what, "{}, {:?}", &text);
    }

    #[track_caller]
    fn line(&mut self, what: &str, how: &str, text: &str) {
        let dump = DUMPS.iter().find(|dump| text.contains(**dump));
        assert!(dump.is_none(), "{what}: {dump:?} in {text:?}");
        writeln!(self.0, "\n{what}\n  {how:10} {text}").unwrap();
    }

    /// The end of a run, with the error that it holds.
    #[track_caller]
    fn run<E: Error + 'static>(&mut self, what: &str, gave_up: &relent::GaveUp<E>) {
        self.error(what, gave_up.last_error().expect("an error"));
        writeln!(self.0, "  {:10} {gave_up}", "run {}").unwrap();
        let debug = format!("{gave_up:?}");
        assert!(!debug.contains("Status {"), "{debug}");
        writeln!(self.0, "  {:10} {debug}", "run {:?}").unwrap();
    }
}

fn maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::default_namespaced(server.client())
}

async fn world() -> ApiServer {
    let server = ApiServer::new();
    let map = json!({"metadata": {"name": "it", "labels": {"a": "b"}}});
    maps(&server).create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    server
}

/// A server on which this user may not do this.
async fn without(verb: Verb, resource: &str) -> (ApiServer, kube::Client) {
    let server = world().await;
    server.user("token", "somebody");
    server.rule(AccessRule::deny().user("somebody").verb(verb).resource(resource));
    let client = server.client_with_token("token");
    (server, client)
}

async fn calls(table: &mut Table) {
    let status = |code: u16, reason: &str, message: &str| {
        ApiError::of(
            kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()),
            "configmaps",
            "it",
            None,
        )
    };
    table.error("a call: 500", &status(500, "InternalError", "etcdserver: no leader"));
    table.error("a call: 422", &status(422, "Invalid", "ConfigMap \"it\" is invalid: data[a b]: Invalid value."));
    table.error("a call: 503 of a proxy", &status(503, "not a Status", "<html>\n<p>Sorry.</p>\n</html>"));
    table.error("a call: 504 without a word", &status(504, "Timeout", ""));
    table.error(
        "a call: not JSON",
        &ApiError::from(kube::Error::SerdeError(serde_json::from_str::<u8>("<").unwrap_err())),
    );
    table.error("a kubeconfig", &k8s::client_from("/no/such/file").await.err().unwrap());
    let (_server, client) = without(Verb::Get, "configmaps").await;
    table.run("get: no right", &k8s::get_config_map(&client, "default", "it").await.unwrap_err());
    let server = world().await;
    table.run("get: absent", &k8s::get_config_map(&server.client(), "default", "other").await.unwrap_err());
    server.inject(Fault::overloaded(7).verb(Verb::Get));
    table.run("get: overloaded", &k8s::get(&maps(&server), "it").max_attempts(2).await.unwrap_err());
    let server = world().await;
    server.inject(Fault::text(200, "{}").verb(Verb::Get));
    table.run("get: another object", &k8s::get(&maps(&server), "it").await.unwrap_err());
}

async fn waits(table: &mut Table) {
    let never = |_: Option<&ConfigMap>| false;
    let server = world().await;
    table.run("wait: not yet", &k8s::wait(maps(&server), "it", never).finish_within(S(5)).await.unwrap_err());
    table.run("wait: absent", &k8s::wait(maps(&server), "other", never).finish_within(S(5)).await.unwrap_err());
    let failed = k8s::unless(never, |_: Option<&ConfigMap>| Some("the build has failed".to_owned()));
    table.run("wait: never", &k8s::wait(maps(&server), "it", failed).await.unwrap_err());
    let all = k8s::wait_labelled(maps(&server), "a=b", |_: &[ConfigMap]| false).finish_within(S(5));
    table.run("wait: labelled", &all.await.unwrap_err());
    server.inject(Fault::hang().verb(Verb::Get));
    table.run("wait: no answer", &k8s::wait(maps(&server), "it", never).finish_within(S(5)).await.unwrap_err());
    let (_server, client) = without(Verb::Watch, "configmaps").await;
    let watching = k8s::wait(Api::<ConfigMap>::default_namespaced(client), "it", never).every(S(1));
    let watching = watching.backoff(Backoff::fixed(Duration::ZERO));
    table.run("wait: no right to watch", &watching.await.unwrap_err());
}

async fn operations(table: &mut Table) {
    let server = world().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let objects: Api<DynamicObject> = Api::default_namespaced_with(server.client(), &kind);
    let operation = |name: &str, token: &str| {
        LongOperation::new(objects.clone(), name, Contract::new(DO, "it")).unwrap().with_token(token)
    };
    let (one, other) = (operation("it", "1"), operation("it", "2"));
    one.trigger().await.unwrap();
    table.run("operation: occupied", &other.trigger().finish_within(S(5)).await.unwrap_err());
    table.run("operation: superseded", &other.settled().await.unwrap_err());
    let stalled = one.settled().stall_after(S(20)).await.unwrap_err();
    writeln!(table.0, "\noperation: stalled\n  {:10} {stalled}\n  {:10} {stalled:?}", "run {}", "run {:?}").unwrap();
    maps(&server).delete("it", &DeleteParams::default()).await.unwrap();
    table.run("operation: deleted", &one.settled().await.unwrap_err());
    table.run("operation: absent", &operation("absent", "3").trigger().await.unwrap_err());
}

async fn evictions(table: &mut Table) {
    let (_server, client) = without(Verb::Create, "pods/eviction").await;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(client.clone());
    let pod = json!({
        "metadata": {"name": "web", "finalizers": ["example.com/keep"]},
        "spec": {"containers": [{"name": "main", "image": "i"}], "terminationGracePeriodSeconds": 0},
    });
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let key = PodKey::of(&pod).unwrap();
    let mut timeless = |what: &str, error: &dyn Error| {
        let text = error.to_string();
        assert_eq!(format!("{error:?}"), text);
        table.line(what, "{}, {:?}", &text.replace(key.uid(), "UID"));
    };
    timeless("eviction: no right", &evict(&client, &key, None).await.unwrap_err());
    timeless("eviction: no key", &evict(&client, &PodKey::new("default", "web", ""), None).await.unwrap_err());
    let (_server, client) = without(Verb::Get, "pods").await;
    let pod = Api::default_namespaced(client.clone()).create(&PostParams::default(), &blank(&pod)).await.unwrap();
    let mut evictor = Evictor::new(client, "drainer").until_gone();
    let (handle, key) = (evictor.handle(), PodKey::of(&pod).unwrap());
    let _ = handle.evict(key.clone(), Eviction::new("bye"), Duration::ZERO).unwrap();
    let (left, _) = tokio::join!(handle.drain(), evictor.run(CancellationToken::default(), |_| {}));
    let unseen = handle.unseen(&key).unwrap();
    assert_eq!((left, format!("{unseen:?}")), (1, unseen.to_string()));
    table.line("eviction: unseen", "{}, {:?}", &unseen.to_string().replace(key.uid(), "UID"));
}

fn blank(pod: &k8s_openapi::api::core::v1::Pod) -> k8s_openapi::api::core::v1::Pod {
    let mut pod = pod.clone();
    (pod.metadata.resource_version, pod.metadata.uid, pod.status) = (None, None, None);
    pod
}

async fn elections(table: &mut Table) {
    let (_server, client) = without(Verb::Get, "leases.coordination.k8s.io").await;
    let lock = || LeaseLock::new(client.clone(), "default", "demo").unwrap();
    table.error("lock: no right", &lock().read().await.unwrap_err());
    table.error("election: no right", &elect(lock(), "a").run(async |_| ()).await.unwrap_err());
    let manager = Manager::new();
    manager.elect(elect(lock(), "a")).unwrap();
    table.error("manager: no right", &manager.run(CancellationToken::default()).await.unwrap_err());
    let server = world().await;
    let lock = || LeaseLock::new(server.client(), "default", "demo").unwrap();
    let stop = CancellationToken::new();
    let run = elect(lock(), "a").cancel_on(stop.clone()).run(async |term| {
        server.inject(Fault::status(500).verb(Verb::Update));
        stop.cancel();
        term.lost().await;
    });
    let Ended::Unreleased { error, .. } = run.await.unwrap() else { panic!("it was given back") };
    table.error("election: not given back", &error);
    server.inject(Fault::text(200, "{}").verb(Verb::Get));
    table.error("lock: another object", &lock().read().await.unwrap_err());
    let ledger = ConfigMapLedger::new(client.clone(), "default", "limit").unwrap();
    server.rule(AccessRule::deny().verb(Verb::Create).resource("configmaps"));
    table.error("ledger: another version", &ledger.compare_and_swap(Some(1), "x".into()).await.unwrap_err());
    let ledger = ConfigMapLedger::new(server.client(), "default", "limit").unwrap();
    table.error("ledger: another object", &ledger.read().await.unwrap_err());
    table.error("ledger: no right", &ledger.compare_and_swap(None, "x".into()).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn read_by_a_person() {
    let mut table = Table(
        "What is read of the errors of relent-k8s. `fn main() -> Result` prints `Error: ` and `{:?}`.\n".to_owned(),
    );
    calls(&mut table).await;
    waits(&mut table).await;
    operations(&mut table).await;
    evictions(&mut table).await;
    elections(&mut table).await;
    snapshot::compare("tests/operation/texts.txt", &table.0);
}
