//! What is to be done for which key, and when: the states of keyed work, without a clock.
//!
//! Per key: waiting, then running, then gone or waiting again. One key never runs twice at once: what is wanted of a key
//! that runs is kept beside the run and applied when it ends. Due times are nanoseconds of the queue's own time, any
//! distance ahead or behind; `u64::MAX` is never. Equal due times come out in the order in which they were given.
//!
//! A run that fails leaves a [`Trail`]: the count of failures, and the pause before the next attempt. It belongs to the
//! key, not to the value: who gives a newer value, during the run or in the pause, changes what is tried next and may put
//! it off, but brings it forward no further than the end of the pause. Forgotten is the trail with a run that succeeds or
//! is given up, with a cancellation, by [`Rule::Anew`], and where the new due time lies beyond the bounds of the attempts
//! so far.

mod blocks;
mod protocol;
mod ready;
mod slab;
mod wheel;

use std::{collections::BTreeMap, hash::Hash};

pub use self::protocol::{Cancelled, Ended, Given, Removed, Rule, Run, Started, State, Trail};
use self::{
    slab::{Entered, Phase, Seats},
    wheel::{Turn, Wheel},
};

/// A value, and what failed attempts have left.
#[derive(Debug)]
struct Entry<V, T> {
    value: V,
    trail: Option<T>,
}

/// Keys, their values, when they are due, and which of them run.
#[derive(Debug)]
pub struct Timetable<K, V, T> {
    seats: Seats<K, Entry<V, T>>,
    wheel: Wheel,
    turns: u64,
    runs: u64,
    running: usize,
    /// Where the keys of runs are whose seat has changed meanwhile.
    moved: BTreeMap<u64, u32>,
}

impl<K: Hash + Eq + Clone, V, T: Trail> Timetable<K, V, T> {
    /// An empty timetable. `now` is the time from which on things will mostly be due: earlier is allowed, and slower.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { seats: Seats::new(), wheel: Wheel::new(now), turns: 0, runs: 0, running: 0, moved: BTreeMap::new() }
    }

    /// Work for a key, due at `due`. Key and value are taken where they are needed; where they are not, or where the key's
    /// own code panics, they stay with the caller. Without a key or a value nothing is given.
    ///
    /// # Panics
    /// With more than 2^32 - 2 keys.
    pub fn give(&mut self, rule: Rule, key: &mut Option<K>, value: &mut Option<V>, due: u64) -> Given<V, T> {
        let seat = match self.seats.enter(key, value, |value| Entry { value, trail: None }) {
            None => return Given::Kept { due },
            Some(Entered::Known(seat)) => seat,
            Some(Entered::New(seat)) => {
                let at = self.turn(due);
                self.wheel.put(&mut self.seats, seat, at);
                return Given::New;
            }
        };
        let at = Wheel::at(&self.seats, seat);
        let (follows, forgets, window) = match self.seats.look(seat) {
            Some(Phase::Waiting(Entry { trail, .. })) => (false, false, trail.as_ref().map(Trail::window)),
            Some(Phase::Next(_, forgets)) => (true, forgets, None),
            Some(Phase::Running { forgets }) => {
                let Some(value) = value.take() else { return Given::AfterRun { replaced: None } };
                let next = Phase::Next(Entry { value, trail: None }, forgets || rule == Rule::Anew);
                self.seats.turn_to(seat, next);
                let at = self.turn(due);
                Wheel::hold(&mut self.seats, seat, at);
                return Given::AfterRun { replaced: None };
            }
            None => return Given::Kept { due },
        };
        let carried = window.filter(|_| rule != Rule::Anew).and_then(|window| carried(window, due));
        let due = carried.unwrap_or(due);
        let kept = match rule {
            Rule::Keep => true,
            Rule::Move | Rule::Anew => false,
            Rule::Earlier => at.due <= due,
        };
        if kept {
            return Given::Kept { due: at.due };
        }
        let Some(value) = value.take() else { return Given::Kept { due: at.due } };
        let entry = Entry { value, trail: None };
        let phase = if follows { Phase::Next(entry, forgets || rule == Rule::Anew) } else { Phase::Waiting(entry) };
        let Some(Entry { value, mut trail }) = self.seats.turn_to(seat, phase) else { return Given::New };
        if carried.is_some()
            && let Some(entry) = self.seats.entry_mut(seat)
        {
            entry.trail = trail.take();
        }
        if at.due != due {
            let to = self.turn(due);
            if follows {
                Wheel::hold(&mut self.seats, seat, to);
            } else {
                self.wheel.remove(&mut self.seats, seat);
                self.wheel.put(&mut self.seats, seat, to);
            }
        }
        if follows {
            Given::AfterRun { replaced: Some((at.due, value)) }
        } else {
            Given::Moved { from: at.due, due, value, trail }
        }
    }

    /// Takes out what waits for a key. What runs is not stopped, but nothing will follow it.
    pub fn cancel(&mut self, key: &K) -> Cancelled<K, V, T> {
        self.seats.find(key).map_or(Cancelled::Absent, |seat| self.cancel_seat(seat))
    }

    /// Takes out all that waits, in the order in which it would have run, as if each key had been cancelled.
    pub fn cancel_all(&mut self) -> Vec<Removed<K, V, T>> {
        let mut all: Vec<(Turn, u32)> = self.seats.taken().map(|seat| (Wheel::at(&self.seats, seat), seat)).collect();
        all.sort_unstable();
        let mut out = Vec::new();
        // Seats are given up only afterwards: until then their numbers are good.
        for (Turn { due, .. }, seat) in all {
            let key = match self.seats.look(seat) {
                Some(Phase::Next(..)) => self.seats.key(seat).cloned(),
                _ => None,
            };
            match (self.cancel_without_compacting(seat), key) {
                (Cancelled::Removed(removed), _) => out.push(removed),
                (Cancelled::Running { next: Some((_, value)) }, Some(key)) => {
                    out.push(Removed { key, due, value, trail: None });
                }
                _ => {}
            }
        }
        (0..out.len()).for_each(|_| self.compact());
        out
    }

    /// What a key is doing, its value where one waits, and what failed attempts left; `None` when there is nothing to do
    /// for it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<(State, Option<&V>, Option<&T>)> {
        let seat = self.seats.find(key)?;
        let Turn { due, .. } = Wheel::at(&self.seats, seat);
        Some(match self.seats.look(seat)? {
            Phase::Waiting(Entry { value, trail }) => (State::Scheduled { due }, Some(value), trail.as_ref()),
            Phase::Running { .. } => (State::Running, None, None),
            Phase::Next(Entry { value, .. }, _) => (State::RunningWithNext { due }, Some(value), None),
        })
    }

    /// The next run that is due by `now`, if any is: its value, and what failed attempts left.
    #[must_use]
    pub fn first_due(&mut self, now: u64) -> Option<(&V, Option<&T>)> {
        let (seat, _) = self.wheel.due(&mut self.seats, now)?;
        match self.seats.look(seat)? {
            Phase::Waiting(Entry { value, trail }) => Some((value, trail.as_ref())),
            Phase::Running { .. } | Phase::Next(..) => None,
        }
    }

    /// Starts the next run that is due by `now`, if any is.
    pub fn start(&mut self, now: u64) -> Option<Started<K, V, T>> {
        let (seat, Turn { due, .. }) = self.wheel.due(&mut self.seats, now)?;
        let key = self.seats.key(seat)?.clone();
        self.wheel.pop(&mut self.seats);
        let Entry { value, trail } = self.seats.turn_to(seat, Phase::Running { forgets: false })?;
        self.running = self.running.saturating_add(1);
        self.runs = self.runs.saturating_add(1);
        let run = Run { seat, number: self.runs };
        self.seats.set_run(seat, run.number);
        Some(Started { run, key, value, trail, due })
    }

    /// Ends a run: for good, or to be tried again with that value, when the trail says, unless something newer was given.
    pub fn end(&mut self, run: Run, again: Option<(V, T)>) -> Ended<K, V, T> {
        let (seat, number) = run.over();
        let seat = self.moved.remove(&number).unwrap_or(seat);
        self.running = self.running.saturating_sub(1);
        match (self.seats.look(seat), again) {
            (Some(Phase::Next(_, forgets)), again) => {
                let due = Wheel::at(&self.seats, seat).due;
                self.follow(seat, due, forgets, again)
            }
            (Some(Phase::Running { forgets: false }), Some((value, trail))) => {
                let (due, _) = trail.window();
                self.seats.turn_to(seat, Phase::Waiting(Entry { value, trail: Some(trail) }));
                let at = self.turn(due);
                self.wheel.put(&mut self.seats, seat, at);
                Ended::Again
            }
            (_, again) => {
                let Some((key, _)) = self.remove(seat) else { unreachable!("a key stays until its run is ended") };
                self.compact();
                match again {
                    None => Ended::Gone { key },
                    Some((value, trail)) => Ended::Cancelled { key, value, trail },
                }
            }
        }
    }

    /// When to ask for the next start: not after the next due time, and a few times before it at most. `None`: nothing
    /// waits.
    #[must_use]
    pub fn next_wake(&mut self) -> Option<u64> {
        self.wheel.next_wake(&mut self.seats)
    }

    /// Whether something is due by `now`.
    #[must_use]
    pub fn is_due(&mut self, now: u64) -> bool {
        self.wheel.due(&mut self.seats, now).is_some()
    }

    /// How many keys wait that are due by `now`. It takes a moment for each that is due within the same millisecond or
    /// came out of order.
    #[must_use]
    pub fn due(&mut self, now: u64) -> usize {
        self.wheel.count_due(&mut self.seats, now)
    }

    /// How many keys there are, waiting or running.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    fn turn(&mut self, due: u64) -> Turn {
        self.turns = self.turns.saturating_add(1);
        Turn { due, turn: self.turns }
    }

    /// What was given during a run waits from its end on, and goes on with the trail if the run failed.
    fn follow(&mut self, seat: u32, due: u64, forgets: bool, again: Option<(V, T)>) -> Ended<K, V, T> {
        let window = again.as_ref().filter(|_| !forgets).map(|(_, trail)| trail.window());
        let carried = window.and_then(|window| carried(window, due));
        let (superseded, trail) = match (again, carried) {
            (Some((value, mut trail)), Some(_)) => (Some((value, trail.part())), Some(trail)),
            (again, _) => (again, None),
        };
        self.seats.follow(seat);
        if let Some(entry) = self.seats.entry_mut(seat) {
            entry.trail = trail;
        }
        let mut at = Wheel::at(&self.seats, seat);
        if let Some(later) = carried.filter(|&later| later != due) {
            at = self.turn(later);
        }
        self.wheel.put(&mut self.seats, seat, at);
        Ended::Next { due: at.due, superseded }
    }

    fn cancel_seat(&mut self, seat: u32) -> Cancelled<K, V, T> {
        let cancelled = self.cancel_without_compacting(seat);
        self.compact();
        cancelled
    }

    fn cancel_without_compacting(&mut self, seat: u32) -> Cancelled<K, V, T> {
        let Turn { due, .. } = Wheel::at(&self.seats, seat);
        if let Some(Phase::Waiting(_)) = self.seats.look(seat) {
            self.wheel.remove(&mut self.seats, seat);
            return match self.remove(seat) {
                Some((key, Some(Entry { value, trail }))) => Cancelled::Removed(Removed { key, due, value, trail }),
                _ => Cancelled::Absent,
            };
        }
        let next = self.seats.turn_to(seat, Phase::Running { forgets: true });
        Cancelled::Running { next: next.map(|Entry { value, .. }| (due, value)) }
    }

    fn remove(&mut self, seat: u32) -> Option<(K, Option<Entry<V, T>>)> {
        let left = self.seats.leave(seat);
        if self.seats.is_empty() {
            self.wheel.clear();
        }
        left
    }

    /// After a removal: where most seats are free, the last ones are given up, two at a time, so that memory follows the
    /// number of keys down and no call takes long.
    fn compact(&mut self) {
        for _ in 0..2 {
            let Some(last) = self.seats.last_of_too_many() else { return };
            match self.seats.look(last) {
                None => self.seats.give_up_last(),
                Some(Phase::Waiting(_)) => {
                    let at = Wheel::at(&self.seats, last);
                    self.wheel.remove(&mut self.seats, last);
                    let Some(seat) = self.seats.relocate_last() else { return };
                    self.wheel.put(&mut self.seats, seat, at);
                }
                Some(Phase::Running { .. } | Phase::Next(..)) => {
                    let Some(seat) = self.seats.relocate_last() else { return };
                    self.moved.insert(self.seats.run(seat), seat);
                }
            }
        }
    }
}

/// When an entry that is wanted at `due` may go on with a trail: then or at the end of the pause; `None` if that is beyond
/// the bounds, and it begins anew.
fn carried((first, last): (u64, u64), due: u64) -> Option<u64> {
    let due = due.max(first);
    (due <= last).then_some(due)
}

#[cfg(test)]
mod tests;
