//! What people wait for in Kubernetes.

mod operation;
mod wait;

pub use self::{
    operation::{Contract, Operation, OperationError, Triggered},
    wait::{WaitError, wait},
};
