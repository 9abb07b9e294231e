//! The queue's consumers: `run` with a worker, and the stream of guards.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures_util::StreamExt;
use relent::{
    Decision, Last,
    queue::{AfterFailure, Due, Finished, ItemEvent, Job},
};

use super::{
    actors::{self, Kind},
    changing::Handed,
    limits,
    queues::{self, book},
    verbs::{some_error, some_latency, takes},
    world::{self, E, Queue, Val, ms, note, require, shared, trouble, with},
};

type Slot = Rc<RefCell<Option<Queue>>>;

#[derive(Clone, Copy)]
struct Session {
    token: Option<usize>,
    limit: Option<usize>,
    budget: Option<usize>,
    concurrency: usize,
    listens: bool,
}

thread_local! {
    /// Guards that are answered later, or never.
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
    /// The limiter of the session that runs: it may be in line there.
    static LIMIT: Cell<Option<usize>> = const { Cell::new(None) };
    /// One consumer at a time.
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
}

/// The worker's future is there, and so the key runs.
struct Running {
    key: u8,
    value: usize,
    over: bool,
}

impl Running {
    fn ends(&mut self) {
        self.over = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.over || std::thread::panicking() {
            queues::over(self.key);
        } else {
            queues::cut(self.key, self.value);
        }
    }
}

pub fn begin() {
    let shared = shared();
    let Some(slot) = shared.queue.clone() else { return };
    if ACTIVE.get() || slot.try_borrow_mut().map_or(true, |slot| slot.is_none()) {
        return;
    }
    ACTIVE.set(true);
    let (session, runs) = with(|world| {
        let rng = &mut world.rng;
        let mut one = |count: usize| (count > 0 && rng.bool()).then(|| rng.usize(0..count));
        let (token, budget) = (one(world.cancelled.len()), one(world.budgets.len()));
        // The ideal list knows nothing of the queue's place.
        let limit = one(world.limits.len()).filter(|limit| !world.limits[*limit].modelled);
        let concurrency = rng.usize(1..4);
        (Session { token, limit, budget, concurrency, listens: rng.bool() }, rng.u8(0..3) > 0)
    });
    if runs {
        if let Some(limit) = session.limit {
            with(|world| world.limits[limit].unlisted += 1);
        }
        LIMIT.set(session.limit);
        note("session", 0, "run", session.concurrency as u64);
        actors::spawn(Kind::Session, run(slot, session));
    } else {
        note("session", 0, "stream", 0);
        actors::spawn(Kind::Session, stream(slot));
    }
}

/// The session is over: what was given up is told.
pub fn gone() {
    ACTIVE.set(false);
    if let Some(limit) = LIMIT.take() {
        with(|world| world.limits[limit].unlisted -= 1);
    }
    collect();
}

pub fn collect() {
    let slot = shared().queue.clone();
    if let Some(slot) = slot
        && let Ok(slot) = slot.try_borrow()
        && let Some(queue) = &*slot
    {
        queues::collect(queue);
    }
}

fn work(session: Session, job: &Job<u8, Val>) -> impl Future<Output = Result<(), E>> + use<> {
    let (key, value, number) = (job.key, job.value.0, job.attempt.number());
    queues::starts(key, value, number, session.budget, session.token);
    let mut running = Running { key, value, over: false };
    if let Some(limit) = session.limit {
        limits::came_out(limit, 1, actors::is_delayed(actors::current()), false);
    }
    trouble("worker of value", value);
    let latency = some_latency();
    async move {
        trouble("future of value", value);
        takes(latency).await;
        trouble("future of value", value);
        // A controller writes the status of what it works at.
        if with(|world| world.rng.u8(0..4) == 0) {
            queues::give();
        }
        running.ends();
        if with(|world| world.rng.u8(0..3) == 0) {
            note("value", value, "succeeds", 0);
            if !session.listens {
                queues::out(value, "done, and no one was to be told");
            }
            return Ok(());
        }
        let error = some_error();
        queues::failed(key, value, number, error);
        Err(error)
    }
}

fn told(outcome: ItemEvent<'_, u8, Val, E>) {
    let number = match &outcome {
        ItemEvent::Done { value, .. } => {
            queues::out(value.0, "done");
            value.0
        }
        ItemEvent::Failed { key, last, .. } => {
            let key = usize::from(**key);
            require(!matches!(last, Last::NotStarted | Last::NotCalled), "an event tells the real error", || {
                format!("key {key}: {last:?}")
            });
            note("key", key, "Failed", 0);
            key
        }
        ItemEvent::GaveUp(item) => {
            queues::heard(item, "given up");
            item.item().value.0
        }
        ItemEvent::Superseded(item) => {
            queues::heard(item, "superseded");
            item.item().value.0
        }
        other => panic!("{other:?}"),
    };
    trouble("listener of the queue, value", number);
}

fn finished(finished: Finished<u8, Val, E>) {
    note("session", 0, "finished", 0);
    for item in finished.given_up {
        queues::back(&item, &item.error.to_string(), "given up");
    }
    for (key, value, _) in finished.waiting {
        // Taken out as by a cancellation: what is given for the key later begins anew.
        book(|book| book.keys.entry(key).or_default().begins_anew());
        queues::out(value.0, "waited");
    }
    actors::ended();
    gone();
}

async fn run(slot: Slot, session: Session) {
    let mut slot = slot.borrow_mut();
    let Some(queue) = slot.as_mut() else {
        // Dropped before the first poll.
        actors::ended();
        return gone();
    };
    let shared = shared();
    let worker = move |job: Job<u8, Val>| work(session, &job);
    let work = queue.run(worker).concurrency(session.concurrency).unwrap();
    let work = work.when(|error: &E| -> Decision {
        let decision = error.decision;
        trouble("classification of the queue", 0);
        queues::decided(*error);
        decision
    });
    let work = if session.listens { work.notify(told) } else { work };
    let work = if let Some(limit) = session.limit { work.throttle(&shared.limiters[limit]) } else { work };
    let work = if let Some(token) = session.token { work.cancel_on(shared.tokens[token].clone()) } else { work };
    let work = if let Some(budget) = session.budget { work.budget(&shared.budgets[budget]) } else { work };
    drop(shared);
    let keep = with(|world| world.rng.bool());
    let mut future = pin!(work.into_future());
    let end = future.as_mut().await;
    finished(end);
    if keep {
        pending::<()>().await;
    }
}

/// A guard, with what is known of it.
pub struct Held {
    due: Option<Due<u8, Val>>,
    key: u8,
    value: usize,
    number: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A waker of the world may hold it for longer than the case.
        if self.due.is_some() && world::is_on() {
            queues::cut(self.key, self.value);
            // There is no queue any more that could take it.
            let gone = book(|book| book.gone);
            book(|book| book.values[self.value].excused |= gone);
        }
    }
}

impl Held {
    fn new(due: Due<u8, Val>) -> Self {
        let (key, value, number) = (*due.key(), due.value().0, due.attempt().number());
        queues::starts(key, value, number, None, None);
        Self { due: Some(due), key, value, number }
    }

    fn answer(mut self) {
        let Some(due) = self.due.take() else { return };
        let after = book(|book| book.gone);
        let failure = match with(|world| world.rng.u8(0..3)) {
            0 => {
                queues::over(self.key);
                queues::out(due.done().0, "done");
                return;
            }
            1 => {
                let error = E { decision: Decision::Retry, ..some_error() };
                queues::failed(self.key, self.value, self.number, error);
                queues::over(self.key);
                book(|book| {
                    book.values[self.value].last = if after { "guard failed after the queue" } else { "guard failed" }
                });
                queues::decided(error);
                match due.fail(error) {
                    AfterFailure::GaveUp(item) => Some((item.value, item.error.to_string(), "given up")),
                    AfterFailure::Superseded(item) => Some((item.value, item.error.to_string(), "superseded")),
                    _ => None,
                }
            }
            _ => {
                queues::over(self.key);
                book(|book| {
                    book.values[self.value].last = if after { "retry_after after the queue" } else { "retry_after" }
                });
                match due.retry_after(ms(with(|world| world.rng.u64(0..100)))) {
                    AfterFailure::GaveUp(item) => Some((item.value, item.error.to_string(), "given up")),
                    AfterFailure::Superseded(item) => Some((item.value, item.error.to_string(), "superseded")),
                    _ => None,
                }
            }
        };
        if let Some((value, text, how)) = failure {
            queues::given_up(value.0, &text, how);
        }
    }
}

async fn stream(slot: Slot) {
    let mut slot = slot.borrow_mut();
    let Some(queue) = slot.as_mut() else {
        // Dropped before the first poll.
        actors::ended();
        return gone();
    };
    let rounds = with(|world| world.rng.usize(1..8));
    for _ in 0..rounds {
        let form = with(|world| world.rng.u8(0..3));
        let due = match form {
            0 => queue.next().await,
            1 => StreamExt::next(queue).await,
            _ => poll_fn(|cx| queue.poll_due(cx)).await,
        };
        let Some(due) = due else { break };
        let held = Held::new(due);
        trouble("guard of value", held.value);
        match with(|world| (world.rng.u8(0..8), world.hostile.leaks)) {
            (0 | 1, _) => HELD.with_borrow_mut(|all| all.push(held)),
            (2, true) => {
                note("value", held.value, "guard leaked", 0);
                with(|world| {
                    let value = &mut world.book.values[held.value];
                    value.excused = true;
                    if let Some(budget) = value.budget {
                        world.budgets[budget].leaked = true;
                    }
                });
                std::mem::forget(held);
            }
            (3, _) => drop(held),
            _ => held.answer(),
        }
    }
    actors::ended();
    gone();
}

/// Takes a guard to be held, if something is due.
pub fn hold_one() {
    queues::give();
    let slot = shared().queue.clone();
    if let Some(slot) = slot
        && let Ok(mut slot) = slot.try_borrow_mut()
        && let Some(queue) = &mut *slot
        && let Poll::Ready(Some(due)) = queue.poll_due(&mut Context::from_waker(Waker::noop()))
    {
        let held = Held::new(due);
        HELD.with_borrow_mut(|all| all.push(held));
    }
}

/// One of the guards that are held, for what keeps it.
pub fn take_one() -> Option<Held> {
    let held = HELD.with_borrow_mut(Vec::pop)?;
    // When that waker is dropped is not known.
    book(|book| {
        book.values[held.value].excused = true;
        book.kept = true;
    });
    Some(held)
}

/// Answers or drops one of the guards that are held.
pub fn answer_one() {
    let held = HELD.with_borrow_mut(|all| {
        if all.is_empty() { None } else { Some(all.swap_remove(with(|world| world.rng.usize(0..all.len())))) }
    });
    match held {
        Some(held) if with(|world| world.rng.u8(0..3) > 0) => held.answer(),
        held => drop(held),
    }
    collect();
}

pub fn answer_all() {
    while HELD.with_borrow(|all| !all.is_empty()) {
        answer_one();
    }
}

/// The queue is dropped, if nothing runs it.
pub fn drop_queue() {
    collect();
    let slot = shared().queue.clone();
    if let Some(slot) = slot
        && let Ok(mut slot) = slot.try_borrow_mut()
        && let Some(queue) = slot.take()
    {
        note("queue", 0, "dropped", 0);
        book(|book| (book.gone, book.closed) = (true, true));
        drop(queue);
    }
}
