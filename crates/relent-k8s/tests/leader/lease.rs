//! The Lease as a lock, on the API server inside this process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use relent::leader::{ElectionEvent, Ended, Lock, Loss, Timing, Write, elect};
use relent::testing::lock::never_overlap;
use relent_apiserver::{AccessRule, ApiServer, Fault, Verb};
use relent_k8s::LeaseLock;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{random_numbers, schedules};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn lock(server: &ApiServer) -> LeaseLock {
    LeaseLock::new(server.client(), "default", "demo").unwrap()
}

fn leases(server: &ApiServer) -> Api<Lease> {
    Api::namespaced(server.client(), "default")
}

/// A Lease as a candidate in Go leaves it behind.
fn of_go(holder: &str, seconds: i32, renewed: &str) -> Lease {
    serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 3,
            "acquireTime": "2020-01-01T00:00:00.000000Z", "renewTime": renewed},
    }))
    .unwrap()
}

/// Writes as client-go's elector does: the whole object, with the resourceVersion it has read.
async fn renew_as_go(api: &Api<Lease>, holder: &str, number: u32) -> kube::Result<Lease> {
    let mut lease = api.get("demo").await?;
    let spec = lease.spec.as_mut().unwrap();
    spec.holder_identity = Some(holder.to_owned());
    spec.renew_time = of_go("", 1, &format!("2020-01-01T00:00:{number:02}.000000Z")).spec.unwrap().renew_time;
    api.replace("demo", &PostParams::default(), &lease).await
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_written_as_client_go_writes_it() {
    let server = ApiServer::new();
    let api = leases(&server);
    api.create(&PostParams::default(), &of_go("", 1, "2020-01-01T00:00:00.000000Z")).await.unwrap();
    let timing = Timing::new(MS(14_001), S(10), S(2)).unwrap();
    let inside = api.clone();
    server.clear_journal();
    let ended = elect(lock(&server).label("app", "demo"), "rust")
        .timing(timing)
        .run(|term| async move {
            let taken = inside.get("demo").await.unwrap();
            sleep(S(5)).await;
            (term.fence(), taken, inside.get("demo").await.unwrap())
        })
        .await
        .unwrap();
    let (fence, taken, renewed) = ended.into_finished().unwrap();
    assert_eq!(taken.metadata.resource_version.as_deref(), Some(fence.to_string().as_str()));
    let (taken_spec, renewed_spec) = (taken.spec.unwrap(), renewed.spec.unwrap());
    assert_eq!(taken_spec.holder_identity.as_deref(), Some("rust"));
    assert_eq!(taken_spec.lease_duration_seconds, Some(15), "a fraction is rounded up");
    assert_eq!(taken_spec.lease_transitions, Some(4));
    assert_eq!(taken_spec.acquire_time, taken_spec.renew_time);
    assert_eq!(renewed_spec.acquire_time, taken_spec.acquire_time);
    assert!(renewed_spec.renew_time > taken_spec.renew_time);
    assert_eq!(renewed.metadata.labels, Some(BTreeMap::from([("app".to_owned(), "demo".to_owned())])));
    let released = api.get("demo").await.unwrap().spec.unwrap();
    assert_eq!(released.holder_identity.as_deref(), Some(""));
    assert_eq!((released.lease_duration_seconds, released.lease_transitions), (Some(1), Some(4)));
    assert_eq!(released.acquire_time, released.renew_time);
    // GET PUT to acquire, a PUT for each renewal, GET PUT to release; the rest are the questions of this test.
    let verbs: Vec<_> = server.journal().iter().map(|entry| entry.verb).collect();
    assert_eq!(verbs.iter().filter(|verb| **verb == Verb::Update).count(), 1 + 2 + 1, "{verbs:?}");
    assert_eq!(verbs.iter().filter(|verb| **verb == Verb::Get).count(), 1 + 2 + 1 + 1, "{verbs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_lease_is_created() {
    let server = ApiServer::new();
    let inside = leases(&server);
    let began = Instant::now();
    let run = elect(lock(&server), "a").run(|_| async move { inside.get("demo").await.unwrap() });
    let lease = run.await.unwrap().into_finished().unwrap();
    assert_eq!(began.elapsed(), S(15), "another may have led by a Lease that was deleted");
    assert_eq!(lease.spec.unwrap().lease_transitions, Some(0));
    leases(&server).delete("demo", &Default::default()).await.unwrap();
    let began = Instant::now();
    let _ = elect(lock(&server), "a").lead_on_create().run(|_| async {}).await.unwrap();
    assert_eq!(began.elapsed(), S(0));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_noticed_by_the_watch() {
    let server = ApiServer::new();
    let first = elect(lock(&server), "a").lead_on_create().run(|_| sleep(S(31)));
    let second = async {
        sleep(MS(10)).await;
        elect(lock(&server), "b").run(|_| async { Instant::now() }).await
    };
    let began = Instant::now();
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first.unwrap(), Ended::Finished(())));
    let waited = second.unwrap().into_finished().unwrap() - began - S(31);
    assert!(waited <= MS(20), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn go_and_rust_contend_for_one_lease() {
    let server = ApiServer::new();
    let api = leases(&server);
    api.create(&PostParams::default(), &of_go("go", 15, "2020-01-01T00:00:00.000000Z")).await.unwrap();
    // The renewTime is ancient: all the same the Lease is left alone for 15 s after it was last seen to change.
    let (began, token) = (Instant::now(), CancellationToken::new());
    let rust = elect(lock(&server), "rust").cancel_on(token.clone()).run(|term| async move {
        let at = Instant::now();
        term.lost().await;
        at
    });
    let go = async {
        for number in 1..=5 {
            sleep(S(2)).await;
            renew_as_go(&api, "go", number).await.unwrap();
        }
        sleep(S(30)).await;
        // Go loses against the holder; then it takes over by force, as one whose clock runs wild would.
        assert_eq!(api.get("demo").await.unwrap().spec.unwrap().holder_identity.as_deref(), Some("rust"));
        while renew_as_go(&api, "go", 59).await.is_err() {}
    };
    let (ended, ()) = tokio::join!(rust, go);
    let Ended::Lost { why, finished: Some(at) } = ended.unwrap() else { panic!() };
    assert_eq!(why.to_string(), "go has taken over");
    let waited = at - began;
    assert!(waited >= S(25) && waited <= S(25) + MS(50), "{waited:?}");
    // Go releases, and Rust takes over at once.
    let began = Instant::now();
    let rust = elect(lock(&server), "rust").run(|_| async {});
    let release = async {
        sleep(S(3)).await;
        let mut lease = api.get("demo").await.unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some(String::new());
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(1);
        api.replace("demo", &PostParams::default(), &lease).await.unwrap();
    };
    let (_, ()) = tokio::join!(async { rust.await.unwrap() }, release);
    assert!(began.elapsed() <= S(3) + MS(20));
}

#[tokio::test(start_paused = true)]
async fn labels_that_others_write_neither_renew_nor_disturb() {
    let server = ApiServer::new();
    let api = leases(&server);
    api.create(&PostParams::default(), &of_go("dead", 15, "2020-01-01T00:00:00.000000Z")).await.unwrap();
    let annotate = async {
        for number in 0..60 {
            sleep(S(1)).await;
            let patch = json!({"metadata": {"annotations": {"seen": number.to_string()}}});
            api.patch("demo", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    };
    let began = Instant::now();
    let run = elect(lock(&server), "a").run(|term| async move {
        let at = Instant::now();
        sleep(S(40)).await;
        assert!(!term.is_lost());
        at
    });
    let (ended, ()) = tokio::join!(run, annotate);
    let Ended::Finished(at) = ended.unwrap() else { panic!() };
    assert!(at - began <= S(17), "{:?}", at - began);
    let annotations = api.get("demo").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(annotations["seen"], "59", "what others wrote is kept");
}

/// Writes that hang while reads go well: the look in between renews nothing, and the loss names what the writes failed with.
#[tokio::test(start_paused = true)]
async fn a_look_between_failing_writes_does_not_hide_their_error() {
    let server = ApiServer::new();
    let faults = server.clone();
    let ended = elect(lock(&server), "a").lead_on_create().run(|term| async move {
        faults.inject(Fault::hang().verb(Verb::Update));
        term.lost().await;
    });
    let Ended::Lost { why: Loss::Deadline { last, .. }, .. } = ended.await.unwrap() else {
        panic!("the deadline ends it")
    };
    let last = last.expect("the real error is kept");
    assert!(last.to_string().contains("no answer within"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_server_do_not_end_a_term_early_nor_let_it_go_on_too_long() {
    let server = ApiServer::new();
    let faults = server.clone();
    let began = Instant::now();
    let ended = elect(lock(&server), "a")
        .lead_on_create()
        .run(|term| async move {
            // Lost answers, overload, refusals: one at a time, each is borne.
            let plan = [
                Fault::lose_answer().verb(Verb::Update).times(1),
                Fault::overloaded(1).verb(Verb::Update).times(1),
                Fault::status(500).verb(Verb::Update).times(1),
                Fault::refuse().verb(Verb::Update).times(2),
                Fault::hang().verb(Verb::Update).times(1),
                Fault::status(504).verb(Verb::Update).after_applying().times(1),
            ];
            for fault in plan {
                faults.inject(fault);
                sleep(S(10)).await;
                assert!(!term.is_lost());
            }
            // And then nothing works any more.
            faults.inject(Fault::hang());
            let stuck = began.elapsed();
            term.lost().await;
            began.elapsed() - stuck
        })
        .await
        .unwrap();
    let Ended::Lost { why, finished: Some(after) } = ended else { panic!() };
    assert!(after > S(7) && after <= S(10), "{after:?}");
    assert!(why.to_string().starts_with("no renewal was confirmed within 10s: no answer within "), "{why}");
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_be_are_refused() {
    let server = ApiServer::new();
    for (namespace, name) in [("", "demo"), ("default", "")] {
        assert!(LeaseLock::new(server.client(), namespace, name).is_err());
    }
    let timing = Timing::new(S(1 << 40), S(10), S(2)).unwrap();
    let error = elect(lock(&server), "a").timing(timing).run(|_| async {}).await.unwrap_err();
    assert!(error.to_string().ends_with("a Lease holds at most 2147483647 seconds"), "{error}");
}

/// The documented verbs are enough; without `watch` a release is noticed by looking; without another it says so, and goes on.
#[tokio::test(start_paused = true)]
async fn the_rights_it_needs() {
    const NEEDED: [Verb; 4] = [Verb::Get, Verb::Create, Verb::Update, Verb::Watch];
    for missing in [None, Some(Verb::Watch), Some(Verb::Get), Some(Verb::Create), Some(Verb::Update)] {
        let server = ApiServer::new();
        server.user("t", "role");
        for verb in NEEDED.into_iter().filter(|verb| Some(*verb) != missing) {
            server.rule(
                AccessRule::allow().user("role").verb(verb).resource("leases.coordination.k8s.io").namespace("default"),
            );
        }
        server.rule(AccessRule::deny().user("role"));
        let lock = || LeaseLock::new(server.client_with_token("t"), "default", "demo").unwrap();
        let began = Instant::now();
        let first = elect(lock(), "a").lead_on_create().run(|_| sleep(S(31)));
        let second = async {
            sleep(MS(10)).await;
            elect(lock(), "b").run(|_| async { Instant::now() }).await
        };
        match missing {
            None | Some(Verb::Watch) => {
                let (first, second) = tokio::join!(first, second);
                first.unwrap().into_finished().unwrap();
                let waited = second.unwrap().into_finished().unwrap() - began - S(31);
                let bound = if missing.is_none() { MS(20) } else { MS(4_420) };
                assert!(waited <= bound, "{waited:?} without {missing:?}");
            }
            Some(Verb::Update) => {
                // The candidate that creates it leads, and cannot go on.
                let Ended::Lost { why, .. } = first.await.unwrap() else { panic!() };
                assert!(why.to_string().contains("cannot update resource"), "{why}");
            }
            Some(Verb::Get) => {
                // Nothing was ever answered: after a lease that is the last word.
                let error = first.await.unwrap_err().to_string();
                assert_eq!(
                    error,
                    "cannot read lock default/demo: leases.coordination.k8s.io \"demo\" is forbidden: User \"role\" cannot get \
                     resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"default\": grant this right with a \
                     Role and a RoleBinding (`kubectl auth can-i` tells who has it), or use other credentials"
                );
                assert!(began.elapsed() >= S(15), "{:?}", began.elapsed());
            }
            Some(verb) => {
                let heard = Arc::new(Mutex::new(String::new()));
                let (stop, said) = (CancellationToken::new(), Arc::clone(&heard));
                let run = elect(lock(), "a").cancel_on(stop.clone()).on_event(move |change| {
                    if let ElectionEvent::Trouble(error) = change {
                        *said.lock().unwrap() = error.to_string();
                    }
                });
                let (ended, ()) = tokio::join!(run.run(|_| async {}), async {
                    sleep(S(600)).await;
                    stop.cancel();
                });
                assert!(matches!(ended.unwrap(), Ended::Cancelled { finished: None }));
                let heard = heard.lock().unwrap();
                let said = format!(
                    "leases \"demo\" in the namespace \"default\": leases.coordination.k8s.io is forbidden: User \"role\" cannot {verb} resource"
                );
                assert!(heard.starts_with(&said) && heard.contains("grant this right"), "{heard}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_write_is_refused_also_after_a_deletion() {
    let server = ApiServer::new();
    let lock = lock(&server);
    let take = Write::Take { holder: "a", lease: S(15) };
    let first = lock.write(None, take).await.unwrap();
    assert!(lock.write(None, take).await.unwrap_err().is_conflict());
    let renew = Write::Renew { holder: "a", lease: S(15) };
    let second = lock.write(Some(&first), renew).await.unwrap();
    assert!(second.version > first.version && second.heartbeat != first.heartbeat);
    assert!(lock.write(Some(&first), renew).await.unwrap_err().is_conflict());
    leases(&server).delete("demo", &Default::default()).await.unwrap();
    // A PUT to a missing Lease would create it; the uid keeps that from happening.
    assert!(lock.write(Some(&second), renew).await.unwrap_err().is_conflict());
    assert_eq!(lock.read().await.unwrap().map(|seen| seen.holder), None);
    let third = lock.write(None, take).await.unwrap();
    assert!(third.version > second.version);
}

/// A creation may be sent twice, and land again after a deletion: then others have to wait for a lease once more.
#[tokio::test(start_paused = true)]
async fn a_lease_that_comes_back_word_for_word_is_another_one() {
    let server = ApiServer::new();
    let lease = of_go("go", 15, "2020-01-01T00:00:00.000000Z");
    leases(&server).create(&PostParams::default(), &lease).await.unwrap();
    let before = lock(&server).read().await.unwrap().unwrap();
    leases(&server).delete("demo", &Default::default()).await.unwrap();
    leases(&server).create(&PostParams::default(), &lease).await.unwrap();
    let after = lock(&server).read().await.unwrap().unwrap();
    assert_eq!(after.holder, before.holder);
    assert_ne!(after.heartbeat, before.heartbeat);
}

#[tokio::test(start_paused = true)]
async fn candidates_on_a_troubled_server_never_overlap() {
    for seed in 0..schedules(25) {
        let server = ApiServer::new();
        let mut delays = random_numbers(seed);
        let trouble = async |what: Option<u64>, calls| {
            let calls = calls as u64;
            match what.map(|what| what % 9) {
                Some(0) => drop(server.inject(Fault::hang().times(calls))),
                Some(1) => drop(server.inject(Fault::lose_answer().times(calls))),
                Some(2) => drop(server.inject(Fault::status(503).times(calls))),
                Some(3) => drop(server.inject(Fault::delay(MS(delays() % 8000)).detached().times(calls))),
                // A planned fault may hit this one.
                Some(4) => drop(tokio::time::timeout(S(1), leases(&server).delete("demo", &Default::default())).await),
                Some(5) => drop(server.inject(Fault::status(403).times(calls))),
                Some(6) => drop(server.inject(Fault::status(401).times(calls))),
                // A restart: no server is there for a while, and refusals come after it.
                Some(7) => {
                    server.inject(Fault::break_stream(0).times(calls));
                    server.inject(Fault::refuse().times(calls));
                    server.inject(Fault::text(404, "404 page not found").times(calls));
                    server.inject(Fault::status(403).times(calls));
                }
                _ => server.lift_faults(),
            }
        };
        never_overlap(|| lock(&server), seed, trouble).await;
    }
}
