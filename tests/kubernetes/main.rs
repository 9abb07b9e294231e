//! The Kubernetes half of the crate, on the in-process API server and, where `RELENT_KUBECONFIG` names one, on a real one.
#![allow(clippy::disallowed_methods, unreachable_pub)]

mod contract;
mod world;
