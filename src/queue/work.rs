//! `queue.run(worker)`: a worker for each item whose time has come.

use std::{
    collections::BTreeSet,
    fmt,
    hash::Hash,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use pin_project::pin_project;
use tokio::task::coop;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Due, Failure, GivenUp, TimedQueue, crew::Crew, shared::Found};
use crate::{
    ConfigError,
    error::{Ending, Last},
    policy::{
        attempts::{Attempt, Decision},
        bounds::CutBy,
        nanos::FOREVER,
    },
    time::{Alarm, Instant},
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

type Classify<'q, E> = Box<dyn FnMut(&E) -> Decision + Send + 'q>;
type Notify<'q, K, V, E> = Box<dyn FnMut(Outcome<'_, K, V, E>) + Send + 'q>;

/// The builder of [`TimedQueue::run`]. `.await` it.
#[must_use = "it does nothing unless awaited"]
pub struct Work<'q, K, V, W: Worker<K, V>> {
    queue: &'q mut TimedQueue<K, V>,
    worker: W,
    concurrency: usize,
    token: Option<CancellationToken>,
    classify: Option<Classify<'q, W::Error>>,
    notify: Option<Notify<'q, K, V, W::Error>>,
}

impl<'q, K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>> Work<'q, K, V, W> {
    pub(super) fn new(queue: &'q mut TimedQueue<K, V>, worker: W) -> Self {
        Self { queue, worker, concurrency: 1, token: None, classify: None, notify: None }
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
        let Self { queue, worker, concurrency, token, classify, notify } = self;
        let stop = match token {
            Some(token) => Stopping::On(Box::pin(token.cancelled_owned())),
            None => Stopping::Never,
        };
        Working {
            crew: Crew::new(),
            running: Vec::new(),
            cuts: BTreeSet::new(),
            queue,
            worker,
            concurrency,
            stop,
            classify,
            notify,
            given_up: Vec::new(),
            over: false,
        }
    }
}

impl<K, V, W: Worker<K, V>> fmt::Debug for Work<'_, K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Stopping {
    Never,
    On(Pin<Box<WaitForCancellationFutureOwned>>),
    Now,
}

/// The future of [`TimedQueue::run`].
#[must_use = "futures do nothing unless awaited or polled"]
#[pin_project]
pub struct Working<'q, K: Hash + Eq + Clone, V, W: Worker<K, V>> {
    // The worker's futures go before the guards of their items: no key is free while one of its futures lives.
    crew: Crew<W::Future>,
    /// The guards, by their future's place.
    running: Vec<Option<Due<K, V>>>,
    /// When what runs is cut, and its place.
    cuts: BTreeSet<(u64, usize)>,
    queue: &'q mut TimedQueue<K, V>,
    worker: W,
    concurrency: usize,
    stop: Stopping,
    classify: Option<Classify<'q, W::Error>>,
    notify: Option<Notify<'q, K, V, W::Error>>,
    given_up: Vec<GivenUp<K, V, W::Error>>,
    over: bool,
}

// ===== impl Working =====

impl<K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>> Future for Working<'_, K, V, W> {
    type Output = Finished<K, V, W::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(!this.over, "`Working` polled after completion");
        this.crew.begin_round(cx);
        loop {
            while let Some((place, result)) = this.crew.poll_round() {
                this.ended(place, result);
            }
            if let Stopping::On(cancelled) = &mut this.stop
                && cancelled.as_mut().poll(cx).is_ready()
            {
                this.stop = Stopping::Now;
            }
            let now = this.queue.shared.clock.now();
            this.cut(now);
            let stopping = matches!(this.stop, Stopping::Now);
            if stopping && this.crew.len() == 0 {
                return Poll::Ready(this.finish(true));
            }
            let mut wake = FOREVER;
            if !stopping && this.crew.len() < this.concurrency {
                let progress = ready!(coop::poll_proceed(cx));
                match this.queue.shared.poll_due(cx, now) {
                    Found::Due(started) => {
                        progress.made_progress();
                        match Due::begin(&this.queue.shared, &this.queue.policy, started, now) {
                            Ok(due) => this.start(due),
                            Err(GivenUp { key, value, error }) => {
                                // No attempt, no error.
                                let error = error.map_error(|_| unreachable!("nothing was attempted"));
                                this.hand_back(GivenUp { key, value, error });
                            }
                        }
                        continue;
                    }
                    Found::Finished => return Poll::Ready(this.finish(false)),
                    Found::Later(later) => wake = later,
                }
            }
            if let Some((cut, _)) = this.cuts.first() {
                wake = wake.min(*cut);
            }
            let alarm = this.queue.shared.clock.alarm(wake);
            ready!(this.queue.timer.as_mut().poll_at(cx, alarm));
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>> Working<'_, K, V, W> {
    fn start(&mut self, due: Due<K, V>) {
        let (cut, _) = due.cut_at();
        let job = Job { key: due.key().clone(), value: due.value().clone(), due: due.due(), attempt: due.attempt() };
        let place = self.crew.add(self.worker.work(job));
        if place >= self.running.len() {
            self.running.resize_with(place + 1, || None);
        }
        self.running[place] = Some(due);
        if cut != FOREVER {
            self.cuts.insert((cut, place));
        }
    }

    fn ended(&mut self, place: usize, result: thread::Result<Result<(), W::Error>>) {
        let Some(due) = self.take(place) else { return };
        let result = match result {
            Ok(result) => result,
            Err(panic) => {
                drop(due); // goes back by the policy, before anybody hears of it
                resume_unwind(panic);
            }
        };
        match result {
            Ok(()) => {
                let (key, attempt) = (due.key().clone(), due.attempt());
                let value = due.done();
                if let Some(notify) = &mut self.notify {
                    notify(Outcome::Done { key, value, attempt });
                }
            }
            Err(error) => {
                let decision = self.classify.as_mut().map_or(Decision::Retry, |classify| classify(&error));
                self.failed(due, Ending::Failed, decision, Some(error));
            }
        }
    }

    /// Drops the futures whose time is over.
    fn cut(&mut self, now: u64) {
        while let Some(&(cut, place)) = self.cuts.first() {
            if cut > now {
                break;
            }
            self.crew.drop_future(place);
            self.cuts.remove(&(cut, place));
            let Some(due) = self.take(place) else { continue };
            let (_, by) = due.cut_at();
            let decision = match by {
                CutBy::AttemptTimeout => self.queue.policy.after_cut(),
                _ => Decision::Retry,
            };
            self.failed(due, Ending::Cut(by), decision, None);
        }
    }

    fn failed(&mut self, due: Due<K, V>, ending: Ending, decision: Decision, error: Option<W::Error>) {
        let notify = &mut self.notify;
        let failure = due.answer_and_tell(ending, decision, error, |key, attempt, last, again| {
            if let Some(notify) = notify {
                notify(Outcome::Failed { key, attempt, last, again });
            }
        });
        match failure {
            Failure::Again { .. } => {}
            Failure::GaveUp(given_up) => self.hand_back(given_up),
            Failure::Superseded(given_up) => {
                if let Some(notify) = &mut self.notify {
                    notify(Outcome::Superseded(given_up));
                }
            }
        }
    }

    fn hand_back(&mut self, given_up: GivenUp<K, V, W::Error>) {
        match &mut self.notify {
            Some(notify) => notify(Outcome::GaveUp(given_up)),
            None => self.given_up.push(given_up),
        }
    }

    fn take(&mut self, place: usize) -> Option<Due<K, V>> {
        let due = self.running.get_mut(place)?.take()?;
        let (cut, _) = due.cut_at();
        self.cuts.remove(&(cut, place));
        Some(due)
    }

    fn finish(&mut self, cancelled: bool) -> Finished<K, V, W::Error> {
        self.over = true;
        let waiting = if cancelled {
            let clock = self.queue.shared.clock;
            let all = self.queue.shared.cancel_all().into_iter();
            all.map(|(key, due, item)| (key, item.value, clock.instant(due))).collect()
        } else {
            Vec::new()
        };
        Finished { given_up: std::mem::take(&mut self.given_up), waiting }
    }
}

impl<K: Hash + Eq + Clone, V, W: Worker<K, V>> fmt::Debug for Working<'_, K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Working").field("running", &self.cuts.len()).finish_non_exhaustive()
    }
}
