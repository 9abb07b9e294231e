//! A Kubernetes API server inside this process, for tests.
//!
//! [`ApiServer`] is a tower service for `kube::Client`: no socket, no thread, so it runs under tokio's paused clock and a test
//! sees every wait. It can also [listen](ApiServer::listen) on a loopback port, for `kubectl` and other processes.
mod access;
mod body;
mod delete;
mod discovery;
mod evict;
mod failure;
mod fault;
mod journal;
mod listen;
mod object;
mod patch;
mod read;
mod request;
mod resource;
mod selector;
mod server;
mod shape;
mod state;
mod store;
mod strategic;
mod watch;
mod write;

pub use self::{
    access::Rule,
    body::Body,
    fault::Fault,
    journal::Entry,
    listen::Listening,
    request::Verb,
    resource::Resource,
    server::{ApiServer, Injected},
};
