//! Answers to what is asked most, to copy. Each is compiled and run.
//!
//! # One bundle for a client
//!
//! What its calls have in common is written once; each may still say more. `erased()` makes a type that a field can
//! have:
//!
//! ```
//! use std::{io, time::Duration};
//! use relent::{Budget, GaveUp, Limiter, Policy, Profile, Ratio, builder::ErasedProfile, retry};
//!
//! #[derive(Clone)]
//! struct Store {
//!     calls: ErasedProfile<io::Error>,
//! }
//!
//! impl Store {
//!     /// The policy is the operator's; see below for one in a configuration file.
//!     fn new(policy: Policy) -> Self {
//!         let calls = Profile::new(policy)
//!             .throttle(&Limiter::per_second(50).burst(10))
//!             .budget(&Budget::ratio(Ratio::percent(10)).reserve(5))
//!             .when(|error: &io::Error| error.kind() != io::ErrorKind::PermissionDenied);
//!         Self { calls: calls.erased() }
//!     }
//!
//!     async fn get(&self, key: &str) -> Result<String, GaveUp<io::Error>> {
//!         retry(async |_| ask(key).await).profile(&self.calls).await
//!     }
//!
//!     async fn is_up(&self) -> bool {
//!         retry(async |_| ask("health").await).profile(&self.calls).finish_within(Duration::from_millis(300)).await.is_ok()
//!     }
//! }
//! # async fn ask(key: &str) -> io::Result<String> {
//! #     use std::sync::atomic::{AtomicBool, Ordering};
//! #     static ASKED: AtomicBool = AtomicBool::new(false);
//! #     if ASKED.swap(true, Ordering::Relaxed) { Ok(key.to_owned()) } else { Err(io::ErrorKind::ConnectionReset.into()) }
//! # }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::new("exponential 50ms..1s, attempt_timeout 2s, finish_within 10s".parse()?);
//! assert_eq!(store.get("a").await?, "a");
//! assert!(store.is_up().await);
//! # Ok(()) }
//! ```
//!
//! # HTTP, with reqwest
//!
//! `reqwest`'s statuses and headers are those of the crate `http`; with the feature [`http`](crate::http) an answer
//! that refuses becomes an error with what its server asked for. (Tested with reqwest itself in `tests/clients`.)
//!
//! ```
//! # #[cfg(feature = "http")] mod example {
//! # // In place of the crate, which this one does not depend on; with the crate itself the same is in tests/clients.
//! # mod reqwest {
//! #     pub type Error = std::io::Error;
//! #     #[derive(Default)] pub struct Client(std::cell::Cell<u32>);
//! #     pub struct Request(u32);
//! #     pub struct Response(http::Response<String>);
//! #     impl Client { pub fn get(&self, _: &str) -> Request { self.0.set(self.0.get() + 1); Request(self.0.get()) } }
//! #     impl Request {
//! #         pub async fn send(self) -> Result<Response, Error> {
//! #             if self.0 == 1 { return Err(std::io::ErrorKind::ConnectionReset.into()) }
//! #             let busy = || http::Response::builder().status(503).header("retry-after", "2").body(String::new()).unwrap();
//! #             Ok(Response(if self.0 == 2 { busy() } else { http::Response::new("here".to_owned()) }))
//! #         }
//! #     }
//! #     impl Response {
//! #         pub fn status(&self) -> http::StatusCode { self.0.status() }
//! #         pub fn headers(&self) -> &http::HeaderMap { self.0.headers() }
//! #         pub async fn text(self) -> Result<String, Error> { Ok(self.0.into_body()) }
//! #     }
//! # }
//! use std::time::Duration;
//! use relent::{GaveUp, http::{Idempotency::Idempotent, StatusError, check}, retry};
//!
//! #[derive(Debug, thiserror::Error)]
//! pub enum FetchError {
//!     #[error("no answer")]
//!     NoAnswer(#[from] reqwest::Error),
//!     #[error("refused")]
//!     Refused(#[from] StatusError),
//! }
//!
//! async fn ask(client: &reqwest::Client, url: &str) -> Result<String, FetchError> {
//!     let response = client.get(url).send().await?;
//!     check(response.status(), response.headers())?;
//!     Ok(response.text().await?)
//! }
//!
//! pub async fn fetch(client: &reqwest::Client, url: &str) -> Result<String, GaveUp<FetchError>> {
//!     retry(async |_| ask(client, url).await)
//!         .classify(Idempotent) // a GET: lost connections, 429, 502, 503, 504 and the like are tried again
//!         .on_cut(Idempotent)
//!         .attempt_timeout(Duration::from_secs(5))
//!         .max_retry_after(Duration::from_secs(30)) // a server may ask for a year
//!         .finish_within(Duration::from_secs(60))
//!         .await
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() {
//! # assert_eq!(fetch(&reqwest::Client::default(), "http://example.net/").await.unwrap(), "here"); }
//! # }
//! # #[cfg(feature = "http")] fn main() { example::main(); }
//! # #[cfg(not(feature = "http"))] fn main() {}
//! ```
//!
//! Below a `reqwest_middleware` or `tower` stack the same is [`tower::RetryLayer`](crate::tower::RetryLayer).
//!
//! # tonic
//!
//! tonic looks for its `Status` in the chain of causes: end with `.chained()`.
//!
//! ```
//! use relent::{Decision, GaveUp, error::Chained, retry};
//! # #[derive(Debug, PartialEq)] enum Code { Unavailable, NotFound }
//! # #[derive(Debug)] struct Status(Code);
//! # impl Status { fn code(&self) -> &Code { &self.0 } }
//! # impl std::fmt::Display for Status { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{:?}", self.0) } }
//! # impl std::error::Error for Status {}
//! # async fn call() -> Result<u32, Status> { Err(Status(Code::NotFound)) }
//! async fn get() -> Result<u32, Chained<Status>> {
//!     retry(async |_| call().await).when(|status| *status.code() == Code::Unavailable).chained().await
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # assert!(std::error::Error::source(&get().await.unwrap_err()).is_some()); }
//! ```
//!
//! # A database that is not up yet
//!
//! ```
//! use std::time::Duration;
//! use relent::{Backoff, retry};
//!
//! # async fn connect(_: &str) -> Result<(), std::io::Error> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // PgPoolOptions::new().connect(url) with sqlx; it waits by itself for 30 s, so give it less.
//! let pool = retry(async |_| connect("postgres://db/app").await)
//!     .backoff(Backoff::exponential(Duration::from_millis(200), Duration::from_secs(5)))
//!     .attempt_timeout(Duration::from_secs(3))
//!     .finish_within(Duration::from_secs(60))
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! # The call needs `&mut`
//!
//! What an operation borrows mutably cannot leave it: the loop is your own.
//!
//! ```
//! use relent::{GaveUp, Policy};
//!
//! # struct Tx(u32);
//! # impl Tx { async fn commit(&mut self) -> Result<u32, String> { self.0 += 1; if self.0 < 3 { Err("conflict".into()) } else { Ok(self.0) } } }
//! async fn commit(tx: &mut Tx, policy: &Policy) -> Result<u32, GaveUp<String>> {
//!     let mut attempts = policy.begin();
//!     loop {
//!         if let Some(done) = attempts.next().await?.run(tx.commit()).await {
//!             return Ok(done);
//!         }
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # assert_eq!(commit(&mut Tx(0), &Policy::new()).await.unwrap(), 3); }
//! ```
//!
//! # Your own error, without its reason
//!
//! Where a trait fixes the error's type, the reason can still be heard (`notify`), and stands in for an error where no
//! attempt gave any:
//!
//! ```
//! use relent::{GaveUp, retry};
//!
//! # #[derive(Debug)] enum Error { Busy, Other(String) }
//! # async fn call() -> Result<(), Error> { Err(Error::Busy) }
//! async fn load() -> Result<(), Error> {
//!     retry(async |_| call().await)
//!         .max_attempts(2)
//!         .await
//!         .map_err(|gave_up| gave_up.error_or_else(|gave_up| Error::Other(gave_up.summary().to_string())))
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() { assert!(matches!(load().await, Err(Error::Busy))); }
//! ```
//!
//! # anyhow inside and outside
//!
//! ```
//! use anyhow::Context;
//! use relent::retry;
//!
//! # async fn dial() -> anyhow::Result<u32> { Ok(7) }
//! async fn open() -> anyhow::Result<u32> {
//!     retry(async |_| dial().await).max_attempts(3).boxed().await.context("opening the store")
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() { assert_eq!(open().await.unwrap(), 7); }
//! ```
//!
//! # A policy in a configuration file
//!
//! With the feature `serde`, in TOML, YAML and JSON alike, as one line or as a map. What is wrong is said with its
//! place and how to write it:
//!
//! ```
//! # #[cfg(feature = "serde")] fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use relent::{Policy, Rate};
//!
//! #[derive(Debug, PartialEq, serde::Deserialize)]
//! struct Config {
//!     fetch: Policy,
//!     watch: Policy,
//!     limit: Rate,
//! }
//!
//! let config: Config = toml::from_str(r#"
//!     limit = "50/s"
//!     fetch = "exponential 50ms..1s, attempt_timeout 2s, finish_within 30s"
//!     [watch]
//!     every = "5s"
//!     attempt_timeout = "1s"
//! "#)?;
//! let yaml: Config = serde_saphyr::from_str("
//! limit: 50/s
//! fetch: exponential 50ms..1s, attempt_timeout 2s, finish_within 30s
//! watch:
//!   every: 5s
//!   attempt_timeout: 1s
//! ")?;
//! let json: Config = serde_json::from_str(r#"{
//!     "limit": "50/s",
//!     "fetch": "exponential 50ms..1s, attempt_timeout 2s, finish_within 30s",
//!     "watch": { "every": "5s", "attempt_timeout": "1s" }
//! }"#)?;
//! assert_eq!(yaml, config);
//! assert_eq!(json, config);
//! assert_eq!(config.watch, "every 5s, attempt_timeout 1s".parse()?);
//! # Ok(()) }
//! # #[cfg(not(feature = "serde"))] fn main() {}
//! ```
//!
//! # A controller's backoff for each object
//!
//! For kube-runtime's `error_policy`, which is asked how long to wait before the object is looked at again:
//!
//! ```
//! use std::time::Duration;
//! use relent::{Backoff, KeyedBackoff};
//!
//! let failures = KeyedBackoff::new(Backoff::exponential(Duration::from_millis(5), Duration::from_secs(300)), Duration::from_secs(600));
//! // |object, _error, context| Action::requeue(context.failures.failed(&object.name_any()).unwrap_or(DAY))
//! let first = failures.failed("web-0");
//! assert!(first.is_some_and(|pause| pause <= Duration::from_millis(5)));
//! failures.forget("web-0"); // reconciled
//! ```
//!
//! # A connection that is made anew
//!
//! With the feature `stream`: [`stream::reconnect`](crate::stream::reconnect). For a loop of your own `.reset_after(d)`
//! lets the backoff begin anew after health.
//!
//! # Two limits at once
//!
//! A permit of each is taken, or none:
//!
//! ```
//! use relent::{Limiter, Rate, retry};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (burst, steady) = (Limiter::per_second(5).burst(5), Limiter::new(Rate::new(6, Duration::from_secs(60)).unwrap(), 6));
//! # let call = async || Ok::<_, std::io::Error>(());
//! retry(async |_| call().await).throttle(&burst).throttle(&steady).await.unwrap();
//! # }
//! ```
//!
//! # So many at a time
//!
//! A limiter counts starts; how many run at once is tokio's `Semaphore`, inside the operation, so that a pause holds no
//! permit:
//!
//! ```
//! use std::sync::Arc;
//! use relent::retry;
//! use tokio::sync::Semaphore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let four = Arc::new(Semaphore::new(4));
//! # let call = async || Ok::<_, std::io::Error>(());
//! retry(async |_| {
//!     let _permit = four.acquire().await;
//!     call().await
//! })
//! .await
//! .unwrap();
//! # }
//! ```
//!
//! # Hedging
//!
//! A second call after a while, whichever answers first; within one attempt, so that deadlines and budget count both as
//! one:
//!
//! ```
//! use std::time::Duration;
//! use relent::retry;
//! use tokio::{select, time::sleep};
//!
//! # async fn call(slow: bool) -> std::io::Result<u32> { if slow { std::future::pending().await } else { Ok(7) } }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let answer = retry(async |_| {
//!     let second = async {
//!         sleep(Duration::from_millis(50)).await; // about the 95th percentile
//!         call(false).await
//!     };
//!     select! { first = call(true) => first, second = second => second }
//! })
//! .attempt_timeout(Duration::from_secs(1))
//! .await;
//! assert_eq!(answer.unwrap(), 7);
//! # }
//! ```
//!
//! # OpenTelemetry
//!
//! [`events`](crate::events) has listeners that write to `tracing` and to `metrics` (features of the same names), and
//! both have exporters. To begin with, a log on the terminal:
//!
//! ```
//! # #[cfg(all(feature = "tracing", feature = "metrics"))] #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! use std::time::Duration;
//! use relent::{Backoff, events::{Metrics, Tracing}, retry};
//!
//! # static LOG: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
//! # struct Log;
//! # impl std::io::Write for Log {
//! #     fn write(&mut self, text: &[u8]) -> std::io::Result<usize> { LOG.lock().unwrap().write(text) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
//! # }
//! // Once. For OpenTelemetry: `tracing_opentelemetry::layer()` in the subscriber, and a recorder of `metrics` that exports.
//! let subscriber = tracing_subscriber::fmt().with_target(false).without_time();
//! # let subscriber = subscriber.with_ansi(false).with_writer(|| Log);
//! subscriber.init();
//! Metrics::describe();
//!
//! let answer = retry(async |attempt| if attempt.number() < 3 { Err("no route") } else { Ok(7) })
//!     .backoff(Backoff::fixed(Duration::from_millis(100)))
//!     .listen((Tracing::new("fetch"), Metrics::new("fetch")))
//!     .await;
//! # assert_eq!(answer.unwrap(), 7);
//! # let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
//! # assert_eq!(log, " INFO run{what=\"fetch\"}: attempt failed attempt=1 elapsed=0ns error=no route again=100ms\n INFO run{what=\"fetch\"}: attempt failed attempt=2 elapsed=100ms error=no route again=100ms\n");
//! # }
//! # #[cfg(not(all(feature = "tracing", feature = "metrics")))] fn main() {}
//! ```
//!
//! What is exported: a span `run`, a child of the one that was current, with the attributes `what`, `attempts`,
//! `elapsed` and `stop` (why it ended), each attempt's failure as an event in it; and three metrics.
//!
//! ```text
//! INFO run{what="fetch"}: attempt failed attempt=1 elapsed=0ns error=no route again=100ms
//! INFO run{what="fetch"}: attempt failed attempt=2 elapsed=100ms error=no route again=100ms
//!
//! relent_attempts_total{run="fetch", outcome="failed"}      2
//! relent_attempts_total{run="fetch", outcome="succeeded"}   1
//! relent_runs_total{run="fetch", stop="succeeded"}          1
//! relent_run_seconds{run="fetch", stop="succeeded"}         0.2
//! ```
