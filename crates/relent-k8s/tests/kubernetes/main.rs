//! The Kubernetes half of the crate, on the in-process API server and, where `RELENT_KUBECONFIG` names one, on a real one.
#![allow(clippy::disallowed_methods, clippy::similar_names, unreachable_pub)]

mod contract;
mod eviction;
mod faults;
mod get;
mod kubectl;
mod spawned;
mod world;
