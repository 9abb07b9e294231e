//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod budget;
mod error;
mod keyed;
mod limiter;
#[doc(hidden)]
pub mod policy;
mod sync;
mod time;

pub use crate::{
    budget::{Budget, InFlight},
    error::ConfigError,
    keyed::KeyedLimiter,
    limiter::{Acquire, Limiter, Ready, Refused, Reservation},
    policy::{rate::Rate, ratio::Ratio},
};
