//! On real etcd, 3.4 and 3.5.

mod around;
mod bad_input;
#[allow(dead_code)]
mod child;
mod faults;
mod no_quorum;
mod processes;
mod server;
mod trouble;
mod words;
