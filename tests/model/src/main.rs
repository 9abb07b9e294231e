//! Visits every reachable state of small elections that run on the very `src/policy/lease`.
//!
//! Time is discrete. Any candidate may act late or never again (a pause, a crash), any message may arrive at any later
//! time, in any order, twice, or not at all (a loss is a message that stays on its way); work may end at any time; the
//! lock may be deleted; all candidates may have the same identity by mistake. In no state may two terms be valid, and
//! fences only grow.
//!
//! ```sh
//! cargo run --release --manifest-path tests/model/Cargo.toml            # the bounds of the checks
//! cargo run --release --manifest-path tests/model/Cargo.toml -- --long  # greater ones: some minutes, some GB
//! cargo run --release --manifest-path tests/model/Cargo.toml -- --faults
//! cargo run --release --manifest-path tests/model/Cargo.toml -- --fleet    # fleets that keep one rate, instead
//! ```
//! The last one only shows that known faults of other elections are found, and the former rule of this one, by which a
//! record with this identity was this candidate's own.

mod election;
mod fleet;
mod model;
mod state;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::election::{Election, Fault};

fn check(election: Election) -> u64 {
    let began = Instant::now();
    let safety = HasDiscoveries::AnyOf(["one valid term", "fences grow"].into());
    let until = if election.fault == Fault::None { HasDiscoveries::All } else { safety };
    let checker = election.checker().threads(2).finish_when(until);
    // A fault is found much sooner in the depth, though by a longer way.
    let checker: Box<dyn Checker<Election>> = match election.fault {
        Fault::None => Box::new(checker.spawn_bfs().join()),
        _ => Box::new(checker.spawn_dfs().join()),
    };
    let (states, took) = (checker.unique_state_count() as u64, began.elapsed());
    let bad =
        ["one valid term", "fences grow"].into_iter().find_map(|name| checker.discovery(name).map(|path| (name, path)));
    match (election.fault, bad) {
        (Fault::None, None) => {
            checker.assert_any_discovery("a candidate leads");
            println!("{}: {states} states, every one visited, none bad ({:.1}s)", election.name, took.as_secs_f64());
        }
        (Fault::None, Some((name, path))) => panic!("{}: not `{name}`:\n{path}", election.name),
        (fault, Some((name, path))) => {
            let steps = path.into_actions().len();
            println!(
                "{}: {fault:?} found after {states} states: not `{name}`, in {steps} steps ({:.1}s)",
                election.name,
                took.as_secs_f64()
            );
        }
        (fault, None) => panic!("{}: {fault:?} was not found in {states} states", election.name),
    }
    states
}

fn main() {
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    if asked("--fleet") {
        return fleet::main(asked("--long"), asked("--faults"));
    }
    let base = Election {
        name: "two candidates",
        candidates: 2,
        horizon: 6,
        messages: 2,
        ends: 0,
        pauses: 0,
        duplicates: 0,
        deletions: 0,
        one_identity: false,
        vacant: true,
        fault: Fault::None,
    };
    let mut models = vec![
        base,
        Election { name: "two, one freezes", horizon: 5, pauses: 1, ..base },
        Election { name: "two, work ends", horizon: 4, ends: 1, ..base },
        Election { name: "two, a doubled write", horizon: 4, messages: 3, duplicates: 1, ..base },
        Election { name: "two, the lock is deleted", horizon: 5, deletions: 1, ..base },
        Election { name: "two, no lock at first", vacant: false, ..base },
        Election { name: "three candidates", candidates: 3, horizon: 3, messages: 3, ..base },
        Election { name: "two of one identity", one_identity: true, ..base },
        Election { name: "two of one identity, one freezes", one_identity: true, horizon: 5, pauses: 1, ..base },
        Election { name: "two of one identity, work ends", one_identity: true, horizon: 4, ends: 1, ..base },
        Election {
            name: "two of one identity, the lock is deleted",
            one_identity: true,
            horizon: 5,
            deletions: 1,
            ..base
        },
    ];
    if std::env::args().any(|argument| argument == "--long") {
        models = vec![
            Election { name: "two, longer", horizon: 8, ..base },
            Election { name: "two, one freezes, longer", horizon: 6, pauses: 1, ..base },
            Election { name: "two, work ends, longer", horizon: 5, ends: 1, ..base },
            Election { name: "two, the lock is deleted, longer", horizon: 6, deletions: 1, ..base },
            Election { name: "three candidates, longer", candidates: 3, horizon: 4, messages: 3, ..base },
            Election { name: "two of one identity, longer", one_identity: true, horizon: 8, ..base },
            Election {
                name: "two of one identity, one freezes, longer",
                one_identity: true,
                horizon: 6,
                pauses: 1,
                ..base
            },
        ];
    }
    // The known faults must be found, or the search has no teeth.
    let faulty = [
        Election { name: "two", fault: Fault::ValidFromResponse, ..base },
        Election { name: "two", fault: Fault::UnconditionalTakeover, ..base },
        Election { name: "two, work ends", horizon: 5, ends: 1, fault: Fault::ReleaseByCachedHolder, ..base },
        Election { name: "two, the lock is deleted", deletions: 1, vacant: false, fault: Fault::LeadOnCreate, ..base },
        Election {
            name: "two of one identity",
            one_identity: true,
            horizon: 8,
            fault: Fault::IdentityIsEnough,
            ..base
        },
    ];
    if std::env::args().any(|argument| argument == "--faults") {
        models.clear();
    }
    let states: u64 = models.into_iter().map(check).sum();
    let faults = faulty.len();
    for election in faulty {
        check(election);
    }
    println!("model of the lease: {states} states in all, none bad; {faults} of {faults} faults found");
}
