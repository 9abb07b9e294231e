//! The delays of a [`Backoff`](crate::Backoff), for waits of your own.

pub use crate::policy::schedule::backoff::Delays;
