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
    pub(super) paused_until: u64,
    pub(super) version: u64,
}

impl Settings {
    /// The clock is another one, and behind: what was left of a pause at `then` is left `now`.
    pub(super) fn rewind(&mut self, then: u64, now: u64) {
        let left = self.paused_until.saturating_sub(then);
        self.paused_until = if left == 0 { 0 } else { now.saturating_add(left) };
    }
}
