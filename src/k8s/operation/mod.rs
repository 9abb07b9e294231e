//! Operations that are triggered by an annotation and finish when a controller says so.

mod contract;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

pub use self::contract::Contract;
use crate::{
    Act, Attempt, Both, Decision, Ensure, Progress, Seen, Settle, ensure as ensure_of,
    k8s::{Boxed, Class, Error, classify},
    operation::Operation as Repeated,
    settle,
};

/// One operation on one object: [`trigger`](Self::trigger) sets it off, [`settled`](Self::settled) waits for all of its contract.
///
/// Its token is fixed when it is made, so that both can be repeated, also by another process that was given the token.
///
/// ```no_run
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use kube::{Api, api::{ApiResource, DynamicObject, GroupVersionKind}};
/// use relent::k8s::{Contract, Operation};
///
/// let etcds = ApiResource::from_gvk(&GroupVersionKind::gvk("druid.gardener.cloud", "v1alpha1", "Etcd"));
/// let api: Api<DynamicObject> = Api::namespaced_with(client, "shoot--foo", &etcds);
/// let scale = Operation::new(api, "etcd-main", Contract::druid_etcd()).change(serde_json::json!({"spec": {"replicas": 3}}));
/// scale.trigger().finish_within(Duration::from_secs(60)).await?;
/// scale.settled().stall_after(Duration::from_secs(180)).finish_within(Duration::from_secs(300)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Operation {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api<DynamicObject>,
    name: String,
    contract: Contract,
    token: String,
    change: Value,
}

/// The trigger is set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Triggered {
    /// What tells it from others.
    pub token: String,
    /// The generation of the object with it.
    pub generation: Option<i64>,
}

/// Why an operation is not under way, or has not finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The API server could not be asked, or refused.
    #[error("{call} {name}: {error}")]
    Api {
        /// `get` or `patch`.
        call: &'static str,
        /// The name of the object.
        name: String,
        /// What came of it, and what to do about it.
        #[source]
        error: Box<Error>,
    },
    /// There is an earlier trigger that the controller has not taken away.
    #[error("annotation {annotation}={value} of another operation is still set")]
    Occupied {
        /// The annotation.
        annotation: String,
        /// Its value.
        value: String,
    },
    /// Somebody has triggered another operation since.
    #[error("another operation was triggered since: {annotation} is {found:?}, not {expected:?}")]
    Superseded {
        /// The annotation with the token.
        annotation: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: Option<String>,
    },
    /// The object is being deleted.
    #[error("{0} is being deleted")]
    Deleting(String),
}

impl OperationError {
    /// Whether a later try may mend it: by [`classify`], save that a conflict is tried again.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self {
            // Conflicts are what the version is sent for: what there is now is read before the next try.
            Self::Api { error, .. } if error.class() == Class::Conflict => Decision::Retry,
            Self::Api { error, .. } => classify(error.get_ref()),
            Self::Occupied { .. } => Decision::Retry,
            Self::Superseded { .. } | Self::Deleting(_) => Decision::Fatal,
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { name, contract, token, .. } = &*self.shared;
        f.debug_struct("Operation")
            .field("name", name)
            .field("contract", contract)
            .field("token", token)
            .finish_non_exhaustive()
    }
}

impl Operation {
    /// A new operation, with the time of day as its token.
    #[must_use]
    pub fn new(api: Api<DynamicObject>, name: impl Into<String>, contract: Contract) -> Self {
        // The time of day as a name, not as a time: nothing is measured by it.
        let token = Timestamp::now().to_string();
        Self { shared: Arc::new(Shared { api, name: name.into(), contract, token, change: json!({}) }) }
    }

    /// With this token in place of the time of day: one that was used before goes on with that operation.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Self {
        let Shared { api, name, contract, change, .. } = &*self.shared;
        let (api, name, contract, change) = (api.clone(), name.clone(), contract.clone(), change.clone());
        Self { shared: Arc::new(Shared { api, name, contract, token: token.into(), change }) }
    }

    /// What is changed together with the trigger, as a merge patch.
    #[must_use]
    pub fn change(self, change: Value) -> Self {
        let Shared { api, name, contract, token, .. } = &*self.shared;
        let (api, name, contract, token) = (api.clone(), name.clone(), contract.clone(), token.clone());
        Self { shared: Arc::new(Shared { api, name, contract, token, change }) }
    }

    /// What tells this operation from others.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// Sets the annotation and the token, once: with the version that was read, and looked at again whatever the answer.
    /// While another operation's annotation is set it waits.
    ///
    /// Tries every second, each call has 10 s, all of it 2 minutes, if nothing else is set.
    ///
    /// # Errors
    /// [`OperationError`]; at once for those that [`decision`](OperationError::decision) calls fatal.
    #[expect(clippy::type_complexity, reason = "the types of what is repeated")]
    pub fn trigger(
        &self,
    ) -> Ensure<
        Both<
            impl Repeated<Output = Looked, Future = Boxed<'static, Looked>> + use<>,
            impl Act<String, Error = OperationError, Done = DynamicObject, Future = Boxed<'static, Patched>> + use<>,
        >,
        fn(&OperationError) -> Decision,
    > {
        let (looking, acting) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let look = move |_: Attempt| {
            let shared = Arc::clone(&looking);
            Box::pin(async move { shared.look().await }) as Boxed<'static, Looked>
        };
        let act = move |version: String| {
            let shared = Arc::clone(&acting);
            Box::pin(async move { shared.patch(&version, true).await }) as Boxed<'static, Patched>
        };
        ensure_of(look, act)
            .every(Duration::from_secs(1))
            .attempt_timeout(Duration::from_secs(10))
            .finish_within(Duration::from_secs(120))
            .classified(OperationError::decision)
    }

    /// Waits until all of the contract is kept: no errors, generation observed, annotation gone, token seen, conditions True.
    ///
    /// Looks every 5 s, each look has 10 s, if nothing else is set. An annotation that stays is no movement:
    /// [`stall_after`](Settle::stall_after) ends the wait, and the error says what it hung on.
    ///
    /// # Errors
    /// [`OperationError::Superseded`] where another operation was triggered meanwhile.
    pub fn settled(
        &self,
    ) -> Settle<
        impl Repeated<Output = Observed, Future = Boxed<'static, Observed>> + use<>,
        fn(&OperationError) -> Decision,
    > {
        self.settled_with(|_| {})
    }

    /// The same, and `report` hears what is seen each time it changes, the controller's errors among it.
    ///
    /// # Errors
    /// [`OperationError::Superseded`] where another operation was triggered meanwhile.
    pub fn settled_with<R: FnMut(&str) + Send + 'static>(
        &self,
        report: R,
    ) -> Settle<
        impl Repeated<Output = Observed, Future = Boxed<'static, Observed>> + use<R>,
        fn(&OperationError) -> Decision,
    > {
        let shared = Arc::clone(&self.shared);
        let last = Arc::new(Mutex::new((String::new(), report)));
        let observe = move |_: Attempt| {
            let (shared, last) = (Arc::clone(&shared), Arc::clone(&last));
            Box::pin(async move {
                let progress = shared.observe().await?;
                if let Progress::Moving(text) | Progress::Waiting(text) = &progress {
                    let (seen, report) = &mut *last.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen != text {
                        seen.clone_from(text);
                        report(text);
                    }
                }
                Ok(progress)
            }) as Boxed<'static, Observed>
        };
        settle(observe)
            .every(Duration::from_secs(5))
            .attempt_timeout(Duration::from_secs(10))
            .classified(OperationError::decision)
    }
}

type Looked = Result<Seen<Triggered, String, OperationError>, OperationError>;
type Patched = Result<DynamicObject, OperationError>;
type Observed = Result<Progress<DynamicObject, OperationError>, OperationError>;

impl Shared {
    async fn get(&self) -> Result<DynamicObject, OperationError> {
        self.api.get(&self.name).await.map_err(self.failed("get"))
    }

    fn failed(&self, call: &'static str) -> impl FnOnce(kube::Error) -> OperationError {
        let (name, namespace) = (self.name.clone(), self.api.namespace().map(str::to_owned));
        move |error| {
            let error = Box::new(Error::in_namespace(error, namespace.as_deref()));
            OperationError::Api { call, name, error }
        }
    }

    async fn look(&self) -> Result<Seen<Triggered, String, OperationError>, OperationError> {
        let object = self.get().await?;
        let annotation = |key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key));
        if annotation(&self.contract.token_key()).is_some_and(|token| *token == self.token) {
            return Ok(Seen::AsWanted(Triggered { token: self.token.clone(), generation: object.metadata.generation }));
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(Seen::Fatal(OperationError::Deleting(self.name.clone())));
        }
        if let Some(value) = annotation(&self.contract.annotation) {
            let (annotation, value) = (self.contract.annotation.clone(), value.clone());
            return Ok(Seen::NotYetBecause(OperationError::Occupied { annotation, value }));
        }
        Ok(Seen::Differs(object.metadata.resource_version.unwrap_or_default()))
    }

    /// Sets the trigger, if the object still has this version.
    async fn patch(&self, version: &str, with_change: bool) -> Result<DynamicObject, OperationError> {
        let mut patch = if with_change { self.change.clone() } else { json!({}) };
        merge(
            &mut patch,
            json!({"metadata": {
                "resourceVersion": version,
                "annotations": { &self.contract.annotation: self.contract.value, self.contract.token_key(): self.token },
            }}),
        );
        let patched = self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map_err(self.failed("patch"))
    }

    async fn observe(&self) -> Result<Progress<DynamicObject, OperationError>, OperationError> {
        let object = self.get().await?;
        let contract = &self.contract;
        let annotation = |key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let key = contract.token_key();
        if annotation(&key).is_none_or(|found| *found != self.token) {
            let (expected, found) = (self.token.clone(), annotation(&key).cloned());
            return Ok(Progress::Failed(OperationError::Superseded { annotation: key, expected, found }));
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(Progress::Failed(OperationError::Deleting(self.name.clone())));
        }
        let errors = contract.errors.as_ref().and_then(|at| object.data.pointer(at)).and_then(Value::as_array);
        if let Some(errors) = errors.filter(|errors| !errors.is_empty()) {
            let texts: Vec<_> = errors.iter().map(text_of).collect();
            return Ok(Progress::Waiting(format!("the controller reports: {}", texts.join("; "))));
        }
        if let Some(at) = &contract.generation {
            let (observed, wanted) = (object.data.pointer(at).and_then(Value::as_i64), object.metadata.generation);
            if observed < wanted {
                let observed = observed.map_or("none".to_owned(), |observed| observed.to_string());
                return Ok(Progress::Waiting(format!(
                    "generation {} is not observed yet ({observed})",
                    wanted.unwrap_or(0)
                )));
            }
        }
        if let Some(value) = annotation(&contract.annotation) {
            return Ok(Progress::Waiting(format!("annotation {}={value} is not yet picked up", contract.annotation)));
        }
        if let Some(at) = &contract.echo {
            let echoed = object.data.pointer(at).and_then(Value::as_str);
            if echoed != Some(self.token.as_str()) {
                // It was taken away by one that has not seen this token: nobody will come for it any more.
                let version = object.metadata.resource_version.unwrap_or_default();
                self.patch(&version, false).await?;
                return Ok(Progress::Moving(format!(
                    "annotation {} was taken away before the token was seen, and is set again",
                    contract.annotation
                )));
            }
        }
        let unmet = contract.conditions.iter().filter_map(|kind| unmet(&object.data, kind)).collect::<Vec<_>>();
        Ok(if unmet.is_empty() { Progress::Done(object) } else { Progress::Moving(unmet.join("; ")) })
    }
}

/// What a condition that is not True looks like.
fn unmet(data: &Value, kind: &str) -> Option<String> {
    let conditions = data.pointer("/status/conditions").and_then(Value::as_array);
    let condition = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    let Some(condition) = condition else { return Some(format!("condition {kind} is not there")) };
    let part = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    if part("status") == "True" {
        return None;
    }
    let why: Vec<_> = [part("reason"), part("message")].into_iter().filter(|text| !text.is_empty()).collect();
    let colon = if why.is_empty() { "" } else { ": " };
    Some(format!("condition {kind} is {}{colon}{}", part("status"), why.join(", ")))
}

/// One reported error: its description, or all of it.
fn text_of(error: &Value) -> String {
    let described = ["description", "message"].iter().find_map(|key| error.get(key)).unwrap_or(error);
    described.as_str().map_or_else(|| described.to_string(), str::to_owned)
}

/// Lays one JSON object over another.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}
