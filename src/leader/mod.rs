//! Holding leadership: one of many processes works, the others wait.
//!
//! [`elect`] campaigns for a [`Lock`] and runs work while it holds it. The work belongs to the run: it is told when its
//! [`Term`] is over, it is dropped before anyone else may begin, and only then is the lock given back.
//!
//! ```
//! use relent::leader::{Ended, MemoryLock, elect};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::leader::ElectError> {
//! let lock = MemoryLock::new();
//! let ended = elect(lock, "one").run(|term| async move { term.fence() }).await?;
//! assert!(matches!(ended, Ended::Finished(fence) if fence > 0));
//! # Ok(()) }
//! ```
//!
//! # What an election can promise, and what not
//! No two terms are valid at the same time, as long as clocks run at rates within the
//! [`clock_drift`](Timing::clock_drift), identities are unique, and all candidates keep the rules of this module. A process
//! that freezes inside a poll of the work, a task that the work spawned, and a request that the work has sent are beyond
//! any election: give them the [`fence`](Term::fence) and let the other side refuse an older one, and wrap spawned tasks
//! in [`Term::guard`].
//!
//! A lock that is missing may have been deleted under a leader that goes on for a while. Whoever creates it therefore
//! waits for a lease before its term begins; [`Elect::lead_on_create`] does without.

mod change;
mod elect;
mod error;
mod health;
mod identity;
mod leading;
mod lock;
mod manager;
mod memory;
mod term;
mod watch;
mod work;

pub use self::{
    change::Change,
    elect::{Campaigns, Elect, elect},
    error::{ElectError, Ended, Loss},
    health::{Health, Unhealthy},
    identity::identity,
    leading::Leading,
    lock::{Lock, LockError, Prepared, Put, Reports, Seen},
    manager::{Failure, Manager, ManagerError},
    memory::MemoryLock,
    term::{Guarded, Term},
    watch::{Leader, Watch, watch},
    work::{Many, Once, Work},
};
pub use crate::policy::lease::{Explained, Timing};
