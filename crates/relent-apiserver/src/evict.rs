//! `pods/eviction`: deletion that asks the disruption budgets first.

use serde_json::{Value, json};

use super::{
    delete::{self, Options},
    failure::Failure,
    object,
    request::Call,
    selector::Selector,
    state::State,
    store::Key,
};

/// The most pods that a budget holds as evicted and not yet gone.
const UNCONFIRMED_LIMIT: usize = 2000;

/// POST of an `Eviction` (`policy/v1` or `policy/v1beta1`).
pub(super) fn evict(state: &mut State, call: &Call, body: &[u8]) -> Result<Value, Failure> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    let version = body.get("apiVersion").and_then(Value::as_str).unwrap_or("");
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or("");
    if kind != "Eviction" || !matches!(version, "policy/v1" | "policy/v1beta1") {
        return Err(Failure::bad_request(format!("no kind \"{kind}\" is registered for version \"{version}\"")));
    }
    let named = object::meta(&body, "name");
    if !named.is_empty() && named != call.name {
        return Err(Failure::bad_request(format!(
            "name in URL does not match name in Eviction object: {} != {named}",
            call.name
        )));
    }
    let Some(pod) = state.store.get(&call.key(&call.name)).cloned() else {
        return Err(Failure::not_found(&call.resource, &call.name));
    };
    let options = Options::read(body.get("deleteOptions").unwrap_or(&Value::Null));
    // A pod that does not run, or is already going, is no loss.
    let phase = object::text(&pod, "/status/phase").unwrap_or("");
    let runs = !matches!(phase, "Pending" | "Succeeded" | "Failed") && !object::is_terminating(&pod);
    if runs && let Some(key) = budget_of(state, call, &pod)? {
        spend(state, &key, call)?;
    }
    let delete = Call { verb: super::Verb::Delete, subresource: String::new(), ..call.clone() };
    delete::one(state, &delete, &options)?;
    Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }))
}

/// The one budget that chooses this pod.
fn budget_of(state: &State, call: &Call, pod: &Value) -> Result<Option<Key>, Failure> {
    let resource = "poddisruptionbudgets.policy".into();
    let mut chosen = state.store.list(&resource, Some(&call.namespace)).filter(|(_, budget)| {
        let selector = budget.pointer("/spec/selector").and_then(Selector::from_label_selector);
        selector.is_some_and(|selector| selector.matches(pod))
    });
    let first = chosen.next().map(|(key, _)| key.clone());
    if chosen.next().is_some() {
        let message =
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Failure::new(500, "InternalError", message));
    }
    Ok(first)
}

/// Takes one disruption from a budget.
fn spend(state: &mut State, key: &Key, call: &Call) -> Result<(), Failure> {
    let Some(budget) = state.store.get(key).cloned() else { return Ok(()) };
    let count = |field: &str| object::number(&budget, &format!("/status/{field}")).unwrap_or(0);
    let name = &key.name;
    if count("observedGeneration") < object::number(&budget, "/metadata/generation").unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Failure::disruption_budget(&cause, Some(10)));
    }
    let resource = state.resources.qualified("poddisruptionbudgets.policy").cloned();
    let forbidden = |why: &str| {
        resource.as_ref().map_or_else(|| Failure::internal(why), |resource| Failure::forbidden(resource, name, why))
    };
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let pending = budget.pointer("/status/disruptedPods").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if pending > UNCONFIRMED_LIMIT {
        return Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        let cause = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy"),
        );
        return Err(Failure::disruption_budget(&cause, None));
    }
    let mut spent = (*budget).clone();
    object::set(&mut spent, &["status", "disruptionsAllowed"], (allowed - 1).into());
    object::set(&mut spent, &["status", "disruptedPods", &call.name], state.stamp(0).into());
    state.store.put(key.clone(), &spent);
    Ok(())
}
