//! Layers for `tower`: [`RetryLayer`], whose policy is a [`Profile`](crate::Profile), and [`LimitLayer`], whose limit
//! is a [`Limiter`](crate::Limiter).
//!
//! ```
//! use std::time::Duration;
//! use relent::{Limiter, Policy, Profile, tower::{LimitLayer, RetryLayer}};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let mut calls = 0;
//! # let answer = move |n: u32| { calls += 1; let calls = calls; async move { if calls < 3 { Err("busy") } else { Ok(n + 1) } } };
//! # let answer = Answering(std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0)));
//! # #[derive(Clone)] struct Answering(std::sync::Arc<std::sync::atomic::AtomicU32>);
//! # impl Service<u32> for Answering { type Response = u32; type Error = &'static str; type Future = std::future::Ready<Result<u32, &'static str>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), &'static str>> { std::task::Poll::Ready(Ok(())) }
//! #     fn call(&mut self, n: u32) -> Self::Future { let calls = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
//! #         std::future::ready(if calls < 2 { Err("busy") } else { Ok(n + 1) }) } }
//! let policy: Policy = "attempt_timeout 2s, finish_within 30s, max_retry_after 10s".parse().unwrap();
//! let mut client = ServiceBuilder::new()
//!     .layer(RetryLayer::new(Profile::new(policy)))
//!     .layer(LimitLayer::new(&Limiter::per_second(10)))
//!     .service(answer);
//! assert_eq!(client.ready().await.unwrap().call(6).await.unwrap(), 7);
//! # }
//! ```

mod limit;
mod request;
mod retry;

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::request::CheckStatus;
pub use self::{
    limit::{LimitLayer, LimitService},
    request::{AnyResponse, CheckResponse, CloneRequest, Profiles, RepeatRequest},
    retry::{ResponseFuture, RetryLayer, RetryService},
};
