//! The future of `queue.run(worker)`.

use std::{
    collections::BTreeSet,
    fmt,
    hash::Hash,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use tokio::task::coop;

use super::{
    AfterFailure, Due, GivenUp, TimedQueue,
    erased::ErasedError,
    future_set::{Completed, FutureSet},
    item::History,
    shared::{Polled, Started},
    throttle::Throttle,
    worker::{ErrorOf, Finished, ItemEvent, Job, Settings},
};
use crate::{
    error::{Ending, Last, Stop},
    limiter::Readiness,
    operation::RetryOutput,
    policy::{
        nanos::FOREVER,
        schedule::{attempts::Decision, bounds::CutBy},
    },
    run::retries::Retries,
};

/// The future of [`TimedQueue::run`].
#[must_use = "futures do nothing unless awaited or polled"]
pub struct RunWorkerFuture<'q, K: Hash + Eq + Clone, V, W, F: Future<Output: RetryOutput>> {
    // The worker's futures are dropped before the guards of their items: no key is free while one of its futures lives.
    futures: FutureSet<F>,
    /// The guards, by the slots of their futures.
    running: Vec<Option<Due<K, V>>>,
    /// When what runs is cut, and its slot.
    cuts: BTreeSet<(u64, usize)>,
    queue: &'q mut TimedQueue<K, V>,
    worker: W,
    settings: Settings<'q, K, V, ErrorOf<F>>,
    throttle: Option<Throttle>,
    /// It was told to stop: nothing starts any more.
    stopping: bool,
    given_up: Vec<GivenUp<K, V, ErrorOf<F>>>,
    finished: bool,
}

/// The worker's futures are pinned where they are.
impl<K: Hash + Eq + Clone, V, W, F: Future<Output: RetryOutput>> Unpin for RunWorkerFuture<'_, K, V, W, F> {}

/// Whether something starts.
enum Start<K, V> {
    Now(Started<K, V>),
    /// This would have to wait for the limiter, until then, beyond its bounds.
    Refused(Started<K, V>, u64),
    Later(u64),
    Finished,
}

// ===== impl RunWorkerFuture =====

impl<'q, K: Hash + Eq + Clone, V, W, F: Future<Output: RetryOutput>> RunWorkerFuture<'q, K, V, W, F> {
    pub(super) fn new(
        queue: &'q mut TimedQueue<K, V>,
        worker: W,
        mut settings: Settings<'q, K, V, ErrorOf<F>>,
    ) -> Self {
        let throttle = settings.limiters.take().map(Throttle::new);
        Self {
            futures: FutureSet::new(),
            running: Vec::new(),
            cuts: BTreeSet::new(),
            queue,
            worker,
            settings,
            throttle,
            stopping: false,
            given_up: Vec::new(),
            finished: false,
        }
    }
}

impl<K, V, W, F, E> Future for RunWorkerFuture<'_, K, V, W, F>
where
    K: Hash + Eq + Clone,
    V: Clone,
    W: FnMut(Job<K, V>) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = Finished<K, V, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(!this.finished, "`RunWorkerFuture` polled after completion");
        this.futures.begin_batch(cx);
        loop {
            while let Some(completed) = this.futures.poll_batch() {
                this.completed(completed);
            }
            if !this.cuts.is_empty() {
                this.cut(this.queue.shared.clock.now());
            }
            // Only now: what drops and hears of those that were cut may cancel, and take its time.
            if !this.stopping && this.settings.stops.iter_mut().any(|stop| stop.as_mut().poll(cx).is_ready()) {
                this.stopping = true;
                this.settings.stops.clear();
            }
            let now = this.queue.shared.clock.now();
            if this.stopping && this.futures.len() == 0 {
                return Poll::Ready(this.finish(true));
            }
            let mut wake = FOREVER;
            if !this.stopping && this.futures.len() < this.settings.concurrency {
                let Poll::Ready(progress) = coop::poll_proceed(cx) else {
                    this.join_limiters(cx, now);
                    return Poll::Pending;
                };
                match this.poll_start(cx, now) {
                    Start::Now(started) => {
                        progress.made_progress();
                        if let Some((due, job)) = this.start(started, now) {
                            let future = (this.worker)(job);
                            this.insert(due, future);
                        }
                        continue;
                    }
                    Start::Refused(started, ready_at) => {
                        progress.made_progress();
                        this.refuse(started, now, ready_at);
                        continue;
                    }
                    Start::Finished => return Poll::Ready(this.finish(false)),
                    Start::Later(later) => wake = later,
                }
            }
            if this.stopping
                && let Some(throttle) = &mut this.throttle
            {
                throttle.leave();
            }
            if let Some((cut, _)) = this.cuts.first() {
                wake = wake.min(*cut);
            }
            ready!(this.queue.poll_alarm(cx, wake));
        }
    }
}

impl<K, V, W, E, F> RunWorkerFuture<'_, K, V, W, F>
where
    K: Hash + Eq + Clone,
    E: fmt::Debug + Send + Sync + 'static,
    F: Future<Output = Result<(), E>>,
{
    /// What starts next, if its time has come and the limiter lets it.
    fn poll_start(&mut self, cx: &mut Context<'_>, now: u64) -> Start<K, V> {
        let TimedQueue { shared, policy, .. } = &*self.queue;
        let Some(throttle) = &mut self.throttle else { return shared.poll_due(cx, now).into() };
        // It waits for a permit only with something to start.
        let mut polled = shared.poll_due_if(cx, now, |_| false);
        if let Polled::Unwanted = polled {
            let ready_at = match throttle.poll_ready(cx) {
                Readiness::Granted => None,
                Readiness::At(at) => Some(shared.clock.read(at)),
                Readiness::Never => Some(FOREVER),
            };
            let Some(ready_at) = ready_at else {
                polled = shared.poll_due(cx, now);
                if !matches!(polled, Polled::Due(_)) {
                    // It was cancelled or moved meanwhile: no permit is kept for it.
                    throttle.leave();
                }
                return polled.into();
            };
            // Before its first attempt an item may wait as long as it takes.
            let too_late = |history: Option<&History>| history.is_some_and(|old| old.latest_start(policy) < ready_at);
            polled = match shared.poll_due_if(cx, now, too_late) {
                Polled::Unwanted => return Start::Later(ready_at),
                Polled::Due(started) => return Start::Refused(started, ready_at),
                nothing => nothing,
            };
        }
        throttle.leave();
        polled.into()
    }

    /// Others run first: with something to start, it joins the limiters' wait lists all the same.
    #[cold]
    fn join_limiters(&mut self, cx: &Context<'_>, now: u64) {
        if let Some(throttle) = &mut self.throttle
            && let Polled::Unwanted = self.queue.shared.poll_due_if(cx, now, |_| false)
        {
            throttle.join();
        }
    }

    /// Begins an attempt: its guard, and what the worker is called with. `None`: the item may not start, and was handed
    /// back.
    fn start(&mut self, started: Started<K, V>, now: u64) -> Option<(Due<K, V>, Job<K, V>)>
    where
        V: Clone,
    {
        let mut due = match Due::begin(&self.queue.shared, &self.queue.policy, started, now) {
            Ok(due) => due,
            Err(given_up) => {
                self.hand_back(given_up);
                return None;
            }
        };
        if let Some(throttle) = &mut self.throttle {
            throttle.consume();
        }
        if !matches!(self.settings.retries, Retries::Unlimited) {
            due.charge(&self.settings.retries);
        }
        let job = Job { key: due.key().clone(), value: due.value().clone(), due: due.due(), attempt: due.attempt() };
        Some((due, job))
    }

    fn insert(&mut self, due: Due<K, V>, future: F) {
        let (cut, _) = due.cut_at();
        let slot = self.futures.insert(future);
        if slot >= self.running.len() {
            self.running.resize_with(slot + 1, || None);
        }
        self.running[slot] = Some(due);
        if cut != FOREVER {
            self.cuts.insert((cut, slot));
        }
    }

    /// The limiter's permit comes too late for this.
    fn refuse(&mut self, started: Started<K, V>, now: u64, ready_at: u64) {
        let Started { run, key, value, history, .. } = started;
        let (_, wakers) = self.queue.shared.end(run, None, false);
        let history = history.unwrap_or_else(|| Box::new(History::new(now)));
        let no_share = self.throttle.as_ref().and_then(Throttle::no_share);
        let given_up = GivenUp::new(key, value, history.refused(&self.queue.policy, now, ready_at, no_share));
        let given_up = self.queue.shared.hand_back(wakers, given_up);
        self.hand_back(given_up);
    }

    /// A panic goes on once everything is in order.
    fn completed(&mut self, Completed { slot, output, panic }: Completed<Result<(), E>>) {
        match (self.take(slot), output) {
            (Some(due), Some(Ok(()))) => {
                let attempt = due.attempt();
                let (key, value, wakers) = due.finish();
                // A waker that panics does not keep it from being told.
                let woken = wakers.try_wake();
                self.settings.tell(ItemEvent::Done { key: &key, value: &value, attempt });
                if let Err(panic) = woken {
                    resume_unwind(panic);
                }
            }
            (Some(due), Some(Err(error))) => self.failed(due, Ending::Failed, Some(error)),
            // Goes back by the policy, before anything hears of it.
            (due, _) => drop(due),
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Drops the futures that have reached their cut.
    fn cut(&mut self, now: u64) {
        while let Some(&(cut, slot)) = self.cuts.first() {
            if cut > now {
                break;
            }
            let dropped = self.futures.drop_future(slot);
            self.cuts.remove(&(cut, slot));
            if let Some(due) = self.take(slot) {
                let (_, by) = due.cut_at();
                self.failed(due, Ending::Cut(by), None);
            }
            if let Err(panic) = dropped {
                resume_unwind(panic);
            }
        }
    }

    /// Each step is noted before foreign code runs: what panics there finds the item where it was.
    fn failed(&mut self, mut due: Due<K, V>, ending: Ending, error: Option<E>) {
        due.record(ending, error.map(ErasedError::new));
        let last = due.last(ending);
        let decision = match (ending, &last, &mut self.settings.classify) {
            (Ending::Failed, Last::Failed(error), Some(classify)) => classify(error),
            (Ending::Cut(CutBy::AttemptTimeout), ..) => self.queue.policy.after_cut(),
            _ => Decision::Retry,
        };
        if let (Ending::Failed, Decision::RetryAfter(asked), Some(throttle)) = (ending, decision, &self.throttle)
            && let Some(pause) = self.queue.policy.pause_for_all(asked)
        {
            throttle.pause(pause);
        }
        let again = due.decide(decision);
        let event = ItemEvent::Failed { key: due.key(), attempt: due.attempt(), last: due.last(ending), again };
        self.settings.tell(event);
        match due.settle(false) {
            AfterFailure::Again { .. } => {}
            AfterFailure::GaveUp(given_up) | AfterFailure::Superseded(given_up) => self.hand_back(given_up),
        }
    }

    /// An item with an error of another run, which had another type, goes to where all types go.
    fn hand_back(&mut self, given_up: GivenUp<K, V, ErasedError>) {
        match given_up.downcast() {
            Ok(given_up) => self.given_up.push(given_up),
            Err(given_up) => return self.queue.shared.add_dead_letters([given_up]),
        }
        if let Some(given_up) = self.given_up.last() {
            let superseded = given_up.superseded;
            self.settings.tell(if superseded { ItemEvent::Superseded(given_up) } else { ItemEvent::GaveUp(given_up) });
        }
        if let Some(take) = &mut self.settings.take
            && let Some(given_up) = self.given_up.pop()
        {
            take(given_up);
        }
    }

    /// The guard of a future that is over.
    fn take(&mut self, slot: usize) -> Option<Due<K, V>> {
        let due = self.running.get_mut(slot)?.take()?;
        let (cut, _) = due.cut_at();
        self.cuts.remove(&(cut, slot));
        Some(due)
    }

    fn finish(&mut self, cancelled: bool) -> Finished<K, V, E> {
        self.finished = true;
        if let Some(throttle) = &mut self.throttle {
            throttle.leave();
        }
        // Nothing wakes the task any more, though this future be kept.
        self.settings.stops.clear();
        self.queue.stop_waiting();
        let (mut waiting, mut tried) = (Vec::new(), Vec::new());
        if cancelled {
            let TimedQueue { shared, policy, .. } = &*self.queue;
            for removed in shared.cancel_all() {
                if let Some(history) = removed.history {
                    tried.push((removed.key.clone(), history.give_up(policy, Stop::Cancelled)));
                }
                waiting.push((removed.key, removed.value, shared.clock.instant(removed.due)));
            }
        }
        Finished { given_up: std::mem::take(&mut self.given_up), waiting, tried }
    }
}

impl<K: Hash + Eq + Clone, V, W, F: Future<Output: RetryOutput>> Drop for RunWorkerFuture<'_, K, V, W, F> {
    /// What has been given up is not lost, and what runs is dropped: futures first, whatever panics, then guards.
    fn drop(&mut self) {
        let Self { queue, given_up, settings, .. } = self;
        queue.shared.add_dead_letters(given_up.drain(..).map(|given_up| given_up.map_error(settings.erase)));
        let mut dropped = Ok(());
        for slot in 0..self.running.len() {
            dropped = dropped.and(self.futures.drop_future(slot));
        }
        self.running.clear();
        self.queue.stop_waiting();
        if let Err(panic) = dropped
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

impl<K, V> From<Polled<K, V>> for Start<K, V> {
    fn from(polled: Polled<K, V>) -> Self {
        match polled {
            Polled::Due(started) => Self::Now(started),
            Polled::Unwanted => Self::Later(FOREVER),
            Polled::Later(wake) => Self::Later(wake),
            Polled::Finished => Self::Finished,
        }
    }
}

impl<K: Hash + Eq + Clone, V, W, F: Future<Output: RetryOutput>> fmt::Debug for RunWorkerFuture<'_, K, V, W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWorkerFuture").field("running", &self.futures.len()).finish_non_exhaustive()
    }
}
