//! The only file that reads a clock or sleeps: tokio's clock, and the wall clock once, at the start of a server.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, SystemTime};

pub(crate) use tokio::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Waits until then; `None` is never.
pub(crate) async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits so long; not at all where that is no time.
pub(crate) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
