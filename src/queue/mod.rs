//! Work at its time: [`TimedQueue`], its handles, its guards, its worker.

mod due;
mod erased;
mod future_set;
mod given_up;
mod handle;
mod item;
mod run;
mod running;
mod shared;
mod throttle;
mod wakers;
mod when;
mod worker;

#[cfg(all(test, any(relent_loom, relent_shuttle)))]
mod interleavings;

use std::{
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::task::coop;

use self::shared::{Polled, Shared};
pub use self::{
    due::{AfterFailure, Due},
    erased::ErasedError,
    given_up::GivenUp,
    handle::{Cancelled, Drain, Idle, KeyStatus, QueueHandle, Scheduled},
    run::RunWorker,
    running::RunWorkerFuture,
    when::When,
    worker::{Finished, ItemEvent, Job, Worker},
};
use crate::{
    policy::schedule::{Policy, backoff::Backoff},
    sync::Arc,
    time::{Sleeper, Timer},
};

/// Work for keys, each at its time.
///
/// Handles give work for a key with a due time, move it, cancel it. Here it comes out: as a [`Stream`] of [`Due`]
/// guards, or through [`run`](Self::run), which calls a worker for each key with bounded concurrency.
///
/// - Each entry comes out at its time or, if the runtime is late, after it; in the order of due times, to the
///   nanosecond, and equal due times in the order in which they were given. Tokio's timer works in milliseconds: what
///   is due within the same one comes out together, in order.
/// - Per key: scheduled, then running, then gone or scheduled again. One key never runs twice at once. What is given
///   for a key that runs is kept and follows that run; the end of a run never touches what was given during it.
/// - What fails goes back by the queue's policy, every item with attempts, backoff and bounds of its own, counted from
///   its first start. What is not to be tried again is handed back with a [`GaveUp`](crate::GaveUp).
/// - However many entries there are, there is one task (yours) and one timer. Giving, moving and cancelling take
///   constant time; an entry takes less than 100 bytes beside key and value.
///
/// Dropped with work waiting or running, it closes: handles get their values back from then on, and
/// [`QueueHandle::cancel_all`] gives back what waits.
///
/// With the default policy failed items are tried again forever: 100 ms to 10 s apart.
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, TimedQueue, queue::Job};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut queue = TimedQueue::new().backoff(Backoff::fixed(Duration::from_millis(1))).max_attempts(3);
/// let handle = queue.handle();
/// let _ = handle.schedule("b", 2, Duration::from_millis(2));
/// let _ = handle.schedule("a", 1, Duration::from_millis(1));
/// drop(handle);
///
/// let mut seen = Vec::new();
/// let finished = queue
///     .run(|job: Job<&'static str, i32>| {
///         seen.push(job.key);
///         async move { if job.key == "b" { Err("no luck") } else { Ok(()) } }
///     })
///     .await;
/// assert_eq!(seen, ["a", "b", "b", "b"]);
/// assert_eq!(finished.given_up[0].value, 2);
/// assert_eq!(finished.given_up[0].error.last_error(), Some(&"no luck"));
/// # }
/// ```
pub struct TimedQueue<K, V> {
    shared: Arc<Shared<K, V>>,
    policy: Arc<Policy>,
    /// Begins anew with each wait: the runtime of the last one may be gone, or have nothing to do.
    timer: Pin<Box<Timer>>,
}

impl<K: Hash + Eq + Clone, V> TimedQueue<K, V> {
    /// An empty queue with the default policy.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new()), policy: Arc::default(), timer: Box::pin(Timer::default()) }
    }

    /// A handle to this queue.
    ///
    /// The stream of guards and [`run`](Self::run) end when nothing is left and nothing can come any more: after
    /// [`QueueHandle::drain`], or when all handles are gone.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<K, V> {
        QueueHandle::new(self.shared.clone())
    }

    /// What becomes of items that fail. Attempts, start window and bound count per item, from its first start.
    /// `delay_first` has no effect: the due time says when the first attempt starts. What the policy does not set stays
    /// as it is here: the cadence, `attempt_timeout`, `on_cut`, `max_retry_after`; the bounds are replaced as one set.
    #[must_use]
    pub fn policy(self, policy: &Policy) -> Self {
        self.with(|before| policy.clone().guarded_by(&before))
    }

    /// The pause from the end of an item's failed attempt to the start of its next.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with(|policy| policy.backoff(backoff))
    }

    /// How long each attempt may take. [`run`](Self::run) cuts it then; a [`Due`] guard only tells.
    #[must_use]
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.with(|policy| policy.attempt_timeout(timeout))
    }

    /// At most so many attempts at an item. What is given for its key during the last of them is an item of its own:
    /// see [`QueueHandle`].
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|policy| policy.max_attempts(attempts))
    }

    /// Attempts at an item start within this time of its first start.
    #[must_use]
    pub fn start_within(self, window: Duration) -> Self {
        self.with(|policy| policy.start_within(window))
    }

    /// Everything about an item is over within this time of its first start. [`run`](Self::run) cuts an attempt then.
    #[must_use]
    pub fn finish_within(self, bound: Duration) -> Self {
        self.with(|policy| policy.finish_within(bound))
    }

    /// Takes nothing more: see [`QueueHandle::close`].
    pub fn close(&self) {
        self.shared.close();
    }

    /// Calls `worker` for each item whose time has come.
    ///
    /// The worker's futures run side by side within the future that this makes, one at a time unless
    /// [`concurrency`](RunWorker::concurrency) says otherwise. The value is cloned for the worker; the queue keeps its
    /// own for the next attempt (an `Arc` makes that cheap).
    ///
    /// It ends when the queue is drained, when all handles are gone and nothing is left, or, with
    /// [`cancel_on`](RunWorker::cancel_on), when it is told to and what runs has ended.
    ///
    /// Cancel safe: dropped, it drops the worker's futures. Their attempts were cut: what follows is what the policy's
    /// `on_cut` says, by default another attempt. What was given up until then, and what is now, waits in
    /// [`take_given_up`](Self::take_given_up). What waits stays, and `run` can be called again.
    ///
    /// # Panics
    /// When the worker, one of its futures, a classification or a listener does. The item in question goes on as if its
    /// attempt had been cut, or as had been decided before; everything else is as it was, and a caller that catches the
    /// panic can go on with the same run. Also outside of a tokio runtime, when there is something to wait for.
    pub fn run<W, F, E>(&mut self, worker: W) -> RunWorker<'_, K, V, W, F>
    where
        W: FnMut(Job<K, V>) -> F,
        F: Future<Output = Result<(), E>>,
        E: fmt::Debug + Send + Sync + 'static,
        V: Clone,
    {
        RunWorker::new(self, worker)
    }

    /// What came back when there was no caller to hand it to, each with the latest error of its attempts:
    /// - guards that were dropped without an answer, where no further attempt follows: the policy allows none, the key
    ///   was cancelled while it ran, or something newer was given for it;
    /// - from the stream, what may not start at all: with [`max_attempts`](Self::max_attempts) of 0, or at the end of
    ///   [`finish_within`](Self::finish_within) or later;
    /// - from a [`run`](Self::run) that was dropped, what it had given up and would have handed back at its end;
    /// - from any run, what is given up with an error of an earlier run's type;
    /// - what a call of a handle would have returned, had not a waker panicked in it.
    #[must_use]
    pub fn take_given_up(&self) -> Vec<GivenUp<K, V, ErasedError>> {
        self.shared.take_dead_letters()
    }

    /// The next item whose time has come; `None` when there is none and will be none.
    ///
    /// Cancel safe: dropped, it has taken nothing and leaves no timer.
    ///
    /// # Panics
    /// Outside of a tokio runtime, when there is something to wait for.
    pub async fn next(&mut self) -> Option<Due<K, V>> {
        struct Next<'q, K, V>(&'q mut TimedQueue<K, V>);
        impl<K, V> Drop for Next<'_, K, V> {
            fn drop(&mut self) {
                self.0.stop_waiting();
            }
        }
        let next = Next(self);
        std::future::poll_fn(|cx| next.0.poll_due(cx)).await
    }

    /// [`next`](Self::next), for futures written by hand. Each call may come from another task and another runtime.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Option<Due<K, V>>> {
        loop {
            // What is handed back unstarted is progress, too: others run between.
            let progress = ready!(coop::poll_proceed(cx));
            let now = self.shared.clock.now();
            let wake = match self.shared.poll_due(cx, now) {
                Polled::Due(started) => {
                    progress.made_progress();
                    match Due::begin(&self.shared, &self.policy, started, now) {
                        Ok(due) => return Poll::Ready(Some(due)),
                        Err(given_up) => self.shared.add_dead_letters([given_up]),
                    }
                    continue;
                }
                Polled::Finished => return Poll::Ready(None),
                Polled::Later(wake) => wake,
                Polled::Unwanted => unreachable!("all that is due is wanted"),
            };
            ready!(self.poll_alarm(cx, wake));
        }
    }

    fn with(mut self, change: impl FnOnce(Policy) -> Policy) -> Self {
        self.policy = Arc::new(change((*self.policy).clone()));
        self
    }
}

impl<K, V> TimedQueue<K, V> {
    /// Ready at that queue time, on whichever runtime polls.
    fn poll_alarm(&mut self, cx: &mut Context<'_>, wake: u64) -> Poll<()> {
        self.timer.set(Timer::default());
        self.timer.as_mut().poll_at(cx, self.shared.clock.alarm(wake))
    }

    /// The consumer waits no more.
    fn stop_waiting(&mut self) {
        self.timer.set(Timer::default());
        self.shared.clear_consumer();
    }
}

impl<K: Hash + Eq + Clone, V> Default for TimedQueue<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone, V> Stream for TimedQueue<K, V> {
    type Item = Due<K, V>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_due(cx)
    }
}

impl<K, V> Drop for TimedQueue<K, V> {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl<K, V> fmt::Debug for TimedQueue<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedQueue").field("policy", &self.policy).finish_non_exhaustive()
    }
}
