//! Handles: giving work, moving it, taking it back, from any thread.

use std::{
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    item::Item,
    shared::Shared,
    when::{Clock, When},
};
use crate::{
    policy::timetable::{self, Given, Rule},
    sync::Arc,
    time::Instant,
};

/// A handle to a [`TimedQueue`](super::TimedQueue): gives work to it, moves and cancels it. Cheap to clone, usable from
/// any thread and without a runtime.
///
/// Every call says what it did, and no value is ever lost in one: what is not taken, replaced or cancelled comes back.
/// Calls take one short lock, under which the key's `Hash`, `Eq` and `Clone` run.
pub struct QueueHandle<K, V> {
    shared: Arc<Shared<K, V>>,
}

/// What giving work for a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a value that was not taken or was replaced comes back in here"]
#[non_exhaustive]
pub enum Scheduled<V> {
    /// The key was not there; it waits now.
    New,
    /// The entry that waits for this key stays as it is.
    Kept {
        /// When that entry is due.
        due: Instant,
        /// The value that was not taken.
        value: V,
    },
    /// The entry that waited for this key is replaced.
    Moved {
        /// When the old entry was due.
        from: Instant,
        /// The old entry's value.
        value: V,
    },
    /// The key is running. This follows when the run has ended, at its time; instead of another try if the run fails.
    AfterCurrentRun {
        /// What was to follow until now: when it was due, and its value.
        replaced: Option<(Instant, V)>,
    },
    /// The queue takes nothing more: it is drained or gone.
    Closed {
        /// The value that was not taken.
        value: V,
    },
}

/// What cancelling a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the value that was cancelled comes back in here"]
#[non_exhaustive]
pub enum Cancelled<V> {
    /// There was nothing to cancel.
    Absent,
    /// It waited, and is taken out.
    Removed {
        /// When it was due.
        due: Instant,
        /// Its value.
        value: V,
    },
    /// The key is running. The run is not stopped; nothing follows it, neither what was to follow nor another try.
    Running {
        /// What was to follow: when it was due, and its value.
        next: Option<(Instant, V)>,
    },
}

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It waits.
    Scheduled {
        /// Until then.
        due: Instant,
        /// Attempts made at it so far: more than 0 when it waits for another try.
        attempts: u32,
    },
    /// It runs.
    Running,
    /// It runs, and something was given for it that follows.
    RunningWithNext {
        /// When that is due.
        due: Instant,
    },
}

impl<K: Hash + Eq + Clone, V> QueueHandle<K, V> {
    pub(super) fn new(shared: Arc<Shared<K, V>>) -> Self {
        shared.add_handle();
        Self { shared }
    }

    /// Schedules work for a key. An entry that waits already stays as it is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{TimedQueue, queue::Scheduled};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let queue = TimedQueue::new();
    /// let handle = queue.handle();
    /// assert_eq!(handle.schedule("a", 1, Duration::from_secs(5)), Scheduled::New);
    /// assert!(matches!(handle.schedule("a", 2, Duration::ZERO), Scheduled::Kept { value: 2, .. }));
    /// assert!(matches!(handle.reschedule("a", 3, Duration::ZERO), Scheduled::Moved { value: 1, .. }));
    /// assert_eq!(handle.len(), 1);
    /// # }
    /// ```
    pub fn schedule(&self, key: K, value: V, due: impl Into<When>) -> Scheduled<V> {
        self.give(Rule::Keep, key, value, due.into())
    }

    /// Schedules work for a key in place of the entry that waits, if any does. One that is due at the same instant keeps
    /// its place in the order.
    pub fn reschedule(&self, key: K, value: V, due: impl Into<When>) -> Scheduled<V> {
        self.give(Rule::Move, key, value, due.into())
    }

    /// Schedules work for a key if no entry waits that is due at the same time or earlier.
    pub fn bring_forward(&self, key: K, value: V, due: impl Into<When>) -> Scheduled<V> {
        self.give(Rule::Earlier, key, value, due.into())
    }

    /// Takes out what waits for a key. A run of the key goes on, but nothing will follow it.
    pub fn cancel(&self, key: &K) -> Cancelled<V> {
        let clock = self.shared.clock;
        match self.shared.cancel(key) {
            timetable::Cancelled::Absent => Cancelled::Absent,
            timetable::Cancelled::Removed { due, value } => {
                Cancelled::Removed { due: clock.instant(due), value: value.value }
            }
            timetable::Cancelled::Running { next } => Cancelled::Running { next: given_back(clock, next) },
        }
    }

    /// Takes out all that waits, in the order in which it was due. Runs go on, but nothing will follow them.
    #[must_use = "what was cancelled comes back in here"]
    pub fn cancel_all(&self) -> Vec<(K, V, Instant)> {
        let clock = self.shared.clock;
        let all = self.shared.cancel_all().into_iter();
        all.map(|(key, due, item)| (key, item.value, clock.instant(due))).collect()
    }

    /// What a key is doing; `None` if there is nothing to do for it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Status> {
        let clock = self.shared.clock;
        Some(match self.shared.get(key)? {
            (timetable::State::Scheduled { due }, attempts) => Status::Scheduled { due: clock.instant(due), attempts },
            (timetable::State::Running, _) => Status::Running,
            (timetable::State::RunningWithNext { due }, _) => Status::RunningWithNext { due: clock.instant(due) },
        })
    }

    /// How many keys wait or run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no key waits or runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.shared.running()
    }

    /// Waits until nothing runs and nothing is due. Also ready once the queue itself is dropped.
    ///
    /// Cancel safe: dropped, it leaves no trace.
    pub fn idle(&self) -> Idle<K, V> {
        Idle { shared: self.shared.clone(), id: 0 }
    }

    /// Closes the queue for new work and waits until all that it holds has run, each at its time, tries included; use
    /// [`cancel_all`](Self::cancel_all) for not waiting. Then the queue's consumer ends.
    ///
    /// The answer is how many keys are left: 0, unless the queue itself was dropped.
    ///
    /// Cancel safe: dropped, it leaves no trace but the queue closed. It closes when this is called.
    pub fn drain(&self) -> Drain<K, V> {
        self.shared.close();
        Drain { shared: self.shared.clone(), id: 0 }
    }

    fn give(&self, rule: Rule, key: K, value: V, due: When) -> Scheduled<V> {
        let clock = self.shared.clock;
        match self.shared.give(rule, key, value, clock.due(due)) {
            Err(value) => Scheduled::Closed { value },
            Ok(Given::New) => Scheduled::New,
            Ok(Given::Kept { due, value }) => Scheduled::Kept { due: clock.instant(due), value: value.value },
            Ok(Given::Moved { from, value }) => Scheduled::Moved { from: clock.instant(from), value: value.value },
            Ok(Given::AfterRun { replaced }) => Scheduled::AfterCurrentRun { replaced: given_back(clock, replaced) },
        }
    }
}

fn given_back<V>(clock: Clock, item: Option<(u64, Item<V>)>) -> Option<(Instant, V)> {
    item.map(|(due, item)| (clock.instant(due), item.value))
}

impl<K, V> Clone for QueueHandle<K, V> {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self { shared: self.shared.clone() }
    }
}

impl<K, V> Drop for QueueHandle<K, V> {
    fn drop(&mut self) {
        self.shared.remove_handle();
    }
}

impl<K, V> fmt::Debug for QueueHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle").finish_non_exhaustive()
    }
}

/// The future of [`QueueHandle::idle`].
#[must_use = "futures do nothing unless awaited or polled"]
pub struct Idle<K: Hash + Eq + Clone, V> {
    shared: Arc<Shared<K, V>>,
    id: u64,
}

impl<K: Hash + Eq + Clone, V> Future for Idle<K, V> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, id } = &mut *self;
        shared.poll_idle(cx, id, shared.clock.now())
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Idle<K, V> {
    fn drop(&mut self) {
        self.shared.leave(self.id);
    }
}

impl<K: Hash + Eq + Clone, V> fmt::Debug for Idle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}

/// The future of [`QueueHandle::drain`].
#[must_use = "futures do nothing unless awaited or polled"]
pub struct Drain<K: Hash + Eq + Clone, V> {
    shared: Arc<Shared<K, V>>,
    id: u64,
}

impl<K: Hash + Eq + Clone, V> Future for Drain<K, V> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let Self { shared, id } = &mut *self;
        shared.poll_empty(cx, id)
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Drain<K, V> {
    fn drop(&mut self) {
        self.shared.leave(self.id);
    }
}

impl<K: Hash + Eq + Clone, V> fmt::Debug for Drain<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}
