//! The only file that reads a clock or sleeps. Everything goes by tokio's clock.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

pub(crate) use tokio::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until then; `None` is never.
#[cfg(feature = "model")]
pub(crate) async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits so long; not at all where that is no time.
#[cfg(any(feature = "client", feature = "model"))]
pub(crate) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// The future's output, unless it takes longer.
pub(crate) async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(duration, future).await.ok()
}
