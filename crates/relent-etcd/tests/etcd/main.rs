//! `etcd::Members`: on the model in virtual time, and on real etcd.
#![allow(clippy::disallowed_methods, missing_docs)]

mod chaos;
mod model;
mod no_quorum;
#[cfg(feature = "client")]
mod real;
mod shared_urls;
mod spawned;
mod texts;
