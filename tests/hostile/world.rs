//! The world of one case: its chance, its clock, what happened, what went wrong, and the trouble it makes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write,
    panic::resume_unwind,
    pin::pin,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use fastrand::Rng;
use relent::{Budget, KeyedLimiter, Limiter, TimedQueue, queue::QueueHandle, testing::VirtualClock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{actors, limits::Limit, queues::Book, runs::Run};

pub type Nanos = u64;
pub const MS: Nanos = 1_000_000;

/// The value of an item in the queue: its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Val(pub usize);
pub type Queue = TimedQueue<u8, Val>;

/// An error with a number that its text tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct E {
    pub id: u64,
    pub decision: relent::Decision,
}

impl E {
    pub fn tag(id: u64) -> String {
        format!("<E{id}>")
    }
}

impl std::fmt::Debug for E {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<E{}>", self.id)
    }
}

impl std::fmt::Display for E {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<E{}>", self.id)
    }
}

impl std::error::Error for E {}

/// What a case is hostile with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hostile {
    pub stalls: bool,
    pub panics: bool,
    pub drops: bool,
    pub cancels: bool,
    pub reentry: bool,
    pub leaks: bool,
    pub unpolled: bool,
    pub spent: bool,
    pub wakers: bool,
    pub settings: bool,
}

#[derive(Clone, Copy)]
struct Line {
    at: Nanos,
    who: &'static str,
    number: usize,
    what: &'static str,
    more: u64,
}

/// The panic that the world throws.
pub struct Injected;

pub struct BudgetBook {
    pub reserve: u64,
    pub in_flight: bool,
    /// A floor by time: so many in each minute.
    pub floor: u32,
    pub retries: u64,
    pub leaked: bool,
}

/// What happened in all cases.
#[derive(Default)]
pub struct Tally {
    pub events: BTreeMap<&'static str, u64>,
}

pub struct World {
    pub rng: Rng,
    pub zero: Instant,
    /// The clock of a thread that a run blocks.
    pub blocked: Option<VirtualClock>,
    pub hostile: Hostile,
    /// No trouble any more: the case ends.
    pub quiet: bool,
    /// How many guards went with the wakers that owned them.
    pub guards_dropped: u32,
    /// Trouble is one in so many.
    often: u8,
    history: Vec<Line>,
    pub violations: Vec<(&'static str, String)>,
    pub injected: bool,
    /// When each token was cancelled: the length of the history then.
    pub cancelled: Vec<Option<usize>>,
    pub budgets: Vec<BudgetBook>,
    pub limits: Vec<Limit>,
    /// Whether they are the keys of one limiter.
    pub keyed: bool,
    pub runs: Vec<Run>,
    pub book: Book,
    pub errors: u64,
    /// Counts whatever starts, ends or is granted.
    pub progress: u64,
    pub tally: Tally,
}

/// The objects of the crate that the case shares; apart, so that none is dropped while the world is borrowed.
#[derive(Default)]
pub struct Shared {
    pub tokens: Vec<CancellationToken>,
    pub budgets: Vec<Budget>,
    pub limiters: Vec<Limiter>,
    /// They are its keys, by their numbers.
    pub keyed: Option<Rc<KeyedLimiter<u8>>>,
    pub handle: Option<QueueHandle<u8, Val>>,
    pub queue: Option<Rc<RefCell<Option<Queue>>>>,
}

thread_local! {
    static WORLD: RefCell<Option<Box<World>>> = const { RefCell::new(None) };
    static SHARED: RefCell<Rc<Shared>> = RefCell::default();
    /// Wakers of the world may panic: no code of the runtime is between.
    pub static WAKERS_MAY_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Whether a case runs.
pub fn is_on() -> bool {
    WORLD.with_borrow(Option::is_some)
}

pub fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| f(world.as_mut().expect("a case runs")))
}

pub fn shared() -> Rc<Shared> {
    SHARED.with_borrow(Rc::clone)
}

pub fn begin(seed: u64, hostile: impl FnOnce(&mut Rng) -> Hostile) {
    let mut rng = Rng::with_seed(seed);
    let hostile = hostile(&mut rng);
    let often = *rng.choice(&[2, 4, 8, 16]).unwrap();
    let world = World {
        rng,
        zero: Instant::now(),
        blocked: None,
        hostile,
        quiet: false,
        guards_dropped: 0,
        often,
        history: Vec::with_capacity(256),
        violations: Vec::new(),
        injected: false,
        cancelled: Vec::new(),
        budgets: Vec::new(),
        limits: Vec::new(),
        keyed: false,
        runs: Vec::new(),
        book: Book::default(),
        errors: 0,
        progress: 0,
        tally: Tally::default(),
    };
    WORLD.set(Some(Box::new(world)));
}

pub fn share(shared: Shared) -> Rc<Shared> {
    let shared = Rc::new(shared);
    drop(SHARED.replace(shared.clone()));
    shared
}

/// No handle of the queue is left.
pub fn drop_handle() {
    let Shared { tokens, budgets, limiters, keyed, queue, .. } = &*shared();
    let shared = Shared {
        tokens: tokens.clone(),
        budgets: budgets.clone(),
        limiters: limiters.clone(),
        keyed: keyed.clone(),
        handle: None,
        queue: queue.clone(),
    };
    share(shared);
}

pub fn end() -> Box<World> {
    drop(SHARED.take());
    WORLD.take().expect("a case runs")
}

/// Nanoseconds since the case began.
pub fn now() -> Nanos {
    let (zero, blocked) = with(|world| (world.zero, world.blocked.as_ref().map(VirtualClock::elapsed)));
    u64::try_from((zero.elapsed() + blocked.unwrap_or_default()).as_nanos()).unwrap()
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Writes down what happened: its place in the history.
pub fn note(who: &'static str, number: usize, what: &'static str, more: u64) -> usize {
    let at = now();
    with(|world| {
        world.history.push(Line { at, who, number, what, more });
        *world.tally.events.entry(what).or_default() += 1;
        world.history.len()
    })
}

/// An invariant does not hold.
pub fn violated(name: &'static str, message: impl Into<String>) {
    let message = message.into();
    note("!", 0, name, 0);
    with(|world| world.violations.push((name, message)));
}

pub fn require(holds: bool, name: &'static str, message: impl FnOnce() -> String) {
    if !holds {
        violated(name, message());
    }
}

pub fn history(world: &World) -> String {
    let mut text = format!("{:?}\n", world.hostile);
    for Line { at, who, number, what, more } in &world.history {
        let (whole, rest) = (at / MS, at % MS);
        let _ = writeln!(text, "{whole:>9}.{rest:06} ms  {who} {number}: {what} {more}");
    }
    text
}

/// The clock jumps, and no timer is polled in between.
pub fn stall(by: Duration) {
    note("clock", 0, "stall by ms", u64::try_from(by.as_millis()).unwrap());
    let blocked = with(|world| world.blocked.as_ref().map(|clock| clock.advance(by)));
    if blocked.is_none() {
        advance(by);
    }
}

/// The runtime's clock goes on.
pub fn advance(by: Duration) {
    let advance = pin!(tokio::time::advance(by));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}

pub fn some_stall(rng: &mut Rng) -> Duration {
    match rng.u8(0..6) {
        0 => Duration::from_micros(rng.u64(1..3000)),
        1 | 2 => ms(rng.u64(1..60)),
        3 => ms(rng.u64(60..1000)),
        4 => ms(rng.u64(1000..20_000)),
        _ => ms(rng.u64(20_000..200_000)),
    }
}

pub fn cancel(index: usize) {
    let shared = shared();
    if let Some(token) = shared.tokens.get(index) {
        let place = note("token", index, "cancelled", 0);
        with(|world| {
            world.cancelled[index].get_or_insert(place);
        });
        let may = WAKERS_MAY_PANIC.replace(false);
        token.cancel();
        WAKERS_MAY_PANIC.set(may);
    }
}

enum Deed {
    Nothing,
    Stall(Duration),
    Cancel(usize),
    Panic,
    Reenter,
    Drop,
}

/// Something hostile inside of a callback.
pub fn trouble(who: &'static str, number: usize) {
    let deed = with(|world| {
        let World { rng, hostile, quiet, often, .. } = world;
        if *quiet || rng.u8(0..*often) != 0 {
            return Deed::Nothing;
        }
        match rng.u8(0..10) {
            0..3 if hostile.stalls => Deed::Stall(some_stall(rng)),
            3 | 4 if hostile.cancels && !world.cancelled.is_empty() => {
                Deed::Cancel(rng.usize(0..world.cancelled.len()))
            }
            // Where a case has panics, it has them often.
            0..4 | 5 if hostile.panics => Deed::Panic,
            6 | 7 if hostile.reentry => Deed::Reenter,
            8 | 9 if hostile.drops => Deed::Drop,
            _ => Deed::Nothing,
        }
    });
    match deed {
        Deed::Nothing => {}
        Deed::Stall(by) => stall(by),
        Deed::Cancel(index) => cancel(index),
        Deed::Panic => {
            note(who, number, "panics", 0);
            with(|world| world.injected = true);
            // No message: it is meant.
            resume_unwind(Box::new(Injected));
        }
        Deed::Reenter => super::meddle::meddle(),
        Deed::Drop => actors::drop_one("inside of another"),
    }
}
