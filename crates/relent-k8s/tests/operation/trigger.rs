//! What sets an operation off: once, whatever is written meanwhile, and only what was said rightly.

use relent::Change;
use relent_apiserver::{Fault, Verb};
use relent_k8s::{Contract, LongOperation};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::place::{DO, MS, Place, everywhere, status_of};

everywhere! {
    a_status_that_is_written_all_the_while
    two_at_once_are_one_after_the_other
    what_cannot_be_meant_is_refused
    annotations_of_others_stay
}

/// A controller that writes its status every few milliseconds is not in the way, though patches are slow.
async fn a_status_that_is_written_all_the_while(place: &Place) {
    if let Some(server) = place.server() {
        server.inject(Fault::delay(MS(200)).verb(Verb::Patch).path("**/backups/*"));
    }
    let (api, began) = (place.api.clone(), Instant::now());
    let writer = tokio::spawn(async move {
        for beat in 0_u64.. {
            status_of(&api, json!({"beat": beat})).await;
            sleep(MS(30)).await;
        }
    });
    sleep(MS(100)).await;
    let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
    let triggered = operation.change(json!({"spec": {"n": 2}})).unwrap().trigger().await.unwrap();
    assert_eq!(triggered.change, Change::Applied);
    writer.abort();
    if place.server().is_some() {
        assert_eq!((began.elapsed(), place.patches()), (MS(300), Some(1)));
    }
}

/// The patch holds only while no other trigger is set: of two that read the same, one waits for the other.
async fn two_at_once_are_one_after_the_other(place: &Place) {
    place.annotate(json!({"a": "b"})).await;
    let of =
        |token: &str| LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap().with_token(token);
    for round in 0..3 {
        if let Some(server) = place.server() {
            // The second comes when the first believes that it has won.
            server.inject(Fault::delay(MS(200)).verb(Verb::Patch).path("**/backups/*").skip(1).times(1));
        }
        let names = [format!("a{round}"), format!("b{round}")];
        let [a, b] = [of(&names[0]), of(&names[1])];
        let bound = MS(3_000);
        let (a, b) = tokio::join!(
            a.trigger().every(MS(50)).finish_within(bound).into_future(),
            b.trigger().every(MS(50)).finish_within(bound).into_future()
        );
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
        let lost = a.as_ref().err().or(b.as_ref().err()).unwrap();
        assert!(lost.to_string().contains("of another operation is still set"), "{lost}");
        let winner = usize::from(b.is_ok());
        let annotations = place.get().await.metadata.annotations.unwrap();
        assert_eq!(annotations["example.com/do-token"], names[winner]);
        place.annotate(json!({DO: null})).await;
    }
}

async fn what_cannot_be_meant_is_refused(place: &Place) {
    let new = |contract| LongOperation::new(place.api.clone(), "main", contract);
    let contract = || Contract::new(DO, "it");
    for (wrong, setting) in [
        (contract().echo("status/token"), "echo"),
        (contract().echo(""), "echo"),
        (contract().echo("/"), "echo"),
        (contract().errors("status/lastErrors"), "errors"),
        (contract().errors("/status/~2"), "errors"),
        (contract().observed_generation("status.observedGeneration"), "observed_generation"),
        (contract().no_conditions_at_zero("spec/replicas"), "no_conditions_at_zero"),
        (Contract::field("spec/restartAt").echo("/status/at"), "field"),
        (Contract::field("/spec/restartAt"), "field"),
        (Contract::field("/status/restartAt").echo("/status/at"), "field"),
        (Contract::field("/metadata/annotations/a").observed_generation("/status/observedGeneration"), "field"),
        (Contract::new("", "it"), "annotation"),
        (contract().token(""), "annotation"),
    ] {
        let error = new(wrong.clone()).unwrap_err();
        assert_eq!(error.setting(), setting, "{wrong:?}: {error}");
    }
    for wrong in [json!([{"op": "replace", "path": "/spec/n", "value": 2}]), json!("spec"), json!(null), json!(1)] {
        let error = new(contract()).unwrap().change(wrong).unwrap_err();
        assert_eq!(error.setting(), "change", "{error}");
    }
    assert!(new(contract().errors("/status/a~1b~0c")).is_ok());
    assert!(place.get().await.metadata.annotations.is_none());
}

/// Where there are none yet, and where others put some meanwhile.
async fn annotations_of_others_stay(place: &Place) {
    if let Some(server) = place.server() {
        server.inject(Fault::delay(MS(300)).verb(Verb::Patch).path("**/backups/*").times(1));
    }
    let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
    let trigger = tokio::spawn(operation.trigger().every(MS(50)).into_future());
    sleep(MS(100)).await;
    place.annotate(json!({"theirs": "kept"})).await;
    trigger.await.unwrap().unwrap();
    let annotations = place.get().await.metadata.annotations.unwrap();
    assert_eq!((&*annotations["theirs"], &*annotations[DO]), ("kept", "it"));
}
