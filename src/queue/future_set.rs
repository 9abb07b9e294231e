//! Futures that run side by side inside one task, each polled only when it has been woken: as futures-util's
//! `FuturesUnordered`, with slots that can be named, and panics that are caught.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
};

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    lock,
};

/// Room for one future after the other; the allocation and the waker are made once.
#[derive(Debug)]
struct FutureSlot<F> {
    future: Pin<Box<Option<F>>>,
    wake: Arc<SlotWaker>,
    /// Of `wake`.
    waker: Waker,
}

#[derive(Debug)]
pub(super) struct FutureSet<F> {
    slots: Vec<FutureSlot<F>>,
    /// Slots without a future. Exactly those.
    vacant: Vec<usize>,
    /// The slots that are polled now.
    batch: VecDeque<usize>,
    ready: Arc<ReadyToRun>,
}

/// A future that is over.
pub(super) struct Completed<T> {
    /// Where it was.
    pub(super) slot: usize,
    /// What it gave, unless it panicked before.
    pub(super) output: Option<T>,
    /// How it panicked, in its poll or when it was dropped after that.
    pub(super) panic: Option<Box<dyn Any + Send>>,
}

/// What has been woken since the last batch.
#[derive(Debug)]
struct ReadyToRun {
    /// Under the lock runs no foreign code: wakers are cloned, woken and dropped outside.
    inner: Mutex<ReadyInner>,
}

#[derive(Debug)]
struct ReadyInner {
    /// A slot is here or in the batch at most once, and exactly if its `queued` is set.
    slots: VecDeque<usize>,
    /// The task that polls the set; taken by the first wake since it was registered.
    task: Option<Waker>,
}

/// The waker of a slot.
#[derive(Debug)]
struct SlotWaker {
    slot: usize,
    /// Whether the slot is among those to be polled.
    queued: AtomicBool,
    ready: Arc<ReadyToRun>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what was done before the wake is seen by the poll that clears the flag, also where this finds it
        // set.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut ready = lock(&self.ready.inner);
            ready.slots.push_back(self.slot);
            ready.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future> FutureSet<F> {
    pub(super) fn new() -> Self {
        let inner = Mutex::new(ReadyInner { slots: VecDeque::new(), task: None });
        let ready = Arc::new(ReadyToRun { inner });
        Self { slots: Vec::new(), vacant: Vec::new(), batch: VecDeque::new(), ready }
    }

    /// How many futures run.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Adds a future, to be polled with this batch: the slot that it is in.
    pub(super) fn insert(&mut self, future: F) -> usize {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            let slot = self.slots.len();
            let wake = Arc::new(SlotWaker { slot, queued: AtomicBool::new(false), ready: self.ready.clone() });
            let waker = Waker::from(wake.clone());
            self.slots.push(FutureSlot { future: Box::pin(None), wake, waker });
            slot
        });
        let FutureSlot { future: room, wake, .. } = &mut self.slots[slot];
        room.set(Some(future));
        // A waker that outlived the last future of the slot may have queued it already.
        if !wake.queued.swap(true, Ordering::AcqRel) {
            self.batch.push_back(slot);
        }
        slot
    }

    /// Drops the future of a slot. The slot is vacant then, whether the drop panics or not.
    pub(super) fn drop_future(&mut self, slot: usize) -> thread::Result<()> {
        let future = &mut self.slots[slot].future;
        if future.is_none() {
            return Ok(());
        }
        self.vacant.push(slot);
        catch_unwind(AssertUnwindSafe(|| future.set(None)))
    }

    /// Begins a batch: what was woken until now will be polled; what is woken later wakes the task.
    pub(super) fn begin_batch(&mut self, cx: &Context<'_>) {
        // Wakers are cloned and dropped outside the lock: they are the task's, and may do anything.
        let mut spare = None;
        loop {
            let mut ready = lock(&self.ready.inner);
            let same = ready.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
            if !same && spare.is_none() {
                drop(ready);
                spare = Some(cx.waker().clone());
                continue;
            }
            if !same {
                std::mem::swap(&mut ready.task, &mut spare);
            }
            self.batch.append(&mut ready.slots);
            drop(ready);
            return;
        }
    }

    /// The next future of this batch that is ready, or panicked; it is gone then.
    pub(super) fn poll_batch(&mut self) -> Option<Completed<F::Output>> {
        while let Some(slot) = self.batch.pop_front() {
            let FutureSlot { future, wake, waker } = &mut self.slots[slot];
            // Acquire: pairs with the wakes until now. Cleared before the poll, so that a wake in or after it queues
            // anew.
            wake.queued.swap(false, Ordering::AcqRel);
            let Some(running) = future.as_mut().as_pin_mut() else { continue };
            let polled = catch_unwind(AssertUnwindSafe(|| running.poll(&mut Context::from_waker(waker))));
            let (output, panic) = match polled {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(output)) => (Some(output), None),
                Err(panic) => (None, Some(panic)),
            };
            let dropped = self.drop_future(slot);
            return Some(Completed { slot, output, panic: panic.or(dropped.err()) });
        }
        None
    }
}
