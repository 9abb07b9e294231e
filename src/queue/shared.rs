//! What the queue, its handles and its guards share: the timetable behind one lock, and who waits for it to change.

use std::{
    hash::Hash,
    task::{Context, Poll, Waker},
};

use super::{
    item::Item,
    when::{BEGINNING, Clock},
};
use crate::{
    error::{GaveUp, NoAnswer},
    policy::{
        nanos::FOREVER,
        timetable::{Cancelled, Ended, Given, Rule, Run, Started, State, Timetable},
    },
    sync::{Mutex, lock},
};

#[derive(Debug)]
pub(super) struct Shared<K, V> {
    pub(super) clock: Clock,
    inner: Mutex<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K, V> {
    table: Timetable<K, Item<V>>,
    /// Who consumes, while it waits.
    consumer: Option<Waker>,
    /// When it wakes by itself.
    armed: u64,
    /// It waits for something else than time, with something due: whatever changes may mean that it waits in vain.
    held: bool,
    /// Who waits for the queue to be idle or empty.
    waiters: Vec<(u64, Waker)>,
    waiter_ids: u64,
    handles: usize,
    /// Nothing more is accepted.
    closed: bool,
    /// The queue was dropped: nothing will be run any more.
    abandoned: bool,
    /// What was given up where nobody was there to be told.
    shelf: Vec<Shelved<K, V>>,
}

type Shelved<K, V> = (K, V, GaveUp<NoAnswer>);

/// What the consumer finds.
#[derive(Debug)]
pub(super) enum Found<K, V> {
    /// This is due.
    Due(Started<K, Item<V>>),
    /// Nothing before this; [`FOREVER`]: nothing unless told.
    Later(u64),
    /// Nothing now, nothing ever.
    Finished,
}

/// Wakers to be called once the lock is free.
#[must_use]
#[derive(Default)]
struct Calls {
    consumer: Option<Waker>,
    waiters: Vec<(u64, Waker)>,
}

impl Calls {
    fn make(self) {
        if let Some(waker) = self.consumer {
            waker.wake();
        }
        for (_, waker) in self.waiters {
            waker.wake();
        }
    }
}

impl<K: Hash + Eq + Clone, V> Shared<K, V> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            table: Timetable::new(BEGINNING),
            consumer: None,
            armed: FOREVER,
            held: false,
            waiters: Vec::new(),
            waiter_ids: 0,
            handles: 0,
            closed: false,
            abandoned: false,
            shelf: Vec::new(),
        };
        Self { clock: Clock::new(), inner: Mutex::new(inner) }
    }

    /// `Err`: the queue is closed, the value comes back.
    pub(super) fn give(&self, rule: Rule, key: K, value: V, due: u64) -> Result<Given<Item<V>>, V> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(value);
        }
        let given = inner.table.give(rule, key, Item::new(value), due);
        let calls = match given {
            Given::New | Given::Moved { .. } => inner.changed(due),
            _ => Calls::default(),
        };
        drop(inner);
        calls.make();
        Ok(given)
    }

    pub(super) fn cancel(&self, key: &K) -> Cancelled<Item<V>> {
        let mut inner = lock(&self.inner);
        let cancelled = inner.table.cancel(key);
        let calls = inner.changed(FOREVER);
        drop(inner);
        calls.make();
        cancelled
    }

    pub(super) fn cancel_all(&self) -> Vec<(K, u64, Item<V>)> {
        let mut inner = lock(&self.inner);
        let all = inner.table.cancel_all();
        let calls = inner.changed(FOREVER);
        drop(inner);
        calls.make();
        all
    }

    pub(super) fn get(&self, key: &K) -> Option<(State, u32)> {
        let inner = lock(&self.inner);
        let (state, item) = inner.table.get(key)?;
        Some((state, item.map_or(0, Item::attempts)))
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.inner).table.len()
    }

    pub(super) fn running(&self) -> usize {
        lock(&self.inner).table.running()
    }

    /// Takes what is due by `now`; else has the consumer woken when something earlier comes than what it waits for.
    pub(super) fn poll_due(&self, cx: &Context<'_>, now: u64) -> Found<K, V> {
        let mut inner = lock(&self.inner);
        match inner.table.start(now) {
            Some(started) => Found::Due(started),
            None => inner.later(cx),
        }
    }

    /// The same, if what is due is wanted. If not, the answer is `None`, and the consumer is woken when anything changes.
    pub(super) fn poll_due_if(
        &self,
        cx: &Context<'_>,
        now: u64,
        wanted: impl FnOnce(&Item<V>) -> bool,
    ) -> Option<Found<K, V>> {
        let mut inner = lock(&self.inner);
        if inner.table.first_due(now).is_some_and(|item| !wanted(item)) {
            inner.wait(cx, FOREVER);
            inner.held = true;
            return None;
        }
        Some(match inner.table.start(now) {
            Some(started) => Found::Due(started),
            None => inner.later(cx),
        })
    }

    /// Ends a run; `again`: it is to be tried again then.
    pub(super) fn end(&self, run: Run, again: Option<(u64, Item<V>)>) -> Ended<Item<V>> {
        let mut inner = lock(&self.inner);
        let due = again.as_ref().map(|(due, _)| *due);
        let ended = inner.table.end(run, again);
        let due = match (&ended, due) {
            (Ended::Again, Some(due)) => due,
            // What follows may be due long since.
            (Ended::Next { .. }, _) => 0,
            _ => FOREVER,
        };
        let calls = inner.changed(due);
        drop(inner);
        calls.make();
        ended
    }

    pub(super) fn shelve(&self, key: K, value: V, gave_up: GaveUp<NoAnswer>) {
        lock(&self.inner).shelf.push((key, value, gave_up));
    }

    pub(super) fn take_shelf(&self) -> Vec<Shelved<K, V>> {
        std::mem::take(&mut lock(&self.inner).shelf)
    }

    /// Ready when nothing runs and nothing is due, or nobody will ever run it.
    pub(super) fn poll_idle(&self, cx: &Context<'_>, id: &mut u64, now: u64) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if inner.abandoned || (inner.table.running() == 0 && !inner.table.is_due(now)) {
            return Poll::Ready(());
        }
        inner.join(cx, id);
        Poll::Pending
    }

    /// Ready when nothing runs and nothing waits, or nobody will ever run it: how many keys are left.
    pub(super) fn poll_empty(&self, cx: &Context<'_>, id: &mut u64) -> Poll<usize> {
        let mut inner = lock(&self.inner);
        let len = inner.table.len();
        if inner.abandoned || len == 0 {
            return Poll::Ready(len);
        }
        inner.join(cx, id);
        Poll::Pending
    }

    pub(super) fn leave(&self, id: u64) {
        lock(&self.inner).waiters.retain(|(other, _)| *other != id);
    }
}

/// What guards of any key and value need when they are dropped.
impl<K, V> Shared<K, V> {
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        let calls = inner.call_all();
        drop(inner);
        calls.make();
    }

    pub(super) fn abandon(&self) {
        let mut inner = lock(&self.inner);
        (inner.closed, inner.abandoned) = (true, true);
        let calls = inner.call_all();
        drop(inner);
        calls.make();
    }

    pub(super) fn add_handle(&self) {
        let mut inner = lock(&self.inner);
        inner.handles = inner.handles.saturating_add(1);
    }

    pub(super) fn remove_handle(&self) {
        let mut inner = lock(&self.inner);
        inner.handles = inner.handles.saturating_sub(1);
        let calls = if inner.handles == 0 { inner.call_all() } else { Calls::default() };
        drop(inner);
        calls.make();
    }
}

impl<K, V> Inner<K, V> {
    fn call_all(&mut self) -> Calls {
        Calls { consumer: self.consumer.take(), waiters: std::mem::take(&mut self.waiters) }
    }

    fn wait(&mut self, cx: &Context<'_>, armed: u64) {
        (self.armed, self.held) = (armed, false);
        match &mut self.consumer {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl<K: Hash + Eq + Clone, V> Inner<K, V> {
    /// Nothing is due.
    fn later(&mut self, cx: &Context<'_>) -> Found<K, V> {
        if self.table.is_empty() && (self.closed || self.handles == 0) {
            return Found::Finished;
        }
        let wake = self.table.next_wake().unwrap_or(FOREVER);
        self.wait(cx, wake);
        Found::Later(wake)
    }

    /// Something is due at `due` now, or ([`FOREVER`]) something has gone.
    #[inline]
    fn changed(&mut self, due: u64) -> Calls {
        let finished = self.table.is_empty() && (self.closed || self.handles == 0);
        let consumer = if due < self.armed || self.held || finished { self.consumer.take() } else { None };
        let waiters = if self.waiters.is_empty() || self.table.running() > 0 {
            Vec::new()
        } else {
            std::mem::take(&mut self.waiters)
        };
        Calls { consumer, waiters }
    }

    fn join(&mut self, cx: &Context<'_>, id: &mut u64) {
        if *id == 0 {
            self.waiter_ids = self.waiter_ids.saturating_add(1);
            *id = self.waiter_ids;
        }
        match self.waiters.iter_mut().find(|(other, _)| other == id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => self.waiters.push((*id, cx.waker().clone())),
        }
    }
}
