//! Futures that are polled by hand, in any order, or not at all.

use std::{
    cell::RefCell,
    future::poll_fn,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use tokio::{
    task::coop,
    time::{Instant, sleep_until},
};

use super::{
    wakers,
    world::{Injected, Nanos, WAKERS_MAY_PANIC, note, now, require, violated, with},
};

type Future = Pin<Box<dyn std::future::Future<Output = ()>>>;

/// What an actor is in the end, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Run(usize),
    /// A direct wait: its limiter and its number.
    Wait(usize, usize),
    Session,
    Other,
}

impl Kind {
    fn name(self) -> String {
        match self {
            Self::Run(id) => super::runs::name(id),
            Self::Wait(limit, wait) => format!("wait {wait} for limiter {limit} (wait)"),
            Self::Session => "(queue)".to_owned(),
            Self::Other => "(other)".to_owned(),
        }
    }
}

struct Actor {
    future: Option<Future>,
    woken: Arc<AtomicBool>,
    kind: Kind,
    /// Its own future has ended, and lives on.
    ended: bool,
    unpolled: bool,
    /// It was polled late or not at all once: how long it may take is not known.
    delayed: bool,
    /// How often it was polled at this instant.
    polls: (Nanos, u32),
}

thread_local! {
    static ACTORS: RefCell<Vec<Actor>> = const { RefCell::new(Vec::new()) };
    static CURRENT: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The name of the actor that is being polled.
pub fn current() -> usize {
    CURRENT.with_borrow(|current| *current.last().expect("an actor is polled"))
}

pub fn spawn(kind: Kind, future: impl std::future::Future<Output = ()> + 'static) -> usize {
    let actor = Actor {
        future: Some(Box::pin(future)),
        woken: Arc::new(AtomicBool::new(true)),
        kind,
        ended: false,
        unpolled: false,
        delayed: false,
        polls: (0, 0),
    };
    ACTORS.with_borrow_mut(|actors| {
        actors.push(actor);
        actors.len() - 1
    })
}

/// The own future of the one being polled has ended; it stays alive until it is dropped.
pub fn ended() {
    ended_early();
    with(|world| world.progress += 1);
}

/// The same, at a poll at which it need not have.
pub fn ended_early() {
    let actor = current();
    ACTORS.with_borrow_mut(|actors| actors[actor].ended = true);
}

pub fn is_delayed(actor: usize) -> bool {
    ACTORS.with_borrow(|actors| actors[actor].delayed)
}

pub fn live() -> Vec<(usize, Kind)> {
    ACTORS.with_borrow(|actors| {
        let live = actors.iter().enumerate().filter(|(_, actor)| actor.future.is_some() && !actor.ended);
        live.map(|(index, actor)| (index, actor.kind)).collect()
    })
}

fn choose(wanted: impl Fn(&Actor) -> bool) -> Option<usize> {
    let all: Vec<usize> = ACTORS.with_borrow(|actors| {
        let wanted = actors.iter().enumerate().filter(|(_, actor)| actor.future.is_some() && wanted(actor));
        wanted.map(|(index, _)| index).collect()
    });
    with(|world| world.rng.choice(all))
}

pub fn any(kind: impl Fn(Kind) -> bool) -> Option<usize> {
    choose(|actor| !actor.ended && kind(actor.kind))
}

/// Polls one, whether it was woken or not.
pub fn poll(index: usize) {
    let now = now();
    let taken = ACTORS.with_borrow_mut(|actors| {
        let actor = &mut actors[index];
        actor.woken.store(false, SeqCst);
        actor.polls = if actor.polls.0 == now { (now, actor.polls.1 + 1) } else { (now, 1) };
        actor.future.take().map(|future| (future, actor.woken.clone(), actor.polls.1, actor.kind))
    });
    let Some((mut future, woken, polls, kind)) = taken else { return };
    if polls == 3000 {
        violated("nothing spins", format!("{} was polled {polls} times at one instant", kind.name()));
    }
    let waker = wakers::waker(woken.clone());
    let spent = with(|world| world.hostile.spent && !world.quiet && world.rng.u8(0..6) == 0);
    let mut cx = Context::from_waker(&waker);
    if spent {
        note("actor", index, "polled with a spent budget", 0);
        delay(index);
        while let Poll::Ready(progress) = coop::poll_proceed(&mut cx) {
            progress.made_progress();
        }
    }
    CURRENT.with_borrow_mut(|current| current.push(index));
    with(|world| world.injected = false);
    let before = with(|world| world.progress);
    let may = WAKERS_MAY_PANIC.replace(true);
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
    WAKERS_MAY_PANIC.set(may);
    let (injected, progress) = with(|world| (mem::take(&mut world.injected), world.progress - before));
    require(progress < 1000, "what is ready yields", || format!("{}: {progress} steps in one poll", kind.name()));
    match polled {
        Ok(Poll::Pending) => {
            require(!injected, "a panic propagates", || format!("{} returned after a panic", kind.name()));
            if let (Kind::Run(id), false) = (kind, coop::has_budget_remaining()) {
                super::runs::may_stand(id);
            }
            ACTORS.with_borrow_mut(|actors| actors[index].future = Some(future));
        }
        Ok(Poll::Ready(())) => {
            require(!injected, "a panic propagates", || format!("{} returned after a panic", kind.name()));
            drop_future(index, kind, future);
        }
        Err(panic) => {
            if !injected || !panic.is::<Injected>() {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                violated("no panic of its own", format!("{}: {text:?}", kind.name()));
            }
            note("actor", index, "panicked", 0);
            drop_future(index, kind, future);
        }
    }
    CURRENT.with_borrow_mut(Vec::pop);
}

fn drop_future(index: usize, kind: Kind, future: Future) {
    let ended = ACTORS.with_borrow(|actors| actors[index].ended);
    let injected = with(|world| world.injected);
    let may = WAKERS_MAY_PANIC.replace(true);
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
    WAKERS_MAY_PANIC.set(may);
    if dropped.is_err() {
        // Caught here, it propagates no further.
        with(|world| world.injected = injected);
        note("actor", index, "panicked when it was dropped", 0);
    }
    if !ended {
        super::gone(kind);
    }
}

pub fn drop_actor(index: usize, how: &'static str) {
    let taken = ACTORS.with_borrow_mut(|actors| actors[index].future.take().map(|future| (future, actors[index].kind)));
    if let Some((future, kind)) = taken {
        note("actor", index, how, 0);
        drop_future(index, kind, future);
    }
}

pub fn drop_one(how: &'static str) {
    if let Some(index) = choose(|_| true) {
        drop_actor(index, how);
    }
}

/// Neither polled nor dropped any more.
pub fn leak(index: usize) {
    let taken = ACTORS.with_borrow_mut(|actors| actors[index].future.take().map(|future| (future, actors[index].kind)));
    if let Some((future, kind)) = taken {
        note("actor", index, "leaked", 0);
        mem::forget(future);
        super::leaked(kind);
    }
}

fn delay(index: usize) {
    ACTORS.with_borrow_mut(|actors| actors[index].delayed = true);
}

pub fn set_unpolled(index: usize, unpolled: bool) {
    note("actor", index, "unpolled", u64::from(unpolled));
    delay(index);
    if !unpolled {
        resumed(Some(index));
    }
    ACTORS.with_borrow_mut(|actors| {
        actors[index].unpolled = unpolled;
        // Those that are to be polled again are polled.
        actors[index].woken.store(true, SeqCst);
    });
}

/// Waits that were not polled are again.
fn resumed(index: Option<usize>) {
    let resumed: Vec<Kind> = ACTORS.with_borrow(|actors| {
        let all = actors
            .iter()
            .enumerate()
            .filter(|(other, actor)| actor.unpolled && index.is_none_or(|index| index == *other));
        all.map(|(_, actor)| actor.kind).collect()
    });
    for kind in resumed {
        let limit = match kind {
            Kind::Wait(limit, _) => Some(limit),
            Kind::Run(id) => with(|world| world.runs[id].limit),
            _ => None,
        };
        if let Some(limit) = limit {
            with(|world| world.limits[limit].loose = true);
        }
    }
}

pub fn all_polled() {
    resumed(None);
    ACTORS.with_borrow_mut(|actors| actors.iter_mut().for_each(|actor| actor.unpolled = false));
    ACTORS.with_borrow_mut(|actors| actors.iter_mut().for_each(|actor| actor.woken.store(true, SeqCst)));
}

pub fn drop_all() {
    let count = ACTORS.with_borrow(Vec::len);
    for index in 0..count {
        drop_actor(index, "dropped at the end");
    }
}

pub fn clear() {
    drop_all();
    ACTORS.take();
    wakers::set_root(None);
}

fn any_woken() -> bool {
    ACTORS.with_borrow(|actors| actors.iter().any(is_woken))
}

fn is_woken(actor: &Actor) -> bool {
    actor.future.is_some() && !actor.unpolled && actor.woken.load(SeqCst)
}

/// The next poll has a budget of its own, and the timers have been looked at.
async fn fresh() {
    let mut first = true;
    poll_fn(|cx| {
        if mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Polls one of those that were woken, if any was.
pub async fn step() -> bool {
    poll_fn(|cx| {
        wakers::set_root(Some(cx.waker().clone()));
        Poll::Ready(())
    })
    .await;
    let Some(index) = choose(is_woken) else { return false };
    poll(index);
    fresh().await;
    true
}

/// Goes on until then; every actor that is woken is polled.
pub async fn drive(until: Instant) {
    let mut sleep = pin!(sleep_until(until));
    loop {
        while step().await {
            if with(|world| !world.violations.is_empty()) {
                return;
            }
        }
        let over = poll_fn(|cx| {
            wakers::set_root(Some(cx.waker().clone()));
            if any_woken() { Poll::Ready(false) } else { sleep.as_mut().poll(cx).map(|()| true) }
        })
        .await;
        if over {
            tokio::task::yield_now().await;
            if !any_woken() {
                return;
            }
        }
    }
}

/// Polls those that were not woken: none of them must have anything to do.
pub async fn nothing_was_missed() {
    // What the world does by chance is not progress.
    let before = with(|world| mem::replace(&mut world.quiet, true));
    for (index, kind) in live() {
        // One that is woken by the poll of another, whose old waker owned a guard, has something to do, and will be
        // polled.
        let asleep = ACTORS.with_borrow(|actors| {
            let Actor { future, unpolled, woken, .. } = &actors[index];
            future.is_some() && !unpolled && !woken.load(SeqCst)
        });
        if !asleep || (kind == Kind::Other && with(|world| world.book.kept)) {
            continue;
        }
        let before = with(|world| (world.progress, world.guards_dropped));
        poll(index);
        fresh().await;
        let after = with(|world| (world.progress, world.guards_dropped));
        // Its own old waker may have owned a guard, too.
        require(before.0 == after.0 || before.1 != after.1, "an actor that has something to do is woken", || {
            format!("{}, actor {index}, was not", kind.name())
        });
    }
    with(|world| world.quiet = before);
}
