//! The guard of a key that runs: it is answered, or dropped and goes back.

use std::{any::Any, fmt, hash::Hash};

use super::{
    item::{History, Item},
    shared::Shared,
};
use crate::{
    budget::Budget,
    error::{Ending, GaveUp, Last, NoAnswer, Stop},
    policy::{
        Policy,
        attempts::{Attempt, Decision},
        bounds::CutBy,
        nanos::duration,
        timetable::{Ended, Run, Started},
    },
    sync::Arc,
    time::Instant,
};

/// A key whose time has come, with its value. Until it is answered no other run of the key starts.
///
/// Answer with [`done`](Self::done), [`fail`](Self::fail) or [`retry_after`](Self::retry_after). Dropped without an
/// answer it counts as failed and goes back by the queue's policy; if that allows no further attempt, it waits in
/// [`TimedQueue::take_given_up`](super::TimedQueue::take_given_up).
#[must_use = "dropped without an answer it counts as failed"]
pub struct Due<K: Hash + Eq + Clone, V> {
    shared: Arc<Shared<K, V>>,
    policy: Arc<Policy>,
    key: K,
    /// `None` once it is answered.
    running: Option<Running<V>>,
    promised: u64,
    attempt: Attempt,
    started: u64,
}

struct Running<V> {
    run: Run,
    value: V,
    /// `None`: the first attempt. It needs no memory of its own unless it fails.
    history: Option<Box<History>>,
}

/// An item of the queue for which no further attempt will be made, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct GivenUp<K, V, E> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Why there is no further attempt, and what the last one did.
    pub error: GaveUp<E>,
}

/// What follows a failed attempt.
#[derive(Debug)]
#[must_use = "an item that was given up is handed back in here"]
#[non_exhaustive]
pub enum Failure<K, V, E> {
    /// It is due again at that time.
    #[non_exhaustive]
    Again {
        /// When.
        due: Instant,
    },
    /// There is no further attempt, and this is why: the policy allows none, or ([`Stop::Cancelled`]) the key was
    /// cancelled while it ran.
    GaveUp(GivenUp<K, V, E>),
    /// There is no further attempt because something newer was given for the key while it ran; that waits now.
    Superseded(GivenUp<K, V, E>),
}

impl<K: Hash + Eq + Clone, V> Due<K, V> {
    /// Begins an attempt; an item that is allowed none goes to the shelf.
    pub(super) fn begin(
        shared: &Arc<Shared<K, V>>,
        policy: &Arc<Policy>,
        started: Started<K, Item<V>>,
        now: u64,
    ) -> Result<Self, GivenUp<K, V, NoAnswer>> {
        let Started { run, key, value: Item { value, history }, due, .. } = started;
        let (history, attempt) = match history {
            Some(mut history) => {
                let attempt = history.start(policy, now);
                (Some(history), attempt)
            }
            None => match History::may_begin(policy) {
                Ok(()) => (None, History::first(policy, now).1),
                Err(stop) => {
                    shared.end(run, None);
                    return Err(GivenUp { key, value, error: History::new(now).give_up(policy, stop) });
                }
            },
        };
        let (shared, policy) = (shared.clone(), policy.clone());
        let running = Some(Running { run, value, history });
        Ok(Self { shared, policy, key, running, promised: due, attempt, started: now })
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.running().value
    }

    /// The value, to be changed: another attempt sees the change.
    pub fn value_mut(&mut self) -> &mut V {
        match &mut self.running {
            Some(running) => &mut running.value,
            None => unreachable!("answered guards are gone"),
        }
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
    pub fn done(mut self) -> V {
        match self.running.take() {
            Some(Running { run, value, .. }) => {
                self.shared.end(run, None);
                value
            }
            None => unreachable!("answered guards are gone"),
        }
    }

    /// It failed: another attempt follows by the policy, if it allows one.
    pub fn fail<E: Send + 'static>(self, error: E) -> Failure<K, V, E> {
        self.answer(Ending::Failed, Decision::Retry, Some(error))
    }

    /// It is not ready: another attempt follows by the policy, if it allows one, but not before this pause. The
    /// policy's `max_retry_after` caps the pause.
    pub fn retry_after(self, pause: std::time::Duration) -> Failure<K, V, NoAnswer> {
        self.answer(Ending::NotReady, Decision::RetryAfter(pause), None)
    }

    pub(super) fn answer<E: Send + 'static>(
        self,
        ending: Ending,
        decision: Decision,
        error: Option<E>,
    ) -> Failure<K, V, E> {
        self.answer_and_tell(ending, decision, error, |_, _, _, _| {})
    }

    /// Ends a failed attempt. `tell` hears the key, the number of the attempt, what it did, and what the policy plans.
    pub(super) fn answer_and_tell<E: Send + 'static>(
        mut self,
        ending: Ending,
        decision: Decision,
        error: Option<E>,
        tell: impl FnOnce(&K, Attempt, Last<&E>, Option<Instant>),
    ) -> Failure<K, V, E> {
        let planned = self.plan(ending, decision, error.map(|error| Box::new(error) as _));
        let again = planned.as_ref().ok().map(|due| self.shared.clock.instant(*due));
        tell(&self.key, self.attempt, self.last(ending), again);
        self.end(planned)
    }

    /// The item counts for this budget, if it does for none.
    pub(super) fn charge(&mut self, budget: &Budget) {
        let first = || Box::new(History::first(&self.policy, self.started).0);
        if let Some(Running { history, .. }) = &mut self.running {
            history.get_or_insert_with(first).charge(budget);
        }
    }

    /// When the attempt is cut, in queue time.
    pub(super) fn cut_at(&self) -> (u64, CutBy) {
        match &self.running().history {
            Some(history) => history.cut_at(&self.policy),
            None => History::first(&self.policy, self.started).0.cut_at(&self.policy),
        }
    }

    fn running(&self) -> &Running<V> {
        match &self.running {
            Some(running) => running,
            None => unreachable!("answered guards are gone"),
        }
    }

    fn last<E: 'static>(&self, ending: Ending) -> Last<&E> {
        let after = || {
            let ran = self.shared.clock.now().saturating_sub(self.started);
            duration(ran)
        };
        let history = self.running().history.as_ref();
        match (ending, history.and_then(|history| history.last_error())) {
            (Ending::Failed, Some(error)) => Last::Failed(error),
            (Ending::Cut(by), _) => Last::Cut { after: after(), by },
            _ => Last::NotReady,
        }
    }

    fn plan(&mut self, ending: Ending, decision: Decision, error: Option<Box<dyn Any + Send>>) -> Result<u64, Stop> {
        let now = self.shared.clock.now();
        match &mut self.running {
            Some(Running { history, .. }) => history
                .get_or_insert_with(|| Box::new(History::first(&self.policy, self.started).0))
                .end(&self.policy, now, ending, decision, error),
            None => unreachable!("answered guards are gone"),
        }
    }

    fn end<E: 'static>(&mut self, planned: Result<u64, Stop>) -> Failure<K, V, E> {
        let Some(Running { run, value, history: Some(history) }) = self.running.take() else {
            unreachable!("answered guards are gone, and planning made a history")
        };
        let given_up = |value, history: Box<History>, stop| GivenUp {
            key: self.key.clone(),
            value,
            error: history.give_up(&self.policy, stop),
        };
        let due = match planned {
            Ok(due) => due,
            Err(stop) => {
                self.shared.end(run, None);
                return Failure::GaveUp(given_up(value, history, stop));
            }
        };
        match self.shared.end(run, Some((due, Item { value, history: Some(history) }))) {
            Ended::Cancelled(Item { value, history: Some(history) }) => {
                Failure::GaveUp(given_up(value, history, Stop::Cancelled))
            }
            Ended::Next { superseded: Some(Item { value, history: Some(history) }) } => {
                Failure::Superseded(given_up(value, history, Stop::Cancelled))
            }
            _ => Failure::Again { due: self.shared.clock.instant(due) },
        }
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Due<K, V> {
    fn drop(&mut self) {
        if self.running.is_none() {
            return;
        }
        let planned = self.plan(Ending::Cut(CutBy::Cancelled), Decision::Retry, None);
        // A policy that allows no more is no reason to lose the item; a key that was cancelled or given anew is one.
        let exhausted = planned.is_err();
        if let Failure::GaveUp(GivenUp { key, value, error }) = self.end::<NoAnswer>(planned)
            && exhausted
        {
            self.shared.shelve(key, value, error);
        }
    }
}

impl<K: Hash + Eq + Clone + fmt::Debug, V: fmt::Debug> fmt::Debug for Due<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.running.as_ref().map(|running| &running.value);
        f.debug_struct("Due")
            .field("key", &self.key)
            .field("value", &value)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
