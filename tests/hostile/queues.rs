//! What is known of the queue: where every value is, what runs, what failed.

use std::{collections::BTreeMap, time::Duration};

use relent::{
    Backoff, Jitter,
    queue::{Cancelled, GivenUp, KeyStatus, Scheduled},
};

use super::{
    changing::{self, Handed},
    texts,
    world::{E, MS, Nanos, Queue, Val, ms, note, now, require, shared, violated, with},
};

pub const KEYS: u8 = 4;

#[derive(Default)]
pub struct Book {
    pub values: Vec<Value>,
    pub keys: BTreeMap<u8, Key>,
    /// The pauses of the backoff: the last one stays.
    pub pauses: Vec<Nanos>,
    /// It was another one before. How far into this one a key has come that failed by that, is not said.
    pub other_pauses: bool,
    pub max: Option<u32>,
    pub finish: Option<Nanos>,
    pub window: bool,
    /// When an attempt last failed.
    asked_at: Nanos,
    pub cut_is_fatal: bool,
    pub closed: bool,
    /// A waker has kept a guard: where it is dropped, the key goes on.
    pub kept: bool,
    /// A waker has panicked inside of a call.
    pub unsure: bool,
    pub gone: bool,
}

/// A value that was given to the queue.
#[derive(Clone, Debug, Default)]
pub struct Value {
    pub key: u8,
    /// How it was given, and what was done with it last.
    pub given: &'static str,
    pub last: &'static str,
    /// How it came out.
    pub out: Option<&'static str>,
    pub latest: Option<u64>,
    pub first: Option<Nanos>,
    pub cut: bool,
    /// Its guard was leaked, or dropped when there was no queue to take it.
    pub excused: bool,
    /// The budget that it counts for.
    pub budget: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Key {
    pub runs: Option<usize>,
    /// The end of the pause after its last attempt, if another is to follow.
    pub pause: Option<Nanos>,
    /// The error that it waits to be classified, and the end of the pause without that.
    asked: Option<(u64, Nanos)>,
    /// When its next attempt is due, exactly, as long as nothing is given for the key.
    planned: Option<Nanos>,
    /// It was cancelled while it runs: nothing follows that run.
    pub cancelled: bool,
    /// What was given while it runs begins anew, without the backoff of that run.
    anew: bool,
    /// The budget that its last run counted for.
    budget: Option<usize>,
}

impl Key {
    fn cancel(&mut self) {
        self.begins_anew();
        self.cancelled = self.runs.is_some();
    }

    pub fn begins_anew(&mut self) {
        (self.pause, self.asked, self.planned) = (None, None, None);
    }
}

/// A backoff without jitter, and its pauses.
pub fn some_backoff(rng: &mut fastrand::Rng) -> (Backoff, Vec<Nanos>) {
    let base = *rng.choice(&[1, 20, 100, 2000]).unwrap();
    let (backoff, pauses): (_, Vec<u64>) = match rng.u8(0..3) {
        0 => (changing::fixed(base), vec![base]),
        1 => {
            let cap = base * rng.u64(1..20);
            let pauses = (0..8).map(|step| (base << step).min(cap)).collect();
            (Backoff::exponential(ms(base), ms(cap)).jitter(Jitter::None), pauses)
        }
        _ => {
            let cap = base * 7;
            (Backoff::linear(ms(base), ms(cap)).jitter(Jitter::None), (1..=7).map(|step| base * step).collect())
        }
    };
    (backoff, pauses.into_iter().map(|pause| pause * MS).collect())
}

pub fn book<R>(f: impl FnOnce(&mut Book) -> R) -> R {
    with(|world| f(&mut world.book))
}

/// A value has come out.
pub fn out(value: usize, how: &'static str) {
    note("value", value, how, 0);
    let before = book(|book| book.values[value].out.replace(how));
    require(before.is_none(), "every value comes out once", || format!("value {value}: {how} after {before:?}"));
}

/// One that was given up has come back.
pub fn back<T>(item: &GivenUp<u8, Val, T>, text: &str, how: &'static str)
where
    T: std::fmt::Debug,
{
    given_up(item.value.0, text, how);
}

pub fn given_up(value: usize, text: &str, how: &'static str) {
    out(value, how);
    tells(value, text, how);
}

/// The listener hears of one; it is handed over, or comes back later.
pub fn heard<T: Handed>(handed: &T, how: &'static str) {
    let item = handed.item();
    if T::OVER {
        return back(item, &item.error.to_string(), how);
    }
    note("value", item.value.0, how, 0);
    tells(item.value.0, &item.error.to_string(), how);
}

fn tells(value: usize, text: &str, how: &'static str) {
    texts::tells_real_numbers(text);
    let latest = book(|book| {
        let Value { key, latest, .. } = book.values[value];
        // Something newer goes on with the pause.
        if how != "superseded" {
            book.keys.entry(key).or_default().begins_anew();
        }
        latest
    });
    if let Some(error) = latest {
        require(text.contains(&E::tag(error)), "the latest real error comes back", || {
            format!("value {value} ({how}): {} is not in: {text}", E::tag(error))
        });
    }
}

pub fn collect(queue: &Queue) {
    for (value, text) in changing::given_up(queue) {
        given_up(value.0, &text, "shelved");
    }
}

/// Gives a new value for some key.
pub fn give() {
    let shared = shared();
    let Some(handle) = &shared.handle else { return };
    let (key, value, due, how) = with(|world| {
        let key = world.rng.u8(0..KEYS);
        world.book.values.push(Value { key, last: "given", ..Value::default() });
        let due = match world.rng.u8(0..5) {
            0 | 1 => Duration::ZERO,
            2 => ms(world.rng.u64(1..20)),
            3 => ms(world.rng.u64(20..500)),
            _ => ms(world.rng.u64(500..50_000)),
        };
        (key, world.book.values.len() - 1, due, world.rng.u8(0..5))
    });
    let what = ["schedule", "schedule", "bring_forward", "reschedule", "begin_anew"][usize::from(how)];
    note("value", value, what, key.into());
    book(|book| {
        let known = book.keys.entry(key).or_default();
        // From now on it may be due later than it was planned.
        (known.asked, known.planned) = (None, None);
        let runs = known.runs.is_some();
        book.values[value].given = match (how, runs) {
            (0 | 1, true) => "schedule during the run",
            (0 | 1, false) => "schedule",
            (2, true) => "bring_forward during the run",
            (2, false) => "bring_forward",
            (3, _) => "reschedule",
            _ => "begin_anew",
        };
    });
    let scheduled = match how {
        0 | 1 => handle.schedule(key, Val(value), due),
        2 => handle.bring_forward(key, Val(value), due),
        4 => {
            book(|book| {
                let key = book.keys.entry(key).or_default();
                key.begins_anew();
                key.anew = key.runs.is_some();
            });
            handle.begin_anew(key, Val(value), due)
        }
        _ => {
            // A move by hand may mean to begin anew.
            book(|book| book.keys.entry(key).or_default().begins_anew());
            handle.reschedule(key, Val(value), due)
        }
    };
    match scheduled {
        Scheduled::New | Scheduled::AfterCurrentRun { replaced: None } => {}
        Scheduled::Kept { value, .. } => out(value.0, "not taken"),
        Scheduled::Closed { value } => {
            require(book(|book| book.closed), "what is open takes", || format!("value {}", value.0));
            out(value.0, "not taken: closed");
        }
        Scheduled::Moved { value, .. } => out(value.0, "replaced"),
        Scheduled::AfterCurrentRun { replaced: Some((_, value)) } => out(value.0, "replaced"),
        other => panic!("{other:?}"),
    }
}

pub fn cancel() {
    let shared = shared();
    let Some(handle) = &shared.handle else { return };
    let key = with(|world| world.rng.u8(0..KEYS));
    note("key", key.into(), "cancel", 0);
    book(|book| book.keys.entry(key).or_default().cancel());
    match handle.cancel(&key) {
        Cancelled::Absent | Cancelled::Running { next: None } => {}
        Cancelled::Removed { value, .. } => out(value.0, "cancelled"),
        Cancelled::Running { next: Some((_, value)) } => out(value.0, "cancelled"),
        other => panic!("{other:?}"),
    }
}

/// Takes out what waits, and leaves alone what runs.
pub fn cancel_waiting() {
    let shared = shared();
    let Some(handle) = &shared.handle else { return };
    for key in 0..KEYS {
        if let Some(KeyStatus::RunningWithNext { .. }) = handle.get(&key) {
            // What follows a run waits where no one can ask for it any more.
            book(|book| {
                let next = book.values.iter_mut().filter(|value| value.key == key && value.last == "given");
                next.for_each(|value| value.excused = true);
            });
        }
        if let Some(KeyStatus::Scheduled { .. }) = handle.get(&key)
            && let Cancelled::Removed { value, .. } = handle.cancel(&key)
        {
            out(value.0, "cancelled");
        }
    }
}

pub fn cancel_all() {
    let shared = shared();
    let Some(handle) = &shared.handle else { return };
    note("queue", 0, "cancel_all", 0);
    book(|book| book.keys.values_mut().for_each(Key::cancel));
    for (_, value, _) in handle.cancel_all() {
        out(value.0, "cancelled");
    }
}

/// Takes nothing more.
pub fn close() {
    let shared = shared();
    let Some(handle) = &shared.handle else { return };
    note("queue", 0, "close", 0);
    book(|book| book.closed = true);
    handle.close();
}

/// A run of the key starts: may it?
pub fn starts(key: u8, value: usize, number: u32, budget: Option<usize>, token: Option<usize>) {
    note("value", value, "starts", number.into());
    let now = now();
    let cancelled = token.is_some_and(|token| shared().tokens[token].is_cancelled());
    require(!cancelled, "nothing starts after the cancellation", || format!("value {value} (queue)"));
    let (twice, out, late, cut, early) = with(|world| {
        world.progress += 1;
        let Book { values, keys, finish, cut_is_fatal, .. } = &mut world.book;
        let item = &mut values[value];
        let key = keys.entry(key).or_default();
        item.last = "runs";
        let first = *item.first.get_or_insert(now);
        // What follows the failed attempts of another value goes on with its count.
        item.budget = item.budget.or(key.budget.filter(|_| number > 1));
        if let Some(budget) = item.budget {
            world.budgets[budget].retries += 1;
        }
        item.budget = item.budget.or(budget);
        key.budget = item.budget;
        (key.cancelled, key.anew) = (false, false);
        let early = key.pause.filter(|end| now < *end);
        key.begins_anew();
        let late = finish.is_some_and(|finish| now - first >= finish && number > 1);
        (key.runs.replace(value), item.out, late, item.cut && *cut_is_fatal, early)
    });
    require(twice.is_none(), "no key runs twice at once", || format!("key {key}: {value} and {twice:?}"));
    require(out.is_none(), "every value comes out once", || format!("value {value} runs, and was {out:?}"));
    require(!late, "nothing starts at the hard bound or later", || format!("value {value} (queue)"));
    require(!cut, "what was cut for good does not run again", || format!("value {value} (queue)"));
    let given = book(|book| book.values[value].given);
    require(early.is_none(), "a failing key keeps its backoff", || {
        format!("key {key}: pauses until {} ms, runs again with value {value} ({given})", early.unwrap_or(0) / MS)
    });
}

/// The attempt has failed with that.
pub fn failed(key: u8, value: usize, number: u32, error: E) {
    note("value", value, "failed", error.id);
    let now = now();
    let follows = shared().handle.as_ref().is_none_or(|handle| handle.get(&key) != Some(KeyStatus::Running));
    book(|book| {
        book.asked_at = now;
        book.values[value].latest = Some(error.id);
        book.values[value].last = "failed";
        let last = book.max.is_some_and(|max| number >= max) || error.decision == relent::Decision::Fatal;
        // A bound or the budget may allow no other.
        let bounded = book.finish.is_some() || book.window || book.values[value].budget.is_some();
        let pause = book.pauses.get(number as usize - 1).or(book.pauses.last()).copied().unwrap_or(0);
        let known = book.keys.entry(key).or_default();
        known.pause = (!last && !bounded && !known.cancelled && !known.anew).then_some(now + pause);
        let unsaid = book.other_pauses && number > 1;
        known.asked = (!follows && !known.cancelled && !unsaid).then_some((error.id, now + pause));
    });
}

/// A failed attempt was classified: what follows is decided, and not decided again.
pub fn decided(error: E) {
    book(|book| {
        let asked = |key: &&mut Key| key.asked.is_some_and(|(id, _)| id == error.id);
        let Some(key) = book.keys.values_mut().find(asked) else { return };
        let Some((_, end)) = key.asked.take() else { return };
        key.planned = match error.decision {
            relent::Decision::Retry => Some(end),
            relent::Decision::RetryAfter(asked) => Some(end.max(book.asked_at + asked.as_nanos() as Nanos)),
            _ => None,
        };
    });
}

/// What waits for another attempt waits until then, whatever panicked since it was planned.
pub fn plans_stand() {
    let shared = shared();
    let Some(handle) = &shared.handle else { return };
    let (zero, planned) = with(|world| {
        let keys = world.book.keys.iter().filter_map(|(key, known)| known.planned.map(|at| (*key, at)));
        (world.zero, keys.collect::<Vec<_>>())
    });
    for (key, at) in planned {
        if let Some(KeyStatus::Scheduled { due, attempts: 1.. }) = handle.get(&key) {
            let due = due.duration_since(zero).as_nanos() as Nanos;
            require(due == at, "what was planned is not planned again", || {
                format!("key {key} (queue): planned for {at} ns, waits until {due} ns")
            });
        }
    }
}

/// The run of the key is over.
pub fn over(key: u8) {
    book(|book| book.keys.entry(key).or_default().runs = None);
}

/// The attempt was dropped without an answer.
pub fn cut(key: u8, value: usize) {
    note("value", value, "cut", 0);
    over(key);
    book(|book| {
        book.values[value].cut = true;
        book.values[value].last = "cut";
    });
}

/// When all has ended.
pub fn every_value_came_out() {
    let lost: Vec<_> = book(|book| {
        if book.unsure {
            return Vec::new();
        }
        let lost = book.values.iter().enumerate().filter(|(_, value)| value.out.is_none() && !value.excused);
        lost.map(|(number, value)| (number, value.clone())).collect()
    });
    for (number, value) in lost {
        violated("every value comes out", format!("value {number} ({}): {value:?}", value.last));
    }
}
