//! On real etcd, 3.4 and 3.5.

mod around;
mod bad_input;
#[path = "../../../../../tests/leader/child.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod child;
mod faults;
mod no_quorum;
mod processes;
mod server;
mod sources;
mod states;
mod trouble;
mod words;
