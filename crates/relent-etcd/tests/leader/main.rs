//! A key of etcd as the lock of elections: on real etcd, 3.4 and 3.5.
#![cfg(feature = "client")]
#![allow(clippy::pedantic, clippy::disallowed_methods, clippy::async_yields_async, missing_docs)]

#[path = "../etcd/real/around.rs"]
#[allow(dead_code, reason = "tests/etcd uses the rest")]
mod around;
#[cfg(unix)]
mod chaos;
#[cfg(unix)]
#[path = "../../../../tests/leader/child.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod child;
mod etcd;
mod etcd_trouble;
mod release;
#[path = "../etcd/real/server.rs"]
#[allow(dead_code, reason = "tests/etcd uses the rest")]
mod server;
