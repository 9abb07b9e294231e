//! A ConfigMap as the ledger of a fleet: on the API server in this process, and on a real one when `RELENT_KUBECONFIG` names it.
#![allow(clippy::pedantic, clippy::disallowed_methods, missing_docs)]

mod answers;
#[cfg(unix)]
#[path = "../../../../tests/leader/child.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod child;
#[cfg(unix)]
#[path = "../../../../tests/fleet/processes.rs"]
mod processes;
#[cfg(unix)]
mod servers;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use relent::{
    Limiter, Rate,
    fleet::{Fleet, FleetEvent, FleetMember, Ledger},
};
use relent_apiserver::{AccessRule, ApiServer, Fault, Verb};
use relent_k8s::ConfigMapLedger;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

const S: fn(u64) -> Duration = Duration::from_secs;
const SETTLED: &str = "relent fleet 1\nsettled\n";

fn ledger(client: Client) -> ConfigMapLedger {
    ConfigMapLedger::new(client, "default", "fleet-limit").unwrap()
}

fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

fn join(client: Client) -> FleetMember {
    Fleet::new(ledger(client), "pod").rate(Rate::per_second(100)).burst(50).ttl(S(5)).unwrap().join().unwrap()
}

fn hungry(limiter: &Limiter, granted: &Arc<AtomicU64>) {
    let (limiter, granted) = (limiter.clone(), Arc::clone(granted));
    tokio::spawn(async move {
        loop {
            limiter.ready().await;
            granted.fetch_add(1, Ordering::Relaxed);
        }
    });
}

async fn text(client: &Client) -> String {
    maps(client.clone()).get("fleet-limit").await.unwrap().data.unwrap()["record"].clone()
}

/// As `kubectl edit` does: over the version that was read.
async fn edit(client: &Client, change: impl Fn(String) -> String) {
    loop {
        let found = maps(client.clone()).get("fleet-limit").await.unwrap();
        let text = change(found.data.unwrap()["record"].clone());
        let patch = json!({"metadata": {"resourceVersion": found.metadata.resource_version, "labels": {"app": "demo"}}, "data": {"record": text}});
        if maps(client.clone()).patch("fleet-limit", &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
            return;
        }
    }
}

/// Written over what was read, and not otherwise; a deletion in between makes it another one.
async fn keeps_the_rules(client: Client) {
    let ledger = ledger(client.clone());
    assert_eq!(ledger.read().await.unwrap(), None);
    assert!(ledger.compare_and_swap(Some(1), "x".into()).await.unwrap_err().is_conflict());
    let first = ledger.compare_and_swap(None, "one".into()).await.unwrap();
    assert!(ledger.compare_and_swap(None, "x".into()).await.unwrap_err().is_conflict());
    let mut reports = ledger.watch();
    let second = ledger.compare_and_swap(Some(first), "two".into()).await.unwrap();
    assert!(ledger.compare_and_swap(Some(first), "x".into()).await.unwrap_err().is_conflict());
    let stored = ledger.read().await.unwrap().unwrap();
    assert_eq!((stored.version, stored.text.as_str()), (second, "two"));
    while timeout(S(5), reports.next()).await.unwrap().unwrap() != stored {}
    maps(client.clone()).delete("fleet-limit", &DeleteParams::default()).await.unwrap();
    assert!(ledger.compare_and_swap(Some(second), "x".into()).await.unwrap_err().is_conflict());
    assert_eq!(ledger.read().await.unwrap(), None);
    assert!(ledger.compare_and_swap(None, SETTLED.into()).await.unwrap() > second);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_keeps_the_rules_of_a_ledger() {
    keeps_the_rules(ApiServer::new().client()).await;
}

async fn shares_one_rate(client: Client) {
    let granted = Arc::default();
    let members = [(); 4].map(|()| join(client.clone()));
    members.iter().for_each(|member| hungry(member.limiter(), &granted));
    sleep(S(12)).await;
    let rates = || members.each_ref().map(|member| member.share().rate);
    assert_eq!(rates(), [Rate::per_second(25); 4]);
    let before = granted.load(Ordering::Relaxed);
    sleep(S(10)).await;
    let during = granted.load(Ordering::Relaxed) - before;
    println!("{during} permits in 10 s at 100/s, four members on a ConfigMap");
    assert!(during <= 1_060, "{during}");
    edit(&client, |text| text.replace("relent fleet 1\n", "relent fleet 1\nrate 40/s\nburst 8\n")).await;
    sleep(S(6)).await;
    assert_eq!(rates(), [Rate::per_second(10); 4]);
    assert!(members.iter().all(|member| member.share().burst == 2));
    let found = maps(client.clone()).get("fleet-limit").await.unwrap();
    assert_eq!(found.metadata.labels.unwrap()["app"], "demo", "what is another's stays");
    for member in members {
        member.leave().await.unwrap();
    }
    assert_eq!(text(&client).await.matches("member").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn members_share_one_rate_through_a_config_map() {
    let server = ApiServer::new();
    ledger(server.client()).compare_and_swap(None, SETTLED.into()).await.unwrap();
    shares_one_rate(server.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_api_server() {
    let Some(path) = std::env::var_os("RELENT_KUBECONFIG").filter(|path| !path.is_empty()) else {
        eprintln!("RELENT_KUBECONFIG names no cluster: not played on a real API server");
        return;
    };
    let client = relent_k8s::client_from(path).await.unwrap();
    let _ = maps(client.clone()).delete("fleet-limit", &DeleteParams::default()).await;
    keeps_the_rules(client.clone()).await;
    shares_one_rate(client.clone()).await;
    maps(client).delete("fleet-limit", &DeleteParams::default()).await.unwrap();
}

/// A deletion is learned before anything grows; no member has more than it had.
#[tokio::test(start_paused = true)]
async fn a_config_map_that_is_deleted() {
    let server = ApiServer::new();
    let client = server.client();
    ledger(client.clone()).compare_and_swap(None, SETTLED.into()).await.unwrap();
    let members = [(); 2].map(|()| join(client.clone()));
    members.iter().for_each(|member| hungry(member.limiter(), &Arc::default()));
    sleep(S(10)).await;
    maps(client.clone()).delete("fleet-limit", &DeleteParams::default()).await.unwrap();
    sleep(S(4)).await;
    let third = join(client.clone());
    hungry(third.limiter(), &Arc::default());
    sleep(S(20)).await;
    // They have brought in what they had, and given up what is to be the third's.
    assert_eq!((third.share().rate, members[0].share().rate.permits()), (Rate::ZERO, 34));
    sleep(S(20)).await;
    assert!(text(&client).await.contains("\nsettled"), "{}", text(&client).await);
    assert_eq!(third.share().rate.permits(), members[0].share().rate.permits());
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_told_in_the_servers_words() {
    let server = ApiServer::new();
    server.rule(AccessRule::deny().verb(Verb::Create).resource("configmaps"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&heard);
    let member = Fleet::new(ledger(server.client()), "pod").rate(Rate::per_second(1)).burst(1);
    let member = member.on_event(move |event| {
        if let FleetEvent::Trouble(trouble) = event {
            events.lock().unwrap().push(trouble.to_string());
        }
    });
    let member = member.join().unwrap();
    sleep(S(5)).await;
    let heard = heard.lock().unwrap().join("\n");
    assert!(heard.contains("configmaps") && heard.contains("create"), "{heard}");
    assert_eq!(member.share().burst, 0);
}

/// A server that refuses, hangs and cuts connections: shares lapse at their time, and come back.
#[tokio::test(start_paused = true)]
async fn a_server_in_trouble() {
    let server = ApiServer::new();
    let client = server.client();
    ledger(client.clone()).compare_and_swap(None, SETTLED.into()).await.unwrap();
    let member = join(client);
    member.ready().await;
    let begun = Instant::now();
    server.inject(Fault::hang().times(u64::MAX));
    while member.share().burst > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() <= S(5), "{:?}", begun.elapsed());
    assert!(member.limiter().try_acquire(1).is_err());
    server.lift_faults();
    timeout(S(5), member.ready()).await.unwrap();
}

/// Whatever one answer says, to whichever call, the members have their shares again within a ttl, and what was wrong is
/// told in a line.
#[tokio::test(start_paused = true)]
async fn one_bad_answer_ends_nothing() {
    let mut answers = vec![
        Fault::refuse(),
        Fault::lose_answer(),
        Fault::hang(),
        Fault::overloaded(0),
        Fault::overloaded(u64::MAX),
        Fault::text(200, "<html>\nSign in\n</html>"),
        Fault::text(404, "404 page not found"),
        Fault::text(503, "<html>\nno\n</html>"),
        Fault::text(403, "{\"error\":\"no\"}"),
    ];
    answers.extend([400, 401, 403, 404, 405, 409, 410, 422, 429, 500, 502, 503, 504].map(Fault::status));
    for fault in answers {
        for verb in [Verb::Get, Verb::Create, Verb::Patch, Verb::Watch] {
            let server = ApiServer::new();
            server.inject(fault.clone().verb(verb).path("**/configmaps**").times(1));
            let told = Arc::new(Mutex::new(Vec::new()));
            let heard = Arc::clone(&told);
            let fleet =
                Fleet::new(ledger(server.client()), "pod").rate(Rate::per_second(100)).burst(50).ttl(S(5)).unwrap();
            let one = fleet.max_ttl(S(10)).unwrap().on_event(move |event| {
                if let FleetEvent::Trouble(trouble) = event {
                    heard.lock().unwrap().push(trouble.to_string());
                }
            });
            let one = one.join().unwrap();
            timeout(S(60), one.ready()).await.unwrap_or_else(|_| panic!("{fault:?}, {verb}: {told:?}"));
            server.inject(fault.clone().verb(verb).path("**/configmaps**").times(1));
            sleep(S(10)).await;
            timeout(S(10), one.ready()).await.unwrap_or_else(|_| panic!("{fault:?}, {verb}: {told:?}"));
            one.leave().await.unwrap();
            let told = told.lock().unwrap();
            for text in &*told {
                let dump = ["\n", "Status {", ": :", "answered 0", "Some("].iter().find(|dump| text.contains(**dump));
                assert_eq!(dump, None, "{fault:?}, {verb}: {text:?}");
            }
        }
    }
}
