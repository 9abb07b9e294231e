//! Leases that are edited by hand, or written by other tools.

use std::time::Duration;

use relent::leader::elect;
use relent_apiserver::ApiServer;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{MS, S, Said, Terms, create, lock, patch, stands};

/// One leads, another waits; the Lease is edited by hand at 25 s.
async fn edited(edit: serde_json::Value) -> (Vec<usize>, Duration) {
    let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
    let leader = stands(lock(&server), "a", 0, &terms, &said);
    sleep(S(20)).await;
    let follower = stands(lock(&server), "b", 1, &terms, &said);
    sleep(S(5)).await;
    let at = Instant::now();
    patch(&server, edit).await;
    sleep(S(120)).await;
    assert!(!leader.is_finished() && !follower.is_finished());
    let led = terms.check();
    let again = if led.len() > 1 { terms.began(1) - at } else { Duration::ZERO };
    leader.abort();
    follower.abort();
    (led, again)
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_edited_by_hand_has_never_two_leaders() {
    // The leader goes on, and puts it right.
    for harmless in [
        json!({"spec": {"leaseDurationSeconds": 1}}),
        json!({"spec": {"leaseDurationSeconds": 3600}}),
        json!({"spec": {"leaseDurationSeconds": null}}),
        json!({"metadata": {"annotations": {"seen": "yes"}, "labels": {"app": "demo"}}}),
    ] {
        assert_eq!(edited(harmless.clone()).await.0, [0], "{harmless}");
    }
    // Its term is lost; after a lease a candidate leads.
    for serious in [
        json!({"spec": {"holderIdentity": ""}}),
        json!({"spec": {"holderIdentity": null}}),
        json!({"spec": null}),
        json!({"spec": {"holderIdentity": "b"}}),
        json!({"spec": {"holderIdentity": "nobody-at-all"}}),
        json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}),
        json!({"spec": {"leaseTransitions": 77}}),
    ] {
        let (led, after) = edited(serious.clone()).await;
        assert_eq!(led.len(), 2, "{serious}: {led:?}");
        assert!(after >= S(15) && after < S(25), "{serious}: {after:?}");
    }
    // What a release looks like is one: the one that waits leads at once, while the other does not know yet.
    let server = ApiServer::new();
    create(
        &server,
        json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z"}),
    )
    .await;
    let waiting = elect(lock(&server), "b").run(|_| async { Instant::now() });
    let (ended, at) = tokio::join!(waiting, async {
        sleep(S(5)).await;
        patch(&server, json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})).await;
        Instant::now()
    });
    assert!(ended.unwrap().into_finished().unwrap() - at < MS(20));
}

/// A Lease without `leaseDurationSeconds`, whose holder renews; and an empty one, as a chart might bring along.
#[tokio::test(start_paused = true)]
async fn a_lease_that_says_no_duration_is_left_alone_as_long_as_it_is_renewed() {
    let server = ApiServer::new();
    create(&server, json!({"holderIdentity": "other-tool", "renewTime": "2020-01-01T00:00:00.000000Z"})).await;
    let began = Instant::now();
    let run = elect(lock(&server), "a").run(|_| async { Instant::now() });
    let renews = async {
        for second in 1..=5 {
            sleep(S(6)).await;
            patch(&server, json!({"spec": {"renewTime": format!("2020-01-01T00:01:0{second}.000000Z")}})).await;
        }
    };
    let (ended, ()) = tokio::join!(run, renews);
    let took = ended.unwrap().into_finished().unwrap() - began;
    assert!(took >= S(45) && took < S(46), "{took:?}");

    let (server, began) = (ApiServer::new(), Instant::now());
    create(&server, json!({})).await;
    let ended = elect(lock(&server), "a").run(|_| async { Instant::now() }).await.unwrap();
    assert_eq!(ended.into_finished().unwrap() - began, S(15), "it may have been emptied under a leader");
}
