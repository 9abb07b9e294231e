//! *Retry, poll, back off, wait your turn. And never give up without saying why.*
//!
//! | I want to | use |
//! |---|---|
//! | call until it works | [`retry`]; [`blocking::retry`] on a thread; [`Policy::begin`] where the call needs `&mut` |
//! | check until it is so | [`poll`]; [`blocking::poll`] on a thread |
//! | wait until something has really finished, and notice when it is stuck | [`settle`] |
//! | repeat an act whose answer may have been lost | [`ensure`] |
//! | write policy, limiter, budget, classification and listener of a client's calls once | [`Profile`] |
//! | say inside the call which errors are permanent | [`Failure`] |
//! | see what a policy would do before it runs | [`Policy::plan`] |
//! | limit how often something happens, in order and within a deadline | [`Limiter`], [`KeyedLimiter`] |
//! | keep retries from burying a server in trouble | [`Budget`] |
//! | count failures per item, as work queues do | [`KeyedBackoff`] |
//! | do work at its time, one run per key, with retries | [`TimedQueue`] |
//! | lead, and know until when | [`leader`] |
//! | keep one rate with many processes | [`fleet`] |
//! | let a server's "too many" set the rate | [`limiter::Adaptive`] |
//! | know which errors of a connection, which HTTP answers are worth another attempt | [`io`], `http` (feature `http`) |
//! | retry and limit within a `tower` stack: hyper, reqwest, tonic, kube | `tower` (feature `tower`) |
//! | keep a stream going that breaks off | `stream` (feature `stream`) |
//! | talk to Kubernetes, to etcd | the crates [relent-k8s](https://docs.rs/relent-k8s), [relent-etcd](https://docs.rs/relent-etcd) |
//! | test all of this | `testing` (feature `test-util`); [relent-apiserver](https://docs.rs/relent-apiserver), a Kubernetes API in the test process |
//! | name a builder or a future, in a struct or in a signature | [`builder`], [`operation`] |
//!
//! # Call until it works
//!
//! ```
//! use std::time::Duration;
//! use relent::{Backoff, retry};
//!
//! # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let answer = retry(async |_| fetch().await)
//!     .backoff(Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2)))
//!     .attempt_timeout(Duration::from_secs(1)) // each call
//!     .finish_within(Duration::from_secs(10)) // everything
//!     .await?;
//! assert_eq!(answer, 7);
//! # Ok(()) }
//! ```
//!
//! # Four times
//!
//! None stands in for another, and [`Policy::plan`] shows what they do before a run is made:
//!
#![doc = include_str!("../docs/four-times.svg")]
//!
#![doc = include_str!("../docs/plan.svg")]
//!
//! # Know why it gave up
//!
//! The error of every verb is [`GaveUp`]: it names why the run stopped ([`Stop`]) and what the last attempt did
//! ([`Last`]), and keeps the latest error that the operation itself gave, whatever came after it.
//!
//! ```
//! use std::time::Duration;
//! use relent::{Stop, retry};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let gave_up = retry(async |_| Err::<(), _>(std::io::Error::other("no route to host")))
//!     .every(Duration::from_millis(50))
//!     .start_within(Duration::from_millis(350))
//!     .await
//!     .unwrap_err();
//! assert_eq!(*gave_up.stop(), Stop::StartWindow);
//! assert_eq!(gave_up.to_string(), "gave up after 8 attempts in 350ms: \
//!     no attempt may start after 350ms; \
//!     last attempt: no route to host");
//! # }
//! ```
//!
//! Its text tells the error and every cause below it; having told them, it has no `source()`. For errors that are no
//! [`Error`](std::error::Error) (`anyhow::Error`, boxed errors, strings) say `.boxed()` on the builder, or print
//! [`GaveUp::sentence`]. For those that look for an error of their own in the sources, as tonic looks for its `Status`,
//! say `.chained()`: see [`Chained`](error::Chained).
//!
//! # What holds for every verb
//!
//! - Nothing starts once a run is cancelled, nor at its `finish_within` or later, however late a timer fired.
//! - An attempt that got no answer, cut by its own deadline or dropped, may have worked. `on_cut(Decision::Fatal)` is
//!   for calls that must not run twice.
//! - A [`Limiter`] keeps its law in real time: whatever stalls, in any window `w` at most
//!   `burst + rate * (w + catch-up)` permits come out. [`Budget::ratio`] is for steady traffic, [`Budget::in_flight`]
//!   for bursts, and either has a floor for little.
//! - "failed with E, retrying in D" is one line: [`Event::Ended`](events::Event::Ended) has what the attempt did and
//!   how long the pause will be.
//!
//! How to choose settings, combine, test and migrate, what each error means and what rustc means, is in the
//! [`guide`].
//!
//! # Features
//!
//! None is on by default. `http`, `tower`, `stream`: for the stacks that people have. `serde`: [`Policy`] as a value in
//! a configuration file. `tracing`, `metrics`: listeners. `signal`: the manager stops on ctrl-c and SIGTERM.
//! `test-util`: `testing`, for tests of your own code. `internals` opens what this crate's own tests, benchmarks and
//! fuzzers look at; it is no part of the API and may change in any version.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod blocking;
pub mod budget;
pub mod builder;
mod cursor;
mod ensure;
pub mod error;
pub mod events;
mod failure;
mod faults;
pub mod fleet;
#[cfg(any(doc, doctest))]
pub mod guide;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
pub mod io;
mod keyed;
pub mod leader;
pub mod limiter;
mod mapped;
pub mod operation;
pub mod plan;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, reason = "tests, benchmarks and fuzzers see more of it: feature `internals`")]
mod policy;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod policy;
mod poll;
mod profile;
pub mod queue;
mod report;
mod retry;
mod run;
mod settle;
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
pub mod stream;
mod sync;
#[cfg(feature = "test-util")]
pub mod testing;
mod time;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;

/// The token of `.cancel_on(..)`, tokio-util's.
pub use tokio_util::sync::CancellationToken;

#[doc(inline)]
pub use crate::{
    budget::Budget,
    ensure::{Ensured, ensure, reconciler::Observed},
    error::{ConfigError, GaveUp, Last, Stop},
    failure::Failure,
    keyed::{KeyedBackoff, KeyedLimiter},
    limiter::Limiter,
    operation::Operation,
    policy::{
        limit::rate::Rate,
        ratio::Ratio,
        schedule::{
            Policy,
            attempts::{Attempt, Decision},
            backoff::Backoff,
            jitter::Jitter,
        },
        verb::ensure::Change,
    },
    poll::{Check, poll},
    profile::Profile,
    queue::TimedQueue,
    retry::retry,
    settle::{Progress, settle},
};

/// Its code blocks are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
