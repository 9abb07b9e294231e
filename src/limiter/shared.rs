//! What the clones of a limiter share. Time comes from outside.
//!
//! As long as nobody waits, the bucket is one word, and a permit is one exchange of it. As soon as there is more to do,
//! whoever has it to do takes the lock, closes the word and unpacks it into the line; when he leaves the lock and
//! nobody waits, he packs it again. The lower byte of the word is the number of the measure by which to read it: one
//! who reads the word, then the measure, and then exchanges the word has used the measure that belongs to it.

use std::{
    ops::{Deref, DerefMut},
    task::Waker,
};

use crate::{
    policy::{
        line::{Joined, Line, Told},
        parked::{Measure, Taken},
        rate::Rate,
    },
    sync::{
        Mutex, MutexGuard,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Release},
        },
        lock,
    },
};

/// The word of a limiter whose bucket is in the line: above all words of buckets.
const CLOSED: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Shared {
    word: Alone<AtomicU64>,
    base: AtomicU64,
    yields: AtomicU64,
    span: AtomicU64,
    full: AtomicU64,
    line: Mutex<Unpacked>,
}

/// In lines of the processor's cache of its own, two because they are fetched in pairs: what all write is not beside what all
/// read.
#[derive(Debug)]
#[repr(align(128))]
struct Alone<T>(T);

#[derive(Debug)]
struct Unpacked {
    line: Line<Waker>,
    /// Of the measure.
    number: u8,
}

/// The line, locked and unpacked.
pub(super) struct Held<'a> {
    shared: &'a Shared,
    unpacked: MutexGuard<'a, Unpacked>,
}

/// Wakes them when dropped. A waker is somebody else's code: it is neither called nor dropped under the lock, and
/// those behind one that panics are woken all the same.
struct Wake(Told<Waker>);

impl Shared {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let line = Line::new(rate, burst);
        let (measure, word) = match line.park(Measure::default()) {
            Some(parked) => parked,
            None => (Measure::default(), CLOSED),
        };
        Self {
            word: Alone(AtomicU64::new(word)),
            base: AtomicU64::new(measure.base),
            yields: AtomicU64::new(measure.yields),
            span: AtomicU64::new(measure.span),
            full: AtomicU64::new(measure.full),
            line: Mutex::new(Unpacked { line, number: 0 }),
        }
    }

    /// Takes permits if they are there and nobody waits.
    #[inline]
    pub(super) fn take(&self, now: u64, permits: u32) -> bool {
        let mut word = self.word.0.load(Acquire);
        // Nothing can be taken from the closed word, by any measure.
        while let Taken::Now(after) = self.measure().take(now, word, permits) {
            match self.word.0.compare_exchange_weak(word, after, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(other) => word = other,
            }
        }
        false
    }

    /// For one whom [`take`](Self::take) gave nothing: when the permits will be there, if nothing but the bucket stands
    /// in the way.
    pub(super) fn refusal(&self, now: u64, permits: u32) -> Option<u64> {
        let word = self.word.0.load(Acquire);
        match self.measure().take(now, word, permits) {
            // The measure was the one of this word.
            Taken::At(due) if word != CLOSED && self.word.0.load(Acquire) == word => Some(due),
            _ => None,
        }
    }

    #[inline]
    fn measure(&self) -> Measure {
        let [base, yields, span, full] =
            [&self.base, &self.yields, &self.span, &self.full].map(|part| part.load(Acquire));
        Measure::new(base, yields, span, full)
    }

    fn hold(&self) -> Held<'_> {
        let mut unpacked = lock(&self.line);
        let word = self.word.0.swap(CLOSED, AcqRel);
        if word != CLOSED {
            unpacked.line.unpark(self.measure(), word);
        }
        Held { shared: self, unpacked }
    }

    /// The line, after everyone has gone whose turn has come.
    pub(super) fn look(&self, now: u64) -> Held<'_> {
        loop {
            let mut line = self.hold();
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
        let mut line = self.hold();
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
        let mut line = self.hold();
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
        let mut line = self.hold();
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

impl Deref for Held<'_> {
    type Target = Line<Waker>;

    fn deref(&self) -> &Line<Waker> {
        &self.unpacked.line
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Line<Waker> {
        &mut self.unpacked.line
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        let former = shared.measure();
        let Some((measure, word)) = self.unpacked.line.park(former) else { return };
        if measure != former {
            // The word is closed and the lock is held: nobody reads these now, or he will see that the word changed.
            shared.base.store(measure.base, Release);
            shared.yields.store(measure.yields, Release);
            shared.span.store(measure.span, Release);
            shared.full.store(measure.full, Release);
            self.unpacked.number = self.unpacked.number.wrapping_add(1);
        }
        shared.word.0.store(word | u64::from(self.unpacked.number), Release);
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        while let Some(waker) = self.0.pop() {
            waker.wake();
        }
    }
}
