//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod blocking;
mod budget;
mod cursor;
mod endeavour;
mod ensure;
mod error;
#[cfg(any(feature = "etcd", feature = "test-util"))]
pub mod etcd;
pub mod events;
#[cfg(any(doc, doctest))]
pub mod guide;
#[cfg(feature = "k8s")]
pub mod k8s;
mod keyed;
pub mod leader;
mod limiter;
mod operation;
#[doc(hidden)]
pub mod policy;
mod poll;
pub mod queue;
mod retry;
mod run;
mod settings;
mod settle;
mod shared;
mod sync;
#[cfg(feature = "test-util")]
pub mod testing;
mod time;

pub use crate::{
    budget::{Budget, InFlight},
    cursor::{Run, Turn},
    endeavour::{Act, Both, Endeavour, Look, Seen},
    ensure::{Ensure, EnsureFuture, Ensured, ensure},
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
        ensure::Change,
        jitter::Jitter,
        plan::{Course, Finish, Plan},
        rate::Rate,
        ratio::Ratio,
        warning::Warning,
    },
    poll::{Answer, Check, Polling, PollingFuture, poll},
    queue::TimedQueue,
    retry::{Retry, RetryFuture, retry},
    settle::{Observation, Progress, Settle, SettleFuture, settle},
    shared::{Asked, Place, Shared, Ties},
};
