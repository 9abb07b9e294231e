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

mod wake;

use self::wake::Wake;

use crate::{
    policy::{
        line::{Joined, Line, Looked},
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
    /// Of the settings, where many limiters share them.
    version: u64,
}

/// The line, locked and unpacked.
pub(super) struct Held<'a> {
    shared: &'a Shared,
    unpacked: MutexGuard<'a, Unpacked>,
}

impl Shared {
    pub(super) fn new(rate: Rate, burst: u32, catch_up: u64) -> Self {
        Self::of(Line::new(rate, burst, catch_up))
    }

    /// Empty, and closed until [`set_share`](Self::set_share).
    pub(super) fn leased(burst: u32, catch_up: u64) -> Self {
        Self::of(Line::leased(burst, catch_up))
    }

    fn of(line: Line<Waker>) -> Self {
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
            line: Mutex::new(Unpacked { line, number: 0, version: 0 }),
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

    /// The line as it is, whatever time it is.
    pub(super) fn hold(&self) -> Held<'_> {
        let mut unpacked = lock(&self.line);
        let word = self.word.0.swap(CLOSED, AcqRel);
        if word != CLOSED {
            unpacked.line.unpark(self.measure(), word);
        }
        Held { shared: self, unpacked }
    }

    /// The line, and what time it is. No thread reads a time that is earlier than one that it has seen, unless it is on another
    /// clock: that of another runtime, where this one is paused or that one was.
    fn hold_now(&self, clock: impl Fn() -> u64) -> (Held<'_>, u64) {
        let now = clock();
        let mut line = self.hold();
        if line.bucket().at() <= now {
            return (line, now);
        }
        let now = clock();
        if now < line.bucket().at() {
            line.rewind(now);
        }
        (line, now)
    }

    /// The line, after all were granted whose turn has come, and what time it is.
    pub(super) fn look(&self, clock: impl Fn() -> u64) -> (Held<'_>, u64) {
        let mut wake = Wake::default();
        loop {
            let (mut line, now) = self.hold_now(&clock);
            let more = line.flow(now, &mut wake.told);
            if !more && wake.is_empty() {
                return (line, now);
            }
            drop(line);
            wake.wake();
            if !more {
                wake.go_on();
            }
        }
    }

    pub(super) fn join(&self, clock: impl Fn() -> u64, permits: u32, allowed: u64) -> (Joined, u64) {
        let (mut line, now) = self.look(clock);
        (line.join(now, permits, allowed), now)
    }

    /// One whose turn is now has to come for it like any other.
    pub(super) fn reserve(&self, clock: impl Fn() -> u64, permits: u32, allowed: u64) -> (Joined, u64) {
        let (mut line, now) = self.look(clock);
        (line.reserve(now, permits, allowed), now)
    }

    /// Whether the turn of `number` has come: since when. Otherwise it is to come again then, and `waker` is called if
    /// that is to be earlier.
    pub(super) fn turn(&self, clock: impl Fn() -> u64, number: u64, permits: u32, waker: &Waker) -> Result<u64, u64> {
        let mut wake = Wake::default();
        // It is somebody else's code that clones and drops a waker.
        let mut cloned = None;
        loop {
            let (mut line, now) = self.hold_now(&clock);
            let looked = line.look(now, number, permits, &mut wake.told);
            let due = match looked {
                Looked::Due(due) => due,
                Looked::Again => {
                    drop(line);
                    wake.wake();
                    continue;
                }
                Looked::Granted(at) => {
                    drop(line);
                    return Ok(at);
                }
            };
            if line.waker(number).is_some_and(|watching| watching.will_wake(waker)) {
                drop(line);
                return Err(due);
            }
            if let Some(waker) = cloned.take() {
                let former = line.watch(number, waker);
                drop(line);
                drop(former);
                return Err(due);
            }
            drop(line);
            wake.wake();
            cloned = Some(waker.clone());
        }
    }

    /// The permits of `number` are used when its turn comes.
    pub(super) fn spend(&self, number: u64) {
        let mut line = self.hold();
        let former = line.spend(number);
        drop(line);
        drop(former);
    }

    /// The exact turn, for those that want to know it without waiting, and what time it is.
    pub(super) fn exact_turn(&self, clock: impl Fn() -> u64, number: u64, permits: u32) -> (u64, u64) {
        let (line, now) = self.look(clock);
        (line.turn_of(number, permits), now)
    }

    /// One leaves that has not collected its permits.
    pub(super) fn leave(&self, clock: impl Fn() -> u64, number: u64) {
        let mut wake = Wake::default();
        let (mut line, now) = self.hold_now(&clock);
        let (more, waker) = line.leave(now, number, &mut wake.told);
        drop(line);
        wake.wake();
        if more {
            self.look_again(clock);
        }
        drop((wake, waker));
    }

    /// One holds its turn until then, and gives back what it has collected; see [`Line::hold`].
    pub(super) fn hold_turn(&self, clock: impl Fn() -> u64, number: u64, collected: Option<(u32, u64)>, until: u64) {
        let mut wake = Wake::default();
        let (mut line, now) = self.hold_now(&clock);
        let more = line.hold(now, number, collected, until, &mut wake.told);
        drop(line);
        wake.wake();
        if more {
            self.look_again(clock);
        }
    }

    /// Permits come back that were collected, granted at `at`, and not used.
    pub(super) fn give_back(&self, clock: impl Fn() -> u64, permits: u32, at: u64) {
        let mut wake = Wake::default();
        let (mut line, now) = self.hold_now(&clock);
        let more = line.give_back(now, permits, at, &mut wake.told);
        drop(line);
        wake.wake();
        if more {
            self.look_again(clock);
        }
    }

    pub(super) fn set_rate(&self, clock: impl Fn() -> u64, rate: Rate) {
        self.change(clock, |line, told| line.set_rate(rate, told));
    }

    pub(super) fn set_burst(&self, clock: impl Fn() -> u64, burst: u32) {
        self.change(clock, |line, told| line.set_burst(burst, told));
    }

    pub(super) fn set_share(&self, clock: impl Fn() -> u64, rate: Rate, burst: u32, until: u64) {
        self.change(clock, |line, told| line.set_share(rate, burst, until, told));
    }

    pub(super) fn pause(&self, clock: impl Fn() -> u64, length: u64) {
        self.change(clock, |line, told| line.pause(line.bucket().at().saturating_add(length), told));
    }

    /// Takes on settings that are shared with other limiters, unless it has later ones.
    pub(super) fn set_version(&self, clock: impl Fn() -> u64, version: u64, rate: Rate, burst: u32) {
        let mut wake = Wake::default();
        let mut line = self.look(&clock).0;
        if line.unpacked.version < version {
            line.unpacked.version = version;
            line.set_rate(rate, &mut wake);
            line.set_burst(burst, &mut wake);
        }
        drop(line);
        wake.wake();
        self.look_again(clock);
    }

    fn change(&self, clock: impl Fn() -> u64, change: impl FnOnce(&mut Line<Waker>, &mut Wake)) {
        let mut wake = Wake::default();
        change(&mut self.look(&clock).0, &mut wake);
        wake.wake();
        self.look_again(clock);
    }

    /// Goes on with those whose turn had come when the line was last looked at.
    #[cold]
    fn look_again(&self, clock: impl Fn() -> u64) {
        drop(self.look(clock));
    }
}

impl Held<'_> {
    /// The settings are so new.
    pub(super) fn set_version(&mut self, version: u64) {
        self.unpacked.version = version;
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
