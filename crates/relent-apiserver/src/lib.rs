//! A Kubernetes API server inside this process, for tests: feature `test-util` together with `k8s`.
//!
//! [`ApiServer`] is a tower service for `kube::Client`: no socket, no thread, so it runs under tokio's paused clock and a test
//! sees every wait. It can also [listen](ApiServer::listen) on a loopback port, for `kubectl` and other processes.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), kube::Error> {
//! use std::time::Duration;
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::{Api, api::PostParams};
//! use relent_apiserver::{ApiServer, Fault, Verb};
//!
//! let server = ApiServer::new();
//! let maps: Api<ConfigMap> = Api::namespaced(server.client(), "kube-system");
//! let mut map = ConfigMap::default();
//! map.metadata.name = Some("kube-proxy".to_owned());
//! maps.create(&PostParams::default(), &map).await?;
//!
//! let slow = server.inject(Fault::delay(Duration::from_millis(340)).verb(Verb::Get).path("**/configmaps/*").times(1));
//! assert_eq!(maps.get("kube-proxy").await?.metadata.name.as_deref(), Some("kube-proxy"));
//! assert_eq!(slow.hits(), 1);
//! let journal = server.journal();
//! assert_eq!((journal[1].verb, journal[1].code), (Verb::Get, Some(200)));
//! # Ok(()) }
//! ```
//!
//! # What it does
//! - The kinds of the core group, of `apps`, `batch`, `autoscaling/v2`, `rbac`, `networking`, `storage`, `discovery`,
//!   `scheduling`, `coordination` and `policy` (`v1` and `v1beta1`) that controllers use, with their defaults; and whatever is
//!   [registered](ApiServer::register) or defined by a `CustomResourceDefinition`: established at once, pruned, completed and
//!   checked by its schema, and applied by the keys of its lists.
//! - One revision for everything, never used twice; uid, generation, creationTimestamp; the status subresource.
//! - Create, get, list (label and field selectors, pages of one revision, `resourceVersionMatch`), update, patch (merge, JSON,
//!   strategic merge), delete (preconditions, finalizers, the grace of pods), delete a collection, dry runs.
//! - Watches: every change once and in order, bookmarks, `sendInitialEvents`, `timeoutSeconds`, `410 Expired` after
//!   [`compact`](ApiServer::compact).
//! - Server-side apply of objects and of their status: `managedFields`, conflicts in the words of a real server, force, lists
//!   with keys, sets, YAML. Every other write owns what it changes, too.
//! - `pods/eviction` against disruption budgets.
//! - `Status` bodies in the words of a real server. A contract of about a hundred facts is asked of this server and of
//!   kube-apiserver alike.
//! - [Users and rules](ApiServer::user), [faults](ApiServer::inject), a [journal](ApiServer::journal).
//! - Events in both groups; metadata alone (`PartialObjectMetadata`) for get, list and watch.
//! - Discovery, aggregated too.
//!
//! # What it does not do
//! It says so, with 501 `NotImplemented` and a `Status` that names it: subresources other than `status` and
//! `pods/eviction` (logs, exec, scale, binding, ..), impersonation, paths with `/watch/`. Other formats than JSON are
//! answered with 415 or 406.
//!
//! # Where it is simpler
//! - No controllers: nobody makes service accounts, collects garbage, schedules or runs pods, or writes the status of a
//!   budget. A pod on a node keeps its deletionTimestamp until somebody deletes it with a grace period of 0, as a kubelet does.
//!   Namespaces are the exception: deleting one deletes what is in it.
//! - Only those rules of the kinds are checked that callers meet: names, labels, annotations, sizes, immutable maps, times and
//!   numbers of leases, the fixed fields of pods. Custom kinds that were registered keep every field; of schemas no patterns, formats, `oneOf` and rules in CEL
//!   are evaluated. Versions are not converted.
//! - Apply knows which lists have keys, and refuses no field that a kind does not have: a real server answers 500 there.
//! - No tables, no OpenAPI: `kubectl create -f` and `kubectl apply` need `--validate=false`, and
//!   `kubectl create namespace` (configmap, ..) of newer versions, which speaks protobuf, is answered with 415.
//! - History is kept until [`compact`](ApiServer::compact). A watch without `timeoutSeconds` has no end.
//! - Times that the server writes follow tokio's clock from the wall clock at its start.

mod access;
mod apply;
mod body;
mod broken;
mod crd;
mod defaults;
mod delete;
mod discovery;
mod event;
mod evict;
mod failure;
mod fault;
mod journal;
mod kinds;
mod listen;
mod object;
mod openapi;
mod patch;
mod read;
mod request;
mod resource;
mod selector;
mod server;
mod shape;
mod state;
mod store;
mod strategic;
mod time;
mod watch;
mod write;

pub use self::{
    access::Rule,
    body::Body,
    fault::Fault,
    journal::Entry,
    listen::Listening,
    request::Verb,
    resource::Resource,
    server::{ApiServer, Injected},
};
