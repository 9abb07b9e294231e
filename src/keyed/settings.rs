//! What all keys of a limiter have in common.

use hashbrown::DefaultHashBuilder;

use crate::{limiter::LimiterClock, policy::limit::rate::Rate};

/// What all keys share besides the settings.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) clock: LimiterClock,
    pub(super) hasher: DefaultHashBuilder,
}

/// What all keys have. Each shard, and each limiter of a key, takes over the latest version and no earlier one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) rate: Rate,
    pub(super) burst: u32,
    pub(super) version: u64,
}
