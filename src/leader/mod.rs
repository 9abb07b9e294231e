//! Holding leadership: one of many processes works, the others wait.
//!
//! [`elect`] campaigns for a [`Lock`] and runs work while it holds it. The work belongs to the run: it is told when its
//! [`Term`] is over, it is dropped before another may begin, and only then is the lock given back.
//!
//! ```
//! use relent::leader::{Ended, MemoryLock, elect};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::leader::ElectError> {
//! let lock = MemoryLock::new();
//! let ended = elect(lock, "one").run(async |term| term.fence()).await?;
//! assert!(matches!(ended, Ended::Finished(fence) if fence > 0));
//! # Ok(()) }
//! ```
//!
#![doc = include_str!("../../docs/election.svg")]
//!
//! # What an election can promise, and what not
//! No two terms are valid at the same time, as long as clocks run at rates within the
//! [`clock_drift`](Timing::clock_drift) and all candidates keep the rules of this module. That holds for restarts of
//! the server, for answers that are lost or late, for two processes that have one identity by mistake, and for machines
//! that are suspended, where the platform has a clock that goes on meanwhile (Linux and Android: `CLOCK_BOOTTIME`).
//!
//! What no election can help:
//! - A request that the work has sent may arrive after the term: give it the [`fence`](Term::fence), and let the other
//!   side refuse an older one.
//! - A process that freezes, or is suspended, inside a poll of the work goes on in it afterwards: the clock is read
//!   before each poll, not within one. Ask [`Term::valid_for`] before what must not be done late.
//! - Tasks that the work has spawned are not the run's to drop: wrap them in [`Term::guard`].
//! - A virtual machine that is paused, copied or set back to a snapshot, where its host does not set its clocks
//!   forward. Elsewhere than on Linux and Android, a suspension.
//! - A writer of the lock that breaks the rules: a candidate of another kind that takes an emptied record at once, a
//!   release written by hand, a store that is restored from a backup.
//! - Work that goes on after it was told and before it is dropped, which is in its term still.
//!
//! A lock that is missing may have been deleted under a leader that goes on for a while. A candidate that creates it
//! therefore waits for a lease before its term begins; [`Elect::lead_on_create`] does without.

mod elect;
mod election;
mod error;
mod event;
mod health;
mod identity;
mod lock;
mod manager;
mod memory;
mod settings;
mod term;
mod watch;
mod work;

#[cfg(feature = "test-util")]
pub(crate) use self::term::TermOwner;
pub use self::{
    elect::{Campaigns, Elect, elect},
    election::Election,
    error::{ElectError, Ended, Loss},
    event::ElectionEvent,
    health::{Health, Unhealthy},
    identity::identity,
    lock::{Lock, LockError, Prepared, Record, RecordStream, Write},
    manager::{Manager, ManagerError, TaskFailure},
    memory::MemoryLock,
    term::{Guarded, Term},
    watch::{Leader, Watch, watch},
    work::{EachTerm, OneTerm, TermWork},
};
pub use crate::policy::lease::{Explained, Timing};
