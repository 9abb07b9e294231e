//! Callers for Kubernetes.

use std::pin::Pin;

pub mod eviction;
mod operation;
mod wait;

pub use self::{
    operation::{Contract, Operation, OperationError, Triggered},
    wait::{WaitError, wait},
};

/// A future that can be sent; named, so that what holds it can be sent too.
type Boxed<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;
