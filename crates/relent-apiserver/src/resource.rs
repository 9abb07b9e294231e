//! The resources that the server knows: kinds, how they are written in paths, and the rules that differ between them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{apply::Schema, custom::Custom};

/// A resource of an API group: what `kubectl api-resources` lists, and what a user registers for a custom kind.
///
/// ```
/// use relent_apiserver::ResourceKind;
///
/// let etcds = ResourceKind::new("druid.gardener.cloud", "v1alpha1", "Etcd", "etcds").with_status();
/// assert_eq!(etcds.qualified(), "etcds.druid.gardener.cloud");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ResourceKind {
    group: String,
    versions: Vec<String>,
    kind: String,
    plural: String,
    short: Vec<&'static str>,
    namespaced: bool,
    status: bool,
    scale: Option<Scale>,
    /// Of a kind that was defined with its schemas.
    custom: Option<Arc<Custom>>,
    pub(super) rules: Rules,
}

/// How the kinds differ in what the server does with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) builtin: Option<Builtin>,
    /// PUT to a name that does not exist creates it.
    pub(super) creates_on_update: bool,
    /// PUT without a resourceVersion overwrites.
    pub(super) unconditional_update: bool,
    /// `metadata.generation` is kept.
    pub(super) generation: bool,
    /// Reads an object as its type: unknown fields are dropped, wrong ones refused.
    pub(super) read: Option<fn(Value) -> Result<Value, String>>,
    /// Writes what the object does not say.
    pub(super) defaults: fn(&mut Value),
    /// How its parts are merged; `None` for a custom kind whose fields are not known.
    pub(super) schema: Option<fn() -> Schema>,
}

/// Kinds that the server treats in ways of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    ConfigMap,
    Endpoints,
    Event,
    Lease,
    Namespace,
    Node,
    Pod,
    PodDisruptionBudget,
    Secret,
    Service,
    ServiceAccount,
    /// A kind whose fields are known, and nothing more.
    Plain,
    /// A question: posted, answered, not kept.
    Review,
}

/// Where in its objects the subresource `scale` reads and writes, as JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) wanted: String,
    pub(super) there: String,
    pub(super) selector: String,
}

impl ResourceKind {
    /// A custom kind, in namespaces, without a status subresource: as a `CustomResourceDefinition` whose schema keeps
    /// unknown fields. An empty `group` is the core group.
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
        plural: impl Into<String>,
    ) -> Self {
        let rules = Rules {
            builtin: None,
            creates_on_update: false,
            unconditional_update: false,
            generation: true,
            read: None,
            defaults: |_| {},
            schema: None,
        };
        Self {
            group: group.into(),
            versions: vec![version.into()],
            kind: kind.into(),
            plural: plural.into(),
            short: Vec::new(),
            namespaced: true,
            status: false,
            scale: None,
            custom: None,
            rules,
        }
    }

    /// The kind of a type that implements `k8s_openapi::Resource`, in namespaces.
    pub fn of<K: k8s_openapi::Resource>() -> Self {
        Self::new(K::GROUP, K::VERSION, K::KIND, K::URL_PATH_SEGMENT)
    }

    /// Not in a namespace.
    pub fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// With a `scale` subresource: `spec.replicas`, `status.replicas` and `status.selector`.
    pub fn with_scale(self) -> Self {
        let path = str::to_owned;
        self.scaled(Scale {
            wanted: path("/spec/replicas"),
            there: path("/status/replicas"),
            selector: path("/status/selector"),
        })
    }

    pub(super) fn in_namespaces(mut self) -> Self {
        self.namespaced = true;
        self
    }

    /// With a status subresource: `status` is written by it alone.
    pub fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    /// Served under another version too. The objects are the same; no field is converted.
    pub fn also(mut self, version: impl Into<String>) -> Self {
        self.versions.push(version.into());
        self
    }

    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its kind, such as `ConfigMap`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its name in paths, such as `configmaps`.
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// `plural.group`, or `plural` in the core group.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Under which name its objects are stored: two groups may show the same ones.
    pub(super) fn stored(&self) -> String {
        if self.is_event_view() { self.plural.clone() } else { self.qualified() }
    }

    /// Whether it is the newer view of events, whose objects are stored as those of the core group.
    pub(super) fn is_event_view(&self) -> bool {
        self.group == "events.k8s.io"
    }

    /// How its parts are merged.
    pub(super) fn merge_schema(&self) -> Schema {
        match (self.known(), self.rules.schema) {
            (Some(custom), _) => custom.merged().clone(),
            (None, Some(schema)) => schema(),
            (None, None) => Schema::free_form(),
        }
    }

    pub(super) fn versions(&self) -> &[String] {
        &self.versions
    }

    pub(super) fn serves(&self, version: &str) -> bool {
        self.versions.iter().any(|served| served == version)
    }

    pub(super) fn is_namespaced(&self) -> bool {
        self.namespaced
    }

    pub(super) fn has_status(&self) -> bool {
        self.status
    }

    pub(super) fn is(&self, builtin: Builtin) -> bool {
        self.rules.builtin == Some(builtin)
    }

    /// `group/version`, or `version` in the core group.
    pub(super) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// A kind that the server treats in ways of its own.
    pub(super) fn builtin(mut self, builtin: Builtin) -> Self {
        self.rules.builtin = Some(builtin);
        self.rules.creates_on_update =
            matches!(builtin, Builtin::Lease | Builtin::Event | Builtin::Endpoints | Builtin::Service);
        self.rules.unconditional_update = !matches!(builtin, Builtin::Lease | Builtin::PodDisruptionBudget);
        self.rules.generation = matches!(builtin, Builtin::PodDisruptionBudget);
        self
    }

    pub(super) fn custom(mut self, custom: Arc<Custom>) -> Self {
        self.custom = Some(custom);
        self
    }

    /// With a `scale` subresource.
    pub(super) fn scaled(mut self, scale: Scale) -> Self {
        self.scale = Some(scale);
        self
    }

    pub(super) fn scale(&self) -> Option<&Scale> {
        self.scale.as_ref()
    }

    pub(super) fn is_review(&self) -> bool {
        self.is(Builtin::Review)
    }

    /// By which methods a subresource is asked; `None` for one that this server does not have.
    pub(super) fn takes(&self, subresource: &str) -> Option<&'static [&'static str]> {
        let parts: &[&str] = &["GET", "PUT", "PATCH"];
        match subresource {
            "status" if self.status => Some(parts),
            "scale" if self.scale.is_some() => Some(parts),
            "ephemeralcontainers" | "resize" if self.is(Builtin::Pod) => Some(parts),
            "eviction" if self.is(Builtin::Pod) => Some(&["POST"]),
            "log" if self.is(Builtin::Pod) => Some(&["GET"]),
            "exec" | "attach" | "portforward" if self.is(Builtin::Pod) => Some(&["GET", "POST"]),
            "token" if self.is(Builtin::ServiceAccount) => Some(&["POST"]),
            _ => None,
        }
    }

    /// What its schemas say, if it was defined with some.
    pub(super) fn known(&self) -> Option<&Custom> {
        self.custom.as_deref()
    }

    pub(super) fn generation(mut self) -> Self {
        self.rules.generation = true;
        self
    }

    pub(super) fn defaults(mut self, defaults: fn(&mut Value)) -> Self {
        self.rules.defaults = defaults;
        self
    }

    pub(super) fn schema(mut self, schema: fn() -> Schema) -> Self {
        self.rules.schema = Some(schema);
        self
    }

    pub(super) fn reads(mut self, read: fn(Value) -> Result<Value, String>) -> Self {
        self.rules.read = Some(read);
        self
    }

    pub(super) fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short.to_vec();
        self
    }

    /// Its entries in an `APIResourceList`.
    pub(super) fn described(&self) -> Vec<Value> {
        let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        let verbs = if self.is_review() { json!(["create"]) } else { json!(all) };
        let mut all = vec![json!({
            "name": self.plural, "singularName": self.kind.to_lowercase(), "namespaced": self.namespaced,
            "kind": self.kind, "verbs": verbs, "shortNames": self.short,
        })];
        let names =
            ["eviction", "ephemeralcontainers", "exec", "log", "portforward", "resize", "scale", "status", "token"];
        for name in names {
            let Some(methods) = self.takes(name) else { continue };
            // An object of its own kind, or that of the resource.
            let (group, version, kind) = match name {
                "eviction" => ("policy", "v1", "Eviction"),
                "scale" => ("autoscaling", "v1", "Scale"),
                "token" => ("authentication.k8s.io", "v1", "TokenRequest"),
                "exec" => ("", "", "PodExecOptions"),
                "portforward" => ("", "", "PodPortForwardOptions"),
                _ => ("", "", self.kind.as_str()),
            };
            let verbs = match (name, methods) {
                ("exec" | "portforward", _) => json!(["create", "get"]),
                (_, ["POST"]) => json!(["create"]),
                (_, ["GET"]) => json!(["get"]),
                _ => json!(["get", "patch", "update"]),
            };
            let mut sub = json!({
                "name": format!("{}/{name}", self.plural), "singularName": "", "namespaced": self.namespaced,
                "kind": kind, "verbs": verbs,
            });
            if !group.is_empty() {
                sub["group"] = group.into();
                sub["version"] = version.into();
            }
            all.push(sub);
        }
        all
    }
}
