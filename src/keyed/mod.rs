//! One limiter, and one backoff, per key: in few bytes, and no call takes longer because there are many keys.
//!
//! # Structure
//! - `shards`: both are cut into parts, each under a lock of its own.
//! - `shard`: the keys of a part of the limiter. One at rest is a word in an `expiring_map`; `promoted` ones have a
//!   limiter of their own.
//! - `dense_expiring_map`: the keys of a part of the backoff, whose entries are larger.
//! - `incremental_table`: the hash table of both maps.

mod acquire;
mod backoff;
#[cfg(test)]
mod costs;
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
