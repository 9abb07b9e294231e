//! Done is what the operation has done: not what was so before it, nor what was so of another.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use relent::{GaveUp, Stop};
use relent_k8s::{Contract, LongOperation, LongOperationError};
use serde_json::json;
use tokio::time::sleep;

use super::place::{DO, MS, Place, annotate, everywhere, status_of};

everywhere! {
    begun_is_not_done
    an_echo_at_the_end
    a_misspelt_echo_sets_nothing_off_again
    a_condition_of_an_older_generation
    errors_of_every_form
    a_trigger_that_stays
    what_must_not_be_true_and_what_ends_it
    what_failed_before_does_not_end_it
    any_field_sets_it_off
    stable_for_so_many_looks
    nothing_is_ready_at_zero
    a_changed_spec_that_is_observed
    deleted_and_created_anew
    the_token_is_taken_away
}

/// For what must not be: so long it is looked at in vain.
const SHORT: Duration = Duration::from_secs(1);
/// For what will be, on a server that is busy too.
const LONG: Duration = Duration::from_secs(20);

fn ready() -> serde_json::Value {
    json!([{"type": "Ready", "status": "True"}])
}

fn operation(place: &Place, contract: Contract) -> LongOperation {
    LongOperation::new(place.api.clone(), "main", contract).unwrap()
}

/// It ends by its bound, and says what it waited for.
#[track_caller]
fn waits_for(ended: Result<impl Sized, GaveUp<LongOperationError>>, what: &str) {
    let gave_up = ended.map(drop).expect_err("done too early");
    assert_eq!(*gave_up.stop(), Stop::Deadline, "{gave_up}");
    assert!(gave_up.to_string().contains(what), "{gave_up}");
}

/// The controller takes the annotation away when it begins, and the conditions are still those of before.
async fn begun_is_not_done(place: &Place) {
    let condition = json!([{"type": "Ready", "status": "True", "observedGeneration": 1}]);
    place.status(json!({"observedGeneration": 1, "conditions": condition})).await;
    let contract = Contract::new(DO, "it").observed_generation("/status/observedGeneration").condition("Ready");
    let operation = operation(place, contract.clone());
    operation.trigger().await.unwrap();
    place.annotate(json!({DO: null})).await;
    let early = operation.settled().every(MS(50)).finish_within(SHORT).await;
    waits_for(early, "the conditions are those of before: nothing tells that the work is done");

    // What it does shows, and then it is done.
    let settling = tokio::spawn(operation.settled().every(MS(20)).finish_within(LONG).into_future());
    sleep(MS(200)).await;
    place.status(json!({"conditions": [{"type": "Ready", "status": "False", "observedGeneration": 1}]})).await;
    sleep(MS(200)).await;
    assert!(!settling.is_finished());
    place.status(json!({"conditions": condition})).await;
    settling.await.unwrap().unwrap();

    // Where it is taken away when the work is done, that is all there is to wait for.
    let operation = super::done::operation(place, contract.taken_away_when_done());
    operation.trigger().await.unwrap();
    place.annotate(json!({DO: null})).await;
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
}

/// One trigger is one run, and done is when the token is echoed at its end.
async fn an_echo_at_the_end(place: &Place) {
    place.status(json!({"observedGeneration": 1, "conditions": ready()})).await;
    let (runs, working) = (Arc::new(Mutex::new(0)), Arc::new(AtomicBool::new(false)));
    let controller = tokio::spawn({
        let (api, runs, working) = (place.api.clone(), runs.clone(), working.clone());
        async move {
            loop {
                sleep(MS(20)).await;
                let annotations = api.get("main").await.unwrap().metadata.annotations.unwrap_or_default();
                if annotations.contains_key(DO) {
                    *runs.lock().unwrap() += 1;
                    working.store(true, Ordering::Relaxed);
                    annotate(&api, json!({DO: null})).await;
                    sleep(MS(600)).await;
                    status_of(&api, json!({"lastToken": annotations[&format!("{DO}-token")]})).await;
                    working.store(false, Ordering::Relaxed);
                }
            }
        }
    });
    let operation = operation(place, Contract::new(DO, "it").echo("/status/lastToken").condition("Ready"));
    operation.trigger().await.unwrap();
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
    assert!(!working.load(Ordering::Relaxed), "done must be done");
    sleep(MS(300)).await;
    assert_eq!(*runs.lock().unwrap(), 1);
    controller.abort();
}

/// What waits only looks: an operation is never set off again by it.
async fn a_misspelt_echo_sets_nothing_off_again(place: &Place) {
    place.status(json!({"conditions": ready()})).await;
    let operation = operation(place, Contract::new(DO, "it").echo("/status/lastTokn").condition("Ready"));
    operation.trigger().await.unwrap();
    place.annotate(json!({DO: null})).await;
    place.status(json!({"lastToken": operation.token()})).await;
    let patches = place.patches();
    let ended = operation.settled().every(MS(20)).finish_within(SHORT).await;
    waits_for(ended, "is not echoed in /status/lastTokn yet: there is nothing");
    assert_eq!(place.patches(), patches);
    assert!(!place.get().await.metadata.annotations.unwrap().contains_key(DO));
}

async fn a_condition_of_an_older_generation(place: &Place) {
    let of = |generation: i64| json!([{"type": "Ready", "status": "True", "observedGeneration": generation}]);
    place.status(json!({"conditions": of(1)})).await;
    let operation =
        operation(place, Contract::new(DO, "it").condition("Ready")).change(json!({"spec": {"n": 2}})).unwrap();
    let triggered = operation.trigger().await.unwrap();
    assert_eq!(triggered.value.generation, Some(2));
    place.annotate(json!({DO: null})).await;
    let early = operation.settled().every(MS(50)).finish_within(SHORT).await;
    waits_for(early, "condition Ready is of generation 1, the object of 2");
    place.status(json!({"conditions": of(2)})).await;
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
}

async fn errors_of_every_form(place: &Place) {
    let contract = Contract::new(DO, "it").errors("/status/lastError");
    for (errors, told) in [
        (json!("quota exceeded"), Some("quota exceeded")),
        (json!({"code": 7, "message": "quota exceeded"}), Some("quota exceeded")),
        (json!({"code": 7}), Some("{\"code\":7}")),
        (json!([{"description": "a"}, {"message": "b"}, "c"]), Some("a; b; c")),
        (json!(""), None),
        (json!([]), None),
        (json!([""]), None),
        (json!({}), None),
        (json!(null), None),
    ] {
        // The status of before goes as a whole: a merge would leave fields of the object.
        place.status(json!({"lastError": null})).await;
        place.status(json!({"lastError": errors})).await;
        let operation = operation(place, contract.clone());
        operation.trigger().await.unwrap();
        place.annotate(json!({DO: null, format!("{DO}-other"): "x"})).await;
        let ended = operation.settled().every(MS(50)).finish_within(if told.is_some() { SHORT } else { LONG }).await;
        match told {
            Some(told) => waits_for(ended, &format!("the controller reports: {told}")),
            None => drop(ended.unwrap_or_else(|gave_up| panic!("{errors}: {gave_up}"))),
        }
    }
}

/// As Flux has it: the annotation stays, and the controller echoes it.
async fn a_trigger_that_stays(place: &Place) {
    place.status(json!({"observedGeneration": 1, "lastHandledReconcileAt": "before", "conditions": ready()})).await;
    for n in 0..2 {
        let operation = operation(place, Contract::flux()).with_token(format!("request {n}"));
        operation.trigger().await.unwrap();
        let annotations = place.get().await.metadata.annotations.unwrap();
        assert_eq!(annotations["reconcile.fluxcd.io/requestedAt"], format!("request {n}"));
        let early = operation.settled().every(MS(50)).finish_within(SHORT).await;
        waits_for(
            early,
            &format!("the token request {n} is not echoed in /status/lastHandledReconcileAt yet: there is"),
        );
        place.status(json!({"lastHandledReconcileAt": operation.token()})).await;
        operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
        assert_eq!(operation.trigger().await.unwrap().change, relent::Change::AlreadySo);
    }
}

async fn what_must_not_be_true_and_what_ends_it(place: &Place) {
    let conditions = |reconciling: &str, stalled: &str| {
        json!({"observedGeneration": 1, "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "Reconciling", "status": reconciling, "reason": "Progressing"},
            {"type": "Stalled", "status": stalled, "reason": "BadSpec", "message": "no such chart"},
        ]})
    };
    place.status(conditions("True", "True")).await;
    let operation = operation(place, Contract::flux());
    operation.trigger().await.unwrap();
    // What stalled before does not end what has not begun.
    waits_for(operation.settled().every(MS(50)).finish_within(SHORT).await, "is not echoed");
    place.status(json!({"lastHandledReconcileAt": operation.token()})).await;
    let stalled = operation.settled().every(MS(50)).finish_within(LONG).await.unwrap_err();
    assert!(stalled.is_fatal() && matches!(stalled.last_error(), Some(LongOperationError::Failed { .. })), "{stalled}");
    assert!(
        stalled
            .to_string()
            .ends_with("the operation on main has failed: condition Stalled is True: BadSpec, no such chart")
    );
    place.status(conditions("True", "False")).await;
    let busy = operation.settled().every(MS(50)).finish_within(SHORT).await;
    waits_for(busy, "condition Reconciling is True: Progressing");
    place.status(conditions("False", "False")).await;
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
}

/// Nor does it where only the beginning is known.
async fn what_failed_before_does_not_end_it(place: &Place) {
    let failed = |reason: &str| json!({"conditions": [{"type": "Failed", "status": "True", "reason": reason}]});
    place.status(failed("Yesterday")).await;
    let operation = operation(place, Contract::new(DO, "it").condition("Ready").fails_on("Failed"));
    operation.trigger().await.unwrap();
    place.annotate(json!({DO: null})).await;
    waits_for(operation.settled().every(MS(50)).finish_within(SHORT).await, "condition Ready is not there");
    place.status(failed("Today")).await;
    let failed = operation.settled().every(MS(50)).finish_within(LONG).await.unwrap_err();
    assert!(failed.to_string().ends_with("condition Failed is True: Today"), "{failed}");
}

/// A field of the spec as the trigger: the generation tells.
async fn any_field_sets_it_off(place: &Place) {
    let contract = Contract::field("/spec/restart/at").observed_generation("/status/observedGeneration");
    let operation = operation(place, contract).with_token("now");
    operation.trigger().await.unwrap();
    assert_eq!(place.get().await.data["spec"], json!({"n": 1, "restart": {"at": "now"}}));
    place.status(json!({"observedGeneration": 1})).await;
    waits_for(operation.settled().every(MS(50)).finish_within(SHORT).await, "generation 2 is not observed yet (1)");
    place.status(json!({"observedGeneration": 2})).await;
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
}

/// Parts of a status come later than others.
async fn stable_for_so_many_looks(place: &Place) {
    place.status(json!({"observedGeneration": 1, "conditions": ready()})).await;
    let contract = Contract::new(DO, "it").taken_away_when_done().condition("Ready").stable_for(4);
    let operation = operation(place, contract);
    operation.trigger().await.unwrap();
    place.annotate(json!({DO: null})).await;
    let settling = tokio::spawn(operation.settled().every(MS(100)).finish_within(LONG).into_future());
    sleep(MS(150)).await;
    place.status(json!({"conditions": [{"type": "Ready", "status": "False"}]})).await;
    sleep(MS(600)).await;
    assert!(!settling.is_finished(), "it was so for two looks, and then no longer");
    place.status(json!({"conditions": ready()})).await;
    settling.await.unwrap().unwrap();
}

/// As an `Etcd` that is hibernated: its conditions are Unknown then, for ever.
async fn nothing_is_ready_at_zero(place: &Place) {
    let contract = Contract::druid_etcd().stable_for(1);
    let operation = operation(place, contract).change(json!({"spec": {"replicas": 0}})).unwrap();
    operation.trigger().await.unwrap();
    let unknown = json!([{"type": "AllMembersUpdated", "status": "Unknown"}, {"type": "Ready", "status": "Unknown"}]);
    place.status(json!({"observedGeneration": 1, "conditions": unknown})).await;
    waits_for(operation.settled().every(MS(50)).finish_within(SHORT).await, "generation 2 is not observed yet (1)");
    place.status(json!({"observedGeneration": 2, "conditions": unknown})).await;
    waits_for(operation.settled().every(MS(50)).finish_within(SHORT).await, "is not yet picked up");
    place.annotate(json!({"gardener.cloud/operation": null})).await;
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
}

/// The generation tells that it was this change: no condition has to change.
async fn a_changed_spec_that_is_observed(place: &Place) {
    place.status(json!({"observedGeneration": 1, "conditions": ready()})).await;
    let contract = Contract::new(DO, "it").observed_generation("/status/observedGeneration").condition("Ready");
    let operation = operation(place, contract).change(json!({"spec": {"n": 2, "gone": null}})).unwrap();
    operation.trigger().await.unwrap();
    assert_eq!(place.get().await.data["spec"], json!({"n": 2}));
    place.annotate(json!({DO: null})).await;
    place.status(json!({"observedGeneration": 2})).await;
    operation.settled().every(MS(50)).finish_within(LONG).await.unwrap();
}

async fn deleted_and_created_anew(place: &Place) {
    let contract = Contract::new(DO, "it").condition("Ready");
    let operation = operation(place, contract);
    operation.trigger().await.unwrap();
    place.delete().await;
    let deleted = operation.settled().every(MS(50)).finish_within(LONG).await.unwrap_err();
    assert!(deleted.is_fatal() && matches!(deleted.last_error(), Some(LongOperationError::Deleted(_))), "{deleted}");
    place.create(json!({"n": 1})).await;
    for ended in [
        operation.settled().every(MS(50)).finish_within(LONG).await.map(drop),
        operation.trigger().every(MS(50)).finish_within(LONG).await.map(drop),
    ] {
        let replaced = ended.unwrap_err();
        assert!(
            replaced.is_fatal() && matches!(replaced.last_error(), Some(LongOperationError::Replaced(_))),
            "{replaced}"
        );
    }
    assert!(place.get().await.metadata.annotations.is_none(), "the new one is not theirs to change");
}

/// A webhook or `kubectl apply --prune` takes the token away: the end cannot be known, and it is not set off a second
/// time.
async fn the_token_is_taken_away(place: &Place) {
    let operation = operation(place, Contract::new(DO, "it").condition("Ready"));
    operation.trigger().await.unwrap();
    place.annotate(json!({DO: null, format!("{DO}-token"): null})).await;
    for ended in [
        operation.settled().every(MS(50)).finish_within(LONG).await.map(drop),
        operation.trigger().every(MS(50)).finish_within(LONG).await.map(drop),
    ] {
        let gone = ended.unwrap_err();
        assert!(gone.is_fatal(), "{gone}");
        assert!(
            gone.to_string().contains("the token was taken away: example.com/do-token is not there any more"),
            "{gone}"
        );
    }
    assert!(!place.get().await.metadata.annotations.unwrap_or_default().contains_key(DO));
}
