//! Retry, poll, back off, wait your turn. And never give up without saying why.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
pub mod leader;
#[doc(hidden)]
pub mod policy;
mod time;

pub use crate::{error::ConfigError, policy::ratio::Ratio};
