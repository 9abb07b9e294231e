//! Futures that run side by side inside one task: each is polled only when it has been woken.

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

/// A place for one future after the other; place and waker are made once.
#[derive(Debug)]
struct Place<F> {
    future: Pin<Box<Option<F>>>,
    call: Arc<Call>,
    waker: Waker,
}

#[derive(Debug)]
pub(super) struct Crew<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    /// Whom to poll in this round.
    round: VecDeque<usize>,
    woken: Arc<Woken>,
}

/// A future that is over, by its place.
pub(super) struct Polled<T> {
    pub(super) place: usize,
    /// What it gave, unless it panicked before.
    pub(super) output: Option<T>,
    /// How it panicked, in its poll or when it was dropped after that.
    pub(super) panic: Option<Box<dyn Any + Send>>,
}

/// What has been woken since the last round.
#[derive(Debug)]
struct Woken {
    inner: Mutex<WokenInner>,
}

#[derive(Debug)]
struct WokenInner {
    places: VecDeque<usize>,
    task: Option<Waker>,
}

/// The waker of a place.
#[derive(Debug)]
struct Call {
    place: usize,
    /// Whether it stands among those to be polled.
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut woken = lock(&self.woken.inner);
            woken.places.push_back(self.place);
            woken.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future> Crew<F> {
    pub(super) fn new() -> Self {
        let inner = Mutex::new(WokenInner { places: VecDeque::new(), task: None });
        Self { places: Vec::new(), free: Vec::new(), round: VecDeque::new(), woken: Arc::new(Woken { inner }) }
    }

    /// How many futures run.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds a future to this round: in which place.
    pub(super) fn add(&mut self, future: F) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.places.len();
            let call = Arc::new(Call { place, queued: AtomicBool::new(false), woken: self.woken.clone() });
            let waker = Waker::from(call.clone());
            self.places.push(Place { future: Box::pin(None), call, waker });
            place
        });
        let Place { future: seat, call, .. } = &mut self.places[place];
        seat.set(Some(future));
        if !call.queued.swap(true, Ordering::AcqRel) {
            self.round.push_back(place);
        }
        place
    }

    /// Drops the future in a place. Its place is free then, whether its drop panics or not.
    pub(super) fn drop_future(&mut self, place: usize) -> thread::Result<()> {
        let future = &mut self.places[place].future;
        if future.is_none() {
            return Ok(());
        }
        self.free.push(place);
        catch_unwind(AssertUnwindSafe(|| future.set(None)))
    }

    /// Begins a round: those woken until now will be polled; those woken later wake the task.
    pub(super) fn begin_round(&mut self, cx: &Context<'_>) {
        // Wakers are cloned and dropped outside the lock: they are the task's, and may do anything.
        let mut spare = None;
        loop {
            let mut woken = lock(&self.woken.inner);
            let same = woken.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
            if !same && spare.is_none() {
                drop(woken);
                spare = Some(cx.waker().clone());
                continue;
            }
            if !same {
                std::mem::swap(&mut woken.task, &mut spare);
            }
            self.round.append(&mut woken.places);
            drop(woken);
            return;
        }
    }

    /// The next future of this round that is ready, or panicked; it is gone then.
    pub(super) fn poll_round(&mut self) -> Option<Polled<F::Output>> {
        while let Some(place) = self.round.pop_front() {
            let Place { future, call, waker } = &mut self.places[place];
            call.queued.swap(false, Ordering::AcqRel);
            let Some(running) = future.as_mut().as_pin_mut() else { continue };
            let polled = catch_unwind(AssertUnwindSafe(|| running.poll(&mut Context::from_waker(waker))));
            let (output, panic) = match polled {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(output)) => (Some(output), None),
                Err(panic) => (None, Some(panic)),
            };
            let dropped = self.drop_future(place);
            return Some(Polled { place, output, panic: panic.or(dropped.err()) });
        }
        None
    }
}
