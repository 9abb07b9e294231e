//! Answers to what is asked most, to copy. Each is compiled and run.
//!
//! # HTTP, with reqwest
//!
//! `reqwest`'s statuses and headers are those of the crate `http`; with the feature `http` an answer that refuses
//! becomes an error with what its server asked for: see [`http`](crate::http). Below a `reqwest_middleware` or `tower`
//! stack the same is [`tower::RetryLayer`](crate::tower::RetryLayer).
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
//! With the feature `serde`, in TOML, YAML and JSON alike, as one line or as a map:
//! `cargo run --example config --features serde`.
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
//! [`events`](crate::events) writes to `tracing` (a span for each run, an event for each attempt) and to `metrics`;
//! both have exporters. `.listen((Tracing::new("fetch"), Metrics::new("fetch")))` hears both.
