//! Operations that are triggered by an annotation or another field, and finish when a controller says so.

mod contract;
mod error;
mod observe;
mod patch;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use relent::{
    Attempt, ConfigError, Decision, Observed, Operation, Progress,
    builder::{Ensure, Settle},
    operation::{Reconciler, ReconcilerTypes},
    settle,
};
use serde_json::{Value, json};

use self::observe::{Memory, Sight};
pub use self::{contract::Contract, error::LongOperationError};
use super::{
    ApiError, Boxed,
    call::{Calls, LONGEST_ASKED, TIMEOUT},
    target::{self, Target},
    time,
};

/// One operation on one object: [`trigger`](Self::trigger) sets it off, [`settled`](Self::settled) waits for all of its
/// contract.
///
/// Its token is fixed when it is made, so that both can be repeated, also by another process that was given the token.
/// It is set off once: what waits for its end only looks.
///
/// ```no_run
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use kube::{Api, api::{ApiResource, DynamicObject, GroupVersionKind}};
/// use relent_k8s::{Contract, LongOperation};
///
/// let etcds = ApiResource::from_gvk(&GroupVersionKind::gvk("druid.gardener.cloud", "v1alpha1", "Etcd"));
/// let api: Api<DynamicObject> = Api::namespaced_with(client, "shoot--foo", &etcds);
/// let change = serde_json::json!({"spec": {"replicas": 3}});
/// let scale = LongOperation::new(api, "etcd-main", Contract::druid_etcd())?.change(change)?;
/// scale.trigger().finish_within(Duration::from_secs(60)).await?;
/// scale.settled().stall_after(Duration::from_secs(180)).finish_within(Duration::from_secs(300)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LongOperation {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api<DynamicObject>,
    name: String,
    contract: Contract,
    token: String,
    change: Value,
    memory: Mutex<Memory>,
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

impl fmt::Debug for LongOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { name, contract, token, .. } = &*self.shared;
        f.debug_struct("LongOperation")
            .field("name", name)
            .field("contract", contract)
            .field("token", token)
            .finish_non_exhaustive()
    }
}

impl LongOperation {
    /// A new operation, with the time of day as its token.
    ///
    /// # Errors
    /// A contract that cannot be kept: with a pointer that is no JSON pointer, an annotation without a name, a trigger that
    /// stays and that nothing answers.
    pub fn new(api: Api<DynamicObject>, name: impl Into<String>, contract: Contract) -> Result<Self, ConfigError> {
        contract.check()?;
        // The time of day as a name, not as a time: nothing is measured by it.
        let token = Timestamp::try_from(time::wall()).unwrap_or_default().to_string();
        Ok(Self::made(api, name.into(), contract, token, json!({})))
    }

    fn made(api: Api<DynamicObject>, name: String, contract: Contract, token: String, change: Value) -> Self {
        Self { shared: Arc::new(Shared { api, name, contract, token, change, memory: Mutex::default() }) }
    }

    /// With this token in place of the time of day: one that was used before goes on with that operation.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Self {
        let Shared { api, name, contract, change, .. } = &*self.shared;
        Self::made(api.clone(), name.clone(), contract.clone(), token.into(), change.clone())
    }

    /// What is changed together with the trigger, as a merge patch.
    ///
    /// # Errors
    /// A patch that is no object, such as the list of a JSON patch.
    pub fn change(self, change: Value) -> Result<Self, ConfigError> {
        if !change.is_object() {
            return Err(ConfigError::new(
                "change",
                change,
                "a merge patch of an object is an object: {\"spec\": {..}}",
            ));
        }
        let Shared { api, name, contract, token, .. } = &*self.shared;
        Ok(Self::made(api.clone(), name.clone(), contract.clone(), token.clone(), change))
    }

    /// What tells this operation from others.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// Sets the trigger and makes the change, once, and looks again whatever the answer: a patch that holds only for
    /// this very object while no other trigger is set. What else is written meanwhile, such as a status, is not in the
    /// way. While another operation's annotation is set it waits.
    ///
    /// Tries every second, each call has 10 s, all of it 2 minutes, if nothing else is set.
    ///
    /// # Errors
    /// [`LongOperationError`]; at once for those that [`decision`](LongOperationError::decision) calls fatal.
    pub fn trigger(&self) -> Trigger {
        Ensure::new(TriggerWork { shared: Arc::clone(&self.shared), calls: self.shared.calls() })
            .every(Duration::from_secs(1))
            .attempt_timeout(TIMEOUT)
            .max_retry_after(LONGEST_ASKED)
            .finish_within(Duration::from_secs(120))
            .when(LongOperationError::decision as fn(&LongOperationError) -> Decision)
    }

    /// Waits until all of the contract is kept: no errors, generation observed, annotation gone or token echoed,
    /// conditions as they have to be. It only looks, and writes nothing.
    ///
    /// Looks every 5 s, each look has 10 s, if nothing else is set. An annotation that stays is no movement:
    /// [`stall_after`](Settle::stall_after) ends the wait, and the error says what it hung on.
    ///
    /// # Errors
    /// [`LongOperationError`], such as [`Superseded`](LongOperationError::Superseded) where another operation was triggered meanwhile.
    pub fn settled(
        &self,
    ) -> Settle<
        impl Operation<Output = Watched, Future = Boxed<'static, Watched>> + use<>,
        fn(&LongOperationError) -> Decision,
    > {
        self.settled_with(|_| {})
    }

    /// The same, and `report` hears what is seen each time it changes, the controller's errors among it.
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    pub fn settled_with<R: FnMut(&str) + Send + 'static>(
        &self,
        report: R,
    ) -> Settle<
        impl Operation<Output = Watched, Future = Boxed<'static, Watched>> + use<R>,
        fn(&LongOperationError) -> Decision,
    > {
        let (shared, calls) = (Arc::clone(&self.shared), self.shared.calls());
        let last = Arc::new(Mutex::new((String::new(), report)));
        let observe = move |_: Attempt| {
            let (shared, calls, last) = (Arc::clone(&shared), calls.clone(), Arc::clone(&last));
            Box::pin(async move {
                let progress = shared.observe(&calls).await?;
                if let Progress::Moving(text) | Progress::Waiting(text) = &progress {
                    let (seen, report) = &mut *last.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen != text {
                        seen.clone_from(text);
                        report(text);
                    }
                }
                Ok(progress)
            }) as Boxed<'static, Watched>
        };
        settle(observe)
            .every(Duration::from_secs(5))
            .attempt_timeout(TIMEOUT)
            .max_retry_after(LONGEST_ASKED)
            .stable_for(self.shared.contract.stable_for)
            .when(LongOperationError::decision as fn(&LongOperationError) -> Decision)
    }
}

/// What [`LongOperation::trigger`] gives: an [`Ensure`] with all its words.
pub type Trigger = Ensure<TriggerWork, fn(&LongOperationError) -> Decision>;

/// The looks and acts of [`LongOperation::trigger`].
pub struct TriggerWork {
    shared: Arc<Shared>,
    calls: Calls,
}

impl ReconcilerTypes for TriggerWork {
    type Value = Triggered;
    type State = DynamicObject;
    type Error = LongOperationError;
    type Observe = Boxed<'static, Looked>;
    type Act = Boxed<'static, Patched>;
}

impl Reconciler for TriggerWork {
    fn observe(&mut self, _: Attempt) -> Self::Observe {
        let (shared, calls) = (Arc::clone(&self.shared), self.calls.clone());
        Box::pin(async move { shared.look(&calls).await })
    }

    fn act(&mut self, object: DynamicObject) -> Self::Act {
        let (shared, calls) = (Arc::clone(&self.shared), self.calls.clone());
        Box::pin(async move { shared.set_off(&calls, &object).await })
    }
}

impl fmt::Debug for TriggerWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerWork")
            .field("name", &self.shared.name)
            .field("token", &self.shared.token)
            .finish_non_exhaustive()
    }
}

type Looked = Result<Observed<Triggered, DynamicObject, LongOperationError>, LongOperationError>;
type Patched = Result<DynamicObject, LongOperationError>;
type Watched = Result<Progress<DynamicObject, LongOperationError>, LongOperationError>;

impl Shared {
    fn calls(&self) -> Calls {
        Calls::new(Target::named(&self.api, &self.name))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was answered, if it is the object: of any kind as far as `kube` knows.
    fn checked(&self, calls: &Calls, object: DynamicObject) -> Result<DynamicObject, kube::Error> {
        let url = self.api.resource_url();
        let is_of =
            |version: &str| url.contains(&format!("/apis/{version}/")) || url.contains(&format!("/api/{version}/"));
        if object.types.as_ref().is_some_and(|types| !is_of(&types.api_version)) {
            return Err(target::other_object());
        }
        calls.target.checked(object)
    }

    async fn get(&self, calls: &Calls) -> Result<DynamicObject, LongOperationError> {
        let got = async { self.checked(calls, self.api.get(&self.name).await?) };
        calls.call("get", got).await.map_err(|error| {
            // What was there, and is not any more, was deleted.
            if error.is_not_found() && self.memory().triggered {
                return LongOperationError::Deleted(self.name.clone());
            }
            self.failed("get", error)
        })
    }

    fn failed(&self, call: &'static str, error: ApiError) -> LongOperationError {
        LongOperationError::Api { call, name: self.name.clone(), error: Box::new(error) }
    }

    async fn look(&self, calls: &Calls) -> Looked {
        let object = self.get(calls).await?;
        let mut memory = self.memory();
        let sight = Sight::of(&self.contract, &object);
        if memory.triggered && sight.is_another(&mut memory) {
            return Ok(Observed::Fatal(LongOperationError::Replaced(self.name.clone())));
        }
        if sight.token() == Some(self.token.as_str()) {
            memory.triggered = true;
            return Ok(Observed::AsWanted(Triggered {
                token: self.token.clone(),
                generation: object.metadata.generation,
            }));
        }
        if memory.triggered {
            // It was set off once. To do so again is for a new operation.
            return Ok(Observed::Fatal(sight.superseded(&self.name, &self.token)));
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(Observed::Fatal(LongOperationError::Deleting(self.name.clone())));
        }
        if let Some((annotation, value)) = sight.untouched() {
            let (name, annotation, value) = (self.name.clone(), annotation.to_owned(), value.to_owned());
            return Ok(Observed::NotYetBecause(LongOperationError::Occupied { name, annotation, value }));
        }
        sight.remember_before(&mut memory);
        Ok(Observed::Differs(object))
    }

    /// Sets the trigger, if the object is still as it was seen in what matters.
    async fn set_off(&self, calls: &Calls, object: &DynamicObject) -> Patched {
        let patch = patch::trigger(object, &self.contract, &self.token, &self.change);
        let patch: Patch<()> = match serde_json::from_value(patch) {
            Ok(patch) => Patch::Json(patch),
            Err(error) => return Err(self.failed("patch", kube::Error::SerdeError(error).into())),
        };
        let parameters = PatchParams::default();
        let patched = self.api.patch(&self.name, &parameters, &patch);
        let patched = async { self.checked(calls, patched.await?) };
        calls.call("patch", patched).await.map_err(|error| self.failed("patch", error))
    }

    async fn observe(&self, calls: &Calls) -> Watched {
        let object = match self.get(calls).await {
            Ok(object) => object,
            Err(deleted @ LongOperationError::Deleted(_)) => return Ok(Progress::Failed(deleted)),
            Err(error) => return Err(error),
        };
        let progress = Sight::of(&self.contract, &object).progress(&self.name, &self.token, &mut self.memory());
        Ok(match progress {
            Progress::Done(()) => Progress::Done(object),
            Progress::Moving(text) => Progress::Moving(text),
            Progress::Waiting(text) => Progress::Waiting(text),
            Progress::Failed(error) => Progress::Failed(error),
        })
    }
}
