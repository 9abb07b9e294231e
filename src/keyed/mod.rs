//! One limiter, and one backoff, per key.

mod acquire;
mod backoff;
mod expiring_map;
#[cfg(all(test, any(relent_loom, relent_shuttle)))]
mod interleavings;
mod limiter;
mod promoted;
mod request;
mod settings;
mod shard;
mod upkeep;

pub use self::{
    acquire::{KeyedAcquire, KeyedReady},
    backoff::KeyedBackoff,
    limiter::KeyedLimiter,
};

/// Keys are spread over so many locks, so that threads rarely meet and a table that grows is small.
const SHARDS: usize = if cfg!(any(relent_loom, relent_shuttle)) { 1 } else { 32 };

fn shards<T>(mut new: impl FnMut() -> T) -> [T; SHARDS] {
    std::array::from_fn(|_| new())
}

/// The tables themselves go by the bits at both ends.
#[inline]
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}
