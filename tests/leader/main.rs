//! Elections: the state machine in simulations, the futures under a paused clock.
#![allow(clippy::pedantic, clippy::disallowed_methods, missing_docs)]

mod elect;
#[cfg(all(feature = "k8s", feature = "test-util"))]
mod lease;
mod manager;
mod sim;
