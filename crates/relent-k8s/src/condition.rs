//! What can be waited for, and conditions that heed which generation they speak of.

use kube::runtime::wait::Condition;
use serde::Serialize;
use serde_json::Value;

/// What a condition says about what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these three are what a condition can say")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not hold yet.
    NotYet,
    /// It never will, and this is why.
    Never(String),
}

impl From<bool> for Verdict {
    fn from(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::NotYet }
    }
}

/// What [`wait`](super::wait()) waits for: every [`Condition`] of kube-runtime, closures `|object: Option<&K>| bool`
/// among them, and what [`unless`] makes of one. `A` is what it answers by itself, `bool` or [`Verdict`], and is
/// inferred.
pub trait Awaited<K, A> {
    /// Looks at the object; `None`: there is none.
    fn judge(&self, object: Option<&K>) -> Verdict;
}

impl<K, C: Condition<K>> Awaited<K, bool> for C {
    fn judge(&self, object: Option<&K>) -> Verdict {
        self.matches_object(object).into()
    }
}

/// A condition that may never hold any more: made by [`unless`].
#[derive(Clone, Copy, Debug)]
pub struct Unless<C, N> {
    condition: C,
    never: N,
}

impl<K, C, N> Awaited<K, Verdict> for Unless<C, N>
where
    C: Condition<K>,
    N: Fn(Option<&K>) -> Option<String>,
{
    fn judge(&self, object: Option<&K>) -> Verdict {
        if self.condition.matches_object(object) {
            return Verdict::Holds;
        }
        (self.never)(object).map_or(Verdict::NotYet, Verdict::Never)
    }
}

/// `condition`, unless `never` says why it will never hold: that ends a [`wait`](super::wait()) at once, with these
/// words in its error. Where both are so, the condition holds.
///
/// ```
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use k8s_openapi::api::batch::v1::Job;
/// use kube::{Api, runtime::wait::conditions::is_job_completed};
/// use relent_k8s::{conditions, unless, wait};
///
/// // A failed Job does not sit out the fifteen minutes.
/// let jobs: Api<Job> = Api::default_namespaced(client);
/// wait(jobs, "build", unless(is_job_completed(), conditions::why_true("Failed")))
///     .finish_within(std::time::Duration::from_secs(900))
///     .await?;
/// # Ok(()) }
/// ```
pub fn unless<K, C, N>(condition: C, never: N) -> Unless<C, N>
where
    C: Condition<K>,
    N: Fn(Option<&K>) -> Option<String>,
{
    Unless { condition, never }
}

/// Conditions beside those of [`kube::runtime::wait::conditions`].
///
/// kube's ready-made conditions do not ask of which generation of the object its status speaks. Right after a change of
/// the spec the status is still that of before, and
/// [`is_deployment_completed`](kube::runtime::wait::conditions::is_deployment_completed) holds at once. Ask for both:
/// `is_observed().and(is_deployment_completed())`.
pub mod conditions {
    use kube::runtime::wait::Condition;
    use serde::Serialize;
    use serde_json::Value;

    use super::{find, is_of_generation, json, said_of};

    /// The controller has seen the object as it is: `status.observedGeneration` is its generation. For kinds that write
    /// it.
    ///
    /// ```
    /// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use k8s_openapi::api::apps::v1::Deployment;
    /// use kube::{Api, runtime::wait::{Condition, conditions::is_deployment_completed}};
    /// use relent_k8s::{conditions::is_observed, wait};
    ///
    /// let deployments: Api<Deployment> = Api::default_namespaced(client);
    /// wait(deployments, "web", is_observed().and(is_deployment_completed())).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_observed<K: Serialize>() -> impl Condition<K> + Clone {
        |object: Option<&K>| {
            let Some(object) = object.and_then(json) else { return false };
            let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
            observed.is_some() && observed >= object.pointer("/metadata/generation").and_then(Value::as_i64)
        }
    }

    /// The condition of this type in `status.conditions` is True, and speaks of the object as it is: neither its own
    /// `observedGeneration` nor that of the status, where there are such, is of an older generation.
    ///
    /// ```
    /// use kube::{api::DynamicObject, runtime::wait::Condition};
    /// use relent_k8s::conditions::is_true;
    /// use serde_json::json;
    ///
    /// let at = |observed: i64| -> DynamicObject {
    ///     serde_json::from_value(json!({
    ///         "metadata": {"name": "it", "generation": 2},
    ///         "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": observed}]},
    ///     }))
    ///     .unwrap()
    /// };
    /// assert!(!is_true("Ready").matches_object(Some(&at(1))));
    /// assert!(is_true("Ready").matches_object(Some(&at(2))));
    /// ```
    pub fn is_true<K: Serialize>(kind: impl Into<String>) -> impl Condition<K> + Clone {
        let why = why_true(kind);
        move |object: Option<&K>| why(object).is_some()
    }

    /// For [`unless`](super::unless()): what the condition of this type says, its reason and message, if it
    /// [`is_true`].
    pub fn why_true<K: Serialize>(kind: impl Into<String>) -> impl Fn(Option<&K>) -> Option<String> + Clone {
        let kind = kind.into();
        move |object: Option<&K>| {
            let object = json(object?)?;
            let condition = find(&object, "/status/conditions", &kind)?;
            let observed = object.pointer("/status/observedGeneration");
            let is_current =
                is_of_generation(&object, condition.get("observedGeneration")) && is_of_generation(&object, observed);
            (condition["status"] == "True" && is_current).then(|| said_of(condition))
        }
    }
}

fn json(object: &impl Serialize) -> Option<Value> {
    serde_json::to_value(object).ok()
}

/// The condition of this type in the list that is there.
pub(super) fn find<'a>(object: &'a Value, at: &str, kind: &str) -> Option<&'a Value> {
    object.pointer(at).and_then(Value::as_array)?.iter().find(|condition| condition["type"] == kind)
}

/// Whether what was observed is not of an older generation than the object's; what says nothing is taken to be.
pub(super) fn is_of_generation(object: &Value, observed: Option<&Value>) -> bool {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    observed.and_then(Value::as_i64).is_none_or(|observed| generation.is_none_or(|generation| observed >= generation))
}

/// A condition in words: `condition Ready is False: Reason, message`.
pub(super) fn said_of(condition: &Value) -> String {
    let part = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    let why: Vec<_> = [part("reason"), part("message")].into_iter().filter(|text| !text.is_empty()).collect();
    let colon = if why.is_empty() { "" } else { ": " };
    format!("condition {} is {}{colon}{}", part("type"), part("status"), why.join(", "))
}
