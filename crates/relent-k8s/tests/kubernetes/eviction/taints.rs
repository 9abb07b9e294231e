//! Each taint has its own time, also over a restart of this process.

use std::time::SystemTime;

use k8s_openapi::{api::core::v1::PodCondition, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::*;

fn named(key: &str) -> Taint {
    Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() }
}

fn for_each(tolerations: &[(&str, i64)]) -> Value {
    let one = |(key, seconds): &(&str, i64)| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
    tolerations.iter().map(one).collect()
}

fn ago(seconds: u32) -> Time {
    Time(Timestamp::try_from(SystemTime::now() - seconds * S).unwrap())
}

fn due(observed: &ObservedPod) -> Instant {
    let ObservedPod::Planned(due) = observed else { panic!("{observed:?}") };
    *due
}

/// To the second: the date goes on while a paused clock stands.
fn about(due: Instant, expected: Instant) -> bool {
    due < expected + S && expected < due + S
}

#[tokio::test(start_paused = true)]
async fn a_later_taint_has_its_own_time() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", for_each(&[("not-ready", 300), ("maintenance", 120), ("soon", 30)])).await;
    let Running { evictions, .. } = start(&client, &policy());
    let begin = Instant::now();
    let (not_ready, maintenance, soon) = (named("not-ready"), named("maintenance"), named("soon"));
    assert_eq!(due(&evictions.observe(&web, std::slice::from_ref(&not_ready))), begin + 300 * S);
    sleep(150 * S).await;
    let both = [not_ready.clone(), maintenance.clone()];
    assert_eq!(due(&evictions.observe(&web, &both)), begin + 270 * S);
    sleep(10 * S).await;
    assert!(matches!(evictions.observe(&web, &both), ObservedPod::Unchanged));
    // One goes and comes again: it begins anew, and the other does not.
    assert_eq!(due(&evictions.observe(&web, std::slice::from_ref(&not_ready))), begin + 300 * S);
    sleep(10 * S).await;
    assert_eq!(due(&evictions.observe(&web, &both)), begin + 290 * S);
    assert_eq!(due(&evictions.observe(&web, &[soon, not_ready, maintenance])), begin + 200 * S);
    sleep(29 * S).await;
    assert!(exists(&client, "web").await);
    sleep(2 * S).await;
    assert!(!exists(&client, "web").await);
}

/// 300 s are 300 s, although the process that counts them was started anew after 280.
#[tokio::test(start_paused = true)]
async fn a_taint_counts_from_when_it_was_added() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", for_each(&[("gone", 300)])).await;
    let begin = Instant::now();
    let taint = Taint { time_added: Some(ago(0)), ..named("gone") };
    let before = start(&client, &policy());
    assert!(about(due(&before.evictions.observe(&web, std::slice::from_ref(&taint))), begin + 300 * S));
    sleep(280 * S).await;
    before.task.abort();
    let Running { evictions, .. } = start(&client, &policy());
    let planned = due(&evictions.observe(&web, std::slice::from_ref(&taint)));
    assert!(about(planned, begin + 300 * S), "{:?}", planned - begin);
    sleep(10 * S).await;
    assert!(matches!(evictions.observe(&web, std::slice::from_ref(&taint)), ObservedPod::Unchanged));
    sleep(9 * S).await;
    assert!(exists(&client, "web").await);
    sleep(2 * S).await;
    assert!(!exists(&client, "web").await);
}

#[tokio::test(start_paused = true)]
async fn dates_that_are_no_help() {
    let server = ApiServer::new();
    let client = server.client();
    let plain = pod(&client, "web", for_each(&[("gone", 300)])).await;
    let planned = |pod: &Pod, added: Time| {
        let evictor = Evictor::new(client.clone(), "one");
        let handle = evictor.handle();
        due(&handle.observe(pod, &[Taint { time_added: Some(added), ..named("gone") }]))
    };
    let now = Instant::now();
    assert!(about(planned(&plain, ago(280)), now + 20 * S));
    assert_eq!(planned(&plain, ago(100_000)), now, "over long ago");
    let ahead = Time(Timestamp::try_from(SystemTime::now() + 100 * S).unwrap());
    assert_eq!(planned(&plain, ahead), now + 300 * S, "their clock is ahead of ours");
    // The pod came to the node after the taint: it tolerates it from there.
    let condition = |status: &str| PodCondition {
        type_: "PodScheduled".into(),
        status: status.into(),
        last_transition_time: Some(ago(40)),
        ..PodCondition::default()
    };
    let mut bound = plain.clone();
    bound.status.as_mut().unwrap().conditions = Some(vec![condition("True")]);
    assert!(about(planned(&bound, ago(5000)), now + 260 * S));
    bound.status.as_mut().unwrap().conditions = Some(vec![condition("False")]);
    assert_eq!(planned(&bound, ago(5000)), now);
    bound.status.as_mut().unwrap().start_time = Some(ago(30));
    assert!(about(planned(&bound, ago(5000)), now + 270 * S));
}

/// A pod that is being tried goes on by the policy, and a plan that says later takes it back.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_budget_is_not_begun_anew() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    budget(&client, 0).await;
    let Running { evictions, .. } = start(&client, &policy());
    assert!(matches!(evictions.observe(&web, &[named("a")]), ObservedPod::Planned(_)));
    sleep(3 * S + S / 2).await;
    // Another taint, which is not tolerated either: it is being tried already.
    assert!(matches!(evictions.observe(&web, &[named("a"), named("b")]), ObservedPod::Unchanged));
    sleep(3 * S).await;
    let at: Vec<_> = asked(&server, "/eviction").into_iter().map(|(at, _)| at).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 1), "{at:?}");
    let mut tolerant = web.clone();
    tolerant.spec.as_mut().unwrap().tolerations =
        Some(serde_json::from_value(for_each(&[("a", 600), ("b", 600)])).unwrap());
    assert!(matches!(evictions.observe(&tolerant, &[named("a"), named("b")]), ObservedPod::Planned(_)));
    budget(&client, 1).await;
    sleep(300 * S).await;
    assert!(exists(&client, "web").await);
}

#[tokio::test(start_paused = true)]
async fn an_operator_of_a_later_version_evicts_nobody() {
    let server = ApiServer::new();
    let client = server.client();
    let mut web = pod(&client, "web", json!([])).await;
    let later = json!([{ "key": "gone", "operator": "SemverGt", "value": "1.30", "tolerationSeconds": 5 }]);
    web.spec.as_mut().unwrap().tolerations = Some(serde_json::from_value(later).unwrap());
    let Running { evictions, .. } = start(&client, &policy());
    assert!(matches!(evictions.observe(&web, &[named("gone")]), ObservedPod::Unchanged));
    assert!(matches!(evictions.observe(&web, &[named("gone"), named("other")]), ObservedPod::Planned(_)));
}
