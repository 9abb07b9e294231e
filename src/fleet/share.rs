//! What a member has of its fleet's rate, and what its guard and its task tell each other.

use std::sync::Arc;

use tokio::sync::watch;

use crate::policy::{fleet::Share as Part, limit::rate::Rate};

/// What a member has at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberShare {
    /// The rate of this process; [`Rate::ZERO`] while it has no share.
    pub rate: Rate,
    /// Its burst.
    pub burst: u32,
    /// The rate of the whole fleet, as of the last refresh.
    pub of: Rate,
    /// The members, this one included, as of the last refresh; 0 before it.
    pub members: u32,
}

/// What the guard and the task share.
#[derive(Clone, Debug)]
pub(super) struct Controls {
    /// What was told to the task.
    pub(super) wanted: Arc<watch::Sender<Wanted>>,
    /// What the task tells.
    pub(super) share: Arc<watch::Sender<MemberShare>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) states: Part,
    pub(super) leave: bool,
}

impl Controls {
    pub(super) fn new(states: Part) -> Self {
        let none = MemberShare { rate: Rate::ZERO, burst: 0, of: Rate::ZERO, members: 0 };
        Self {
            wanted: Arc::new(watch::Sender::new(Wanted { states, leave: false })),
            share: Arc::new(watch::Sender::new(none)),
        }
    }
}
