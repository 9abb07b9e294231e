//! Terms without an election.

use std::{sync::Arc, time::Duration};

use crate::{
    leader::{Term, TermOwner},
    policy::nanos,
    time::BootClock,
};

/// A term that no election gives, for a unit test of work that runs in one. It lasts until the test [loses](Self::lose)
/// it, or drops this.
///
/// ```
/// use std::time::Duration;
/// use relent::{leader::Term, testing::TestTerm};
///
/// async fn work(term: Term) -> &'static str {
///     term.lost().await;
///     "put away"
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let owner = TestTerm::new("a", 7);
/// let work = tokio::spawn(work(owner.term()));
/// owner.lose(Duration::from_secs(5));
/// assert_eq!(work.await.unwrap(), "put away");
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropped, the term is over"]
pub struct TestTerm {
    owner: TermOwner,
    clock: BootClock,
}

impl TestTerm {
    /// A term of the candidate of this identity, with this [fence](Term::fence).
    pub fn new(identity: impl Into<Arc<str>>, fence: u128) -> Self {
        let clock = BootClock::start();
        Self { owner: TermOwner::detached(fence, identity.into(), clock), clock }
    }

    /// What the work is given.
    #[must_use]
    pub fn term(&self) -> Term {
        self.owner.term().clone()
    }

    /// The term is lost: the work is told, and has this long until the term is over. Said again, the shorter time
    /// holds. Nothing drops the work: an election does.
    pub fn lose(&self, grace: Duration) {
        self.owner.announce_loss(self.clock.now().saturating_add(nanos::nanos(grace)));
    }
}
