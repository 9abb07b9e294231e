//! Elections on a simulated network, without a runtime: every call, clock, pause and loss comes from one seed.
//!
//! Two to five candidates, each on a clock of its own rate, contend for one lock. Requests and answers are delayed,
//! lost and doubled; processes freeze, crash and come back; machines are suspended; two processes have one identity;
//! the server restarts, and refuses for a while; the network parts; wall clocks jump; the lock is written or deleted by
//! hand. At every begin and every renewal of a term no other term may be valid.
//!
//! A million schedules (the tests run 100,000):
//! ```sh
//! RELENT_SIM_SCHEDULES=1000000 cargo test --release --test leader -- --nocapture sim::no_schedule
//! ```
//! The seed of a schedule that fails is printed; `RELENT_SIM_SEED=n` replays it, with a trace. `RELENT_SIM_FIRST=n`
//! begins with another seed than 1. `RELENT_SIM_FAULT=ValidFromResponse` (or another name of [`Fault`]) plugs in a
//! fault, to see what all of that looks like.

mod network;
mod process;
mod schedule;
mod trouble;
mod world;

use std::{env, num::NonZero, ops::RangeInclusive, thread};

use self::schedule::Sim;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// How long a schedule goes on, in true time.
const SPAN: u64 = 105 * S;

/// A known fault of other elections, plugged into the driver or the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A term counts from when the answer to a renewal came in.
    ValidFromResponse,
    /// A takeover does not carry the version that was read.
    UnconditionalTakeover,
    /// A release trusts what the process believes, not the holder that it just read.
    ReleaseByCachedHolder,
    /// A record that bears this identity is taken for this candidate's own, whichever wrote it.
    IdentityIsEnough,
    /// The clock stands still while the machine is suspended.
    MonotonicClock,
}

/// What a schedule showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    violation: Option<String>,
    terms: u64,
    takeovers: u64,
    renewals: u64,
    releases: u64,
    losses: u64,
    deletions: u64,
    suspensions: u64,
    refusals: u64,
    events: u64,
    timed_takeovers: u64,
    /// The slowest of them, in thousandths of what [`explain`](relent::leader::Timing::explain) allows.
    slowest_takeover: u64,
}

impl Report {
    fn add(mut self, other: Self) -> Self {
        self.terms += other.terms;
        self.takeovers += other.takeovers;
        self.renewals += other.renewals;
        self.releases += other.releases;
        self.losses += other.losses;
        self.deletions += other.deletions;
        self.suspensions += other.suspensions;
        self.refusals += other.refusals;
        self.events += other.events;
        self.timed_takeovers += other.timed_takeovers;
        self.slowest_takeover = self.slowest_takeover.max(other.slowest_takeover);
        self
    }
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::None,
        Self::ValidFromResponse,
        Self::UnconditionalTakeover,
        Self::ReleaseByCachedHolder,
        Self::IdentityIsEnough,
        Self::MonotonicClock,
    ];

    /// The one that was asked for.
    fn asked() -> Self {
        let Ok(name) = env::var("RELENT_SIM_FAULT") else { return Self::None };
        let known = Self::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        known.unwrap_or_else(|| panic!("RELENT_SIM_FAULT={name}: one of {:?}", Self::ALL))
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

fn schedule(seed: u64, fault: Fault) -> Report {
    Sim::new(seed, fault, false).run()
}

/// Runs the schedules of these seeds on all processors.
fn run_all(seeds: RangeInclusive<u64>, fault: Fault) -> Report {
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let run = |part: usize| {
        let checked = |seed| {
            let report = schedule(seed, fault);
            assert_eq!(report.violation, None, "replay with RELENT_SIM_SEED={seed} RELENT_SIM_FAULT={fault:?}");
            report
        };
        seeds.clone().skip(part).step_by(threads).map(checked).fold(Report::default(), Report::add)
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn({
                    let run = &run;
                    move || run(part)
                })
            })
            .collect();
        parts.into_iter().map(|part| part.join().expect("no violation")).fold(Report::default(), Report::add)
    })
}

#[test]
fn no_schedule_has_two_valid_terms() {
    let fault = Fault::asked();
    if let Some(seed) = number("RELENT_SIM_SEED") {
        let report = Sim::new(seed, fault, true).run();
        assert_eq!(report.violation, None, "seed {seed}: {report:?}");
        return;
    }
    let count = number("RELENT_SIM_SCHEDULES").unwrap_or(100_000);
    let first = number("RELENT_SIM_FIRST").unwrap_or(1);
    let seeds = first..=first + count - 1;
    let sum = run_all(seeds.clone(), fault);
    println!("leader simulator: {count} schedules, seeds {seeds:?}, no overlap: {sum:?}");
    // The schedules must do what they are there for.
    assert!(sum.takeovers > count / 2, "too few takeovers");
    assert!(sum.releases > count / 10 && sum.losses > count / 10);
    assert!(sum.deletions > count / 10 && sum.timed_takeovers > count / 10);
    assert!(sum.suspensions > count / 10 && sum.refusals > count / 10);
}

/// The simulator finds the fault, and the seed that it names brings the same schedule back.
fn finds(fault: Fault) {
    let caught: Vec<_> = (1..=5_000).filter(|&seed| schedule(seed, fault).violation.is_some()).collect();
    let first = *caught.first().unwrap_or_else(|| panic!("{fault:?} was not found in 5000 schedules"));
    let report = schedule(first, fault);
    let violation = report.violation.as_deref().unwrap_or_default();
    println!("{fault:?}: caught in {} of 5000 schedules; seed {first}: {violation}", caught.len());
    assert_eq!(report, schedule(first, fault));
    assert_eq!(schedule(first, Fault::None).violation, None);
}

#[test]
fn finds_validity_from_the_response() {
    finds(Fault::ValidFromResponse);
}

#[test]
fn finds_an_unconditional_takeover() {
    finds(Fault::UnconditionalTakeover);
}

#[test]
fn finds_a_release_by_cached_holder() {
    finds(Fault::ReleaseByCachedHolder);
}

#[test]
fn finds_that_an_identity_is_not_enough() {
    finds(Fault::IdentityIsEnough);
}

#[test]
fn finds_a_clock_that_stands_still() {
    finds(Fault::MonotonicClock);
}
