//! What uses the parts of the API that may still change.

use relent::{Backoff, Budget, Policy, Ratio, budget::InFlight, queue::GivenUp};

use super::world::{E, Queue, Val};

/// Values that were given up where no listener was told: key, value, what the error says.
pub fn given_up(queue: &Queue) -> Vec<(Val, String)> {
    let all = queue.take_given_up().into_iter();
    all.map(|GivenUp { value, error, .. }| (value, error.to_string())).collect()
}

/// Whether a listener is handed the item itself, or only shown it.
pub trait Handed {
    const OVER: bool;
    fn item(&self) -> &GivenUp<u8, Val, E>;
}

impl Handed for GivenUp<u8, Val, E> {
    const OVER: bool = true;

    fn item(&self) -> &Self {
        self
    }
}

impl Handed for &GivenUp<u8, Val, E> {
    const OVER: bool = false;

    fn item(&self) -> &GivenUp<u8, Val, E> {
        self
    }
}

/// A budget that only the reserve fills.
pub fn exact_budget(reserve: u32) -> Budget {
    Budget::ratio(Ratio::ZERO).reserve(reserve)
}

pub fn give_back(run: &mut InFlight) {
    run.give_back();
}

pub fn cursor(policy: &Policy) -> relent::builder::AttemptLoop<E> {
    policy.begin()
}

pub fn fixed(ms: u64) -> Backoff {
    Backoff::fixed(super::world::ms(ms))
}
