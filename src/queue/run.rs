//! The builder of `queue.run(worker)`.

use std::{fmt, hash::Hash};

use tokio_util::sync::CancellationToken;

use super::{
    GivenUp, TimedQueue,
    running::RunWorkerFuture,
    worker::{ErrorOf, Finished, ItemEvent, Job, Settings},
};
use crate::{
    budget::Budget,
    error::ConfigError,
    limiter::{Limiter, Limiters},
    operation::{Classify, RetryOutput},
    policy::schedule::attempts::Decision,
    profile::Profile,
    sync::Arc,
};

/// The builder of [`TimedQueue::run`]. `.await` it.
#[must_use = "it does nothing unless awaited"]
pub struct RunWorker<'q, K, V, W, F: Future<Output: RetryOutput>> {
    queue: &'q mut TimedQueue<K, V>,
    worker: W,
    settings: Settings<'q, K, V, ErrorOf<F>>,
}

impl<'q, K, V, W, E, F: Future<Output = Result<(), E>>> RunWorker<'q, K, V, W, F> {
    pub(super) fn new(queue: &'q mut TimedQueue<K, V>, worker: W) -> Self
    where
        E: fmt::Debug + Send + Sync + 'static,
    {
        Self { queue, worker, settings: Settings::new() }
    }

    /// How many items run at once at most; 1 unless set.
    ///
    /// # Errors
    /// 0 would never run anything.
    pub fn concurrency(mut self, most: usize) -> Result<Self, ConfigError> {
        if most == 0 {
            return Err(ConfigError::new("concurrency", most, "at least 1, or nothing would ever run"));
        }
        self.settings.concurrency = most;
        Ok(self)
    }

    /// What all calls of one client have in common: its policy, as [`TimedQueue::policy`] takes it, for this run and
    /// what follows it; its limiters, budgets and tokens; and its classification, unless [`when`](Self::when) says
    /// another, before or after.
    ///
    /// A queue has events of its own, for [`notify`](Self::notify): a profile with a listener is taken
    /// [without it](Profile::without_listener).
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Limiter, Policy, Profile, Stop, TimedQueue, builder::ErasedProfile};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let calls: ErasedProfile<&str> = Profile::new(Policy::new().max_attempts(3))
    ///     .throttle(&Limiter::per_second(10))
    ///     .when(|error: &&str| *error == "busy")
    ///     .notify(|event| println!("{event:?}"))
    ///     .erased();
    /// let mut queue = TimedQueue::new();
    /// let handle = queue.handle();
    /// let _ = handle.schedule("a", 1, Duration::ZERO);
    /// drop(handle);
    /// let finished = queue.run(async |_| Err::<(), _>("denied")).profile(&calls.clone().without_listener()).await;
    /// assert_eq!(finished.given_up[0].error.stop(), &Stop::Fatal);
    /// # }
    /// ```
    pub fn profile<C>(mut self, profile: &Profile<E, C>) -> Self
    where
        C: Classify<E> + Clone + Send + 'q,
    {
        self.queue.policy = Arc::new(profile.policy.clone().guarded_by(&self.queue.policy));
        let mut when = profile.when.clone();
        self.settings.classify.get_or_insert_with(|| Box::new(move |error| when.classify(error)));
        self.settings.retries = self.settings.retries.and_all(profile.shared.retries_anew());
        for limiter in profile.shared.limiters() {
            self = self.throttle(limiter);
        }
        for token in profile.shared.tokens() {
            self = self.cancel_on(token.clone());
        }
        self
    }

    /// Which errors to try again, and when. Default: all, by the policy. Of two rules the later
    /// counts alone.
    pub fn when<D: Into<Decision>>(self, when: impl FnMut(&E) -> D + Send + 'q) -> Self {
        self.classify(when)
    }

    /// [`when`](Self::when) for a rule that is a type.
    pub fn classify(mut self, mut when: impl Classify<E> + Send + 'q) -> Self {
        self.settings.classify = Some(Box::new(move |error| when.classify(error)));
        self
    }

    /// Takes a permit of this limiter before each attempt. Given twice, permits of both are taken together.
    ///
    /// The queue waits there once, like any other waiter, for whichever item is first when the permit is granted. Until
    /// then that item waits: it can be moved and cancelled, and when nothing is due any more the queue leaves the
    /// limiter without a trace. The wait never counts towards `attempt_timeout`. It counts towards an item's bounds
    /// from its first start on: one that cannot be tried again in time for them is given up with
    /// [`Stop::Limiter`](crate::Stop::Limiter).
    pub fn throttle(mut self, limiter: &Limiter) -> Self {
        self.settings.limiters = Some(Limiters::and(self.settings.limiters.take(), limiter.clone()));
        self
    }

    /// Each item counts for this budget from its first start on, and asks it before each further attempt; refused, it
    /// is given up with [`Stop::Budget`](crate::Stop::Budget). What was allowed and is not made, because the item was
    /// cancelled meanwhile, goes back. Of two, both are asked; the same one given twice is one.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.settings.retries = self.settings.retries.and(budget.clone());
        self
    }

    /// Shuts down when the token is cancelled: nothing starts any more, what runs is left to end (within its
    /// `attempt_timeout`), and what waits then is handed back. Given twice, either stops it.
    pub fn cancel_on(self, token: CancellationToken) -> Self {
        self.cancel_when(token.cancelled_owned())
    }

    /// Shuts down when this future is ready, as [`cancel_on`](Self::cancel_on) does. Given twice, either stops it.
    pub fn cancel_when(mut self, stop: impl Future<Output = ()> + Send + 'q) -> Self {
        self.settings.stops.push(Box::pin(stop));
        self
    }

    /// Tells what becomes of each attempt. Given twice, both hear, in this order.
    ///
    /// It is called inside the future's `poll`: it must not block. If it panics, the future panics; what was decided
    /// stands, and nothing is lost.
    pub fn notify(mut self, listener: impl FnMut(ItemEvent<'_, K, V, E>) + Send + 'q) -> Self {
        self.settings.listeners.push(Box::new(listener));
        self
    }

    /// Takes the items that are given up or superseded, each when it is, after all listeners have heard of it. Without
    /// this they add up in [`Finished::given_up`]: a run that goes on for long should take them.
    ///
    /// Given twice, the second takes what the first did until then.
    pub fn on_given_up(mut self, take: impl FnMut(GivenUp<K, V, E>) + Send + 'q) -> Self {
        self.settings.take = Some(Box::new(take));
        self
    }
}

impl<'q, K, V, W, F, E> IntoFuture for RunWorker<'q, K, V, W, F>
where
    K: Hash + Eq + Clone,
    V: Clone,
    W: FnMut(Job<K, V>) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = Finished<K, V, E>;
    type IntoFuture = RunWorkerFuture<'q, K, V, W, F>;

    fn into_future(self) -> RunWorkerFuture<'q, K, V, W, F> {
        RunWorkerFuture::new(self.queue, self.worker, self.settings)
    }
}

impl<K, V, W, F: Future<Output: RetryOutput>> fmt::Debug for RunWorker<'_, K, V, W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWorker").field("concurrency", &self.settings.concurrency).finish_non_exhaustive()
    }
}
