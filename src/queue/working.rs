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

use pin_project::pin_project;
use tokio::task::coop;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Due, Failure, GivenUp, TimedQueue,
    crew::Crew,
    gate::Gate,
    item::{History, Item},
    shared::Found,
    work::{Classify, Finished, Job, Notify, Outcome, Work, Worker},
};
use crate::{
    budget::Budget,
    error::Ending,
    limiter::Turn,
    policy::{attempts::Decision, bounds::CutBy, nanos::FOREVER, timetable::Started},
    time::Alarm,
};

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
    gate: Option<Gate>,
    budget: Option<Budget>,
    stop: Stopping,
    classify: Option<Classify<'q, W::Error>>,
    notify: Option<Notify<'q, K, V, W::Error>>,
    given_up: Vec<GivenUp<K, V, W::Error>>,
    over: bool,
}

/// Whether something starts.
enum Start<K, V> {
    Now(Started<K, Item<V>>),
    /// This would have to wait for the limiter, until then, beyond its bounds.
    Refused(Started<K, Item<V>>, u64),
    Later(u64),
    Finished,
}

// ===== impl Working =====

impl<'q, K: Hash + Eq + Clone, V: Clone, W: Worker<K, V>> Working<'q, K, V, W> {
    pub(super) fn new(work: Work<'q, K, V, W>) -> Self {
        let Work { queue, worker, concurrency, token, limiter, budget, classify, notify } = work;
        let stop = match token {
            Some(token) => Stopping::On(Box::pin(token.cancelled_owned())),
            None => Stopping::Never,
        };
        Self {
            crew: Crew::new(),
            running: Vec::new(),
            cuts: BTreeSet::new(),
            queue,
            worker,
            concurrency,
            gate: limiter.map(Gate::new),
            budget,
            stop,
            classify,
            notify,
            given_up: Vec::new(),
            over: false,
        }
    }
}

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
            if stopping && let Some(gate) = &mut this.gate {
                gate.leave();
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
    /// What starts next, if its time has come and the limiter lets it.
    fn poll_start(&mut self, cx: &mut Context<'_>, now: u64) -> Start<K, V> {
        let TimedQueue { shared, policy, .. } = &*self.queue;
        let Some(gate) = &mut self.gate else { return shared.poll_due(cx, now).into() };
        // Only who has something to start stands in line.
        let mut found = shared.poll_due_if(cx, now, |_| false);
        if found.is_none() {
            let turn = match gate.poll_turn(cx) {
                Turn::Granted => None,
                Turn::At(turn) => Some(shared.clock.read(turn)),
                Turn::Never => Some(FOREVER),
            };
            found = match turn {
                None => Some(shared.poll_due(cx, now)),
                Some(turn) => match shared.poll_due_if(cx, now, |item| item.latest_start(policy) < turn) {
                    None => return Start::Later(turn),
                    Some(Found::Due(started)) => return Start::Refused(started, turn),
                    nothing => nothing,
                },
            };
        }
        match found {
            Some(Found::Due(started)) => Start::Now(started),
            Some(nothing) => {
                gate.leave();
                nothing.into()
            }
            None => unreachable!("something was due, and wanted"),
        }
    }

    fn start(&mut self, started: Started<K, Item<V>>, now: u64) {
        let mut due = match Due::begin(&self.queue.shared, &self.queue.policy, started, now) {
            Ok(due) => due,
            Err(GivenUp { key, value, error }) => {
                // No attempt, no error.
                let error = error.map_error(|_| unreachable!("nothing was attempted"));
                return self.hand_back(GivenUp { key, value, error });
            }
        };
        if let Some(gate) = &mut self.gate {
            gate.spend();
        }
        if let Some(budget) = &self.budget {
            due.charge(budget);
        }
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

    /// The limiter's turn comes too late for this.
    fn refuse(&mut self, started: Started<K, Item<V>>, now: u64, turn: u64) {
        let Started { run, key, value: Item { value, history }, .. } = started;
        self.queue.shared.end(run, None);
        let history = history.unwrap_or_else(|| Box::new(History::new(now)));
        self.hand_back(GivenUp { key, value, error: history.refused(&self.queue.policy, now, turn) });
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
        if let Some(gate) = &mut self.gate {
            gate.leave();
        }
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

impl<K, V> From<Found<K, V>> for Start<K, V> {
    fn from(found: Found<K, V>) -> Self {
        match found {
            Found::Due(started) => Self::Now(started),
            Found::Later(wake) => Self::Later(wake),
            Found::Finished => Self::Finished,
        }
    }
}

impl<K: Hash + Eq + Clone, V, W: Worker<K, V>> fmt::Debug for Working<'_, K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Working").field("running", &self.crew.len()).finish_non_exhaustive()
    }
}
