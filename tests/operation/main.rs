//! Long operations and waits, on the in-process API server under a paused clock; and on a real one where `RELENT_KUBECONFIG` names it.
#![cfg(all(feature = "k8s", feature = "test-util"))]
#![allow(clippy::disallowed_methods, missing_docs)]

mod contract;
mod waiting;
