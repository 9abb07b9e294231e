//! What a worker is given, and what comes of it.

use std::{fmt, pin::Pin};

use super::{GivenUp, erased::ErasedError};
use crate::{
    error::{GaveUp, Last},
    limiter::Limiters,
    operation,
    policy::schedule::attempts::{Attempt, Decision},
    run::retries::Retries,
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

/// What [`TimedQueue::run`](super::TimedQueue::run) calls, for bounds: every `FnMut(Job<K, V>)` whose future answers
/// with a `Result`. Nothing else can implement it.
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

/// What became of an attempt, for [`RunWorker::notify`](super::RunWorker::notify).
#[derive(Debug)]
#[non_exhaustive]
pub enum ItemEvent<'a, K, V, E> {
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

impl<K, V, E> Clone for ItemEvent<'_, K, V, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, E> Copy for ItemEvent<'_, K, V, E> {}

/// How [`TimedQueue::run`](super::TimedQueue::run) ended.
#[derive(Debug)]
#[must_use = "items that were not done are handed back in here"]
#[non_exhaustive]
pub struct Finished<K, V, E> {
    /// What was given up or superseded, unless [`RunWorker::on_given_up`](super::RunWorker::on_given_up) took it.
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
type Notify<'q, K, V, E> = Box<dyn FnMut(ItemEvent<'_, K, V, E>) + Send + 'q>;
pub(super) type Take<'q, K, V, E> = Box<dyn FnMut(GivenUp<K, V, E>) + Send + 'q>;

/// How a worker is run.
pub(super) struct Settings<'q, K, V, E> {
    /// At least 1.
    pub(super) concurrency: usize,
    /// Any of them ends the run.
    pub(super) stops: Vec<Stop<'q>>,
    pub(super) limiters: Option<Limiters>,
    pub(super) retries: Retries,
    pub(super) classify: Option<Classify<'q, E>>,
    pub(super) listeners: Vec<Notify<'q, K, V, E>>,
    /// Takes what is given up.
    pub(super) take: Option<Take<'q, K, V, E>>,
    /// For what comes back when the run is dropped.
    pub(super) erase: fn(E) -> ErasedError,
}

impl<K, V, E: fmt::Debug + Send + Sync + 'static> Settings<'_, K, V, E> {
    pub(super) fn new() -> Self {
        Self {
            concurrency: 1,
            stops: Vec::new(),
            limiters: None,
            retries: Retries::Unlimited,
            classify: None,
            listeners: Vec::new(),
            take: None,
            erase: ErasedError::new,
        }
    }
}

impl<K, V, E> Settings<'_, K, V, E> {
    pub(super) fn tell(&mut self, event: ItemEvent<'_, K, V, E>) {
        for listener in &mut self.listeners {
            listener(event);
        }
    }
}
