//! `etcd::Members`: on the model in virtual time, and on real etcd.
#![allow(clippy::disallowed_methods, missing_docs)]

mod model;
#[cfg(feature = "etcd")]
mod real;
