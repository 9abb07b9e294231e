//! The layers and the classification in the stacks that people use: real clients and servers, over sockets of this
//! machine.

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::{Ready, ready};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, client::ClientBuilder};
use relent::{
    Backoff, Decision, Limiter, Policy, Profile, Stop,
    error::BoxedError,
    http::{self as relent_http, Idempotency, StatusError},
    io, retry,
    tower::{CheckStatus, LimitLayer, RetryLayer},
};
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::{Service, ServiceBuilder, ServiceExt, buffer::BufferLayer};

const MS: Duration = Duration::from_millis(1);

fn quickly() -> Policy {
    Policy::new().backoff(Backoff::fixed(MS)).max_attempts(4).attempt_timeout(Duration::from_secs(10))
}

/// One answer: status, `Retry-After`, body.
type Answer = (u16, Option<&'static str>, &'static str);

/// A server that gives these answers one after the other, and then the last one again.
struct Server {
    url: String,
    /// Method and body length of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: &'static [Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let asking = asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let asked = asking.clone();
                let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let number = {
                        let mut asked = asked.lock().unwrap();
                        asked.push(format!("{} {}", request.method(), request.uri().path()));
                        asked.len() - 1
                    };
                    let (status, after, body) = answers[number.min(answers.len() - 1)];
                    let mut response = hyper::Response::builder().status(status);
                    if let Some(after) = after {
                        response = response.header("retry-after", after);
                    }
                    ready(Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

const BUSY_THEN_HERE: &[Answer] = &[(503, Some("1"), "busy"), (200, None, "here")];

// ===== reqwest =====

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer")]
    NoAnswer(#[from] reqwest::Error),
    #[error("refused")]
    Refused(#[from] StatusError),
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<String, FetchError> {
    let response = client.get(url).send().await?;
    relent_http::check(response.status(), response.headers())?;
    Ok(response.text().await?)
}

#[tokio::test]
async fn a_call_with_reqwest_waits_as_long_as_the_server_asks() {
    let server = Server::start(BUSY_THEN_HERE).await;
    let (client, began) = (reqwest::Client::new(), Instant::now());
    let text =
        retry(async |_| fetch(&client, &server.url).await).policy(&quickly()).classify(Idempotency::Idempotent).await;
    assert_eq!(text.unwrap(), "here");
    assert!(began.elapsed() >= Duration::from_secs(1));
    let server = Server::start(&[(404, None, "")]).await;
    let gave_up =
        retry(async |_| fetch(&client, &server.url).await).classify(Idempotency::Idempotent).await.unwrap_err();
    assert!(gave_up.is_fatal());
    assert!(gave_up.to_string().ends_with("last attempt: refused: the server answered 404 Not Found"), "{gave_up}");
}

#[tokio::test]
async fn what_is_below_an_error_of_reqwest_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Accepts and hangs up.
    let accepting = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let client = reqwest::Client::new();
    let url = format!("http://{address}/");
    let hung_up = client.get(&url).send().await.unwrap_err();
    assert_eq!(relent_http::classify(&hung_up, Idempotency::Idempotent), Decision::Retry, "{hung_up:?}");
    assert_eq!(relent_http::classify(&hung_up, Idempotency::NotIdempotent), Decision::Fatal, "{hung_up:?}");
    accepting.abort();
    assert!(accepting.await.unwrap_err().is_cancelled());
    let refused = client.get(&url).send().await.unwrap_err();
    assert_eq!(io::cause(&refused).unwrap().kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(relent_http::classify(&refused, Idempotency::NotIdempotent), Decision::Retry);
}

/// reqwest's own types: a response that is no `http::Response`, a request that is no `Clone`.
#[tokio::test]
async fn reqwest_is_a_service_within_the_layers() {
    let server = Server::start(BUSY_THEN_HERE).await;
    let limiter = Limiter::per_second(1000);
    let layer = RetryLayer::choose(|request: &reqwest::Request| {
        let idempotency = Idempotency::of(request.method());
        Profile::new(quickly().on_cut(idempotency)).classify(idempotency).erased()
    })
    .repeat_with(reqwest::Request::try_clone)
    .check(|response: &reqwest::Response| relent_http::check(response.status(), response.headers()));
    let mut client =
        ServiceBuilder::new().layer(layer).layer(LimitLayer::new(&limiter)).service(reqwest::Client::new());
    let get = reqwest::Request::new(reqwest::Method::GET, server.url.parse().unwrap());
    let began = Instant::now();
    let response = client.ready().await.unwrap().call(get).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "here");
    assert!(began.elapsed() >= Duration::from_secs(1));
    // What may not be done twice: the answer comes back as it is.
    let server = Server::start(BUSY_THEN_HERE).await;
    let post = reqwest::Request::new(reqwest::Method::POST, server.url.parse().unwrap());
    let response = client.ready().await.unwrap().call(post).await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (503, "busy"));
    assert_eq!(server.asked(), ["POST /"]);
}

// ===== tonic =====

/// `store.Store`: `Get` answers after so many refusals.
#[derive(Clone)]
struct Store {
    refusals: u32,
    asked: Arc<AtomicU32>,
}

impl tonic::server::NamedService for Store {
    const NAME: &'static str = "store.Store";
}

impl tonic::server::UnaryService<()> for Store {
    type Response = ();
    type Future = Ready<Result<tonic::Response<()>, Status>>;

    fn call(&mut self, _: tonic::Request<()>) -> Self::Future {
        ready(if self.asked.fetch_add(1, Relaxed) < self.refusals {
            Err(Status::resource_exhausted("too many"))
        } else {
            Ok(tonic::Response::new(()))
        })
    }
}

impl Service<http::Request<tonic::body::Body>> for Store {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let store = self.clone();
        Box::pin(
            async move { Ok(tonic::server::Grpc::new(ProstCodec::<(), ()>::default()).unary(store, request).await) },
        )
    }
}

impl Store {
    async fn start(refusals: u32) -> (Self, Endpoint) {
        let store = Self { refusals, asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Channel::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let serving = store.clone();
        tokio::spawn(tonic::transport::Server::builder().add_service(serving).serve_with_incoming(incoming));
        (store, endpoint)
    }
}

/// A call as a generated client makes it.
async fn get<T>(transport: T) -> Result<(), Status>
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<Box<dyn Error + Send + Sync>>,
    T::ResponseBody: http_body_util::BodyExt<Data = Bytes> + Send + 'static,
    <T::ResponseBody as hyper::body::Body>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/store.Store/Get");
    grpc.unary::<(), (), _>(tonic::Request::new(()), path, ProstCodec::default()).await.map(drop)
}

fn transient(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// Around the client: a call is a service whose error is a `Status`, which stays what it was for what is above.
#[tokio::test]
async fn tonic_finds_its_status_through_the_layer() {
    for (refusals, code, attempts) in [(2, Code::Ok, 3), (9, Code::ResourceExhausted, 4)] {
        let (store, endpoint) = Store::start(refusals).await;
        let channel = endpoint.connect().await.unwrap();
        let calls = tower::service_fn(move |()| get(channel.clone()));
        let profile =
            Profile::new(quickly()).when(|error: &BoxedError| error.get_ref().downcast_ref().is_some_and(transient));
        let answer = ServiceBuilder::new().layer(RetryLayer::new(profile)).service(calls).oneshot(()).await;
        let status = answer.map_or_else(|error| Status::from_error(error.into()), |()| Status::ok(""));
        assert_eq!((status.code(), store.asked.load(Relaxed)), (code, attempts));
        assert!(status.code() == Code::Ok || status.message() == "too many");
    }
}

/// Below the client: in its channel, where requests are streams that cannot be made anew. What was not sent is.
#[tokio::test]
async fn tonic_takes_a_limited_channel_and_one_whose_calls_are_bounded() {
    let (store, endpoint) = Store::start(0).await;
    let channel = ServiceBuilder::new()
        .layer(RetryLayer::new(Profile::new(quickly())).repeat_with(|_: &http::Request<tonic::body::Body>| None))
        .layer(LimitLayer::new(&Limiter::per_second(1000)))
        .service(endpoint.connect_lazy());
    get(channel.clone()).await.unwrap();
    assert_eq!(store.asked.load(Relaxed), 1);
    let closed = Channel::from_static("http://127.0.0.1:1").connect_lazy();
    let layer = RetryLayer::new(Profile::new(quickly())).repeat_with(|_: &http::Request<tonic::body::Body>| None);
    let status = get(ServiceBuilder::new().layer(layer).service(closed)).await.unwrap_err();
    // tonic's own rule for an error of its transport, found in the chain.
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(relent::error::chain(&status).to_string().contains("gave up after 1 attempt"), "{status:?}");
}

// ===== kube =====

const TOO_MANY: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too many","reason":"TooManyRequests","code":429}"#;
const NOT_FOUND: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"configmaps \"a\" not found","reason":"NotFound","code":404}"#;
const MAP: &str = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default"}}"#;

/// kube's own retries are off; its stack is boxed, and a buffer makes it `Clone`.
fn kube(url: &str, policy: &Policy) -> kube::Client {
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    let policy = policy.clone();
    let layer = RetryLayer::choose(move |request: &http::Request<kube::client::Body>| {
        let idempotency = Idempotency::of(request.method());
        Profile::new(policy.clone().on_cut(idempotency)).classify(idempotency).erased()
    })
    .repeat_with(|request: &http::Request<kube::client::Body>| {
        Some(relent_http::with_body(request, request.body().try_clone()?))
    })
    .check(CheckStatus);
    ClientBuilder::try_from(config).unwrap().with_layer(&BufferLayer::new(64)).with_layer(&layer).build()
}

#[tokio::test]
async fn kube_reads_what_comes_back_as_ever() {
    let server = Server::start(&[(429, Some("1"), TOO_MANY), (500, None, "oops"), (200, None, MAP)]).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(kube(&server.url, &quickly()));
    let began = Instant::now();
    assert_eq!(maps.get("a").await.unwrap().metadata.name.as_deref(), Some("a"));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked(), ["GET /api/v1/namespaces/default/configmaps/a"; 3]);
    // An answer that nothing mends is kube's own error.
    let server = Server::start(&[(404, None, NOT_FOUND)]).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(kube(&server.url, &quickly()));
    assert!(matches!(maps.get("a").await, Err(kube::Error::Api(status)) if status.reason == "NotFound"));
    assert_eq!(server.asked().len(), 1);
    // And so is one that did not change in all attempts.
    let server = Server::start(&[(429, None, TOO_MANY)]).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(kube(&server.url, &quickly()));
    assert!(matches!(maps.get("a").await, Err(kube::Error::Api(status)) if status.code == 429));
    assert_eq!(server.asked().len(), 4);
    // What may not be done twice is not.
    let server = Server::start(&[(500, None, "oops"), (201, None, MAP)]).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(kube(&server.url, &quickly()));
    assert!(maps.create(&Default::default(), &config_map()).await.is_err());
    assert_eq!(server.asked().len(), 1);
}

fn config_map() -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some("a".to_owned());
    map
}

#[tokio::test]
async fn kube_says_why_there_was_no_answer() {
    let maps: Api<ConfigMap> = Api::default_namespaced(kube("http://127.0.0.1:1", &quickly()));
    let error = maps.get("a").await.unwrap_err();
    let text = relent::error::chain(&error).to_string();
    assert!(text.contains("gave up after 4 attempts in ") && text.contains("Connection refused"), "{text}");
    let kube::Error::Service(error) = error else { panic!("{error:?}") };
    let chained = error.downcast_ref::<relent::error::Chained<BoxedError>>().unwrap();
    assert_eq!(*chained.get_ref().stop(), Stop::Attempts);
}
