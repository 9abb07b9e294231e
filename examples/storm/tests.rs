//! The figures that the documents give.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    contention::{RIVALS, mean},
    events::Events,
    policies::POLICIES,
    simulation::{Outcome, Storm},
};

fn calls(rival: usize) -> f64 {
    mean(20, 100, RIVALS[rival].1, 1).calls as f64
}

/// As published: about 0.43 of plain exponential's calls at 100 clients.
#[test]
fn full_jitter_makes_fewer_than_half_of_the_calls() {
    let ratio = calls(3) / calls(1);
    assert!((0.38..0.48).contains(&ratio), "{ratio}");
    assert!(calls(0) > calls(1), "no pause at all is worst");
}

fn play(name: &str) -> (Storm, Outcome) {
    let storm = Storm::of(2_000, 1);
    let outcome = storm.play(POLICIES.iter().find(|policy| policy.name == name).unwrap());
    (storm, outcome)
}

/// Plain retries keep the server down for ever; pauses that grow let it come back, and a budget lets it come back as
/// soon as it would without retries.
#[test]
fn which_recover() {
    let seconds = |name| {
        let (storm, outcome) = play(name);
        outcome.recovered(&storm)
    };
    assert_eq!(seconds("every 100ms"), None);
    let alone = seconds("no retry").unwrap();
    assert!((1..25).contains(&alone), "{alone}");
    assert!((alone..90).contains(&seconds("exponential, full jitter").unwrap()));
    assert!((alone..90).contains(&seconds("every 100ms, limiter").unwrap()));
    assert!((alone..alone + 10).contains(&seconds("every 100ms, budget").unwrap()));
    assert!((alone..alone + 10).contains(&seconds("exponential, full jitter, both").unwrap()));
}

/// The budget bounds what an outage adds to the load: a tenth more than without retries, and the reserve.
#[test]
fn what_the_server_has_to_bear() {
    let load = |name| {
        let (storm, outcome) = play(name);
        (outcome.load_factor(&storm), outcome.calls as f64 / outcome.requests as f64)
    };
    assert!(load("every 100ms").0 > 40.0);
    assert!(load("exponential, full jitter").0 < 6.0);
    let (worst, calls) = load("exponential, full jitter, both");
    assert!(worst < 2.0 && calls < 1.1, "{worst} {calls}");
    assert!((load("no retry").1 - 1.0).abs() < 1e-9);
}

/// The same seed is the same storm.
#[test]
fn a_seed_is_a_storm() {
    let (first, second) = (play("exponential, full jitter").1, play("exponential, full jitter").1);
    assert_eq!((first.calls, first.offered, first.answered), (second.calls, second.offered, second.answered));
}

/// The README's table, of ten thousand clients and seed 1: with fewer clients and other seeds the ratios are the same.
#[test]
fn the_ratios_of_the_readme() {
    for (name, calls, load) in [
        ("no retry", 1.00, 0.7),
        ("every 100ms", 336.71, 60.0),
        ("exponential, full jitter", 2.08, 3.7),
        ("every 100ms, budget", 1.03, 1.4),
        ("exponential, full jitter, both", 1.03, 1.3),
    ] {
        for seed in [1, 2, 3] {
            let storm = Storm::of(1_000, seed);
            let outcome = storm.play(POLICIES.iter().find(|policy| policy.name == name).unwrap());
            let near = |found: f64, told: f64, share: f64| (found / told - 1.0).abs() < share;
            let found = (outcome.calls as f64 / outcome.requests as f64, outcome.load_factor(&storm));
            // The worst second of so few clients is a matter of chance.
            assert!(near(found.0, calls, 0.07) && near(found.1, load, 0.35), "{name}, seed {seed}: {found:?}");
        }
    }
}

/// The calendar hands out what a heap would, whatever is planned when.
#[test]
fn the_calendar_is_a_heap() {
    let (mut calendar, mut heap, mut rng) = (Events::until(40_000_000), BinaryHeap::new(), fastrand::Rng::with_seed(1));
    let (mut now, mut number) = (0, 0_u64);
    for _ in 0..100_000 {
        if rng.bool() {
            let length = [1, 1_000, 200_000, 5_000_000][rng.usize(..4)];
            let at = now + rng.u64(..length);
            number += 1;
            calendar.plan(at, number);
            if at < 40_000_000 {
                heap.push(Reverse((at, number)));
            }
        } else {
            let next = calendar.next();
            assert_eq!(next, heap.pop().map(|Reverse(next)| next));
            now = next.map_or(now, |(at, _)| at);
        }
    }
    assert!(number > 40_000);
}
