//! Elections: the state machine in simulations, the futures under a paused clock.
#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::async_yields_async,
    clippy::bool_assert_comparison,
    missing_docs
)]

#[cfg(all(unix, feature = "signal"))]
#[allow(dead_code, reason = "the locks' tests use the rest")]
mod child;
mod elect;
mod manager;
#[cfg(feature = "test-util")]
mod release;
#[cfg(all(unix, feature = "signal"))]
mod signals;
mod sim;
#[path = "../simulated/mod.rs"]
mod simulated;
