//! Elections: the state machine in simulations, the futures under a paused clock.
#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::async_yields_async,
    clippy::bool_assert_comparison,
    missing_docs
)]

#[cfg(all(feature = "etcd", feature = "test-util"))]
#[path = "../etcd/real/around.rs"]
#[allow(dead_code)]
mod around;
#[cfg(all(unix, feature = "etcd", feature = "test-util"))]
mod chaos;
#[cfg(all(unix, any(feature = "signal", all(feature = "etcd", feature = "test-util"))))]
#[path = "../etcd/real/child.rs"]
#[allow(dead_code)]
mod child;
#[cfg(all(feature = "k8s", feature = "test-util"))]
mod client_go;
mod elect;
#[cfg(all(feature = "etcd", feature = "test-util"))]
mod etcd;
#[cfg(all(feature = "etcd", feature = "test-util"))]
mod etcd_trouble;
#[cfg(all(feature = "k8s", feature = "test-util"))]
mod lease;
#[cfg(all(feature = "k8s", feature = "test-util"))]
mod lease_trouble;
mod manager;
mod release;
#[cfg(all(feature = "k8s", feature = "test-util"))]
mod restart;
#[cfg(all(feature = "etcd", feature = "test-util"))]
#[path = "../etcd/real/server.rs"]
#[allow(dead_code)]
mod server;
#[cfg(all(unix, feature = "signal"))]
mod signals;
mod sim;
