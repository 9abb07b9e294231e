//! How the parts of an object are merged: which lists have keys, which are sets, what is one piece.
//!
//! Only the exceptions are known: everywhere else lists are one piece, and objects are merged field by field. So fields
//! that a kind does not have are not refused here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How a value and what is below it are merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Schema {
    kind: Kind,
    fields: BTreeMap<String, Schema>,
    /// Of the items of a list, or the values of a map.
    items: Option<Box<Schema>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Kind {
    /// A list is one piece; an object has fields, and each of its names is one.
    #[default]
    Struct,
    /// A list is one piece; the names in an object are data.
    Map,
    /// One piece, whatever it is.
    Atomic,
    /// A list whose items are told apart by these fields; with what a field is where an item lacks it.
    Keyed(Vec<(String, Option<Value>)>),
    /// A list of different values.
    Set,
}

/// How a list is merged.
pub(in super::super) enum List<'a> {
    Atomic,
    Set,
    Keyed(&'a [(String, Option<Value>)]),
}

static STRUCT: Schema = Schema { kind: Kind::Struct, fields: BTreeMap::new(), items: None };
pub(super) static MAP: Schema = Schema { kind: Kind::Map, fields: BTreeMap::new(), items: None };

impl Schema {
    /// Of a field.
    pub(super) fn field(&self, name: &str) -> &Self {
        let unknown = || match (&self.items, &self.kind) {
            (Some(items), _) => items,
            (None, Kind::Map) => &MAP,
            (None, _) => &STRUCT,
        };
        self.fields.get(name).unwrap_or_else(unknown)
    }

    /// What is at a path of fields, without the items of lists on the way.
    pub(in super::super) fn at(&self, path: &str) -> &Self {
        path.split('.').fold(self, |place, field| place.item_or_self().field(field))
    }

    /// What the items of a list are like, or else this.
    fn item_or_self(&self) -> &Self {
        match self.kind {
            Kind::Keyed(_) | Kind::Set => self.item(),
            _ => self,
        }
    }

    /// Whether a name is a field that the kind has, rather than data.
    pub(super) fn declares(&self, name: &str) -> bool {
        !matches!(self.kind, Kind::Map) || self.fields.contains_key(name)
    }

    /// Of an item of the list.
    pub(super) fn item(&self) -> &Self {
        self.items.as_deref().unwrap_or(&STRUCT)
    }

    pub(super) fn is_atomic(&self) -> bool {
        self.kind == Kind::Atomic
    }

    pub(in super::super) fn list(&self) -> List<'_> {
        match &self.kind {
            Kind::Set => List::Set,
            Kind::Keyed(keys) => List::Keyed(keys),
            _ => List::Atomic,
        }
    }

    /// What an object has of itself, before anything was written to it: the parts that a built-in kind always has.
    pub(super) fn blank(&self) -> Value {
        match self.kind {
            Kind::Map => json!({}),
            _ => json!({ "metadata": {}, "spec": {}, "status": {} }),
        }
    }

    pub(in super::super) fn atomic() -> Self {
        Self { kind: Kind::Atomic, ..Self::default() }
    }

    pub(in super::super) fn set() -> Self {
        Self { kind: Kind::Set, ..Self::default() }
    }

    pub(super) fn keyed(keys: &[&str], item: Self) -> Self {
        let keys = keys.iter().map(|key| ((*key).to_owned(), None)).collect();
        Self { kind: Kind::Keyed(keys), items: Some(Box::new(item)), ..Self::default() }
    }

    pub(in super::super) fn keyed_with_defaults(keys: Vec<(String, Option<Value>)>, item: Self) -> Self {
        Self { kind: Kind::Keyed(keys), items: Some(Box::new(item)), ..Self::default() }
    }

    /// An object with these fields; other names in it are data.
    pub(in super::super) fn declared(fields: BTreeMap<String, Self>, values: Option<Self>) -> Self {
        Self { kind: Kind::Map, fields, items: values.map(Box::new) }
    }

    /// Ports are told apart by number and protocol, and the protocol is TCP unless it says otherwise.
    fn ports(number: &str) -> Self {
        let keys = vec![(number.to_owned(), None), ("protocol".to_owned(), Some(json!("TCP")))];
        Self { kind: Kind::Keyed(keys), ..Self::default() }
    }

    pub(in super::super) fn with(mut self, path: &str, schema: Self) -> Self {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let place = self.fields.entry(first.to_owned()).or_default();
        *place = if rest.is_empty() { schema } else { std::mem::take(place).with(rest, schema) };
        self
    }

    pub(in super::super) fn metadata() -> Self {
        Self::default()
            .with("finalizers", Self::set())
            .with("ownerReferences", Self::keyed(&["uid"], Self::atomic()))
            .with("labels", MAP.clone())
            .with("annotations", MAP.clone())
    }

    pub(in super::super) fn object() -> Self {
        Self::default().with("metadata", Self::metadata())
    }

    fn conditions() -> Self {
        Self::keyed(&["type"], STRUCT.clone())
    }

    /// A free-form custom kind: metadata is known, all else is data.
    pub(in super::super) fn free_form() -> Self {
        let declared = ["apiVersion", "kind"].map(|name| (name.to_owned(), STRUCT.clone()));
        let metadata = ("metadata".to_owned(), Self::metadata());
        Self { kind: Kind::Map, fields: declared.into_iter().chain([metadata]).collect(), items: None }
    }

    pub(in super::super) fn with_conditions() -> Self {
        Self::object().with("status.conditions", Self::conditions())
    }

    pub(in super::super) fn of_data() -> Self {
        Self::object().with("data", MAP.clone()).with("binaryData", MAP.clone())
    }

    pub(in super::super) fn of_event() -> Self {
        Self::object().with("involvedObject", Self::atomic()).with("related", Self::atomic())
    }

    pub(in super::super) fn of_node() -> Self {
        Self::with_conditions()
            .with("spec.podCIDRs", Self::set())
            .with("status.addresses", Self::keyed(&["type"], STRUCT.clone()))
    }

    pub(in super::super) fn of_pod() -> Self {
        Self::with_conditions()
            .with("spec", pod_spec())
            .with("status.podIPs", Self::keyed(&["ip"], STRUCT.clone()))
            .with("status.resourceClaimStatuses", Self::keyed(&["name"], STRUCT.clone()))
    }

    pub(in super::super) fn of_account() -> Self {
        Self::object().with("secrets", Self::keyed(&["name"], STRUCT.clone()))
    }

    pub(in super::super) fn of_service() -> Self {
        Self::with_conditions().with("spec.ports", Self::ports("port")).with("spec.selector", Self::atomic())
    }

    pub(in super::super) fn of_budget() -> Self {
        Self::with_conditions().with("spec.selector", Self::atomic()).with("status.disruptedPods", MAP.clone())
    }

    pub(in super::super) fn of_volume() -> Self {
        Self::object().with("spec.claimRef", Self::atomic()).with("spec.capacity", MAP.clone())
    }

    /// Of kinds with a selector and the template of a pod.
    pub(in super::super) fn of_workload() -> Self {
        Self::with_conditions().with("spec.selector", Self::atomic()).with("spec.template", template())
    }

    /// Its conditions are one piece.
    pub(in super::super) fn of_job() -> Self {
        Self::object().with("spec.selector", Self::atomic()).with("spec.template", template())
    }

    pub(in super::super) fn of_cron_job() -> Self {
        Self::object()
            .with("spec.jobTemplate.metadata", Self::metadata())
            .with("spec.jobTemplate.spec.selector", Self::atomic())
            .with("spec.jobTemplate.spec.template", template())
    }

    pub(in super::super) fn of_binding() -> Self {
        Self::object().with("roleRef", Self::atomic())
    }

    pub(in super::super) fn of_ingress() -> Self {
        let port = || Self::default().with("service.port", Self::atomic()).with("resource", Self::atomic());
        Self::object().with("spec.defaultBackend", port())
    }

    pub(in super::super) fn of_network_policy() -> Self {
        Self::object().with("spec.podSelector", Self::atomic())
    }
}

fn template() -> Schema {
    Schema::default().with("metadata", Schema::metadata()).with("spec", pod_spec())
}

fn pod_spec() -> Schema {
    let mut spec = Schema::default();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        spec = spec.with(list, Schema::keyed(&["name"], container()));
    }
    for list in ["imagePullSecrets", "resourceClaims", "schedulingGates"] {
        spec = spec.with(list, Schema::keyed(&["name"], STRUCT.clone()));
    }
    let required = "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    spec.with("volumes", Schema::keyed(&["name"], STRUCT.clone()))
        .with("hostAliases", Schema::keyed(&["ip"], STRUCT.clone()))
        .with("topologySpreadConstraints", Schema::keyed(&["topologyKey", "whenUnsatisfiable"], STRUCT.clone()))
        .with("nodeSelector", Schema::atomic())
        .with(&format!("affinity.{required}"), Schema::atomic())
}

fn container() -> Schema {
    let mut env = Schema::default();
    for source in ["fieldRef", "configMapKeyRef", "secretKeyRef", "resourceFieldRef"] {
        env = env.with(&format!("valueFrom.{source}"), Schema::atomic());
    }
    Schema::default()
        .with("env", Schema::keyed(&["name"], env))
        .with("ports", Schema::ports("containerPort"))
        .with("volumeMounts", Schema::keyed(&["mountPath"], STRUCT.clone()))
        .with("volumeDevices", Schema::keyed(&["devicePath"], STRUCT.clone()))
        .with("resources.limits", MAP.clone())
        .with("resources.requests", MAP.clone())
        .with("resources.claims", Schema::keyed(&["name"], STRUCT.clone()))
}
