//! The server: a tower service, and the handle that tests hold.

use std::{
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tokio::sync::watch;
use tower::{BoxError, Service};

use super::{
    access::Rule,
    body::Body,
    broken, delete,
    discovery::{self, Document},
    evict,
    failure::{self, Failure},
    fault::{Action, Ending, Fault},
    journal::Entry,
    object, read,
    request::{self, Call, Request, Verb},
    resource::Resource,
    state::State,
    watch::Watching,
    write,
};
use crate::time;

/// The most that a request may carry.
const BODY_LIMIT: usize = 3 << 20;
/// The form of discovery in which all groups come at once.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// How long a read waits for a revision that is still to come.
const AHEAD_WAIT: Duration = Duration::from_secs(3);

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

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The latest revision; watches wait on it.
    revision: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn publish(&self, revision: u64) {
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }
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
    /// A new server with the namespaces `default`, `kube-system`, `kube-public` and `kube-node-lease`, and nothing in them.
    #[must_use]
    pub fn new() -> Self {
        let state = State::new();
        let revision = watch::Sender::new(state.store.revision());
        Self { shared: Arc::new(Shared { state: Mutex::new(state), revision }) }
    }

    /// A client that talks to this server and to nothing else: no retries of its own, no time limits, the namespace `default`.
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

    /// Serves another resource, as if its `CustomResourceDefinition` had been applied. One with the same group and plural is replaced.
    pub fn register(&self, resource: Resource) {
        self.shared.lock().resources.register(resource);
    }

    /// Makes a user known by a token. From the first one on, requests without a known token are answered with 401.
    pub fn user(&self, token: impl Into<String>, name: impl Into<String>) {
        self.shared.lock().access.user(token.into(), name.into());
    }

    /// Adds a rule for access. Where no rule fits, it is allowed.
    pub fn rule(&self, rule: Rule) {
        self.shared.lock().access.rule(rule);
    }

    /// Adds a fault at the end of the plan. What it returns tells how often it happened, and can end it; it need not be kept.
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
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.lock().journal.entries()
    }

    /// Forgets the requests up to now.
    pub fn clear_journal(&self) {
        self.shared.lock().journal.clear();
    }

    pub(super) fn known_token(&self) -> Option<String> {
        self.shared.lock().access.any_token()
    }
}

impl<B> Service<http::Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(answer(self.shared.clone(), request))
    }
}

async fn answer<B>(shared: Arc<Shared>, request: http::Request<B>) -> Result<Response<Body>, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let verb = request::verb(&parts);
    let (number, fault) = {
        let mut state = shared.lock();
        let at = state.age();
        let path = parts.uri.path();
        let number = state.journal.asked(at, verb, path, parts.uri.query().unwrap_or(""));
        (number, state.faults.take(verb, path))
    };
    let response = match fault {
        None => handle(&shared, &parts, body, None).await,
        Some(fault) if fault.detached => {
            let shared = shared.clone();
            tokio::spawn(async move { faulty(&shared, &parts, body, &fault).await }).await?
        }
        Some(fault) => faulty(&shared, &parts, body, &fault).await,
    }?;
    shared.lock().journal.answered(number, response.status().as_u16());
    Ok(response)
}

/// A request that a fault was planned for.
async fn faulty<B>(shared: &Arc<Shared>, parts: &Parts, body: B, fault: &Fault) -> Result<Response<Body>, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let stream = match fault.action {
        Action::Stream(after, ending) => Some((after, ending)),
        _ => None,
    };
    let (well, body) =
        if fault.applied { (Some(handle(shared, parts, body, stream).await?), None) } else { (None, Some(body)) };
    time::pause(fault.delay).await;
    match &fault.action {
        Action::Hang => return pending().await,
        Action::Break => return Err(if fault.applied { broken::lost() } else { broken::refused() }),
        Action::Answer(failure) => return Ok(refusal(failure)),
        Action::Nothing | Action::Stream(..) => {}
    }
    match (well, body) {
        (Some(response), _) => Ok(response),
        (None, Some(body)) => handle(shared, parts, body, stream).await,
        (None, None) => Err(broken::lost()),
    }
}

async fn handle<B>(
    shared: &Arc<Shared>,
    parts: &Parts,
    body: B,
    stream: Option<(u64, Ending)>,
) -> Result<Response<Body>, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(refusal(&Failure::entity_too_large())),
        Err(error) => return Err(error),
    };
    let mut until = None;
    loop {
        let mut changes = shared.changes();
        match apply(shared, parts, &body, stream) {
            Ok(Outcome::Object(code, object)) => {
                return Ok(response(code, "application/json", Body::whole(object.to_string())));
            }
            Ok(Outcome::Aggregated(json)) => return Ok(response(200, AGGREGATED, Body::whole(json.to_string()))),
            Ok(Outcome::Word(word)) => return Ok(response(200, "text/plain; charset=utf-8", Body::whole(word))),
            Ok(Outcome::Watch(watching)) => return Ok(response(200, "application/json", Body::events(*watching))),
            Err(failure) => {
                let now = time::now();
                let until = *until.get_or_insert(now + AHEAD_WAIT);
                if !failure.ahead || until <= now {
                    return Ok(refusal(&failure));
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = time::wait_until(Some(until)) => {}
                }
            }
        }
    }
}

fn response(code: u16, content: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn refusal(failure: &Failure) -> Response<Body> {
    let content = match failure.body {
        failure::Body::Status(_) => "application/json",
        failure::Body::Text(_) => "text/plain; charset=utf-8",
    };
    let mut response = response(failure.code, content, Body::whole(failure.bytes()));
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

enum Outcome {
    Object(u16, Value),
    Aggregated(Value),
    Word(&'static str),
    Watch(Box<Watching>),
}

/// Does what a request asks for. All of it happens at one instant, under the lock.
fn apply(shared: &Arc<Shared>, parts: &Parts, body: &Bytes, stream: Option<(u64, Ending)>) -> Result<Outcome, Failure> {
    let mut state = shared.lock();
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let call = match Request::parse(parts, &state.resources) {
        Ok(Request::Document { path, aggregated }) => {
            if !discovery::is_open(&path) {
                state.access.who(authorization)?;
            }
            return Ok(match discovery::document(&state.resources, &path, aggregated)? {
                Document::Json(json) => Outcome::Object(200, json),
                Document::Aggregated(json) => Outcome::Aggregated(json),
                Document::Word(word) => Outcome::Word(word),
            });
        }
        Ok(Request::Resource(call)) => {
            let user = state.access.who(authorization)?;
            state.access.check(&user, &call)?;
            call
        }
        Err(failure) => {
            state.access.who(authorization)?;
            return Err(failure);
        }
    };
    if call.verb == Verb::Watch {
        return Ok(Outcome::Watch(Box::new(Watching::begin(shared, &mut state, &call, stream)?)));
    }
    let before = match call.query.get("dryRun") {
        "" => None,
        "All" => Some(state.store.clone()),
        other => {
            let message = format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\"");
            return Err(Failure::new(422, "Invalid", message));
        }
    };
    let mut done = perform(&mut state, &call, body);
    if let Some(before) = before {
        state.store = before;
        // What was not written has the revision it had, or none.
        if let Ok(Outcome::Object(_, object)) = &mut done
            && object["kind"] == call.resource.kind()
        {
            let was = state.store.get(&call.key(object::meta(object, "name")));
            let revision = was.map_or(Value::Null, |was| object::meta(was, "resourceVersion").into());
            object::set_meta(object, "resourceVersion", revision);
        }
    }
    shared.publish(state.store.revision());
    done
}

fn perform(state: &mut State, call: &Call, body: &Bytes) -> Result<Outcome, Failure> {
    let json = || {
        if !matches!(call.content_type.as_str(), "" | "application/json") {
            return Err(Failure::unsupported_media("application/json"));
        }
        serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
    };
    let (code, object) = match call.verb {
        Verb::Create if call.subresource == "eviction" => {
            return Ok(Outcome::Object(201, evict::evict(state, call, body)?));
        }
        Verb::Create => (201, write::create(state, call, json()?)?),
        Verb::Update => write::update(state, call, json()?)?,
        Verb::Patch => write::change(state, call, body)?,
        Verb::Get => (200, read::get(state, call)?),
        Verb::List => return Ok(Outcome::Object(200, read::list(state, call)?)),
        Verb::Delete | Verb::DeleteCollection => {
            let options = delete::Options::parse(call, body)?;
            if call.verb == Verb::DeleteCollection {
                return Ok(Outcome::Object(200, delete::many(state, call, &options)?));
            }
            let gone = delete::one(state, call, &options)?;
            let object = if gone["kind"] == "Status" { gone } else { call.present(&gone) };
            return Ok(Outcome::Object(200, object));
        }
        Verb::Watch => return Err(Failure::internal("a watch is not performed")),
    };
    Ok(Outcome::Object(code, call.present(&object)))
}
