//! The server: a tower service, and the handle that tests hold.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, header};
use tokio::sync::watch;

use super::{
    fault::Fault,
    gc,
    identity::{AccessRule, Certified, User},
    journal::JournalEntry,
    resource::ResourceKind,
    shared::Shared,
    state::{Outage, State},
};
use crate::time;

/// A Kubernetes API server inside this process. A clone is the same server.
///
/// See the [module](super) for what it does and what it does not do.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), kube::Error> {
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use kube::{Api, api::PostParams};
/// use relent_apiserver::ApiServer;
///
/// let server = ApiServer::new();
/// let maps: Api<ConfigMap> = Api::namespaced(server.client(), "kube-system");
/// let missing = maps.get("kube-proxy").await.unwrap_err();
/// assert!(missing.to_string().contains("configmaps \"kube-proxy\" not found"), "{missing}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

/// A fault that was injected: how often it happened, and its end.
#[derive(Clone, Debug)]
pub struct Injected {
    shared: Arc<Shared>,
    number: u64,
}

impl Injected {
    /// How many requests it has hit.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.shared.lock().faults.hits(self.number)
    }

    /// Takes it out of the plan. Requests that it holds already are not set free.
    pub fn lift(&self) {
        self.shared.lock().faults.lift(Some(self.number));
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    /// A new server with the namespaces `default`, `kube-system`, `kube-public` and `kube-node-lease`, and nothing in
    /// them.
    #[must_use]
    pub fn new() -> Self {
        let state = State::new();
        let revision = watch::Sender::new(state.store.revision());
        let outages = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { state: Mutex::new(state), revision, outages }) }
    }

    /// With a garbage collector that works after every write: what has no owner left goes, deletion in the foreground
    /// ends.
    ///
    /// It acts at the instant of the write; a real one needs some milliseconds or more. Without it (the default, as on
    /// an API server alone), [`ApiServer::collect_garbage`] does the same once.
    #[must_use]
    pub fn with_garbage_collector(self) -> Self {
        self.shared.lock().collects = true;
        self.collect_garbage();
        self
    }

    /// Lets the garbage collector do all there is to do now.
    pub fn collect_garbage(&self) {
        let mut state = self.shared.lock();
        gc::collect(&mut state);
        self.shared.publish(&mut state);
    }

    /// Breaks the connections of all open watches, as a load balancer does that goes away. How many there were.
    #[allow(clippy::must_use_candidate)]
    pub fn cut_watches(&self) -> usize {
        self.shared.lock().watchers.cut()
    }

    /// Goes down as by `kill -9`: watches and requests under way lose their connection, new ones are refused.
    /// Everything stored stays. See [`ApiServer::start`].
    pub fn stop(&self) {
        self.shared.goes_down(Outage { stopped: true, ..Outage::default() });
    }

    /// Serves again; for so long yet it refuses those with limited rights.
    ///
    /// A server that has just begun to listen does not know the roles and rules for some time: users that
    /// [RBAC binds](User::bound_by_rbac), or that a [`AccessRule`] names, are refused with 403; others are served.
    pub fn start(&self, warming: Duration) {
        let warming = time::now().checked_add(warming);
        self.shared.lock().outage = Outage { warming, ..Outage::default() };
    }

    /// [`ApiServer::stop`] now, [`ApiServer::start`] after `down`: nothing needs to be awaited.
    pub fn restart(&self, down: Duration, warming: Duration) {
        let down = time::now().checked_add(down);
        let warming = down.and_then(|up| up.checked_add(warming));
        self.shared.goes_down(Outage { down, warming, stopped: down.is_none() });
    }

    /// A new definition is established so much later; until then its paths are not found. A real server needs some 100
    /// ms, so what uses a kind at once may meet 404; the default is none.
    pub fn establish_after(&self, delay: Duration) {
        self.shared.lock().establishing = delay;
    }

    /// For so long after a custom kind was established, its objects are answered with 429
    /// `storage is (re)initializing`. A real server needs some milliseconds; the default is none.
    pub fn initialize_for(&self, duration: Duration) {
        self.shared.lock().initializing = duration;
    }

    /// A client that talks to this server and to nothing else: no retries of its own, no time limits, the namespace
    /// `default`.
    ///
    /// # Panics
    /// Outside of a tokio runtime: `kube::Client` runs a task.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// As [`ApiServer::client`], with a bearer token; see [`ApiServer::user`].
    ///
    /// # Panics
    /// Outside of a tokio runtime; and if the token cannot be written in a header.
    #[must_use]
    pub fn client_with_token(&self, token: &str) -> kube::Client {
        let value = HeaderValue::try_from(format!("Bearer {token}")).expect("a token is printable ASCII");
        let service = tower::ServiceExt::<http::Request<kube::client::Body>>::map_request(
            self.clone(),
            move |mut request: http::Request<kube::client::Body>| {
                request.headers_mut().insert(header::AUTHORIZATION, value.clone());
                request
            },
        );
        kube::Client::new(service, "default")
    }

    /// As [`ApiServer::client`], as a user that was [made known](ApiServer::add_user): as by a client certificate in
    /// this name.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client_as(&self, name: impl Into<String>) -> kube::Client {
        let user = Certified(name.into());
        let service = tower::ServiceExt::<http::Request<kube::client::Body>>::map_request(
            self.clone(),
            move |mut request: http::Request<kube::client::Body>| {
                request.extensions_mut().insert(user.clone());
                request
            },
        );
        kube::Client::new(service, "default")
    }

    /// Serves another resource, as if its `CustomResourceDefinition` had been applied. One with the same group and
    /// plural is replaced.
    pub fn register(&self, resource: ResourceKind) {
        self.shared.lock().resources.register(resource);
    }

    /// Makes a user known. From the first one on, requests that name no known user are answered with 401.
    pub fn add_user(&self, user: User) {
        self.shared.lock().access.add(user);
    }

    /// As [`ApiServer::add_user`] with `User::new(name).token(token)`.
    pub fn user(&self, token: impl Into<String>, name: impl Into<String>) {
        self.add_user(User::new(name).token(token));
    }

    /// Sets what a container of a pod has written: no container runs here, so no log comes by itself. What is asked of
    /// it is that text (`tailLines` and `limitBytes` count), and then its end, also for those that follow.
    pub fn set_log(&self, namespace: &str, pod: &str, container: &str, text: impl Into<String>) {
        let place = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        self.shared.lock().logs.insert(place, text.into());
    }

    /// Adds a rule for access. Where no rule fits, it is allowed.
    pub fn rule(&self, rule: AccessRule) {
        self.shared.lock().access.rule(rule);
    }

    /// Adds a fault at the end of the plan. What it returns tells how often it happened, and can end it; it need not be
    /// kept.
    #[allow(clippy::must_use_candidate)]
    pub fn inject(&self, fault: Fault) -> Injected {
        let number = self.shared.lock().faults.add(fault);
        Injected { shared: self.shared.clone(), number }
    }

    /// Ends all faults.
    pub fn lift_faults(&self) {
        self.shared.lock().faults.lift(None);
    }

    /// Forgets the history up to now: lists and watches from an earlier revision are answered with 410 `Expired`.
    pub fn compact(&self) {
        self.shared.lock().store.compact();
    }

    /// The latest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.lock().store.revision()
    }

    /// All requests up to now, in the order in which they came.
    #[must_use]
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.shared.lock().journal.entries()
    }

    /// Forgets the requests up to now.
    pub fn clear_journal(&self) {
        self.shared.lock().journal.clear();
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn known_token(&self) -> Option<String> {
        self.shared.lock().access.any_token()
    }
}
