//! One property over everything, as hostile as a program can be: all verbs, the loop form, the queue, limiters,
//! budgets, tokens and listeners in one random world, with drops, cancellations, panics, stalls and re-entrant use at
//! every point.
//!
//! `PROPTEST_CASES` is the number of cases, `RELENT_FIRST` the seed of the first one (1), and `RELENT_SEED` plays one
//! case again. `RELENT_SURVEY=1` does not stop at the first case that fails but counts, by invariant. Each core plays
//! cases of its own.
#![allow(unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::too_many_lines, clippy::cast_possible_truncation)]
// What a world knows is many small truths, and what it does is spelled out; the consumer keeps its queue while it runs.
#![allow(clippy::struct_excessive_bools, clippy::match_same_arms, clippy::await_holding_refcell_ref)]
#![allow(clippy::needless_pass_by_value)]

mod actors;
mod afterlife;
mod blocking;
mod case;
mod changing;
mod ends;
mod limits;
mod meddle;
mod memory;
mod queues;
mod runs;
mod sessions;
mod texts;
mod verbs;
mod waits;
mod wakers;
mod world;

use std::{
    collections::BTreeMap,
    env,
    panic::{catch_unwind, resume_unwind},
    process,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use self::actors::Kind;

/// The future of one was dropped before its end.
fn gone(kind: Kind) {
    match kind {
        Kind::Run(id) => runs::gone(id),
        Kind::Wait(limit, wait) => limits::leaves(limit, wait),
        Kind::Session => sessions::gone(),
        Kind::Other => {}
    }
}

/// The future of one will never be polled nor dropped.
fn leaked(kind: Kind) {
    let limits = match kind {
        Kind::Run(id) => world::with(|world| [world.runs[id].limit, world.runs[id].also]),
        Kind::Wait(limit, _) => [Some(limit), None],
        _ => [None; 2],
    };
    for limit in limits.into_iter().flatten() {
        world::with(|world| world.limits[limit].leaked = true);
    }
    if let Kind::Run(id) = kind
        && let Some(budget) = world::with(|world| world.runs[id].budget)
    {
        world::with(|world| world.budgets[budget].leaked = true);
    }
}

/// The seeds of the cases that run, and since when.
static PLAYING: Mutex<BTreeMap<u64, Instant>> = Mutex::new(BTreeMap::new());

/// A case that takes so long hangs, on whatever machine.
const HANGS: Duration = Duration::from_secs(60);

/// Until all cases are over: waits for that, or until the oldest of those that run would hang.
fn watch(all_over: &Receiver<()>) {
    let mut wait = HANGS;
    while all_over.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        let playing = PLAYING.lock().unwrap();
        let oldest = playing.iter().min_by_key(|(_, began)| **began);
        let age = oldest.map_or(Duration::ZERO, |(_, began)| began.elapsed());
        if let (Some((seed, _)), true) = (oldest, age >= HANGS) {
            println!("nothing deadlocks: RELENT_SEED={seed} hangs");
            process::exit(101);
        }
        wait = HANGS.saturating_sub(age);
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

/// What came of the cases, of all threads.
#[derive(Default)]
struct Outcome {
    events: BTreeMap<&'static str, u64>,
    /// The first case that failed: its name, what it says, what happened.
    failed: Option<(u64, String, String)>,
    /// By invariant and, in brackets, what broke it: how often, the first seed, its message.
    found: BTreeMap<String, (u64, u64, String)>,
}

impl Outcome {
    fn count(&mut self, seed: u64, world: &mut world::World) {
        for (event, count) in std::mem::take(&mut world.tally.events) {
            *self.events.entry(event).or_default() += count;
        }
        if let Some((name, message)) = world.violations.first()
            && self.failed.as_ref().is_none_or(|(first, ..)| seed < *first)
        {
            self.failed = Some((seed, format!("{name}: {message}"), world::history(world)));
        }
        for (name, message) in &world.violations {
            let kind = message.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(kind, _)| kind);
            let entry = self.found.entry(format!("{name} ({kind})")).or_insert((0, seed, message.clone()));
            entry.0 += 1;
            if seed < entry.1 {
                (entry.1, entry.2) = (seed, message.clone());
            }
        }
    }
}

#[test]
fn what_is_promised_holds() {
    let (_not_over, all_over) = mpsc::channel();
    thread::spawn(move || watch(&all_over));
    let one = number("RELENT_SEED");
    let survey = env::var_os("RELENT_SURVEY").is_some();
    let cases = if one.is_some() { 1 } else { number("PROPTEST_CASES").unwrap_or(400) };
    let first = one.unwrap_or_else(|| number("RELENT_FIRST").unwrap_or(1));
    let (next, outcome) = (AtomicU64::new(0), Mutex::new(Outcome::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(cases.try_into().unwrap_or(usize::MAX));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Those before the first that fails are all played.
                loop {
                    let case = next.fetch_add(1, SeqCst);
                    if case >= cases || (!survey && outcome.lock().unwrap().failed.is_some()) {
                        return;
                    }
                    let seed = first + case;
                    PLAYING.lock().unwrap().insert(seed, Instant::now());
                    let played = catch_unwind(|| case::play(seed));
                    PLAYING.lock().unwrap().remove(&seed);
                    match played {
                        Ok(mut world) => outcome.lock().unwrap().count(seed, &mut world),
                        Err(panic) => {
                            println!("RELENT_SEED={seed} panics outside of all callbacks");
                            resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });
    let Outcome { events, failed, found } = outcome.into_inner().unwrap();
    if let (Some((seed, message, history)), false) = (failed, survey) {
        println!("{history}");
        panic!("{message}\nRELENT_SEED={seed} plays it again; case {} of {cases}", seed - first + 1);
    }
    println!("{cases} cases from seed {first}");
    println!("{}", events.iter().map(|(event, count)| format!("{event}: {count}")).collect::<Vec<_>>().join(", "));
    for (name, (count, seed, message)) in &found {
        println!("{name}: {count} cases, first {} with RELENT_SEED={seed}: {message}", seed - first + 1);
    }
    assert!(found.is_empty(), "{} invariants do not hold", found.len());
}
