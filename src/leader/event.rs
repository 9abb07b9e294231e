//! What an election reports on its way.

use super::{error::Loss, lock::LockError};

/// What [`on_event`](super::Elect::on_event) hears.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ElectionEvent {
    /// The lock bears this identity now; `None`: it has no holder.
    Holder(Option<String>),
    /// This candidate leads.
    Elected {
        /// The term's fence.
        fence: u128,
    },
    /// This candidate's term was lost.
    Lost(Loss),
    /// A call of the lock failed; the election goes on.
    Trouble(LockError),
}

pub(super) type OnEvent = Box<dyn FnMut(&ElectionEvent) + Send>;
