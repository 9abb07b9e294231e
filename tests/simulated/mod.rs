//! What simulated worlds have in common: random numbers, clocks, and what happens when.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Random numbers that a seed brings back: SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// A clock that runs at `rate` thousandths of the true rate.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) start: u64,
    pub(crate) rate: u64,
}

impl Clock {
    pub(crate) fn local(self, truth: u64) -> u64 {
        (u128::from(truth.saturating_sub(self.start)) * u128::from(self.rate) / 1000) as u64
    }

    /// The first true time at which the clock shows `local` or more.
    pub(crate) fn truth(self, local: u64) -> u64 {
        let truth = (u128::from(local) * 1000).div_ceil(u128::from(self.rate));
        u64::try_from(truth).unwrap_or(u64::MAX).saturating_add(self.start)
    }
}

/// What is to happen, in the order of time; at one instant in the order in which it was put down.
pub(crate) struct Agenda<E> {
    order: BinaryHeap<Reverse<(u64, usize)>>,
    events: Vec<Option<E>>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), events: Vec::new() }
    }
}

impl<E> Agenda<E> {
    pub(crate) fn push(&mut self, time: u64, event: E) {
        self.order.push(Reverse((time, self.events.len())));
        self.events.push(Some(event));
    }

    /// The next, unless it is later than `end`.
    pub(crate) fn pop_until(&mut self, end: u64) -> Option<(u64, E)> {
        let Reverse((time, index)) = self.order.peek().copied().filter(|Reverse((time, _))| *time <= end)?;
        self.order.pop();
        self.events[index].take().map(|event| (time, event))
    }
}
