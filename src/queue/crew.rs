//! Futures that run side by side inside one task: each is polled only when it has been woken.

use std::{
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

/// Who has been woken since the last round.
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

    /// Drops the future in a place.
    pub(super) fn drop_future(&mut self, place: usize) {
        let future = &mut self.places[place].future;
        if future.is_some() {
            // First free, then empty: a future whose drop panics does not block its place.
            self.free.push(place);
            future.set(None);
        }
    }

    /// Begins a round: those woken until now will be polled; those woken later wake the task.
    pub(super) fn begin_round(&mut self, cx: &Context<'_>) {
        let mut woken = lock(&self.woken.inner);
        match &mut woken.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        self.round.append(&mut woken.places);
    }

    /// The next future of this round that is ready, or panicked; it is gone then.
    pub(super) fn poll_round(&mut self) -> Option<(usize, thread::Result<F::Output>)> {
        while let Some(place) = self.round.pop_front() {
            let Place { future, call, waker } = &mut self.places[place];
            call.queued.swap(false, Ordering::AcqRel);
            let Some(running) = future.as_mut().as_pin_mut() else { continue };
            let polled = catch_unwind(AssertUnwindSafe(|| running.poll(&mut Context::from_waker(waker))));
            let ended = match polled {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(output)) => Ok(output),
                Err(panic) => Err(panic),
            };
            self.drop_future(place);
            return Some((place, ended));
        }
        None
    }
}
