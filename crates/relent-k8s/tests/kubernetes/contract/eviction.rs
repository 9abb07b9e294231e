//! Evictions and disruption budgets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::world::{Answer, World},
    Ran, facts,
};

facts![
    without_a_budget_a_pod_goes,
    a_spent_budget_refuses,
    a_new_budget_is_still_being_processed,
    a_budget_is_spent_by_an_eviction,
    what_does_not_run_is_evicted_at_once,
    two_budgets_are_too_many,
    an_eviction_has_preconditions,
    who_is_not_there_is_not_found,
];

impl World {
    async fn evict(&self, pod: &str, options: Value) -> Answer {
        let eviction = json!({
            "apiVersion": self.policy, "kind": "Eviction",
            "metadata": { "name": pod, "namespace": self.namespace }, "deleteOptions": options,
        });
        self.post(&self.core(&format!("pods/{pod}/eviction")), eviction).await
    }

    /// A budget over the pods of these tests.
    async fn budget(&self, name: &str) -> Answer {
        let spec = json!({ "minAvailable": 1, "selector": { "matchLabels": { "app": "contract" } } });
        let made = self.post(&self.budgets(""), json!({ "metadata": { "name": name }, "spec": spec })).await;
        made.is(201);
        made
    }

    /// What a disruption controller would write. One that is there may write over it.
    async fn allow(&self, name: &str, allowed: i64) {
        let status = json!({ "status": {
            "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
        } });
        self.patch("merge", &self.budgets(&format!("/{name}/status")), status).await.is(200);
    }

    /// Whether a controller writes the status of budgets here.
    async fn has_a_disruption_controller(&self) -> bool {
        if self.managed {
            return true;
        }
        self.budget("probe").await;
        if self.ours.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        let found =
            self.get(&self.budgets("/probe")).await.body["status"]["observedGeneration"].as_i64().unwrap_or(0) > 0;
        self.delete(&self.budgets("/probe")).await.is(200);
        found
    }
}

const OTHERS: Ran = Ran::No("a disruption controller writes the budgets there");

async fn without_a_budget_a_pod_goes(world: Arc<World>) -> Ran {
    world.running_pod("a").await;
    let evicted = world.evict("a", json!({ "gracePeriodSeconds": 0 })).await;
    evicted.is(201);
    assert_eq!(
        (&evicted.body["kind"], &evicted.body["status"], &evicted.body["code"]),
        (&"Status".into(), &"Success".into(), &201.into())
    );
    world.get(&world.core("pods/a")).await.is(404);
    world.running_pod("b").await;
    world.evict("b", json!({ "gracePeriodSeconds": 10 })).await.is(201);
    let going = world.get(&world.core("pods/b")).await;
    assert_eq!(going.is(200).body["metadata"]["deletionGracePeriodSeconds"], 10);
    world.delete_with(&world.core("pods/b"), json!({ "gracePeriodSeconds": 0 })).await.is(200);
    Ran::Yes
}

async fn a_spent_budget_refuses(world: Arc<World>) -> Ran {
    if world.has_a_disruption_controller().await {
        return OTHERS;
    }
    world.running_pod("a").await;
    world.budget("one").await;
    world.allow("one", 0).await;
    let refused = world.evict("a", Value::Null).await;
    refused.fails(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert_eq!(
        refused.body["details"]["causes"][0]["message"],
        "The disruption budget one needs 1 healthy pods and has 1 currently"
    );
    assert!(refused.headers.get("retry-after").is_none(), "{:?}", refused.headers);
    assert!(world.get(&world.core("pods/a")).await.is(200).body["metadata"].get("deletionTimestamp").is_none());
    Ran::Yes
}

async fn a_new_budget_is_still_being_processed(world: Arc<World>) -> Ran {
    if world.has_a_disruption_controller().await {
        return OTHERS;
    }
    world.running_pod("a").await;
    world.budget("one").await;
    let refused = world.evict("a", Value::Null).await;
    refused.fails(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        refused.body["details"]["causes"][0]["message"],
        "The disruption budget one is still being processed by the server."
    );
    // Older servers do not say when to come back.
    if world.ours.is_some() || refused.body["details"]["retryAfterSeconds"] != Value::Null {
        assert_eq!(refused.body["details"]["retryAfterSeconds"], 10);
        assert_eq!(refused.headers["retry-after"], "10");
    }
    Ran::Yes
}

async fn a_budget_is_spent_by_an_eviction(world: Arc<World>) -> Ran {
    if world.has_a_disruption_controller().await {
        return OTHERS;
    }
    world.running_pod("a").await;
    world.running_pod("b").await;
    world.budget("one").await;
    world.allow("one", 1).await;
    world.evict("a", Value::Null).await.is(201);
    let spent = world.get(&world.budgets("/one")).await;
    assert_eq!(spent.body["status"]["disruptionsAllowed"], 0, "{}", spent.text);
    assert!(spent.body["status"]["disruptedPods"]["a"].is_string(), "{}", spent.text);
    world.evict("b", Value::Null).await.is(429);
    // It is going already: nothing more to spend.
    world.evict("a", json!({ "gracePeriodSeconds": 0 })).await.is(201);
    Ran::Yes
}

async fn what_does_not_run_is_evicted_at_once(world: Arc<World>) -> Ran {
    world.pod("pending", "").await;
    world.running_pod("done").await;
    world.patch("merge", &world.core("pods/done/status"), json!({ "status": { "phase": "Succeeded" } })).await.is(200);
    world.budget("one").await;
    for pod in ["pending", "done"] {
        world.evict(pod, Value::Null).await.is(201);
        world.get(&world.core(&format!("pods/{pod}"))).await.is(404);
    }
    Ran::Yes
}

async fn two_budgets_are_too_many(world: Arc<World>) -> Ran {
    world.running_pod("a").await;
    world.budget("one").await;
    world.budget("two").await;
    let refused = world.evict("a", Value::Null).await;
    refused.is(500);
    assert!(
        refused.text.contains(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        ),
        "{}",
        refused.text
    );
    Ran::Yes
}

async fn an_eviction_has_preconditions(world: Arc<World>) -> Ran {
    if world.has_a_disruption_controller().await {
        return OTHERS;
    }
    let pod = world.running_pod("a").await;
    world.budget("one").await;
    world.allow("one", 1).await;
    let wrong = json!({ "preconditions": { "uid": "11111111-2222-3333-4444-555555555555" } });
    world.evict("a", wrong).await.fails(409, "Conflict", "11111111-2222-3333-4444-555555555555");
    assert!(world.get(&world.core("pods/a")).await.is(200).body["metadata"].get("deletionTimestamp").is_none());
    let left = world.get(&world.budgets("/one")).await.body["status"]["disruptionsAllowed"].clone();
    assert_eq!(left, 0, "the budget is spent before the precondition is looked at");
    world.allow("one", 1).await;
    world.evict("a", json!({ "preconditions": { "uid": pod.uid() } })).await.is(201);
    Ran::Yes
}

async fn who_is_not_there_is_not_found(world: Arc<World>) -> Ran {
    world.evict("nobody", Value::Null).await.fails(404, "NotFound", "pods \"nobody\" not found");
    Ran::Yes
}
