//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
#[cfg(any(feature = "etcd", feature = "test-util"))]
pub mod etcd;
#[doc(hidden)]
pub mod policy;
#[cfg(feature = "test-util")]
pub mod testing;
mod time;

pub use crate::{
    error::{BoxedError, ConfigError, Detail, GaveUp, Last, NoAnswer, Stop},
    policy::{
        Policy,
        attempts::{Attempt, Decision},
        backoff::{Backoff, Delays},
        bounds::CutBy,
        jitter::Jitter,
        ratio::Ratio,
    },
};
