//! What the queue, its handles and its guards share: the delay queue behind one lock, and the wakers of what waits for
//! it to change.

use std::{
    hash::Hash,
    panic::resume_unwind,
    task::{Context, Poll, Waker},
};

use super::{
    GivenUp,
    erased::ErasedError,
    item::History,
    wakers::Wakers,
    when::{BEGINNING, Clock},
};
use crate::{
    error::Stop,
    policy::{
        nanos::FOREVER,
        queue::{self, AfterRun, Cancelled, Inserted, KeyedDelayQueue, OnOccupied, Removed, RunningKey, State},
        schedule::Policy,
    },
    sync::{Mutex, lock},
};

pub(super) type BoxedHistory = Box<History>;
pub(super) type Started<K, V> = queue::Started<K, V, BoxedHistory>;

#[derive(Debug)]
pub(super) struct Shared<K, V> {
    pub(super) clock: Clock,
    /// Under the lock run the key's `Hash`, `Eq` and `Clone`, and no other code of callers: wakers are cloned before it
    /// is taken; wakers, keys, values and errors are dropped, and wakers called, once it is free. What may be woken by
    /// a change is taken out under the same lock as the change is made, so that no wake is lost.
    inner: Mutex<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K, V> {
    queue: KeyedDelayQueue<K, V, BoxedHistory>,
    /// The waker of the consumer, while that waits.
    consumer: Option<Waker>,
    /// When the consumer's own timer wakes it.
    wake_at: u64,
    /// The consumer waits for something else than time, with something due: any change may mean that it waits in vain.
    blocked: bool,
    /// By their numbers: what waits for the queue to be idle or empty.
    waiters: Vec<(u64, Waker)>,
    last_waiter: u64,
    handles: usize,
    /// Nothing more is accepted.
    closed: bool,
    /// The queue was dropped: nothing will be run any more.
    abandoned: bool,
    /// What came back when there was no caller to hand it to.
    dead_letters: Vec<GivenUp<K, V, ErasedError>>,
}

/// What a poll of the consumer finds.
#[derive(Debug)]
pub(super) enum Polled<K, V> {
    /// This is due.
    Due(Started<K, V>),
    /// What is due is not wanted. The consumer is woken when anything changes.
    Unwanted,
    /// Nothing before this; [`FOREVER`]: nothing until it is woken.
    Later(u64),
    /// Nothing now, nothing ever.
    Finished,
}

impl<K: Hash + Eq + Clone, V> Shared<K, V> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            queue: KeyedDelayQueue::new(BEGINNING),
            consumer: None,
            wake_at: FOREVER,
            blocked: false,
            waiters: Vec::new(),
            last_waiter: 0,
            handles: 0,
            closed: false,
            abandoned: false,
            dead_letters: Vec::new(),
        };
        Self { clock: Clock::new(), inner: Mutex::new(inner) }
    }

    /// What is not taken stays with the caller; `None`: the queue is closed.
    pub(super) fn insert(
        &self,
        on_occupied: OnOccupied,
        key: &mut Option<K>,
        value: &mut Option<V>,
        due: u64,
    ) -> Option<Inserted<V, BoxedHistory>> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return None;
        }
        let given = inner.queue.insert(on_occupied, key, value, due);
        let wakers = match given {
            Inserted::New => inner.changed(due),
            Inserted::Moved { due, .. } => inner.changed(due),
            _ => Wakers::default(),
        };
        drop(inner);
        let given = self.return_or_keep(wakers, given, |given| match (given, key.take()) {
            (Inserted::Moved { value, history, .. }, Some(key)) => {
                vec![GivenUp { superseded: true, ..self.cancelled(key, value, history) }]
            }
            _ => Vec::new(),
        });
        Some(given)
    }

    pub(super) fn cancel(&self, key: &K) -> Cancelled<K, V, BoxedHistory> {
        let mut inner = lock(&self.inner);
        let cancelled = inner.queue.cancel(key);
        let wakers = inner.changed(FOREVER);
        drop(inner);
        self.return_or_keep(wakers, cancelled, |cancelled| match cancelled {
            Cancelled::Removed(removed) => vec![self.removed(removed)],
            Cancelled::Running { next: Some((_, value)) } => vec![self.cancelled(key.clone(), value, None)],
            Cancelled::Running { next: None } | Cancelled::Absent => Vec::new(),
        })
    }

    pub(super) fn cancel_all(&self) -> Vec<Removed<K, V, BoxedHistory>> {
        let mut inner = lock(&self.inner);
        let all = inner.queue.cancel_all();
        let wakers = inner.changed(FOREVER);
        drop(inner);
        self.return_or_keep(wakers, all, |all| all.into_iter().map(|removed| self.removed(removed)).collect())
    }

    pub(super) fn get(&self, key: &K) -> Option<(State, u32)> {
        let inner = lock(&self.inner);
        let (state, _, history) = inner.queue.get(key)?;
        Some((state, history.map_or(0, |history| history.attempts())))
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.inner).queue.len()
    }

    pub(super) fn running(&self) -> usize {
        lock(&self.inner).queue.running()
    }

    pub(super) fn due(&self, now: u64) -> usize {
        lock(&self.inner).queue.due(now)
    }

    /// Takes what is due by `now`; else registers the consumer for when something comes that is due earlier than what
    /// it waits for.
    pub(super) fn poll_due(&self, cx: &Context<'_>, now: u64) -> Polled<K, V> {
        self.poll_queue(cx, |queue| queue.start(now).map(Some))
    }

    /// The same, if what is due is wanted.
    pub(super) fn poll_due_if(
        &self,
        cx: &Context<'_>,
        now: u64,
        wanted: impl Fn(Option<&History>) -> bool,
    ) -> Polled<K, V> {
        self.poll_queue(cx, |queue| {
            let (_, history) = queue.first_due(now)?;
            if wanted(history.map(|history| &**history)) { queue.start(now).map(Some) } else { Some(None) }
        })
    }

    /// `take`: what is due, `None` if nothing is, `Some(None)` if it is not wanted.
    fn poll_queue(
        &self,
        cx: &Context<'_>,
        take: impl Fn(&mut KeyedDelayQueue<K, V, BoxedHistory>) -> Option<Option<Started<K, V>>>,
    ) -> Polled<K, V> {
        let mut spare = None;
        loop {
            let mut inner = lock(&self.inner);
            let wake = match take(&mut inner.queue) {
                Some(Some(started)) => return Polled::Due(started),
                Some(None) => None,
                None if inner.is_finished() => return Polled::Finished,
                None => Some(inner.queue.next_wake().unwrap_or(FOREVER)),
            };
            let same = inner.consumer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if !same && spare.is_none() {
                drop(inner);
                spare = Some(cx.waker().clone());
                continue; // what was seen may have changed
            }
            if !same {
                std::mem::swap(&mut inner.consumer, &mut spare);
            }
            (inner.wake_at, inner.blocked) = (wake.unwrap_or(FOREVER), wake.is_none());
            drop(inner);
            return wake.map_or(Polled::Unwanted, Polled::Later);
        }
    }

    /// Ends a run; `again`: it is to be tried again when the history says. With the queue gone a value goes back all
    /// the same if `keep_orphan` is set: the caller has nowhere else to put it. The wakers are to be called, see
    /// [`hand_back`](Self::hand_back).
    pub(super) fn end(
        &self,
        run: RunningKey,
        again: Option<(V, BoxedHistory)>,
        keep_orphan: bool,
    ) -> (AfterRun<K, V, BoxedHistory>, Wakers) {
        let planned = again.as_ref().map_or(FOREVER, |(_, history)| queue::AttemptHistory::window(history).0);
        let (mut inner, mut again) = (lock(&self.inner), again);
        let retries = again.as_mut().filter(|_| inner.abandoned).map(|(_, history)| history.take_retries());
        let (again, kept) = if inner.abandoned && !keep_orphan { (None, again) } else { (again, None) };
        let ended = match (inner.queue.end(run, again), kept) {
            (AfterRun::Gone { key }, Some((value, history))) => AfterRun::Cancelled { key, value, history },
            (AfterRun::Next { due, .. }, Some(kept)) => AfterRun::Next { due, superseded: Some(kept) },
            (ended, _) => ended,
        };
        let wakers = inner.changed(match &ended {
            AfterRun::Again => planned,
            // What follows may be due long since.
            AfterRun::Next { due, .. } => *due,
            _ => FOREVER,
        });
        drop(inner);
        drop(retries);
        (ended, wakers)
    }

    /// Wakes what a run that has ended lets go on, and hands its item back. A waker that panics does not lose it: it
    /// waits with those for which there was no caller.
    pub(super) fn hand_back(&self, wakers: Wakers, given_up: GivenUp<K, V, ErasedError>) -> GivenUp<K, V, ErasedError> {
        self.return_or_keep(wakers, given_up, |given_up| vec![given_up])
    }

    /// Wakes what a call lets go on, and returns what it has to. A waker that panics does not lose it.
    fn return_or_keep<T>(
        &self,
        wakers: Wakers,
        returned: T,
        keep: impl FnOnce(T) -> Vec<GivenUp<K, V, ErasedError>>,
    ) -> T {
        match wakers.try_wake() {
            Ok(()) => returned,
            Err(panic) => {
                self.add_dead_letters(keep(returned));
                resume_unwind(panic)
            }
        }
    }

    fn removed(&self, removed: Removed<K, V, BoxedHistory>) -> GivenUp<K, V, ErasedError> {
        let Removed { key, value, history, .. } = removed;
        self.cancelled(key, value, history)
    }

    /// An item that was cancelled while it waited.
    fn cancelled(&self, key: K, value: V, history: Option<BoxedHistory>) -> GivenUp<K, V, ErasedError> {
        let history = history.unwrap_or_else(|| Box::new(History::new(self.clock.now())));
        // What its policy would say is of no interest for a cancellation.
        GivenUp::new(key, value, history.give_up(&Policy::new(), Stop::Cancelled))
    }

    /// Ready when nothing runs and nothing is due, or nothing will ever run any more.
    pub(super) fn poll_idle(&self, cx: &Context<'_>, id: &mut u64, now: u64) -> Poll<()> {
        self.poll_until(cx, id, |inner| {
            (inner.abandoned || (inner.queue.running() == 0 && !inner.queue.is_due(now))).then_some(())
        })
    }

    /// Ready when nothing runs and nothing waits, or nothing will ever run any more: how many keys are left.
    pub(super) fn poll_empty(&self, cx: &Context<'_>, id: &mut u64) -> Poll<usize> {
        self.poll_until(cx, id, |inner| {
            let len = inner.queue.len();
            (inner.abandoned || len == 0).then_some(len)
        })
    }

    fn poll_until<T>(&self, cx: &Context<'_>, id: &mut u64, done: impl Fn(&mut Inner<K, V>) -> Option<T>) -> Poll<T> {
        let mut spare = None;
        loop {
            let mut inner = lock(&self.inner);
            if let Some(done) = done(&mut inner) {
                return Poll::Ready(done);
            }
            if *id == 0 {
                inner.last_waiter = inner.last_waiter.saturating_add(1);
                *id = inner.last_waiter;
            }
            let index = inner.waiters.iter().position(|(other, _)| other == id);
            if index.is_some_and(|index| inner.waiters[index].1.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            let Some(waker) = spare.take() else {
                drop(inner);
                spare = Some(cx.waker().clone());
                continue;
            };
            let old = index.map(|index| inner.waiters.swap_remove(index));
            inner.waiters.push((*id, waker));
            drop(inner);
            drop(old);
            return Poll::Pending;
        }
    }
}

/// What guards, handles and runs of any key and value need when they are dropped.
impl<K, V> Shared<K, V> {
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        let wakers = inner.all_wakers();
        drop(inner);
        wakers.wake();
    }

    /// The queue is gone: nothing is run any more, and what waits for another attempt needs no retry.
    pub(super) fn abandon(&self) {
        let mut inner = lock(&self.inner);
        (inner.closed, inner.abandoned) = (true, true);
        let retries: Vec<_> = inner.queue.histories_mut().map(|history| history.take_retries()).collect();
        let wakers = inner.all_wakers();
        drop(inner);
        drop(retries);
        wakers.wake();
    }

    pub(super) fn add_handle(&self) {
        let mut inner = lock(&self.inner);
        inner.handles = inner.handles.saturating_add(1);
    }

    pub(super) fn remove_handle(&self) {
        let mut inner = lock(&self.inner);
        inner.handles = inner.handles.saturating_sub(1);
        let wakers = if inner.handles == 0 { inner.all_wakers() } else { Wakers::default() };
        drop(inner);
        wakers.wake();
    }

    /// There is no caller to hand these to: they wait until they are taken.
    pub(super) fn add_dead_letters(&self, given_up: impl IntoIterator<Item = GivenUp<K, V, ErasedError>>) {
        let given_up: Vec<_> = given_up.into_iter().collect();
        lock(&self.inner).dead_letters.extend(given_up);
    }

    pub(super) fn take_dead_letters(&self) -> Vec<GivenUp<K, V, ErasedError>> {
        std::mem::take(&mut lock(&self.inner).dead_letters)
    }

    /// The consumer waits no more.
    pub(super) fn clear_consumer(&self) {
        let waker = lock(&self.inner).consumer.take();
        drop(waker);
    }

    /// The waiter of this number waits no more for the queue to be idle or empty.
    pub(super) fn remove_waiter(&self, id: u64) {
        let mut inner = lock(&self.inner);
        let index = inner.waiters.iter().position(|(other, _)| *other == id);
        let waiter = index.map(|index| inner.waiters.swap_remove(index));
        drop(inner);
        drop(waiter);
    }
}

impl<K, V> Inner<K, V> {
    fn all_wakers(&mut self) -> Wakers {
        Wakers { consumer: self.consumer.take(), waiters: std::mem::take(&mut self.waiters) }
    }
}

impl<K: Hash + Eq + Clone, V> Inner<K, V> {
    fn is_finished(&self) -> bool {
        self.queue.is_empty() && (self.closed || self.handles == 0)
    }

    /// Something is due at `due` now, or ([`FOREVER`]) something has gone: the wakers to call.
    #[inline]
    fn changed(&mut self, due: u64) -> Wakers {
        let consumer =
            if due < self.wake_at || self.blocked || self.is_finished() { self.consumer.take() } else { None };
        let waiters = if self.waiters.is_empty() || self.queue.running() > 0 {
            Vec::new()
        } else {
            std::mem::take(&mut self.waiters)
        };
        Wakers { consumer, waiters }
    }
}
