//! Entering containers: `exec`, `attach` and `portforward` over WebSocket, as a test scripts what answers.
//!
//! The channel protocols `v4.channel.k8s.io` and `v5.channel.k8s.io`: the first byte of a message is its channel.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::{mpsc, watch},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use tower::{BoxError, ServiceExt};

use super::{
    body::Body,
    broken,
    failure::Failure,
    identity::Certified,
    object,
    request::Call,
    scripts::{Exec, Output, Runs, Takes},
    server::ApiServer,
    state::State,
};

const V4: &str = "v4.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";
/// In version 5: what follows is the channel that ends.
const CLOSE: u8 = 255;
const STDIN: u8 = 0;
/// How much waits in the middle of a connection.
const BUFFER: usize = 64 << 10;

/// A session that was let in.
pub(super) struct Session {
    key: String,
    protocol: &'static str,
    reads: bool,
    kind: Kind,
}

enum Kind {
    Exec(Exec, Runs),
    Ports(Vec<(u16, Option<Takes>)>),
}

impl ApiServer {
    /// Scripts what `exec` and `attach` find in a pod: feature `ws`. The program runs when all of its input has come,
    /// and all of its output is sent at once.
    ///
    /// ```
    /// use relent_apiserver::{ApiServer, Output};
    ///
    /// let server = ApiServer::new();
    /// server.on_exec("default", "web-0", |exec| match exec.command.first().map(String::as_str) {
    ///     Some("hostname") => Output::stdout("web-0\n"),
    ///     _ => Output::default().stderr("not found\n").code(127),
    /// });
    /// ```
    pub fn on_exec(&self, namespace: &str, pod: &str, run: impl Fn(&Exec) -> Output + Send + Sync + 'static) {
        let place = (namespace.to_owned(), pod.to_owned());
        self.shared().lock().scripts.runs.insert(place, Arc::new(run));
    }

    /// Scripts what listens on a port of a pod: feature `ws`. It is called for each connection that is forwarded, with
    /// the pod's end of it, and must not block: what takes time goes into a task.
    pub fn on_port(&self, namespace: &str, pod: &str, port: u16, take: impl Fn(DuplexStream) + Send + Sync + 'static) {
        let place = (namespace.to_owned(), pod.to_owned(), port);
        self.shared().lock().scripts.ports.insert(place, Arc::new(take));
    }
}

/// Whether a request wants to speak WebSocket, and nothing below it can.
pub(super) fn needs_a_wire<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|wanted| wanted.eq_ignore_ascii_case("websocket"))
        && request.extensions().get::<OnUpgrade>().is_none()
}

/// Sends a request to the server over a connection in memory, as only a connection can be upgraded.
pub(super) async fn over_a_wire<B>(server: ApiServer, request: Request<B>) -> Result<Response<Body>, BoxError> {
    if server.shared().lock().outage.is_down() {
        return Err(broken::refused());
    }
    let (near, far) = tokio::io::duplex(BUFFER);
    let (mut parts, _) = request.into_parts();
    let who = parts.extensions.remove::<Certified>();
    let service = server.map_request(move |mut request: Request<hyper::body::Incoming>| {
        if let Some(who) = &who {
            request.extensions_mut().insert(who.clone());
        }
        request
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(far), TowerToHyperService::new(service));
    tokio::spawn(served.with_upgrades());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(Request::from_parts(parts, Full::<Bytes>::default())).await?;
    let (parts, body) = response.into_parts();
    let body =
        if parts.status == StatusCode::SWITCHING_PROTOCOLS { Bytes::new() } else { body.collect().await?.to_bytes() };
    Ok(Response::from_parts(parts, Body::whole(body)))
}

/// Lets a request in, if something answers it there.
pub(super) fn enter(state: &State, call: &Call, parts: &Parts) -> Result<Session, Failure> {
    let Some(pod) = state.store.get(&call.key(&call.name)) else {
        return Err(Failure::not_found(&call.resource, &call.name));
    };
    let header = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let offered = header(header::SEC_WEBSOCKET_PROTOCOL);
    let (namespace, name) = (call.namespace.clone(), call.name.clone());
    let kind = if call.subresource == "portforward" {
        let ports: Vec<u16> =
            call.query.all("ports").flat_map(|list| list.split(',')).filter_map(|port| port.parse().ok()).collect();
        let takes = |port| state.scripts.ports.get(&(namespace.clone(), name.clone(), port)).cloned();
        let ports: Vec<_> = ports.into_iter().map(|port| (port, takes(port))).collect();
        if ports.iter().all(|(_, takes)| takes.is_none()) {
            return Err(refused(call, "ApiServer::on_port"));
        }
        Kind::Ports(ports)
    } else {
        let Some(runs) = state.scripts.runs.get(&(namespace, name)) else {
            return Err(refused(call, "ApiServer::on_exec"));
        };
        let first = object::text(pod, "/spec/containers/0/name").unwrap_or("");
        let container = Some(call.query.get("container")).filter(|named| !named.is_empty()).unwrap_or(first);
        let command = call.query.all("command").map(str::to_owned).collect();
        Kind::Exec(Exec { container: container.to_owned(), command, stdin: Vec::new() }, runs.clone())
    };
    if header(header::SEC_WEBSOCKET_KEY).is_empty() {
        return Err(Failure::bad_request("Upgrade request required: this server speaks WebSocket, not SPDY"));
    }
    let protocol = if offered.contains(V5) && !matches!(kind, Kind::Ports(_)) { V5 } else { V4 };
    let key = header(header::SEC_WEBSOCKET_KEY).to_owned();
    Ok(Session { key, protocol, reads: call.query.flag("stdin"), kind })
}

fn refused(call: &Call, script: &str) -> Failure {
    let what = format!("pods/{} of {}/{}, unless {script} scripts it", call.subresource, call.namespace, call.name);
    Failure::not_implemented(&what)
}

impl Session {
    /// The answer that begins it. It goes on in a task of its own, and ends with its caller or with the server.
    pub(super) fn begin(self, parts: &Parts, mut outages: watch::Receiver<u64>) -> Response<Body> {
        let mut response = Response::new(Body::whole(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol));
        if let Ok(accept) = HeaderValue::try_from(derive_accept_key(self.key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(upgrade) = parts.extensions.get::<OnUpgrade>().cloned() {
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                tokio::select! {
                    () = self.speak(socket) => {}
                    _ = outages.changed() => {}
                }
            });
        }
        response
    }

    async fn speak(self, socket: Socket) {
        // What breaks is the caller's to notice.
        let _ = match self.kind {
            Kind::Exec(exec, runs) => run(socket, exec, &runs, self.reads).await,
            Kind::Ports(ports) => forward(socket, ports).await,
        };
    }
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut whole = BytesMut::with_capacity(bytes.len() + 1);
    whole.extend_from_slice(&[channel]);
    whole.extend_from_slice(bytes);
    Message::Binary(whole.freeze())
}

async fn run(mut socket: Socket, mut exec: Exec, runs: &Runs, reads: bool) -> Result<(), BoxError> {
    // Nothing is read from a client that has nothing to say.
    let mut open = reads;
    while open {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => match bytes.first() {
                Some(&STDIN) => exec.stdin.extend_from_slice(&bytes[1..]),
                Some(&CLOSE) => open = bytes.get(1) != Some(&STDIN),
                _ => {}
            },
            Some(Ok(Message::Close(_)) | Err(_)) | None => open = false,
            Some(Ok(_)) => {}
        }
    }
    let output = runs(&exec);
    for (channel, bytes) in [(1, &output.stdout), (2, &output.stderr)] {
        if !bytes.is_empty() {
            socket.send(message(channel, bytes)).await?;
        }
    }
    socket.send(message(3, output.status().to_string().as_bytes())).await?;
    socket.close(None).await?;
    // Until the caller has closed, too.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

async fn forward(mut socket: Socket, ports: Vec<(u16, Option<Takes>)>) -> Result<(), BoxError> {
    let (sender, mut out) = mpsc::channel(16);
    let mut pods: Vec<Option<WriteHalf<DuplexStream>>> = Vec::new();
    for (channel, (port, takes)) in (0_u8..).step_by(2).zip(ports) {
        for channel in [channel, channel + 1] {
            socket.send(message(channel, &port.to_le_bytes())).await?;
        }
        let Some(takes) = takes else {
            let text = format!("failed to connect to port {port} inside of the pod: connection refused");
            socket.send(message(channel + 1, text.as_bytes())).await?;
            pods.push(None);
            continue;
        };
        let (near, far) = tokio::io::duplex(BUFFER);
        takes(far);
        let (read, write) = tokio::io::split(near);
        pods.push(Some(write));
        tokio::spawn(pump(channel, read, sender.clone()));
    }
    drop(sender);
    loop {
        tokio::select! {
            said = out.recv() => match said {
                Some(said) => socket.send(said).await?,
                None => return Ok(socket.close(None).await?),
            },
            came = socket.next() => match came {
                Some(Ok(Message::Binary(bytes))) if !bytes.is_empty() => {
                    let pod = pods.get_mut(usize::from(bytes[0] / 2)).and_then(Option::as_mut);
                    if let Some(pod) = pod.filter(|_| bytes[0] % 2 == 0) {
                        pod.write_all(&bytes[1..]).await?;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}

/// Sends on what the pod writes, until it ends or the session does.
async fn pump(channel: u8, mut pod: ReadHalf<DuplexStream>, out: mpsc::Sender<Message>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pod.read(&mut buffer).await {
        if out.send(message(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}
