//! One limiter, and one backoff, per key.

mod acquire;
mod backoff;
mod expiring_map;
mod limiter;
mod shard;

pub use self::{
    acquire::{KeyedAcquire, KeyedReady},
    backoff::KeyedBackoff,
    limiter::KeyedLimiter,
};
