//! Elections: the state machine in simulations, the futures under a paused clock.
#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::async_yields_async,
    clippy::bool_assert_comparison,
    missing_docs
)]

#[cfg(all(feature = "k8s", feature = "test-util"))]
mod client_go;
mod elect;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(all(feature = "k8s", feature = "test-util"))]
mod lease;
mod manager;
mod sim;
