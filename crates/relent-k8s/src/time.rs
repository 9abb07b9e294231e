//! The only file that reads a clock or sleeps: tokio's clock, and the wall clock for dates that others read or wrote.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, SystemTime};

pub(crate) use tokio::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock: for stamps that people read. No decision hangs on it.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// The date, for comparing with dates that servers wrote: the wall clock, moved along with tokio's where that is
/// paused.
pub(crate) fn date() -> SystemTime {
    let (now, real) = (now().into_std(), std::time::Instant::now());
    let (ahead, behind) = (now.saturating_duration_since(real), real.saturating_duration_since(now));
    let wall = wall();
    wall.checked_add(ahead).and_then(|date| date.checked_sub(behind)).unwrap_or(wall)
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

/// Lets others run where this task has had its share of the time.
pub(crate) async fn breathe() {
    tokio::task::coop::consume_budget().await;
}

/// The future's output, unless it takes longer.
pub(crate) async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(duration, future).await.ok()
}
