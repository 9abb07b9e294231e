//! Leases, as electors use them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::world::World, Ran, facts};

facts![
    a_put_without_a_revision_is_invalid,
    a_put_to_a_missing_lease_makes_it,
    a_put_with_a_uid_does_not_make_it,
    times_have_six_digits,
    a_zone_is_understood,
    null_is_absent,
    durations_and_transitions_have_bounds,
    an_empty_holder_is_kept,
    unknown_fields_are_dropped,
];

async fn a_put_without_a_revision_is_invalid(world: Arc<World>) -> Ran {
    world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await.is(201);
    let put = world.put(&world.leases("/a"), &json!({ "metadata": { "name": "a" } })).await;
    // The value is 0x0 or 0, by the server's version.
    put.fails(
        422,
        "Invalid",
        "leases.coordination.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0",
    )
    .fails(422, "Invalid", ": must be specified for an update");
    let patch = world
        .patch(
            "merge",
            &world.leases("/a"),
            json!({ "metadata": { "resourceVersion": null }, "spec": { "holderIdentity": "x" } }),
        )
        .await;
    patch.fails(422, "Invalid", "metadata.resourceVersion: Invalid value: 0").fails(
        422,
        "Invalid",
        ": must be specified for an update",
    );
    Ran::Yes
}

async fn a_put_to_a_missing_lease_makes_it(world: Arc<World>) -> Ran {
    let made = world.put(&world.leases("/a"), &json!({ "metadata": { "name": "a" } })).await;
    made.is(201);
    world.delete(&world.leases("/a")).await.is(200);
    // Even with a revision that was once right.
    let old = json!({ "metadata": { "name": "a", "resourceVersion": made.revision().to_string() } });
    let again = world.put(&world.leases("/a"), &old).await;
    again.is(201);
    assert_ne!(again.uid(), made.uid());
    Ran::Yes
}

async fn a_put_with_a_uid_does_not_make_it(world: Arc<World>) -> Ran {
    let made = world.put(&world.leases("/a"), &json!({ "metadata": { "name": "a" } })).await;
    world.delete(&world.leases("/a")).await.is(200);
    let put = world.put(&world.leases("/a"), &made.body).await;
    put.fails(
        409,
        "Conflict",
        &format!("Precondition failed: UID in precondition: {}, UID in object meta: ", made.uid()),
    );
    world.get(&world.leases("/a")).await.is(404);
    Ran::Yes
}

fn renewed(time: &str) -> Value {
    json!({ "metadata": { "name": "a" }, "spec": { "renewTime": time } })
}

async fn times_have_six_digits(world: Arc<World>) -> Ran {
    for wrong in [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.000Z",
        "2026-01-02T03:04:05.0000000Z",
        "2026-01-02T03:04:05.000000",
        "2026-01-02 03:04:05.000000Z",
        "now",
    ] {
        let made = world.post(&world.leases(""), renewed(wrong)).await;
        made.fails(400, "BadRequest", "Lease in version \"v1\" cannot be handled as a Lease");
    }
    let made = world.post(&world.leases(""), renewed("2026-01-02T03:04:05.000000Z")).await;
    assert_eq!(made.is(201).body["spec"]["renewTime"], "2026-01-02T03:04:05.000000Z");
    Ran::Yes
}

async fn a_zone_is_understood(world: Arc<World>) -> Ran {
    let made = world.post(&world.leases(""), renewed("2026-01-02T03:04:05.123456+02:00")).await;
    assert_eq!(made.is(201).body["spec"]["renewTime"], "2026-01-02T01:04:05.123456Z");
    Ran::Yes
}

async fn null_is_absent(world: Arc<World>) -> Ran {
    let lease = json!({ "metadata": { "name": "a" }, "spec": { "renewTime": null, "holderIdentity": null } });
    let made = world.post(&world.leases(""), lease).await;
    made.is(201);
    assert!(
        made.body["spec"].get("renewTime").is_none() && made.body["spec"].get("holderIdentity").is_none(),
        "{}",
        made.text
    );
    Ran::Yes
}

async fn durations_and_transitions_have_bounds(world: Arc<World>) -> Ran {
    let with = |field: &str, value: i64| {
        let mut lease = json!({ "metadata": { "name": "a" }, "spec": {} });
        lease["spec"][field] = value.into();
        lease
    };
    let zero = world.post(&world.leases(""), with("leaseDurationSeconds", 0)).await;
    zero.fails(422, "Invalid", "Lease.coordination.k8s.io \"a\" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0");
    world.post(&world.leases(""), with("leaseDurationSeconds", -1)).await.is(422);
    let below = world.post(&world.leases(""), with("leaseTransitions", -1)).await;
    below.fails(422, "Invalid", "spec.leaseTransitions: Invalid value: -1: must ");
    world.post(&world.leases(""), with("leaseTransitions", 1 << 31)).await.fails(
        400,
        "BadRequest",
        "Lease in version \"v1\" cannot be handled as a Lease",
    );
    world.post(&world.leases(""), with("leaseDurationSeconds", 1)).await.is(201);
    Ran::Yes
}

async fn an_empty_holder_is_kept(world: Arc<World>) -> Ran {
    let lease = json!({ "metadata": { "name": "a" }, "spec": { "holderIdentity": "" } });
    assert_eq!(world.post(&world.leases(""), lease).await.is(201).body["spec"]["holderIdentity"], "");
    Ran::Yes
}

async fn unknown_fields_are_dropped(world: Arc<World>) -> Ran {
    let lease = json!({ "metadata": { "name": "a" }, "spec": { "colour": "red" }, "mood": "good" });
    let made = world.post(&world.leases(""), lease).await;
    made.is(201);
    assert!(!made.text.contains("colour") && !made.text.contains("mood"), "{}", made.text);
    Ran::Yes
}
