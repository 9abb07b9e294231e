//! Every order of events on what threads share. Under loom: all of them, or all with few preemptions. Under shuttle:
//! random ones, many.
//!
//! No task here has a timer: time stands still or moves by hand, so a waiter must be woken by the others, and a lost
//! wake-up is a deadlock that the tool reports.
#![cfg_attr(relent_shuttle, expect(unused_qualifications, reason = "shuttle's `Arc` is that of std, loom's is not"))]

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Poll, Wake, Waker},
};

#[cfg(relent_loom)]
use loom::{future::block_on, thread};
#[cfg(relent_shuttle)]
use shuttle::{future::block_on, thread};

use crate::{
    budget::Budget,
    limiter::{clock::Now, semaphore::RateSemaphore},
    policy::{
        limit::{
            rate::Rate,
            wait_list::{Admission, WaitList, WaiterId},
        },
        nanos::FOREVER,
        ratio::Ratio,
    },
    sync::Arc,
};

/// Runs it in every order within the limits, and says in how many.
#[cfg(relent_loom)]
pub(crate) fn explore(name: &str, preemptions: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
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
pub(crate) fn explore(name: &str, _: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
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

/// Time stands still.
#[derive(Debug)]
struct Still;

impl Now for Still {
    fn now(&self) -> u64 {
        0
    }
}

type Shared = RateSemaphore<Still>;

fn shared(rate: Rate, burst: u32) -> Arc<Shared> {
    Arc::new(RateSemaphore::new(WaitList::new(rate, burst, FOREVER), Still, 0, 0))
}

fn wait(shared: &Shared, id: WaiterId) {
    block_on(poll_fn(|cx| match shared.poll_acquire(id, 1, cx.waker()) {
        Ok(_) => Poll::Ready(()),
        Err(_) => Poll::Pending,
    }));
}

/// One permit, however long it takes.
fn reserve(shared: &Shared) -> WaiterId {
    match shared.reserve(1, FOREVER).0 {
        Admission::Waiting(id) => id,
        other => panic!("{other:?}"),
    }
}

/// Nothing flows in. Each takes one permit of a burst of one, then gives it back: all get it, one after the other.
fn handed_on(threads: usize) {
    let shared = shared(Rate::ZERO, 1);
    let one = |shared: &Shared| {
        if shared.try_take(0, 1).is_ok() {
            return shared.refund(1, 0);
        }
        let id = reserve(shared);
        wait(shared, id);
        shared.refund(1, 0);
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
    let list = shared.lock_and_grant().0;
    assert_eq!((list.waiting(), list.bucket().available()), (0, 1));
}

/// Two take from the word while a third goes through the lock: exactly the burst is granted.
fn exactly_the_burst() {
    let shared = shared(Rate::ZERO, 2);
    // A thread that found the word closed asks the wait list, as the limiter does.
    let one =
        |shared: &Shared| usize::from(shared.try_take(0, 1).is_ok() || shared.enqueue(1, 0).0 == Admission::Granted);
    let all: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || one(&shared))
        })
        .collect();
    // Closes the word and opens it again.
    drop(shared.lock_and_grant().0);
    let granted = one(&shared) + all.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
    assert_eq!(granted, 2);
    assert_eq!(shared.lock_and_grant().0.bucket().available(), 0);
}

/// The measure of the word changes while others take from it: a permit never costs what it did not cost at that moment.
fn the_rate_changes() {
    let shared = shared(Rate::per_second(1), 2);
    let taker = {
        let shared = shared.clone();
        thread::spawn(move || usize::from(shared.try_take(0, 1).is_ok()) + usize::from(shared.try_take(0, 1).is_ok()))
    };
    shared.set_rate(Rate::per_second(7));
    let taken = taker.join().unwrap();
    let mut rest = 0;
    while shared.enqueue(1, 0).0 == Admission::Granted {
        rest += 1;
    }
    assert_eq!(taken + rest, 2);
}

/// The measure of the word changes while another thread is refused: the wait that it is told is by one or the other.
fn refused_while_the_rate_changes() {
    let shared = shared(Rate::per_second(1), 1);
    let refused = |shared: &Shared| {
        let (word, missing) = shared.try_take(0, 1).unwrap_err();
        shared.ready_in(word, missing, 1)
    };
    assert!(shared.try_take(0, 1).is_ok());
    let asker = {
        let shared = shared.clone();
        thread::spawn(move || refused(&shared))
    };
    shared.set_rate(Rate::per_second(2));
    let told = asker.join().unwrap();
    assert!(matches!(told, None | Some(1_000_000_000 | 500_000_000)), "{told:?}");
    assert_eq!(refused(&shared), Some(500_000_000));
}

/// The first in the list leaves at the moment at which a permit comes back: it goes to the next.
fn the_first_leaves() {
    let shared = shared(Rate::ZERO, 1);
    assert!(shared.try_take(0, 1).is_ok());
    let first = reserve(&shared);
    let second = reserve(&shared);
    let leaver = {
        let shared = shared.clone();
        thread::spawn(move || shared.remove(first))
    };
    let giver = {
        let shared = shared.clone();
        thread::spawn(move || shared.refund(1, 0))
    };
    wait(&shared, second);
    leaver.join().unwrap();
    giver.join().unwrap();
    let list = shared.lock_and_grant().0;
    assert_eq!((list.waiting(), list.bucket().available()), (0, 0));
}

/// The rate goes up while a task waits that asked for more than is there: it is woken.
fn the_rate_frees_one() {
    let shared = shared(Rate::ZERO, 1);
    assert!(shared.try_take(0, 1).is_ok());
    let id = reserve(&shared);
    let setter = {
        let shared = shared.clone();
        thread::spawn(move || shared.set_rate(Rate::UNLIMITED))
    };
    wait(&shared, id);
    setter.join().unwrap();
    assert_eq!(shared.lock_and_grant().0.waiting(), 0);
}

/// The first has been granted its permit and leaves without it, at the moment at which the second looks: that one gets
/// it.
fn the_granted_leaves() {
    let shared = shared(Rate::ZERO, 1);
    let first = reserve(&shared);
    let second = reserve(&shared);
    let leaver = {
        let shared = shared.clone();
        thread::spawn(move || shared.remove(first))
    };
    wait(&shared, second);
    leaver.join().unwrap();
    let list = shared.lock_and_grant().0;
    assert_eq!((list.waiting(), list.bucket().available()), (0, 0));
}

/// One collects what was granted at the moment at which it is taken back: both cannot have it, and it is not lost.
fn collected_or_left() {
    let shared = shared(Rate::ZERO, 1);
    let first = reserve(&shared);
    let taker = {
        let shared = shared.clone();
        thread::spawn(move || {
            usize::from(shared.try_take(0, 1).is_ok() || shared.enqueue(1, 0).0 == Admission::Granted)
        })
    };
    shared.remove(first);
    let taken = taker.join().unwrap();
    assert_eq!(shared.lock_and_grant().0.bucket().available() as usize + taken, 1);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: std::sync::Arc<Self>) {
        // Without a word.
        resume_unwind(Box::new(()));
    }
}

/// The waker of the first panics while another thread waits behind it, comes or goes: that one is woken all the same.
fn a_waker_panics() {
    let shared = shared(Rate::ZERO, 2);
    assert!(shared.try_take(0, 2).is_ok());
    let (first, second) = (reserve(&shared), reserve(&shared));
    let waker = Waker::from(std::sync::Arc::new(Panics));
    assert!(shared.poll_acquire(first, 1, &waker).is_err());
    let waiter = {
        let shared = shared.clone();
        thread::spawn(move || wait(&shared, second))
    };
    let panic = catch_unwind(AssertUnwindSafe(|| shared.refund(2, 0)));
    assert!(panic.is_err() || shared.poll_acquire(first, 1, &waker).is_ok());
    waiter.join().unwrap();
    assert_eq!(shared.lock_and_grant().0.waiting(), 0);
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
    explore("refused while the rate changes", Some(3), refused_while_the_rate_changes);
    explore("the first leaves", Some(3), the_first_leaves);
    explore("the rate frees one", None, the_rate_frees_one);
    explore("the granted leaves", Some(3), the_granted_leaves);
    explore("collected or left", Some(3), collected_or_left);
    explore("a waker panics", Some(3), a_waker_panics);
}
