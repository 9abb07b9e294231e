//! One limiter, and one backoff, per key.

mod acquire;
mod backoff;
mod dense_expiring_map;
mod expiring_map;
mod incremental_table;
#[cfg(all(test, any(relent_loom, relent_shuttle)))]
mod interleavings;
mod limiter;
#[cfg(test)]
mod map_tests;
mod promoted;
mod request;
mod settings;
mod shard;
mod shards;

pub use self::{
    acquire::{KeyedAcquire, KeyedReady},
    backoff::KeyedBackoff,
    limiter::KeyedLimiter,
};
