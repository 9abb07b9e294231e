//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod blocking;
mod budget;
mod cursor;
mod error;
pub mod events;
#[cfg(feature = "k8s")]
pub mod k8s;
mod keyed;
mod limiter;
mod operation;
#[doc(hidden)]
pub mod policy;
mod poll;
mod retry;
mod run;
mod settings;
mod shared;
mod sync;
#[cfg(feature = "test-util")]
pub mod testing;
mod time;

pub use crate::{
    budget::{Budget, InFlight},
    cursor::{Run, Turn},
    error::{BoxedError, ConfigError, Detail, GaveUp, Last, NoAnswer, Stop},
    events::{Event, Listener, Wait},
    keyed::{KeyedBackoff, KeyedLimiter},
    limiter::{Acquire, Limiter, Ready, Refused, Reservation},
    operation::{Classify, Judged, Operation, Outcome, RetryAll},
    policy::{
        Policy,
        attempts::{Attempt, Decision, Ended},
        backoff::{Backoff, Delays},
        bounds::CutBy,
        jitter::Jitter,
        plan::{Course, Finish, Plan},
        rate::Rate,
        ratio::Ratio,
        warning::Warning,
    },
    poll::{Answer, Check, Polling, PollingFuture, poll},
    retry::{Retry, RetryFuture, retry},
    shared::{Asked, Place, Shared, Ties},
};
