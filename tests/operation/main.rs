//! Long operations and waits, on the in-process API server under a paused clock; and on a real one where `RELENT_KUBECONFIG` names it.
#![allow(clippy::disallowed_methods, missing_docs)]

mod contract;
mod waiting;
