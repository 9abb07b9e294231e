//! `ConfigMapLedger`: the record of a fleet in a ConfigMap.

use std::{collections::BTreeMap, fmt};

use futures_util::{StreamExt, TryFutureExt, future};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Error, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::Status,
};
use relent::{
    ConfigError,
    fleet::{Ledger, LedgerError, Stored, StoredStream},
};
use serde_json::json;

use crate::{ApiError, name, target};

/// The key of the ConfigMap that holds the record.
const KEY: &str = "record";

/// A ConfigMap as the ledger of a fleet: the processes that share it keep one rate together. The record is its key
/// `record`; all else in it is left alone. Every write carries the `resourceVersion` that was read.
///
/// ```no_run
/// use relent::{Rate, fleet::Fleet};
/// use relent_k8s::ConfigMapLedger;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let ledger = ConfigMapLedger::new(kube::Client::try_default().await?, "my-system", "partner-api-limit")?;
/// let member = Fleet::new(ledger, "web").rate(Rate::per_second(100)).burst(200).join()?;
/// member.limiter().ready().await;
/// # Ok(()) }
/// ```
///
/// # Rights
/// The verbs `get`, `create`, `patch` and `watch` on `configmaps`, in its namespace. All but `create` may be limited to its name:
///
/// ```yaml
/// kind: Role
/// apiVersion: rbac.authorization.k8s.io/v1
/// metadata: {name: partner-api-limit, namespace: my-system}
/// rules:
/// - {apiGroups: [""], resources: [configmaps], verbs: [create]}
/// - {apiGroups: [""], resources: [configmaps], verbs: [get, patch, watch], resourceNames: [partner-api-limit]}
/// ```
/// Where one is missing, each try is a [`Trouble`](relent::fleet::Trouble) in the server's words, with what to do.
/// Without `watch` a fleet works, and shares move a little later. Without `create`, lay the ConfigMap down beforehand.
///
/// # By hand
/// - `kubectl get configmap partner-api-limit -o yaml` shows the [record](relent::fleet#the-record).
/// - `kubectl edit configmap partner-api-limit`: a line `rate 200/s` or `burst 50` after the first one goes over what
///   the processes state. Where a member has written meanwhile kubectl says so, and the edit is made again.
/// - Before a first deployment
///   `kubectl create configmap partner-api-limit --from-literal=record=$'relent fleet 1\nsettled'` spares it the
///   `max_ttl` in which nothing is granted.
/// - After etcd was restored from a backup: `kubectl delete configmap partner-api-limit`.
///
/// # Cancel safety
/// A call that is dropped leaves nothing behind in this process. A write that is dropped may have been done or may yet be: the fleet uses
/// the lesser share until it knows.
#[derive(Clone)]
pub struct ConfigMapLedger {
    api: Api<ConfigMap>,
    namespace: String,
    name: String,
}

impl ConfigMapLedger {
    /// The ConfigMap `name` in `namespace`. It is created when it is missing; the namespace is not.
    ///
    /// # Errors
    /// What cannot be a namespace or the name of a ConfigMap.
    pub fn new(client: Client, namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, ConfigError> {
        let (namespace, name) = (namespace.into(), name.into());
        name::check("configmap namespace", &namespace)?;
        name::check("configmap name", &name)?;
        Ok(Self { api: Api::namespaced(client, &namespace), namespace, name })
    }

    /// Only a 404 that names the ConfigMap means that it is not there: a server that has just started, or something in
    /// between, may answer `404 page not found`.
    fn is_absent(&self, status: &Status) -> bool {
        status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == self.name)
    }

    /// To `kube` any JSON object is a ConfigMap, without a name.
    fn checked(&self, map: ConfigMap) -> Result<ConfigMap, LedgerError> {
        if map.metadata.name.as_deref() == Some(&*self.name) {
            Ok(map)
        } else {
            Err(self.failed(target::other_object()))
        }
    }

    fn told(&self, error: Error) -> ApiError {
        ApiError::of(error, "configmaps", &self.name, Some(&self.namespace))
    }

    fn failed(&self, error: Error) -> LedgerError {
        let conflict = matches!(&error, Error::Api(status) if status.code == 409);
        let error = self.told(error);
        if conflict { LedgerError::conflict(error) } else { LedgerError::unavailable(error) }
    }
}

impl fmt::Debug for ConfigMapLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigMapLedger")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Ledger for ConfigMapLedger {
    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        match self.api.get(&self.name).await {
            Ok(map) => self.checked(map).and_then(stored).map(Some),
            Err(Error::Api(status)) if self.is_absent(&status) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        let answer = match over {
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let data = Some(BTreeMap::from([(KEY.to_owned(), text)]));
                let map = ConfigMap { metadata, data, ..ConfigMap::default() };
                self.api.create(&PostParams::default(), &map).await
            }
            Some(version) => {
                let patch = json!({"metadata": {"resourceVersion": version.to_string()}, "data": {KEY: text}});
                self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await
            }
        };
        match answer {
            Ok(map) => version(&self.checked(map)?),
            // It was deleted since it was read.
            Err(Error::Api(status)) if over.is_some() && self.is_absent(&status) => {
                Err(LedgerError::conflict(self.told(Error::Api(status))))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Ends with the first error.
    fn watch(&self) -> StoredStream {
        let api = self.api.clone();
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let events = async move { api.watch(&params, "0").await }.try_flatten_stream();
        let events = events
            .take_while(|event| future::ready(matches!(event, Ok(event) if !matches!(event, WatchEvent::Error(_)))));
        Box::pin(events.filter_map(|event| {
            future::ready(match event {
                Ok(WatchEvent::Added(map) | WatchEvent::Modified(map)) => stored(map).ok(),
                _ => None,
            })
        }))
    }
}

fn version(map: &ConfigMap) -> Result<u128, LedgerError> {
    let version = map.resource_version().unwrap_or_default();
    let wrong = |_| LedgerError::unavailable(format!("resourceVersion {version:?} is not a whole number"));
    version.parse().map_err(wrong)
}

/// Without the key the text is empty, which is no record: what another program keeps there is not written over.
fn stored(map: ConfigMap) -> Result<Stored, LedgerError> {
    let version = version(&map)?;
    Ok(Stored::new(version, map.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default()))
}
