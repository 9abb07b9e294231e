//! The guard of a key that runs: it is answered, or dropped and goes back.

use std::{fmt, hash::Hash};

use super::{
    GivenUp,
    erased::ErasedError,
    item::History,
    shared::{BoxedHistory, Shared, Started},
    wakers::Wakers,
};
use crate::{
    error::{Ending, Last, Stop},
    policy::{
        nanos::duration,
        queue::{AfterRun, RunningKey},
        schedule::{
            Policy,
            attempts::{Attempt, Decision},
            bounds::CutBy,
        },
    },
    run::retries::Retries,
    sync::Arc,
    time::Instant,
};

/// A key whose time has come, with its value. Until it is answered no other run of the key starts.
///
/// Answer with [`done`](Self::done), [`fail`](Self::fail) or [`retry_after`](Self::retry_after). Dropped without an
/// answer it is an attempt that was cut: what follows is what the policy's `on_cut` says, by default another attempt.
/// If there is none, it waits in [`TimedQueue::take_given_up`](super::TimedQueue::take_given_up).
#[must_use = "dropped without an answer it counts as failed"]
pub struct Due<K: Hash + Eq + Clone, V> {
    shared: Arc<Shared<K, V>>,
    policy: Arc<Policy>,
    /// `None` once it is answered.
    running: Option<Running<K, V>>,
    promised: u64,
    attempt: Attempt,
    started: u64,
}

struct Running<K, V> {
    run: RunningKey,
    key: K,
    value: V,
    /// `None`: the first attempt. It needs no memory of its own unless it fails.
    history: Option<BoxedHistory>,
    stage: Stage,
}

/// How far a run has come. No step is made twice, whatever panics between two of them.
enum Stage {
    Attempting,
    /// The attempt has ended without success, as its history says.
    AfterRun,
    /// It has been decided what follows.
    Planned(Result<u64, Stop>),
}

/// What follows a failed attempt.
#[derive(Debug)]
#[must_use = "an item that was given up is handed back in here"]
#[non_exhaustive]
pub enum AfterFailure<K, V, E> {
    /// It is due again at that time.
    #[non_exhaustive]
    Again {
        /// When.
        due: Instant,
    },
    /// There is no further attempt, and this is why: the policy allows none, or ([`Stop::Cancelled`]) the key was
    /// cancelled while it ran, or the queue is gone.
    GaveUp(GivenUp<K, V, E>),
    /// There is no further attempt because something newer was given for the key while it ran; that waits now.
    Superseded(GivenUp<K, V, E>),
}

impl<K: Hash + Eq + Clone, V> Due<K, V> {
    /// Begins an attempt, if the item is allowed one.
    pub(super) fn begin(
        shared: &Arc<Shared<K, V>>,
        policy: &Arc<Policy>,
        started: Started<K, V>,
        now: u64,
    ) -> Result<Self, GivenUp<K, V, ErasedError>> {
        let Started { run, key, value, history, due: promised, .. } = started;
        let allowed = match &history {
            Some(history) => history.may_go_on(policy, now),
            None => History::may_begin(policy),
        };
        if let Err(stop) = allowed {
            let (_, wakers) = shared.end(run, None, false);
            let history = history.map_or_else(|| History::new(now), |history| *history);
            let given_up = GivenUp::new(key, value, history.give_up_at(policy, stop, now));
            return Err(shared.hand_back(wakers, given_up));
        }
        let (history, attempt) = match history {
            Some(mut history) => {
                let attempt = history.start(policy, now);
                (Some(history), attempt)
            }
            None => (None, History::first(policy, now).1),
        };
        let (shared, policy) = (shared.clone(), policy.clone());
        let running = Some(Running { run, key, value, history, stage: Stage::Attempting });
        Ok(Self { shared, policy, running, promised, attempt, started: now })
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.running().key
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.running().value
    }

    /// The value, to be changed: another attempt sees the change.
    pub fn value_mut(&mut self) -> &mut V {
        &mut self.running_mut().value
    }

    /// When it was due. It may be taken later than that, never earlier.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.shared.clock.instant(self.promised)
    }

    /// Which attempt at this item it is; its time counts from the start of the first one.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// It is done: the key is gone, or what was given for it meanwhile waits. The value comes back.
    pub fn done(self) -> V {
        let (_, value, wakers) = self.finish();
        wakers.wake();
        value
    }

    /// It is done: key, value and what is to be woken.
    pub(super) fn finish(mut self) -> (K, V, Wakers) {
        match self.running.take() {
            Some(Running { run, key, value, .. }) => (key, value, self.shared.end(run, None, false).1),
            None => unreachable!("answered guards are gone"),
        }
    }

    /// It failed: another attempt follows by the policy, if it allows one.
    ///
    /// With the queue gone, nothing follows: the value comes back.
    pub fn fail<E: fmt::Debug + Send + Sync + 'static>(mut self, error: E) -> AfterFailure<K, V, E> {
        self.record(Ending::Failed, Some(ErasedError::new(error)));
        self.decide(Decision::Retry);
        self.settle(false).downcast()
    }

    /// It is not ready: another attempt follows by the policy, if it allows one, but not before this pause. The
    /// policy's `max_retry_after` caps the pause.
    ///
    /// With the queue gone, nothing follows: the value comes back.
    pub fn retry_after(mut self, pause: std::time::Duration) -> AfterFailure<K, V, ErasedError> {
        self.record(Ending::NotReady, None);
        self.decide(Decision::RetryAfter(pause));
        self.settle(false)
    }

    /// The attempt has ended without success.
    pub(super) fn record(&mut self, ending: Ending, error: Option<ErasedError>) {
        let now = self.shared.clock.now();
        self.history().end(now, ending, error);
        self.running_mut().stage = Stage::AfterRun;
    }

    /// What follows, unless that has been decided: when the policy would try again.
    pub(super) fn decide(&mut self, decision: Decision) -> Option<Instant> {
        if let Stage::AfterRun = self.running().stage {
            let policy = self.policy.clone();
            let planned = self.history().plan(&policy, decision);
            self.running_mut().stage = Stage::Planned(planned);
        }
        match &self.running().stage {
            Stage::Planned(Ok(due)) => Some(self.shared.clock.instant(*due)),
            _ => None,
        }
    }

    /// The run is over: the item goes back or is handed back.
    pub(super) fn settle(&mut self, keep_orphan: bool) -> AfterFailure<K, V, ErasedError> {
        let Some(Running { run, key, value, history: Some(history), stage: Stage::Planned(planned) }) =
            self.running.take()
        else {
            unreachable!("it has been decided what follows")
        };
        let policy = &*self.policy;
        let due = match planned {
            Ok(due) => due,
            Err(stop) => {
                let (_, wakers) = self.shared.end(run, None, false);
                let given_up = GivenUp::new(key, value, history.give_up(policy, stop));
                return AfterFailure::GaveUp(self.shared.hand_back(wakers, given_up));
            }
        };
        let (after, wakers) = self.shared.end(run, Some((value, history)), keep_orphan);
        match after {
            AfterRun::Cancelled { value, history, .. } => {
                let given_up = GivenUp::new(key, value, history.give_up(policy, Stop::Cancelled));
                AfterFailure::GaveUp(self.shared.hand_back(wakers, given_up))
            }
            AfterRun::Next { superseded: Some((value, history)), .. } => {
                let given_up = GivenUp::new(key, value, history.give_up(policy, Stop::Cancelled));
                AfterFailure::Superseded(self.shared.hand_back(wakers, GivenUp { superseded: true, ..given_up }))
            }
            _ => {
                wakers.wake();
                AfterFailure::Again { due: self.shared.clock.instant(due) }
            }
        }
    }

    /// The item counts for these budgets, if it does for none.
    pub(super) fn charge(&mut self, retries: &Retries) {
        self.history().charge(retries);
    }

    /// When the attempt is cut, in queue time.
    pub(super) fn cut_at(&self) -> (u64, CutBy) {
        match &self.running().history {
            Some(history) => history.cut_at(&self.policy),
            None => History::first(&self.policy, self.started).0.cut_at(&self.policy),
        }
    }

    /// What the attempt that has ended did.
    pub(super) fn last<E: 'static>(&self, ending: Ending) -> Last<&E> {
        let history = self.running().history.as_ref();
        match (ending, history.and_then(|history| history.last_error())) {
            (Ending::Failed, Some(error)) => Last::Failed(error),
            (Ending::Cut(by), _) => {
                let ran = self.shared.clock.now().saturating_sub(self.started);
                Last::Cut { after: duration(ran), by }
            }
            _ => Last::NotReady,
        }
    }

    fn history(&mut self) -> &mut History {
        let Self { running, policy, started, .. } = self;
        match running {
            Some(Running { history, .. }) => {
                history.get_or_insert_with(|| Box::new(History::first(policy, *started).0))
            }
            None => unreachable!("answered guards are gone"),
        }
    }

    fn running(&self) -> &Running<K, V> {
        match &self.running {
            Some(running) => running,
            None => unreachable!("answered guards are gone"),
        }
    }

    fn running_mut(&mut self) -> &mut Running<K, V> {
        match &mut self.running {
            Some(running) => running,
            None => unreachable!("answered guards are gone"),
        }
    }
}

impl<K, V> AfterFailure<K, V, ErasedError> {
    /// The latest error is of this type: it has just been recorded.
    fn downcast<E: 'static>(self) -> AfterFailure<K, V, E> {
        let typed = |given_up: GivenUp<K, V, ErasedError>| match given_up.downcast() {
            Ok(given_up) => given_up,
            Err(other) => unreachable!("{:?} is the latest error", other.error),
        };
        match self {
            Self::Again { due } => AfterFailure::Again { due },
            Self::GaveUp(given_up) => AfterFailure::GaveUp(typed(given_up)),
            Self::Superseded(given_up) => AfterFailure::Superseded(typed(given_up)),
        }
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Due<K, V> {
    fn drop(&mut self) {
        let Some(Running { stage, .. }) = &self.running else { return };
        let mut decision = Decision::Retry;
        if let Stage::Attempting = stage {
            decision = self.policy.after_cut();
            self.record(Ending::Cut(CutBy::Cancelled), None);
        }
        self.decide(decision);
        if let AfterFailure::GaveUp(given_up) | AfterFailure::Superseded(given_up) = self.settle(true) {
            self.shared.add_dead_letters([given_up]);
        }
    }
}

impl<K: Hash + Eq + Clone + fmt::Debug, V: fmt::Debug> fmt::Debug for Due<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running.as_ref();
        f.debug_struct("Due")
            .field("key", &running.map(|running| &running.key))
            .field("value", &running.map(|running| &running.value))
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
