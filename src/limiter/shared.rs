//! What the clones of a limiter share: the line, behind a lock. Time comes from outside.

use std::task::Waker;

use crate::{
    policy::{
        line::{Joined, Line, Told},
        rate::Rate,
    },
    sync::{Mutex, MutexGuard, lock},
};

#[derive(Debug)]
pub(super) struct Shared {
    line: Mutex<Line<Waker>>,
}

/// Wakes them when dropped. A waker is somebody else's code: it is neither called nor dropped under the lock, and
/// those behind one that panics are woken all the same.
struct Wake(Told<Waker>);

impl Shared {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        Self { line: Mutex::new(Line::new(rate, burst)) }
    }

    /// Takes permits if they are there and nobody waits.
    #[inline]
    pub(super) fn take(&self, now: u64, permits: u32) -> bool {
        lock(&self.line).take(now, permits)
    }

    /// The line, after everyone has gone whose turn has come.
    pub(super) fn look(&self, now: u64) -> MutexGuard<'_, Line<Waker>> {
        loop {
            let mut line = lock(&self.line);
            let mut wake = Wake(Told::new());
            if !line.flow(now, &mut wake.0) && wake.0.is_empty() {
                return line;
            }
            drop(line);
        }
    }

    pub(super) fn join(&self, now: u64, permits: u32, allowed: u64) -> Joined {
        self.look(now).join(now, permits, allowed)
    }

    /// `None`: his turn has come. Otherwise when to come again, and `waker` is told if it is to be earlier.
    pub(super) fn turn(&self, now: u64, number: u64, waker: &Waker) -> Option<u64> {
        let mut line = self.look(now);
        if line.has_gone(number) {
            return None;
        }
        let (due, watching) = line.due(number);
        if watching.is_some_and(|watching| watching.will_wake(waker)) {
            return Some(due);
        }
        let (due, former) = line.watch(number, waker.clone());
        drop(line);
        drop(former);
        Some(due)
    }

    /// Nobody waits any more for what is in line under this number.
    pub(super) fn unwatch(&self, number: u64) {
        let mut line = lock(&self.line);
        let (_, former) = line.watch(number, Waker::noop().clone());
        drop(line);
        drop(former);
    }

    /// The exact turn, for those who want to know it without waiting.
    pub(super) fn exact_turn(&self, now: u64, number: u64) -> Option<u64> {
        let line = self.look(now);
        if line.has_gone(number) { None } else { Some(line.turn(number)) }
    }

    /// One leaves the line, or gives back what he got in it.
    pub(super) fn leave(&self, number: u64, permits: u32) {
        let mut wake = Wake(Told::new());
        let mut line = lock(&self.line);
        let (more, waker) = line.leave(number, permits, &mut wake.0);
        drop(line);
        drop((wake, waker));
        if more {
            self.look_again();
        }
    }

    /// Permits come back that were taken without a place in line.
    pub(super) fn give_back(&self, permits: u32) {
        let mut wake = Wake(Told::new());
        let mut line = lock(&self.line);
        let more = line.give_back(permits, &mut wake.0);
        drop(line);
        drop(wake);
        if more {
            self.look_again();
        }
    }

    pub(super) fn set_rate(&self, now: u64, rate: Rate) {
        let mut told = Vec::new();
        self.look(now).set_rate(rate, &mut told);
        told.into_iter().for_each(Waker::wake);
        self.look_again();
    }

    pub(super) fn set_burst(&self, now: u64, burst: u32) {
        let mut told = Vec::new();
        self.look(now).set_burst(burst, &mut told);
        told.into_iter().for_each(Waker::wake);
        self.look_again();
    }

    /// Goes on with those whose turn had come when the line was last looked at.
    #[cold]
    fn look_again(&self) {
        drop(self.look(0));
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        while let Some(waker) = self.0.pop() {
            waker.wake();
        }
    }
}
