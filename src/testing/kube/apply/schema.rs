//! How the parts of an object are merged: which lists have keys, which are sets, what is one piece.
//!
//! Only the exceptions are known: everywhere else lists are one piece, and objects are merged field by field. So fields that a
//! kind does not have are not refused here.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};

use super::super::resource::{Builtin, Resource};

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
pub(super) enum List<'a> {
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

    pub(super) fn list(&self) -> List<'_> {
        match &self.kind {
            Kind::Set => List::Set,
            Kind::Keyed(keys) => List::Keyed(keys),
            _ => List::Atomic,
        }
    }

    /// What an object has of itself, before anybody wrote to it: the parts that a built-in kind always has.
    pub(super) fn blank(&self) -> Value {
        match self.kind {
            Kind::Map => json!({}),
            _ => json!({ "metadata": {}, "spec": {}, "status": {} }),
        }
    }

    pub(super) fn atomic() -> Self {
        Self { kind: Kind::Atomic, ..Self::default() }
    }

    pub(super) fn set() -> Self {
        Self { kind: Kind::Set, ..Self::default() }
    }

    pub(super) fn keyed(keys: &[&str], item: Self) -> Self {
        let keys = keys.iter().map(|key| ((*key).to_owned(), None)).collect();
        Self { kind: Kind::Keyed(keys), items: Some(Box::new(item)), ..Self::default() }
    }

    /// Ports are told apart by number and protocol, and the protocol is TCP unless it says otherwise.
    fn ports(number: &str) -> Self {
        let keys = vec![(number.to_owned(), None), ("protocol".to_owned(), Some(json!("TCP")))];
        Self { kind: Kind::Keyed(keys), ..Self::default() }
    }

    pub(super) fn with(mut self, path: &str, schema: Self) -> Self {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let place = self.fields.entry(first.to_owned()).or_default();
        *place = if rest.is_empty() { schema } else { std::mem::take(place).with(rest, schema) };
        self
    }

    fn metadata() -> Self {
        Self::default()
            .with("finalizers", Self::set())
            .with("ownerReferences", Self::keyed(&["uid"], Self::atomic()))
            .with("labels", MAP.clone())
            .with("annotations", MAP.clone())
    }

    pub(super) fn object() -> Self {
        Self::default().with("metadata", Self::metadata())
    }

    fn conditions() -> Self {
        Self::keyed(&["type"], STRUCT.clone())
    }

    /// A free-form custom kind: metadata is known, all else is data.
    fn free_form() -> Self {
        let declared = ["apiVersion", "kind"].map(|name| (name.to_owned(), STRUCT.clone()));
        let metadata = ("metadata".to_owned(), Self::metadata());
        Self { kind: Kind::Map, fields: declared.into_iter().chain([metadata]).collect(), items: None }
    }

    /// Of a resource.
    pub(in super::super) fn of(resource: &Resource) -> Cow<'_, Self> {
        let schema = match resource.rules.builtin {
            None => Self::free_form(),
            Some(Builtin::Pod) => Self::object()
                .with("spec", pod_spec())
                .with("status.conditions", Self::conditions())
                .with("status.podIPs", Self::keyed(&["ip"], STRUCT.clone()))
                .with("status.resourceClaimStatuses", Self::keyed(&["name"], STRUCT.clone())),
            Some(Builtin::Service) => Self::object()
                .with("spec.ports", Self::ports("port"))
                .with("spec.selector", Self::atomic())
                .with("status.conditions", Self::conditions()),
            Some(Builtin::ServiceAccount) => Self::object().with("secrets", Self::keyed(&["name"], STRUCT.clone())),
            Some(Builtin::Node) => Self::object()
                .with("spec.podCIDRs", Self::set())
                .with("status.conditions", Self::conditions())
                .with("status.addresses", Self::keyed(&["type"], STRUCT.clone())),
            Some(Builtin::Namespace) => Self::object().with("status.conditions", Self::conditions()),
            Some(Builtin::PodDisruptionBudget) => Self::object()
                .with("spec.selector", Self::atomic())
                .with("status.conditions", Self::conditions())
                .with("status.disruptedPods", MAP.clone()),
            Some(Builtin::ConfigMap | Builtin::Secret) => {
                Self::object().with("data", MAP.clone()).with("binaryData", MAP.clone())
            }
            Some(Builtin::Event) => {
                Self::object().with("involvedObject", Self::atomic()).with("related", Self::atomic())
            }
            Some(Builtin::Endpoints | Builtin::Lease) => Self::object(),
        };
        Cow::Owned(schema)
    }
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
