//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
#[doc(hidden)]
pub mod policy;
pub mod queue;
mod sync;
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
    queue::TimedQueue,
};
