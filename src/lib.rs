//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod blocking;
mod cursor;
mod error;
pub mod events;
mod operation;
#[cfg(feature = "k8s")]
pub mod k8s;
pub mod leader;
#[doc(hidden)]
pub mod policy;
mod poll;
mod retry;
mod run;
mod settings;
mod shared;
#[cfg(feature = "test-util")]
pub mod testing;
mod time;

pub use crate::{
    cursor::{Run, Turn},
    error::{BoxedError, ConfigError, Detail, GaveUp, Last, NoAnswer, Stop},
    events::{Event, Listener, Wait},
    operation::{Classify, Judged, Operation, Outcome, RetryAll},
    policy::{
        Policy,
        attempts::{Attempt, Decision},
        backoff::{Backoff, Delays},
        bounds::CutBy,
        jitter::Jitter,
        ratio::Ratio,
    },
    poll::{Answer, Check, Polling, PollingFuture, poll},
    retry::{Retry, RetryFuture, retry},
    shared::{Asked, Shared, Ties},
};
