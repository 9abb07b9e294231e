//! What a run reports on its way.

use super::{error::Loss, lock::LockError};

/// What [`on_change`](super::Elect::on_change) hears.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// The lock bears this identity now; `None`: nobody's.
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

pub(super) type OnChange = Box<dyn FnMut(&Change) + Send>;
