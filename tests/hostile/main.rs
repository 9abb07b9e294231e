//! One property over everything, as hostile as a program can be: all verbs, the loop form, the queue, limiters, budgets,
//! tokens and listeners in one random world, with drops, cancellations, panics, stalls and re-entrant use at every point.
//!
//! `PROPTEST_CASES` is the number of cases, `RELENT_FIRST` the seed of the first one (1), and `RELENT_SEED` plays one case again.
//! `RELENT_SURVEY=1` does not stop at the first case that fails but counts, by invariant.
#![allow(unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::too_many_lines, clippy::cast_possible_truncation)]
// What a world knows is many small truths, and what it does is spelled out; the consumer keeps its queue while it runs.
#![allow(clippy::struct_excessive_bools, clippy::match_same_arms, clippy::await_holding_refcell_ref)]
#![allow(clippy::needless_pass_by_value)]

mod actors;
mod afterlife;
mod case;
mod changing;
mod limits;
mod meddle;
mod queues;
mod runs;
mod sessions;
mod verbs;
mod waits;
mod wakers;
mod world;

use std::{
    collections::BTreeMap,
    env, process,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
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

/// The case that runs, and how many have ended.
static SEED: AtomicU64 = AtomicU64::new(0);
static CASES: AtomicU64 = AtomicU64::new(0);

/// A case that takes a minute hangs, on whatever machine.
fn watch() {
    let mut last = (u64::MAX, 0);
    loop {
        thread::sleep(Duration::from_secs(5));
        let cases = CASES.load(SeqCst);
        last = if last.0 == cases { (cases, last.1 + 1) } else { (cases, 0) };
        if last.1 == 12 {
            println!("nothing deadlocks: RELENT_SEED={} hangs, case {}", SEED.load(SeqCst), cases + 1);
            process::exit(101);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

#[test]
fn what_is_promised_holds() {
    thread::spawn(watch);
    let one = number("RELENT_SEED");
    let survey = env::var_os("RELENT_SURVEY").is_some();
    let cases = if one.is_some() { 1 } else { number("PROPTEST_CASES").unwrap_or(400) };
    let first = one.unwrap_or_else(|| number("RELENT_FIRST").unwrap_or(1));
    let mut events = BTreeMap::<&str, u64>::new();
    let mut found = BTreeMap::<String, (u64, u64, u64, String)>::new();
    for case in 0..cases {
        let seed = first + case;
        SEED.store(seed, SeqCst);
        let mut world = case::play(seed);
        CASES.store(case + 1, SeqCst);
        for (event, count) in std::mem::take(&mut world.tally.events) {
            *events.entry(event).or_default() += count;
        }
        let violation = world.violations.first();
        let Some((name, message)) = violation else { continue };
        if !survey {
            println!("{}", world::history(&world));
            panic!("{name}: {message}\nRELENT_SEED={seed} plays it again; case {} of {cases}", case + 1);
        }
        // By invariant and, in brackets, what broke it.
        for (name, message) in &world.violations {
            let kind = message.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(kind, _)| kind);
            let entry = found.entry(format!("{name} ({kind})")).or_insert((0, seed, case + 1, message.clone()));
            entry.0 += 1;
        }
    }
    println!("{cases} cases from seed {first}");
    println!("{}", events.iter().map(|(event, count)| format!("{event}: {count}")).collect::<Vec<_>>().join(", "));
    for (name, (count, seed, case, message)) in &found {
        println!("{name}: {count} cases, first {case} with RELENT_SEED={seed}: {message}");
    }
    assert!(found.is_empty(), "{} invariants do not hold", found.len());
}
