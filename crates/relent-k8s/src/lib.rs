//! Callers for Kubernetes: they give up in time, and say why.
//!
//! | I want to | |
//! |---|---|
//! | fetch an object that is probably there | [`get`], [`get_config_map`] |
//! | wait until an object is created | [`get_when_created`] |
//! | wait until an object is as it should be | [`wait`], [`conditions`] |
//! | .. or all objects with these labels | [`wait_labelled`] |
//! | end a wait for what will never be | [`unless`] |
//! | start a long operation and see it really finished | [`LongOperation`] |
//! | hold leadership by a Lease | [`LeaseLock`] |
//! | evict pods at their time | [`eviction`] |
//! | retry calls of my own with a `kube::Api` | [`retry`](relent::retry())`(..).when(`[`classify`]`)`, [`ErrorClass`] |
//! | a client whose calls end when I say so | [`client`], [`inferred_client`], [`client_from`] |
//! | an error that tells the operator what to do | [`ApiError`] |
//!
//! A `kube::Client` made in the usual way retries *inside* each call (429, 503 and 504, 15 times, for minutes) and
//! waits for a silent server for ever. Retries around such a client are nested retries. The clients made here do
//! neither; whatever client there is, [`get`] gives each call a deadline.
//!
//! Your crate chooses the Kubernetes version: `k8s-openapi = { version = "..", features = ["v1_33"] }`. The version of
//! `kube` is [`relent_k8s::kube`](kube).
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// `unwrap()` and `fn main() -> Result` show an error by `Debug`: it says there what a person reads, and no dump of
/// what a server answered.
macro_rules! debug_as_display {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}

mod advice;
mod call;
mod chain;
mod class;
mod client;
mod condition;
mod error;
pub mod eviction;
mod get;
mod lease;
mod ledger;
mod name;
mod operation;
mod refusal;
mod retry_after;
mod target;
mod time;
mod wait;

use std::pin::Pin;

/// The client that these callers are written for: code that names its types needs this version.
pub use kube;

pub use self::{
    class::{ErrorClass, classify},
    client::{client, client_from, inferred_client},
    condition::{Awaited, Unless, Verdict, conditions, unless},
    error::ApiError,
    get::{ByClass, Fetch, Get, GetFuture, get, get_config_map, get_when_created},
    lease::{LeaseError, LeaseLock},
    ledger::ConfigMapLedger,
    operation::{Contract, LongOperation, LongOperationError, Trigger, TriggerWork, Triggered},
    retry_after::{RetryAfterLayer, RetryAfterService},
    wait::{Sighting, WaitError, wait, wait_labelled},
};

/// A future that can be sent; named, so that what holds it can be sent too.
type Boxed<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// Its code blocks are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
