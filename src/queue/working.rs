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
    Due, Failure, GivenUp, TimedQueue,
    crew::{Crew, Polled},
    erased::ErasedError,
    gate::Gate,
    item::History,
    shared::{Found, Started},
    work::{Classify, ErrorOf, Finished, Job, Notify, Outcome, Stop, Take, Work},
};
use crate::{
    error::Ending,
    limiter::Readiness,
    operation,
    policy::{attempts::Decision, bounds::CutBy, nanos::FOREVER},
    shared::Retries,
};

/// The future of [`TimedQueue::run`].
#[must_use = "futures do nothing unless awaited or polled"]
pub struct Working<'q, K: Hash + Eq + Clone, V, W, F: Future<Output: operation::Outcome>> {
    // The worker's futures go before the guards of their items: no key is free while one of its futures lives.
    crew: Crew<F>,
    /// The guards, by their future's place.
    running: Vec<Option<Due<K, V>>>,
    /// When what runs is cut, and its place.
    cuts: BTreeSet<(u64, usize)>,
    queue: &'q mut TimedQueue<K, V>,
    worker: W,
    concurrency: usize,
    gate: Option<Gate>,
    retries: Retries,
    stops: Vec<Stop<'q>>,
    stopping: bool,
    classify: Option<Classify<'q, ErrorOf<F>>>,
    listeners: Vec<Notify<'q, K, V, ErrorOf<F>>>,
    take: Option<Take<'q, K, V, ErrorOf<F>>>,
    given_up: Vec<GivenUp<K, V, ErrorOf<F>>>,
    erase: fn(ErrorOf<F>) -> ErasedError,
    over: bool,
}

/// The worker's futures are pinned where they are.
impl<K: Hash + Eq + Clone, V, W, F: Future<Output: operation::Outcome>> Unpin for Working<'_, K, V, W, F> {}

/// Whether something starts.
enum Start<K, V> {
    Now(Started<K, V>),
    /// This would have to wait for the limiter, until then, beyond its bounds.
    Refused(Started<K, V>, u64),
    Later(u64),
    Finished,
}

// ===== impl Working =====

impl<'q, K, V, W, F> Working<'q, K, V, W, F>
where
    K: Hash + Eq + Clone,
    F: Future<Output: operation::Outcome>,
{
    pub(super) fn new(work: Work<'q, K, V, W, F>) -> Self {
        let Work { queue, worker, concurrency, stops, limiter, retries, classify, listeners, take, erase } = work;
        Self {
            crew: Crew::new(),
            running: Vec::new(),
            cuts: BTreeSet::new(),
            queue,
            worker,
            concurrency,
            gate: limiter.map(Gate::new),
            retries,
            stops,
            stopping: false,
            classify,
            listeners,
            take,
            given_up: Vec::new(),
            erase,
            over: false,
        }
    }
}

impl<K, V, W, F, E> Future for Working<'_, K, V, W, F>
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
        assert!(!this.over, "`Working` polled after completion");
        this.crew.begin_round(cx);
        loop {
            while let Some(polled) = this.crew.poll_round() {
                this.ended(polled);
            }
            if !this.cuts.is_empty() {
                this.cut(this.queue.shared.clock.now());
            }
            // Only now: what drops and hears of those that were cut may cancel, and take its time.
            if !this.stopping && this.stops.iter_mut().any(|stop| stop.as_mut().poll(cx).is_ready()) {
                this.stopping = true;
                this.stops.clear();
            }
            let now = this.queue.shared.clock.now();
            if this.stopping && this.crew.len() == 0 {
                return Poll::Ready(this.finish(true));
            }
            let mut wake = FOREVER;
            if !this.stopping && this.crew.len() < this.concurrency {
                let progress = ready!(coop::poll_proceed(cx));
                match this.poll_start(cx, now) {
                    Start::Now(started) => {
                        progress.made_progress();
                        this.start(started, now);
                        continue;
                    }
                    Start::Refused(started, turn) => {
                        progress.made_progress();
                        this.refuse(started, now, turn);
                        continue;
                    }
                    Start::Finished => return Poll::Ready(this.finish(false)),
                    Start::Later(later) => wake = later,
                }
            }
            if this.stopping
                && let Some(gate) = &mut this.gate
            {
                gate.leave();
            }
            if let Some((cut, _)) = this.cuts.first() {
                wake = wake.min(*cut);
            }
            ready!(this.queue.poll_alarm(cx, wake));
        }
    }
}

impl<K, V, W, F, E> Working<'_, K, V, W, F>
where
    K: Hash + Eq + Clone,
    V: Clone,
    W: FnMut(Job<K, V>) -> F,
    F: Future<Output = Result<(), E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// What starts next, if its time has come and the limiter lets it.
    fn poll_start(&mut self, cx: &mut Context<'_>, now: u64) -> Start<K, V> {
        let TimedQueue { shared, policy, .. } = &*self.queue;
        let Some(gate) = &mut self.gate else { return shared.poll_due(cx, now).into() };
        // In line only with something to start.
        let mut found = shared.poll_due_if(cx, now, |_| false);
        if let Found::Unwanted = found {
            let turn = match gate.poll_turn(cx) {
                Readiness::Granted => None,
                Readiness::At(turn) => Some(shared.clock.read(turn)),
                Readiness::Never => Some(FOREVER),
            };
            let Some(turn) = turn else { return shared.poll_due(cx, now).into() };
            // Before its first attempt an item may wait as long as it takes.
            let too_late = |history: Option<&History>| history.is_some_and(|old| old.latest_start(policy) < turn);
            found = match shared.poll_due_if(cx, now, too_late) {
                Found::Unwanted => return Start::Later(turn),
                Found::Due(started) => return Start::Refused(started, turn),
                nothing => nothing,
            };
        }
        gate.leave();
        found.into()
    }

    fn start(&mut self, started: Started<K, V>, now: u64) {
        let mut due = match Due::begin(&self.queue.shared, &self.queue.policy, started, now) {
            Ok(due) => due,
            Err(given_up) => return self.hand_back(given_up),
        };
        if let Some(gate) = &mut self.gate {
            gate.spend();
        }
        if !matches!(self.retries, Retries::Unlimited) {
            due.charge(&self.retries);
        }
        let (cut, _) = due.cut_at();
        let job = Job { key: due.key().clone(), value: due.value().clone(), due: due.due(), attempt: due.attempt() };
        let place = self.crew.add((self.worker)(job));
        if place >= self.running.len() {
            self.running.resize_with(place + 1, || None);
        }
        self.running[place] = Some(due);
        if cut != FOREVER {
            self.cuts.insert((cut, place));
        }
    }

    /// The limiter's turn comes too late for this.
    fn refuse(&mut self, started: Started<K, V>, now: u64, turn: u64) {
        let Started { run, key, value, trail, .. } = started;
        drop(self.queue.shared.end(run, None, false));
        let history = trail.unwrap_or_else(|| Box::new(History::new(now)));
        self.hand_back(GivenUp::new(key, value, history.refused(&self.queue.policy, now, turn)));
    }

    /// What panicked goes on once everything is in order.
    fn ended(&mut self, Polled { place, output, panic }: Polled<Result<(), E>>) {
        match (self.take(place), output) {
            (Some(due), Some(Ok(()))) => {
                let attempt = due.attempt();
                let (key, value) = due.finish();
                self.tell(Outcome::Done { key: &key, value: &value, attempt });
            }
            (Some(due), Some(Err(error))) => self.failed(due, Ending::Failed, Some(error)),
            // Goes back by the policy, before anything hears of it.
            (due, _) => drop(due),
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Drops the futures whose time is over.
    fn cut(&mut self, now: u64) {
        while let Some(&(cut, place)) = self.cuts.first() {
            if cut > now {
                break;
            }
            let dropped = self.crew.drop_future(place);
            self.cuts.remove(&(cut, place));
            if let Some(due) = self.take(place) {
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
        let decision = match (ending, &last, &mut self.classify) {
            (Ending::Failed, crate::Last::Failed(error), Some(classify)) => classify(error),
            (Ending::Cut(CutBy::AttemptTimeout), ..) => self.queue.policy.after_cut(),
            _ => Decision::Retry,
        };
        if let (Ending::Failed, Decision::RetryAfter(asked), Some(gate)) = (ending, decision, &self.gate)
            && let Some(pause) = self.queue.policy.pause_for_all(asked)
        {
            gate.pause(pause);
        }
        let again = due.decide(decision);
        let outcome = Outcome::Failed { key: due.key(), attempt: due.attempt(), last: due.last(ending), again };
        tell(&mut self.listeners, outcome);
        match due.settle(false) {
            Failure::Again { .. } => {}
            Failure::GaveUp(given_up) | Failure::Superseded(given_up) => self.hand_back(given_up),
        }
    }

    /// An item with an error of another run, which had another type, goes to where all types go.
    fn hand_back(&mut self, given_up: GivenUp<K, V, ErasedError>) {
        match given_up.downcast() {
            Ok(given_up) => self.given_up.push(given_up),
            Err(given_up) => return self.queue.shared.bury([given_up]),
        }
        if let Some(given_up) = self.given_up.last() {
            tell(
                &mut self.listeners,
                if given_up.superseded { Outcome::Superseded(given_up) } else { Outcome::GaveUp(given_up) },
            );
        }
        if let Some(take) = &mut self.take
            && let Some(given_up) = self.given_up.pop()
        {
            take(given_up);
        }
    }

    fn tell(&mut self, outcome: Outcome<'_, K, V, E>) {
        tell(&mut self.listeners, outcome);
    }

    fn take(&mut self, place: usize) -> Option<Due<K, V>> {
        let due = self.running.get_mut(place)?.take()?;
        let (cut, _) = due.cut_at();
        self.cuts.remove(&(cut, place));
        Some(due)
    }

    fn finish(&mut self, cancelled: bool) -> Finished<K, V, E> {
        self.over = true;
        if let Some(gate) = &mut self.gate {
            gate.leave();
        }
        let (mut waiting, mut tried) = (Vec::new(), Vec::new());
        if cancelled {
            let TimedQueue { shared, policy, .. } = &*self.queue;
            for removed in shared.cancel_all() {
                if let Some(history) = removed.trail {
                    tried.push((removed.key.clone(), history.give_up(policy, crate::Stop::Cancelled)));
                }
                waiting.push((removed.key, removed.value, shared.clock.instant(removed.due)));
            }
        }
        Finished { given_up: std::mem::take(&mut self.given_up), waiting, tried }
    }
}

fn tell<K, V, E>(listeners: &mut [Notify<'_, K, V, E>], outcome: Outcome<'_, K, V, E>) {
    for listener in listeners {
        listener(outcome);
    }
}

impl<K: Hash + Eq + Clone, V, W, F: Future<Output: operation::Outcome>> Drop for Working<'_, K, V, W, F> {
    /// What has been given up is not lost, and what runs is dropped: futures first, whatever panics, then guards.
    fn drop(&mut self) {
        let Self { queue, given_up, erase, .. } = self;
        queue.shared.bury(given_up.drain(..).map(|given_up| given_up.map_error(*erase)));
        let mut dropped = Ok(());
        for place in 0..self.running.len() {
            dropped = dropped.and(self.crew.drop_future(place));
        }
        self.running.clear();
        self.queue.rest();
        if let Err(panic) = dropped
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

impl<K, V> From<Found<K, V>> for Start<K, V> {
    fn from(found: Found<K, V>) -> Self {
        match found {
            Found::Due(started) => Self::Now(started),
            Found::Unwanted => Self::Later(FOREVER),
            Found::Later(wake) => Self::Later(wake),
            Found::Finished => Self::Finished,
        }
    }
}

impl<K: Hash + Eq + Clone, V, W, F: Future<Output: operation::Outcome>> fmt::Debug for Working<'_, K, V, W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Working").field("running", &self.crew.len()).finish_non_exhaustive()
    }
}
