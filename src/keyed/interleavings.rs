//! Every order of events of keys that are promoted and demoted; see the other `interleavings`.
//!
//! Nothing refills here: a task waits until another gives its permit back. The clock goes on by a nanosecond with each
//! reading, whatever the machine does meanwhile: a grant that is collected later than the catch-up is lost, and nothing
//! would come in its place.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

#[cfg(relent_loom)]
use loom::{future::block_on, thread};
#[cfg(relent_shuttle)]
use shuttle::{future::block_on, thread};

use super::KeyedLimiter;
use crate::{limiter::interleavings::explore, policy::limit::rate::Rate, sync::Arc};

fn keyed(burst: u32) -> Arc<KeyedLimiter<u8>> {
    Arc::new(KeyedLimiter::new(Rate::ZERO, burst))
}

/// All permits of the key are there again, and it is a word, or forgotten.
fn is_at_rest(keyed: &KeyedLimiter<u8>, burst: u32) {
    assert!(keyed.try_acquire(&0, burst).is_ok());
    assert!(keyed.try_acquire(&0, 1).is_err());
    assert_eq!(keyed.promoted(), 0);
}

/// Each takes the one permit, then gives it back: all get it, one after the other.
fn handed_on(threads: usize) {
    let keyed = keyed(1);
    let one = |keyed: &KeyedLimiter<u8>| {
        block_on(keyed.ready(&0));
        keyed.get(&0).give_back(1);
    };
    let all: Vec<_> = (1..threads)
        .map(|_| {
            let keyed = keyed.clone();
            thread::spawn(move || one(&keyed))
        })
        .collect();
    one(&keyed);
    all.into_iter().for_each(|thread| thread.join().unwrap());
    is_at_rest(&keyed, 1);
}

/// The last waiter leaves, and demotes the key, while another takes a permit by the word or joins the list.
fn one_leaves_while_another_comes() {
    let keyed = keyed(2);
    keyed.try_acquire(&0, 1).unwrap();
    let leaver = {
        let keyed = keyed.clone();
        thread::spawn(move || {
            let mut wait = pin!(keyed.acquire(&0, 2));
            // It may get both, when the other has given back.
            wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        })
    };
    block_on(keyed.ready(&0));
    keyed.get(&0).give_back(1);
    let took = leaver.join().unwrap();
    keyed.get(&0).give_back(if took { 2 } else { 0 });
    keyed.get(&0).give_back(1);
    is_at_rest(&keyed, 2);
}

/// Permits are taken by the word while the key is promoted and demoted: exactly the burst is granted.
fn exactly_the_burst() {
    let keyed = keyed(2);
    let taker = {
        let keyed = keyed.clone();
        thread::spawn(move || (0..2).filter(|_| keyed.try_acquire(&0, 1).is_ok()).count())
    };
    drop(keyed.get(&0));
    let mut taken = usize::from(keyed.try_acquire(&0, 1).is_ok());
    taken += taker.join().unwrap();
    assert_eq!(taken, 2);
    assert!(keyed.try_acquire(&0, 1).is_err());
    assert_eq!(keyed.promoted(), 0);
}

/// Two change the settings while a key is promoted: both keys, and those to come, end with what the last one set.
fn settings_change_at_once() {
    let keyed = keyed(1);
    keyed.try_acquire(&0, 1).unwrap();
    let held = keyed.get(&1);
    let other = {
        let keyed = keyed.clone();
        thread::spawn(move || keyed.set_burst(2))
    };
    let promoter = {
        let keyed = keyed.clone();
        thread::spawn(move || keyed.get(&0))
    };
    keyed.set_burst(3);
    other.join().unwrap();
    let promoted = promoter.join().unwrap();
    for limiter in [&held, &promoted, &keyed.get(&0), &keyed.get(&2)] {
        assert_eq!(limiter.max_burst(), keyed.max_burst());
    }
}

#[test]
fn every_order_of_a_key() {
    explore("two hand on the permit of a key", Some(3), || handed_on(2));
    explore("three hand on the permit of a key", Some(2), || handed_on(3));
    explore("one leaves while another comes", Some(3), one_leaves_while_another_comes);
    explore("a burst of two for one that holds the limiter and one that does not", Some(3), exactly_the_burst);
    explore("settings change at once", Some(3), settings_change_at_once);
}
