//! A Kubernetes API server inside the test process: for the tests of any controller.
//!
//! [`ApiServer`] is a tower service for `kube::Client`: no socket, no thread, so it runs under tokio's paused clock and
//! a test sees every wait. It can also [listen](ApiServer::listen) on a loopback port, for `kubectl` and other
//! processes.
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
//! # What it is not
//! Nothing runs behind it: no scheduler, no kubelet, no controllers but the garbage collector if it is [asked
//! for](ApiServer::with_garbage_collector), no admission webhooks, no conversion between versions. What it does not do
//! it refuses with 501 `NotImplemented` and a `Status` that names it: entering containers (unless a test scripts what
//! answers there: feature `ws`, `ApiServer::on_exec` and `on_port`), `pods/binding`, paths with `/watch/`. Bodies in
//! protobuf are answered with 415.
//!
//! # What it does
//! - The kinds of the core group, of `apps`, `batch`, `autoscaling/v2`, `rbac`, `networking`, `storage`, `discovery`,
//!   `scheduling`, `coordination`, `events` and `policy` (`v1` and `v1beta1`) that controllers use, with their
//!   defaults; and whatever is [registered](ApiServer::register) or defined by a `CustomResourceDefinition`:
//!   established at once, pruned, completed and checked by its schema, and applied by the keys of its lists.
//! - One revision for everything, never used twice; uid, generation, creationTimestamp; the status subresource,
//!   `scale`, `ephemeralcontainers`, `resize`, `pods/eviction` against disruption budgets, logs that a test
//!   [sets](ApiServer::set_log).
//! - Create, get, list (label and field selectors, pages of one revision, `resourceVersionMatch`), update, patch
//!   (merge, JSON, strategic merge), delete (preconditions, finalizers, propagation policies, the grace of pods),
//!   delete a collection, dry runs.
//! - Server-side apply of objects and of their parts: `managedFields`, conflicts in the words of a real server, force,
//!   lists with keys, sets, YAML. Every other write owns what it changes, too. `fieldValidation`, with warnings.
//! - Watches: every change once and in order, bookmarks, `sendInitialEvents`, `timeoutSeconds`, `410 Expired` after
//!   [`compact`](ApiServer::compact). One is woken by what it watches, and by nothing else.
//! - Metadata alone (`PartialObjectMetadata`), tables as `kubectl get` shows them, discovery, aggregated too, OpenAPI
//!   v3.
//! - [Users](User), by token or as by a client certificate, bound by the roles on the server or by [rules](AccessRule);
//!   tokens of service accounts, token and access reviews, acting as another.
//! - [Faults](Fault); a server that [goes down](ApiServer::restart) and comes back; a [journal](ApiServer::journal).
//! - `Status` bodies in the words of a real server. A contract of about two hundred facts is asked of this server and
//!   of kube-apiserver alike.
//!
//! # With kubectl
//! [`ApiServer::listen`] opens a port, [`Listening::kubeconfig`] is the text of a file for `kubectl --kubeconfig`.
//! Versions before 1.27 need `--validate=false` to create and apply, as they look for OpenAPI v2; `kubectl create
//! namespace` (configmap, ..) of newer versions speaks protobuf: use `kubectl apply -f`.
//!
//! # Where it is simpler
//! - A pod on a node keeps its deletionTimestamp until it is deleted with a grace period of 0, as a kubelet does it.
//!   Nothing makes service accounts or writes the status of a budget. Deleting a namespace deletes what is in it.
//! - Only those rules of the kinds are checked that callers meet: names, labels, annotations, owners, finalizers,
//!   sizes, immutable maps, times and numbers of leases, the fixed fields of pods. Custom kinds that were registered
//!   keep every field; of schemas no patterns, formats, `oneOf` and rules in CEL are evaluated.
//! - Roles: whether a user grants more than it has is not checked, aggregated roles are not filled in, and the roles
//!   that a real server makes at its start are not there.
//! - The garbage collector acts at the instant of the write that gives it work.
//! - Tables have the columns of the most common kinds and of definitions, else name and age. OpenAPI describes no
//!   fields of built-in kinds.
//! - History is kept until [`compact`](ApiServer::compact). A watch without `timeoutSeconds` has no end.
//! - Times that the server writes follow tokio's clock from the wall clock at its start.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod apply;
mod body;
mod broken;
mod crd;
mod custom;
mod defaults;
mod delete;
mod described;
mod discovery;
mod event;
mod evict;
mod failure;
mod fault;
mod gc;
mod identity;
mod journal;
mod kinds;
mod listen;
mod logs;
mod metadata;
mod object;
mod openapi;
mod patch;
mod path;
mod pod_parts;
mod rbac;
mod read;
mod request;
mod resource;
mod resources;
mod review;
mod scale;
#[cfg(feature = "ws")]
mod scripts;
mod selector;
mod serve;
mod server;
mod shape;
mod shared;
mod ssa;
mod state;
mod store;
mod strategic;
mod strict;
mod table;
mod time;
mod tokens;
mod watch;
mod watchers;
#[cfg(feature = "ws")]
mod wire;
mod write;

#[cfg(feature = "ws")]
pub use self::scripts::{Exec, Output};
pub use self::{
    body::Body,
    fault::Fault,
    identity::{AccessRule, User},
    journal::JournalEntry,
    listen::Listening,
    request::Verb,
    resource::ResourceKind,
    server::{ApiServer, Injected},
};

/// The examples of the README are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
