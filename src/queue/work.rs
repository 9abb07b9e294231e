//! `queue.run(worker)`: a worker for each item whose time has come.

use std::{fmt, hash::Hash};

use tokio_util::sync::CancellationToken;

use super::{GivenUp, TimedQueue, working::Working};
use crate::{
    ConfigError,
    budget::Budget,
    error::Last,
    limiter::{Limiter, Limiters},
    policy::attempts::{Attempt, Decision},
    time::Instant,
};

/// One attempt at an item, as the worker gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// When it was due.
    pub due: Instant,
    /// Which attempt at this item it is.
    pub attempt: Attempt,
}

/// What [`TimedQueue::run`] calls: every `FnMut(Job<K, V>)` whose future answers with a `Result`.
pub trait Worker<K, V> {
    /// Why an attempt failed.
    type Error: Send + 'static;
    /// One attempt.
    type Future: Future<Output = Result<(), Self::Error>>;

    /// Starts an attempt.
    fn work(&mut self, job: Job<K, V>) -> Self::Future;
}

impl<K, V, E, F, W> Worker<K, V> for W
where
    E: Send + 'static,
    F: Future<Output = Result<(), E>>,
    W: FnMut(Job<K, V>) -> F,
{
    type Error = E;
    type Future = F;

    fn work(&mut self, job: Job<K, V>) -> F {
        self(job)
    }
}

/// What became of an attempt, for [`Work::notify`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<'a, K, V, E> {
    /// It is done.
    #[non_exhaustive]
    Done {
        /// The key.
        key: K,
        /// The value.
        value: V,
        /// The attempt that did it.
        attempt: Attempt,
    },
    /// An attempt failed or was cut. If nothing follows, the item itself comes next.
    #[non_exhaustive]
    Failed {
        /// The key.
        key: &'a K,
        /// The attempt.
        attempt: Attempt,
        /// What it did.
        last: Last<&'a E>,
        /// When the policy would try again.
        again: Option<Instant>,
    },
    /// No further attempt is made at this item: the policy allows none, or it was cancelled while it ran.
    GaveUp(GivenUp<K, V, E>),
    /// No further attempt is made at this item, because something newer was given for its key.
    Superseded(GivenUp<K, V, E>),
}

/// How [`TimedQueue::run`] ended.
#[derive(Debug)]
#[must_use = "items that were not done are handed back in here"]
#[non_exhaustive]
pub struct Finished<K, V, E> {
    /// What was given up, if nobody was told with [`Work::notify`].
    pub given_up: Vec<GivenUp<K, V, E>>,
    /// What waited, and when it was due, if the run was cancelled.
    pub waiting: Vec<(K, V, Instant)>,
}

pub(super) type Classify<'q, E> = Box<dyn FnMut(&E) -> Decision + Send + 'q>;
pub(super) type Notify<'q, K, V, E> = Box<dyn FnMut(Outcome<'_, K, V, E>) + Send + 'q>;

/// The builder of [`TimedQueue::run`]. `.await` it.
#[must_use = "it does nothing unless awaited"]
pub struct Work<'q, K, V, W: Worker<K, V>> {
    pub(super) queue: &'q mut TimedQueue<K, V>,
    pub(super) worker: W,
    pub(super) concurrency: usize,
    pub(super) token: Option<CancellationToken>,
    pub(super) limiter: Option<Limiters>,
    pub(super) budget: Option<Budget>,
    pub(super) classify: Option<Classify<'q, W::Error>>,
    pub(super) notify: Option<Notify<'q, K, V, W::Error>>,
}

impl<'q, K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>> Work<'q, K, V, W> {
    pub(super) fn new(queue: &'q mut TimedQueue<K, V>, worker: W) -> Self {
        Self { queue, worker, concurrency: 1, token: None, limiter: None, budget: None, classify: None, notify: None }
    }

    /// How many items run at once at most; 1 unless set.
    ///
    /// # Errors
    /// 0 would never run anything.
    pub fn concurrency(mut self, most: usize) -> Result<Self, ConfigError> {
        if most == 0 {
            return Err(ConfigError::new("concurrency", most, "at least 1, or nothing would ever run"));
        }
        self.concurrency = most;
        Ok(self)
    }

    /// Which errors to try again, and when. Default: all, by the policy.
    pub fn when<D: Into<Decision>>(mut self, mut classify: impl FnMut(&W::Error) -> D + Send + 'q) -> Self {
        self.classify = Some(Box::new(move |error| classify(error).into()));
        self
    }

    /// Takes a permit of this limiter before each attempt.
    ///
    /// The queue stands in the limiter's line once, like any other who waits there, for whichever item is first when its
    /// turn comes. Until then that item waits: it can be moved and cancelled, and when nothing is due any more the place
    /// in line is gone without a trace. The wait never counts towards `attempt_timeout`. It counts towards an item's
    /// bounds from its first start on: one that cannot be tried again in time for them is given up with
    /// [`Stop::Limiter`](crate::Stop::Limiter).
    pub fn throttle(mut self, limiter: &Limiter) -> Self {
        self.limiter = Some(Limiters::and(self.limiter.take(), limiter.clone()));
        self
    }

    /// Each item counts for this budget from its first start on, and asks it before each further attempt; refused, it is
    /// given up with [`Stop::Budget`](crate::Stop::Budget). What was allowed and is not made, because the item was
    /// cancelled or replaced meanwhile, goes back.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Shuts down when the token is cancelled: nothing starts any more, what runs is left to end (within its
    /// `attempt_timeout`), and what waits then is handed back.
    pub fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Tells what becomes of each attempt, and hands back the items that are done or given up.
    ///
    /// It is called inside the future's `poll`: it must not block. If it panics, the future panics.
    pub fn notify(mut self, listener: impl FnMut(Outcome<'_, K, V, W::Error>) + Send + 'q) -> Self {
        self.notify = Some(Box::new(listener));
        self
    }
}

impl<'q, K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>> IntoFuture for Work<'q, K, V, W> {
    type Output = Finished<K, V, W::Error>;
    type IntoFuture = Working<'q, K, V, W>;

    fn into_future(self) -> Working<'q, K, V, W> {
        Working::new(self)
    }
}

impl<K, V, W: Worker<K, V>> fmt::Debug for Work<'_, K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}
