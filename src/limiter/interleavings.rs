//! Every order of events on what threads share. Under loom: all of them, or all with few preemptions. Under shuttle:
//! random ones, many.
//!
//! Nobody here has a timer: time stands still or moves by hand, so whoever waits must be woken by the others, and a lost
//! wake-up is a deadlock that the tool reports.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::Poll,
};

#[cfg(relent_loom)]
use loom::{future::block_on, thread};
#[cfg(relent_shuttle)]
use shuttle::{future::block_on, thread};

use crate::{
    Ratio,
    budget::Budget,
    limiter::shared::Shared,
    policy::{line::Joined, nanos::FOREVER, rate::Rate},
    sync::Arc,
};

/// Runs it in every order within the limits, and says in how many.
#[cfg(relent_loom)]
fn explore(name: &str, preemptions: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.max_branches = 100_000;
    model.check(move || {
        count.fetch_add(1, Relaxed);
        check();
    });
    println!("{name}: {} interleavings, preemption bound {preemptions:?}", runs.load(Relaxed));
}

#[cfg(relent_shuttle)]
fn explore(name: &str, _: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let schedules = std::env::var("RELENT_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(15_000);
    shuttle::check_random(
        move || {
            count.fetch_add(1, Relaxed);
            check();
        },
        schedules,
    );
    println!("{name}: {} schedules", runs.load(Relaxed));
}

fn wait(shared: &Shared, now: u64, number: u64) {
    block_on(poll_fn(|cx| match shared.turn(now, number, cx.waker()) {
        None => Poll::Ready(()),
        Some(_) => Poll::Pending,
    }));
}

fn number(joined: Joined) -> Option<u64> {
    match joined {
        Joined::Granted => None,
        Joined::Waiting(number) => Some(number),
        other => panic!("{other:?}"),
    }
}

/// Nothing flows in. Each takes one permit of a burst of one, then gives it back: all get it, one after the other.
fn handed_on(threads: usize) {
    let shared = Arc::new(Shared::new(Rate::ZERO, 1));
    let one = |shared: &Shared| {
        if shared.take(0, 1) {
            return shared.give_back(1);
        }
        match number(shared.join(0, 1, FOREVER)) {
            None => shared.give_back(1),
            Some(number) => {
                wait(shared, 0, number);
                shared.leave(number, 1);
            }
        }
    };
    // The last is this one.
    let all: Vec<_> = (1..threads)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || one(&shared))
        })
        .collect();
    one(&shared);
    all.into_iter().for_each(|thread| thread.join().unwrap());
    let line = shared.look(0);
    assert_eq!((line.waiting(), line.bucket().available()), (0, 1));
}

/// Two take from the word while a third goes through the lock: exactly the burst is granted.
fn exactly_the_burst() {
    let shared = Arc::new(Shared::new(Rate::ZERO, 2));
    // One whom the closed word turned away asks in the line, as the limiter does.
    let one = |shared: &Shared| usize::from(shared.take(0, 1) || shared.join(0, 1, 0) == Joined::Granted);
    let all: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || one(&shared))
        })
        .collect();
    // Closes the word and opens it again.
    drop(shared.look(0));
    let granted = one(&shared) + all.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
    assert_eq!(granted, 2);
    assert_eq!(shared.look(0).bucket().available(), 0);
}

/// The measure of the word changes while others take from it: a permit never costs what it did not cost at that moment.
fn the_rate_changes() {
    let shared = Arc::new(Shared::new(Rate::per_second(1), 2));
    let taker = {
        let shared = shared.clone();
        thread::spawn(move || usize::from(shared.take(0, 1)) + usize::from(shared.take(0, 1)))
    };
    shared.set_rate(0, Rate::per_second(7));
    let taken = taker.join().unwrap();
    let mut rest = 0;
    while shared.join(0, 1, 0) == Joined::Granted {
        rest += 1;
    }
    assert_eq!(taken + rest, 2);
}

/// The first in line leaves at the moment at which a permit comes back: it goes to the next.
fn the_first_leaves() {
    let shared = Arc::new(Shared::new(Rate::ZERO, 1));
    assert!(shared.take(0, 1));
    let first = number(shared.join(0, 1, FOREVER)).unwrap();
    let second = number(shared.join(0, 1, FOREVER)).unwrap();
    let leaver = {
        let shared = shared.clone();
        thread::spawn(move || shared.leave(first, 1))
    };
    let giver = {
        let shared = shared.clone();
        thread::spawn(move || shared.give_back(1))
    };
    wait(&shared, 0, second);
    leaver.join().unwrap();
    giver.join().unwrap();
    let line = shared.look(0);
    assert_eq!((line.waiting(), line.bucket().available()), (0, 0));
}

/// The rate goes up while one waits, who asked for more than is there: he is told.
fn the_rate_frees_one() {
    let shared = Arc::new(Shared::new(Rate::ZERO, 1));
    assert!(shared.take(0, 1));
    let number = number(shared.join(0, 1, FOREVER)).unwrap();
    let setter = {
        let shared = shared.clone();
        thread::spawn(move || shared.set_rate(0, Rate::UNLIMITED))
    };
    wait(&shared, 0, number);
    setter.join().unwrap();
    assert_eq!(shared.look(0).waiting(), 0);
}

/// Three runs share a budget that allows exactly two retries.
fn two_retries(budget: Budget) {
    let one = |budget: &Budget| {
        let mut run = budget.begin();
        (run.may_retry(), run)
    };
    let all: Vec<_> = (0..2)
        .map(|_| {
            let budget = budget.clone();
            thread::spawn(move || one(&budget))
        })
        .collect();
    let mut runs = vec![one(&budget)];
    runs.extend(all.into_iter().map(|thread| thread.join().unwrap()));
    assert_eq!(runs.iter().filter(|(allowed, _)| *allowed).count(), 2);
    assert_eq!(budget.available(), 0);
    drop(runs);
}

#[test]
fn every_order_of_a_budget() {
    explore("budget by ratio", Some(3), || two_retries(Budget::ratio(Ratio::ZERO).reserve(2)));
    explore("budget by share in flight", Some(3), || {
        let budget = Budget::in_flight(Ratio::ZERO).reserve(2);
        two_retries(budget.clone());
        assert_eq!(budget.available(), 2);
    });
}

#[test]
fn every_order_of_a_limiter() {
    explore("two hand on a permit", None, || handed_on(2));
    explore("three hand on a permit", Some(3), || handed_on(3));
    explore("a burst of two for three", Some(3), exactly_the_burst);
    explore("the rate changes", Some(3), the_rate_changes);
    explore("the first leaves", Some(3), the_first_leaves);
    explore("the rate frees one", None, the_rate_frees_one);
}
