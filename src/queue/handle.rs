//! Handles: giving work, moving it, taking it back, from any thread.

use std::{
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::coop;

use super::{
    GivenUp,
    erased::ErasedError,
    shared::Shared,
    when::{Clock, When},
};
use crate::{
    policy::queue::{self, Inserted, OnOccupied, Removed},
    sync::Arc,
    time::Instant,
};

/// A handle to a [`TimedQueue`](super::TimedQueue): gives work to it, moves and cancels it. Cheap to clone, usable from
/// any thread and without a runtime.
///
/// Every call says what it did, and no value is ever lost in one: what is not taken, replaced or cancelled comes back.
/// Calls take one short lock, under which the key's `Hash`, `Eq` and `Clone` run, and nothing else of yours.
///
/// # Keys that fail
/// The count of failed attempts and the pause after the last one belong to the key. While a key fails (it runs, or
/// waits for another try) a newer value takes the place of the old one, but is the next attempt, and does not come
/// before the pause is over: a worker that schedules its own key, or whose own write comes back to it as an event, does
/// not undo its backoff. It begins anew after a success, after it was given up, after [`cancel`](Self::cancel), with
/// [`begin_anew`](Self::begin_anew), and where the new due time lies beyond the bounds of the attempts so far.
///
/// What is given while the attempt runs with which the key is given up is new work: it comes at its own time, as a
/// first attempt, with `max_attempts` and the other bounds of its own. A change that comes at the last moment is not
/// lost with the attempts before it (in client-go's work queue, too, a key that was added again is processed after
/// `Forget`). So a worker that schedules its own key in each attempt is not bounded by `max_attempts`: let it fail
/// instead, and the queue tries again.
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
    /// The key is running. This follows when the run has ended, at its time; if the run fails, not before the pause
    /// that the policy asks for, and as the next attempt at the key.
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
pub enum KeyStatus {
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
        self.give(OnOccupied::Keep, key, value, due.into())
    }

    /// Schedules work for a key in place of the entry that waits, if any does. One that is due at the same instant
    /// keeps its place in the order. A key that waits for another try keeps its failures, and its pause: see above.
    pub fn reschedule(&self, key: K, value: V, due: impl Into<When>) -> Scheduled<V> {
        self.give(OnOccupied::Replace, key, value, due.into())
    }

    /// Schedules work for a key if no entry waits that is due at the same time or earlier. What waits for another try
    /// is not brought forward into its pause: see above.
    pub fn bring_forward(&self, key: K, value: V, due: impl Into<When>) -> Scheduled<V> {
        self.give(OnOccupied::KeepEarlier, key, value, due.into())
    }

    /// [`reschedule`](Self::reschedule), and what failed before is forgotten: it is the first attempt, and no pause
    /// holds it back. For when the caller knows that things have changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Backoff, TimedQueue, queue::KeyStatus};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mut queue = TimedQueue::new().backoff(Backoff::fixed(Duration::from_secs(60)));
    /// let handle = queue.handle();
    /// let _ = handle.schedule("a", 1, Duration::ZERO);
    /// let _ = queue.next().await.unwrap().fail("disk full");
    /// // In the pause: the next attempt is made with the new value, but no sooner.
    /// let _ = handle.reschedule("a", 2, Duration::ZERO);
    /// assert!(matches!(handle.get(&"a"), Some(KeyStatus::Scheduled { attempts: 1, .. })));
    /// let _ = handle.begin_anew("a", 3, Duration::ZERO);
    /// assert!(matches!(handle.get(&"a"), Some(KeyStatus::Scheduled { attempts: 0, .. })));
    /// assert_eq!(queue.next().await.unwrap().done(), 3);
    /// # }
    /// ```
    pub fn begin_anew(&self, key: K, value: V, due: impl Into<When>) -> Scheduled<V> {
        self.give(OnOccupied::Reset, key, value, due.into())
    }

    /// Takes out what waits for a key. A run of the key goes on, but nothing will follow it.
    pub fn cancel(&self, key: &K) -> Cancelled<V> {
        let clock = self.shared.clock;
        match self.shared.cancel(key) {
            queue::Cancelled::Absent => Cancelled::Absent,
            queue::Cancelled::Removed(Removed { due, value, .. }) => {
                Cancelled::Removed { due: clock.instant(due), value }
            }
            queue::Cancelled::Running { next } => Cancelled::Running { next: given_back(clock, next) },
        }
    }

    /// Takes out all that waits, in the order in which it was due. Runs go on, but nothing will follow them.
    #[must_use = "what was cancelled comes back in here"]
    pub fn cancel_all(&self) -> Vec<(K, V, Instant)> {
        let clock = self.shared.clock;
        let all = self.shared.cancel_all().into_iter();
        all.map(|Removed { key, due, value, .. }| (key, value, clock.instant(due))).collect()
    }

    /// What a key is doing; `None` if there is nothing to do for it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<KeyStatus> {
        let clock = self.shared.clock;
        Some(match self.shared.get(key)? {
            (queue::State::Scheduled { due }, attempts) => KeyStatus::Scheduled { due: clock.instant(due), attempts },
            (queue::State::Running, _) => KeyStatus::Running,
            (queue::State::RunningWithNext { due }, _) => KeyStatus::RunningWithNext { due: clock.instant(due) },
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

    /// How many keys are due and wait to be run.
    ///
    /// It takes a moment for each key that is due within the same millisecond, or that was given out of order.
    #[must_use]
    pub fn due(&self) -> usize {
        self.shared.due(self.shared.clock.now())
    }

    /// What came back when there was no caller to hand it to: see
    /// [`TimedQueue::take_given_up`](super::TimedQueue::take_given_up). It can be had here when the queue is gone.
    #[must_use]
    pub fn take_given_up(&self) -> Vec<GivenUp<K, V, ErasedError>> {
        self.shared.take_dead_letters()
    }

    /// Closes the queue for new work: from now on it comes back as [`Scheduled::Closed`]. What waits and runs is not
    /// touched, tries included; when all of it has run the queue's consumer ends. [`drain`](Self::drain) waits for
    /// that.
    pub fn close(&self) {
        self.shared.close();
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

    fn give(&self, on_occupied: OnOccupied, key: K, value: V, due: When) -> Scheduled<V> {
        let clock = self.shared.clock;
        let (mut key, mut value) = (Some(key), Some(value));
        let given = self.shared.insert(on_occupied, &mut key, &mut value, clock.due(due));
        match (given, value) {
            (None, Some(value)) => Scheduled::Closed { value },
            (Some(Inserted::Kept { due }), Some(value)) => Scheduled::Kept { due: clock.instant(due), value },
            (Some(Inserted::Moved { from, value, .. }), _) => Scheduled::Moved { from: clock.instant(from), value },
            (Some(Inserted::AfterRun { replaced }), _) => {
                Scheduled::AfterCurrentRun { replaced: given_back(clock, replaced) }
            }
            _ => Scheduled::New,
        }
    }
}

/// A loop around what is ready at its first poll lets others run. What has waited takes its moment.
fn poll_and_yield<T>(cx: &mut Context<'_>, is_first: bool, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let progress = if is_first { Some(ready!(coop::poll_proceed(cx))) } else { None };
    let answer = ready!(poll(cx));
    if let Some(progress) = progress {
        progress.made_progress();
    }
    Poll::Ready(answer)
}

fn given_back<V>(clock: Clock, next: Option<(u64, V)>) -> Option<(Instant, V)> {
    next.map(|(due, value)| (clock.instant(due), value))
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
        poll_and_yield(cx, *id == 0, |cx| shared.poll_idle(cx, id, shared.clock.now()))
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Idle<K, V> {
    fn drop(&mut self) {
        self.shared.remove_waiter(self.id);
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
        poll_and_yield(cx, *id == 0, |cx| shared.poll_empty(cx, id))
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Drain<K, V> {
    fn drop(&mut self) {
        self.shared.remove_waiter(self.id);
    }
}

impl<K: Hash + Eq + Clone, V> fmt::Debug for Drain<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}
