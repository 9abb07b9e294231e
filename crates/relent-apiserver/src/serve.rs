//! How a request is answered: the plan of faults, the call itself under the lock, the response.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tower::{BoxError, Service};

#[cfg(feature = "ws")]
use super::wire;
use super::{
    body::Body,
    broken, crd, delete,
    discovery::{self, Document},
    evict,
    failure::{self, Failure},
    fault::{Action, Fault, Trouble},
    identity::Identity,
    logs, object, read,
    request::{self, Call, Request, Verb},
    review, scale,
    server::ApiServer,
    shared::Shared,
    ssa,
    state::State,
    store::Key,
    watch::Watching,
    write,
};
use crate::time;

/// The most that a request may carry.
const BODY_LIMIT: usize = 3 << 20;
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
/// The form of discovery in which all groups come at once.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// How long a read waits for a revision that is still to come.
const AHEAD_WAIT: Duration = Duration::from_secs(3);

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
        #[cfg(feature = "ws")]
        if wire::needs_a_wire(&request) {
            return Box::pin(wire::over_a_wire(self.clone(), request));
        }
        Box::pin(answer(self.shared().clone(), request))
    }
}

async fn answer<B>(shared: Arc<Shared>, request: http::Request<B>) -> Result<Response<Body>, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let verb = request::verb(&parts);
    let mut outages = shared.outages();
    let (number, fault) = {
        let mut state = shared.lock();
        let at = state.age();
        let path = parts.uri.path();
        let number = state.journal.asked(at, verb, path, parts.uri.query().unwrap_or(""));
        if state.outage.is_down() {
            return Err(broken::refused());
        }
        (number, state.faults.take(verb, path))
    };
    let work = async {
        match fault {
            None => handle(&shared, &parts, body, None).await,
            Some(fault) if fault.detached => {
                let shared = shared.clone();
                tokio::spawn(async move { faulty(&shared, &parts, body, &fault).await }).await?
            }
            Some(fault) => faulty(&shared, &parts, body, &fault).await,
        }
    };
    let response = tokio::select! {
        biased;
        response = work => response,
        _ = outages.changed() => Err(broken::lost()),
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
        Action::Stream(trouble) => Some(trouble),
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
    stream: Option<Trouble>,
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
    if shared.lock().outage.is_down() {
        return Err(broken::refused());
    }
    let mut until = None;
    loop {
        let mut changes = shared.changes();
        let mut warnings = Vec::new();
        let failure = match apply(shared, parts, &body, stream, &mut warnings) {
            Ok(outcome) => return Ok(warned(outcome.response(), &warnings)),
            Err(failure) => failure,
        };
        let now = time::now();
        let until = *until.get_or_insert(now + AHEAD_WAIT);
        if !failure.ahead || until <= now {
            return Ok(warned(refusal(&failure), &warnings));
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = time::wait_until(Some(until)) => {}
        }
    }
}

/// With what the server has to say beside the body.
fn warned(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        if let Ok(value) = HeaderValue::try_from(format!("299 - {warning:?}")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
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
        failure::Body::Text(_) => PLAIN,
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
    /// With its media type.
    Text(u16, &'static str, String),
    Watch(Box<Watching>),
    /// A container was entered.
    #[cfg(feature = "ws")]
    Entered(Response<Body>),
}

impl Outcome {
    fn response(self) -> Response<Body> {
        match self {
            Self::Object(code, object) => response(code, JSON, Body::whole(object.to_string())),
            Self::Aggregated(json) => response(200, AGGREGATED, Body::whole(json.to_string())),
            Self::Text(code, media, text) => response(code, media, Body::whole(text)),
            Self::Watch(watching) => response(200, JSON, Body::events(*watching)),
            #[cfg(feature = "ws")]
            Self::Entered(response) => response,
        }
    }
}

/// Does what a request asks for. All of it happens at one instant, under the lock.
fn apply(
    shared: &Arc<Shared>,
    parts: &Parts,
    body: &Bytes,
    stream: Option<Trouble>,
    warnings: &mut Vec<String>,
) -> Result<Outcome, Failure> {
    let mut state = shared.lock();
    let request = Request::parse(parts, &state.resources);
    if let Ok(Request::Document { path, .. }) = &request
        && discovery::is_open(path)
    {
        return document(&state, path, false);
    }
    let who = state.who(parts)?;
    let mut call = match request? {
        Request::Document { path, aggregated } => return document(&state, &path, aggregated),
        Request::Resource(call) => call,
    };
    call.now = state.seconds();
    state.authorize(&who, &call)?;
    if state.is_initializing(&call.resource) {
        return Err(Failure::initializing());
    }
    if call.verb == Verb::Watch {
        return Ok(Outcome::Watch(Box::new(Watching::begin(shared, &mut state, &call, stream)?)));
    }
    #[cfg(feature = "ws")]
    if matches!(call.subresource.as_str(), "exec" | "attach" | "portforward") {
        return Ok(Outcome::Entered(wire::enter(&state, &call, parts)?.begin(parts, shared.outages())));
    }
    let before = match call.query.get("dryRun") {
        "" => None,
        "All" => Some((state.store.clone(), state.resources.clone())),
        other => {
            let message = format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\"");
            return Err(Failure::new(422, "Invalid", message));
        }
    };
    let mut done = perform(&mut state, &call, &who, body);
    *warnings = std::mem::take(&mut state.warnings);
    let late = std::mem::take(&mut state.to_establish);
    if let Some(before) = before {
        (state.store, state.resources) = before;
        // What was not written has the revision it had, or none.
        if let Ok(Outcome::Object(_, object)) = &mut done
            && object["kind"] == call.resource.kind()
        {
            let was = state.store.get(&call.key(object::meta(object, "name")));
            let revision = was.map_or(Value::Null, |was| object::meta(was, "resourceVersion").into());
            object::set_meta(object, "resourceVersion", revision);
        }
    }
    shared.publish(&mut state);
    if call.query.get("dryRun").is_empty() {
        for (key, uid) in late {
            establish_late(shared.clone(), state.establishing, key, uid);
        }
    }
    done
}

/// Establishes a definition after a while.
fn establish_late(shared: Arc<Shared>, delay: Duration, key: Key, uid: String) {
    tokio::spawn(async move {
        time::pause(delay).await;
        let mut state = shared.lock();
        crd::establish_late(&mut state, &key, &uid);
        shared.publish(&mut state);
    });
}

fn document(state: &State, path: &str, aggregated: bool) -> Result<Outcome, Failure> {
    Ok(match discovery::document(&state.resources, path, aggregated)? {
        Document::Json(json) => Outcome::Object(200, json),
        Document::Aggregated(json) => Outcome::Aggregated(json),
        Document::Word(word) => Outcome::Text(200, PLAIN, word.to_owned()),
    })
}

fn perform(state: &mut State, call: &Call, who: &Identity, body: &Bytes) -> Result<Outcome, Failure> {
    if let Some(scale) = call.resource.scale().filter(|_| call.subresource == "scale") {
        return Ok(Outcome::Object(200, scale::perform(state, call, scale, body)?));
    }
    match call.subresource.as_str() {
        "eviction" => return Ok(Outcome::Object(201, evict::evict(state, call, body)?)),
        "token" => {
            let (request, _) = write::json(call, body)?;
            return Ok(Outcome::Object(201, review::token(state, call, request)?));
        }
        "log" => {
            let text = logs::read(state, call)?;
            let code = if text.is_some() { 200 } else { 204 };
            return Ok(Outcome::Text(code, "text/plain", text.unwrap_or_default()));
        }
        "exec" | "attach" | "portforward" => {
            let what = format!("pods/{}: no container runs here", call.subresource);
            return Err(Failure::not_implemented(&what));
        }
        _ => {}
    }
    if call.resource.is_review() {
        let (question, _) = write::json(call, body)?;
        return Ok(Outcome::Object(201, review::answer(state, call, who, question)?));
    }
    let (code, object) = match call.verb {
        Verb::Create => (201, write::create(state, call, body)?),
        Verb::Update => write::update(state, call, body)?,
        Verb::Patch if call.is_apply() => ssa::patch(state, call, body)?,
        Verb::Patch => write::change(state, call, body)?,
        Verb::Get => return Ok(Outcome::Object(200, read::get(state, call)?)),
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
