//! `queue.run(worker)`: a worker for each item whose time has come.

use std::{fmt, hash::Hash, pin::Pin};

use tokio_util::sync::CancellationToken;

use super::{GivenUp, TimedQueue, erased::ErasedError, working::Working};
use crate::{
    ConfigError,
    budget::Budget,
    error::{GaveUp, Last},
    limiter::{Limiter, Limiters},
    operation,
    policy::schedule::attempts::{Attempt, Decision},
    run::controls::Retries,
    time::{self, Instant},
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

impl<K, V> Job<K, V> {
    /// A first attempt without bounds, due now: for tests of a worker. The fields can be set to anything else.
    ///
    /// ```
    /// use relent::queue::Job;
    ///
    /// async fn work(job: Job<&str, u32>) -> Result<(), String> {
    ///     if job.value > 9 { Err(format!("{} is too much for {}", job.value, job.key)) } else { Ok(()) }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// assert_eq!(work(Job::new("a", 10)).await, Err("10 is too much for a".to_owned()));
    /// # }
    /// ```
    #[must_use]
    pub fn new(key: K, value: V) -> Self {
        Self { key, value, due: time::now(), attempt: Attempt::new(1) }
    }
}

/// What [`TimedQueue::run`] calls, for bounds: every `FnMut(Job<K, V>)` whose future answers with a `Result`. Nothing else
/// can implement it.
///
/// ```
/// use std::hash::Hash;
/// use relent::{TimedQueue, queue::Worker};
///
/// async fn work_off<K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>>(mut queue: TimedQueue<K, V>, worker: W) -> usize {
///     queue.run(worker).await.given_up.len()
/// }
/// ```
pub trait Worker<K, V>: FnMut(Job<K, V>) -> Self::Future {
    /// Why an attempt failed.
    type Error: fmt::Debug + Send + Sync + 'static;
    /// One attempt.
    type Future: Future<Output = Result<(), Self::Error>>;
}

impl<K, V, E, F, W> Worker<K, V> for W
where
    E: fmt::Debug + Send + Sync + 'static,
    F: Future<Output = Result<(), E>>,
    W: FnMut(Job<K, V>) -> F,
{
    type Error = E;
    type Future = F;
}

/// What became of an attempt, for [`Work::notify`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<'a, K, V, E> {
    /// It is done.
    #[non_exhaustive]
    Done {
        /// The key.
        key: &'a K,
        /// The value.
        value: &'a V,
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
    GaveUp(&'a GivenUp<K, V, E>),
    /// No further attempt is made at this item, because something newer was given for its key.
    Superseded(&'a GivenUp<K, V, E>),
}

impl<K, V, E> Clone for Outcome<'_, K, V, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, E> Copy for Outcome<'_, K, V, E> {}

/// How [`TimedQueue::run`] ended.
#[derive(Debug)]
#[must_use = "items that were not done are handed back in here"]
#[non_exhaustive]
pub struct Finished<K, V, E> {
    /// What was given up or superseded, unless [`Work::on_given_up`] took it.
    pub given_up: Vec<GivenUp<K, V, E>>,
    /// What waited, and when it was due, if the run was cancelled.
    pub waiting: Vec<(K, V, Instant)>,
    /// Of the keys in `waiting`, those that waited for another try: what the last one did.
    pub tried: Vec<(K, GaveUp<ErasedError>)>,
}

/// What an attempt fails with, by the type of its future.
pub(super) type ErrorOf<F> = <<F as Future>::Output as operation::RetryOutput>::Error;

pub(super) type Stop<'q> = Pin<Box<dyn Future<Output = ()> + Send + 'q>>;
pub(super) type Classify<'q, E> = Box<dyn FnMut(&E) -> Decision + Send + 'q>;
pub(super) type Notify<'q, K, V, E> = Box<dyn FnMut(Outcome<'_, K, V, E>) + Send + 'q>;
pub(super) type Take<'q, K, V, E> = Box<dyn FnMut(GivenUp<K, V, E>) + Send + 'q>;

/// The builder of [`TimedQueue::run`]. `.await` it.
#[must_use = "it does nothing unless awaited"]
pub struct Work<'q, K, V, W, F: Future<Output: operation::RetryOutput>> {
    pub(super) queue: &'q mut TimedQueue<K, V>,
    pub(super) worker: W,
    pub(super) concurrency: usize,
    pub(super) stops: Vec<Stop<'q>>,
    pub(super) limiter: Option<Limiters>,
    pub(super) retries: Retries,
    pub(super) classify: Option<Classify<'q, ErrorOf<F>>>,
    pub(super) listeners: Vec<Notify<'q, K, V, ErrorOf<F>>>,
    pub(super) take: Option<Take<'q, K, V, ErrorOf<F>>>,
    /// For what comes back when the run is dropped.
    pub(super) erase: fn(ErrorOf<F>) -> ErasedError,
}

impl<'q, K, V, W, F, E> Work<'q, K, V, W, F>
where
    K: Hash + Eq + Clone,
    V: Clone,
    W: FnMut(Job<K, V>) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    pub(super) fn new(queue: &'q mut TimedQueue<K, V>, worker: W) -> Self {
        Self {
            queue,
            worker,
            concurrency: 1,
            stops: Vec::new(),
            limiter: None,
            retries: Retries::Unlimited,
            classify: None,
            listeners: Vec::new(),
            take: None,
            erase: ErasedError::new,
        }
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
    pub fn when<D: Into<Decision>>(mut self, mut classify: impl FnMut(&E) -> D + Send + 'q) -> Self {
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
    /// cancelled meanwhile, goes back. Given twice, both are asked.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.retries = self.retries.and(budget.clone());
        self
    }

    /// Shuts down when the token is cancelled: nothing starts any more, what runs is left to end (within its
    /// `attempt_timeout`), and what waits then is handed back. Given twice, either stops it.
    pub fn cancel_on(self, token: CancellationToken) -> Self {
        self.cancel_when(token.cancelled_owned())
    }

    /// Shuts down when this future is ready, as [`cancel_on`](Self::cancel_on) does. Given twice, either stops it.
    pub fn cancel_when(mut self, stop: impl Future<Output = ()> + Send + 'q) -> Self {
        self.stops.push(Box::pin(stop));
        self
    }

    /// Tells what becomes of each attempt. Given twice, both hear, in this order.
    ///
    /// It is called inside the future's `poll`: it must not block. If it panics, the future panics; what was decided
    /// stands, and nothing is lost.
    pub fn notify(mut self, listener: impl FnMut(Outcome<'_, K, V, E>) + Send + 'q) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Takes the items that are given up or superseded, each when it is, after all listeners have heard of it. Without
    /// this they add up in [`Finished::given_up`]: a run that goes on for long should take them.
    ///
    /// Given twice, the second takes what the first did until then.
    pub fn on_given_up(mut self, take: impl FnMut(GivenUp<K, V, E>) + Send + 'q) -> Self {
        self.take = Some(Box::new(take));
        self
    }
}

impl<'q, K, V, W, F, E> IntoFuture for Work<'q, K, V, W, F>
where
    K: Hash + Eq + Clone,
    V: Clone,
    W: FnMut(Job<K, V>) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = Finished<K, V, E>;
    type IntoFuture = Working<'q, K, V, W, F>;

    fn into_future(self) -> Working<'q, K, V, W, F> {
        Working::new(self)
    }
}

impl<K, V, W, F: Future<Output: operation::RetryOutput>> fmt::Debug for Work<'_, K, V, W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}
