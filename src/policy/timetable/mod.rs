//! What is to be done for which key, and when: the states of keyed work, without a clock.
//!
//! Per key: waiting, then running, then gone or waiting again. One key never runs twice at once: what is wanted of a key
//! that runs is kept beside the run and applied when it ends. Due times are nanoseconds of the queue's own time, any
//! distance ahead or behind; `u64::MAX` is never. Equal due times come out in the order in which they were given.

mod line;
mod rows;
mod seats;
mod wheel;

use std::hash::Hash;

use self::{
    seats::{Entered, Phase, Seats},
    wheel::{Turn, Wheel},
};

/// Who wins when there is an entry already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The entry that is there.
    Keep,
    /// The new one.
    Move,
    /// The earlier one; the one that is there if both are due at once.
    Earlier,
}

/// What giving work for a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Given<V> {
    /// Nothing waited for this key and it did not run: it waits now.
    New,
    /// What waits for this key stays, until `due`; the new value comes back.
    Kept {
        /// When the entry that stays is due.
        due: u64,
        /// The value that was not taken.
        value: V,
    },
    /// What waited for this key is replaced; the old value comes back.
    Moved {
        /// When the old entry was due.
        from: u64,
        /// The old entry's value.
        value: V,
    },
    /// The key is running: this follows once the run has ended. What was to follow comes back, if anything was.
    AfterRun {
        /// Due time and value of what was to follow until now.
        replaced: Option<(u64, V)>,
    },
}

/// What cancelling a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled<V> {
    /// There was nothing to cancel.
    Absent,
    /// What waited is taken out.
    Removed {
        /// When it was due.
        due: u64,
        /// Its value.
        value: V,
    },
    /// The key is running. That run goes on, and nothing follows it: neither what was to follow nor another try.
    Running {
        /// Due time and value of what was to follow.
        next: Option<(u64, V)>,
    },
}

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It waits.
    Scheduled {
        /// Until then.
        due: u64,
    },
    /// It runs, and nothing follows.
    Running,
    /// It runs, and something follows.
    RunningWithNext {
        /// When that is due.
        due: u64,
    },
}

/// What the end of a run led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended<V> {
    /// The key is gone.
    Gone,
    /// The key waits for its next try, as asked.
    Again,
    /// What was given for the key during the run waits now; a value that was to be tried again comes back.
    Next {
        /// The value that came too late for another try.
        superseded: Option<V>,
    },
    /// It was to be tried again, but the key was cancelled during the run: it is gone, the value comes back.
    Cancelled(V),
}

/// A key that has begun to run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started<K, V> {
    /// The run, to be ended with [`Timetable::end`].
    pub run: Run,
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// When it was due.
    pub due: u64,
}

/// A run of a key that has begun and not ended. There is one at most for each key.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a key runs until its run is ended"]
pub struct Run {
    seat: u32,
}

impl Run {
    fn over(self) -> u32 {
        self.seat
    }
}

/// Keys, their values, when they are due, and which of them run.
#[derive(Debug)]
pub struct Timetable<K, V> {
    seats: Seats<K, V>,
    wheel: Wheel,
    turns: u64,
    running: usize,
}

impl<K: Hash + Eq + Clone, V> Timetable<K, V> {
    /// An empty timetable. `now` is the time from which on things will mostly be due: earlier is allowed, and slower.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { seats: Seats::new(), wheel: Wheel::new(now), turns: 0, running: 0 }
    }

    /// Work for a key, due at `due`.
    ///
    /// # Panics
    /// With more than 2^32 - 2 keys.
    pub fn give(&mut self, rule: Rule, key: K, value: V, due: u64) -> Given<V> {
        let (seat, value) = match self.seats.enter(key, value) {
            Entered::New(seat) => {
                let at = self.turn(due);
                self.wheel.put(&mut self.seats, seat, at);
                return Given::New;
            }
            Entered::Known(seat, value) => (seat, value),
        };
        let follows = match self.seats.look(seat) {
            Some(Phase::Waiting(_)) => false,
            Some(Phase::Next(_)) => true,
            Some(Phase::Running { .. }) | None => {
                self.seats.turn_to(seat, Phase::Next(value));
                let at = self.turn(due);
                Wheel::hold(&mut self.seats, seat, at);
                return Given::AfterRun { replaced: None };
            }
        };
        let at = Wheel::at(&self.seats, seat);
        let kept = match rule {
            Rule::Keep => true,
            Rule::Move => false,
            Rule::Earlier => at.due <= due,
        };
        if kept {
            return Given::Kept { due: at.due, value };
        }
        let Some(old) = self.seats.exchange(seat, value) else { return Given::New }; // there is one, seen above
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
            Given::AfterRun { replaced: Some((at.due, old)) }
        } else {
            Given::Moved { from: at.due, value: old }
        }
    }

    /// Takes out what waits for a key. What runs is not stopped, but nothing will follow it.
    pub fn cancel(&mut self, key: &K) -> Cancelled<V> {
        let Some(seat) = self.seats.find(key) else { return Cancelled::Absent };
        let Turn { due, .. } = Wheel::at(&self.seats, seat);
        if let Some(Phase::Waiting(_)) = self.seats.look(seat) {
            self.wheel.remove(&mut self.seats, seat);
            let value = self.remove(seat);
            return value.map_or(Cancelled::Absent, |value| Cancelled::Removed { due, value });
        }
        let next = self.seats.turn_to(seat, Phase::Running { cancelled: true });
        Cancelled::Running { next: next.map(|value| (due, value)) }
    }

    /// Takes out all that waits, in the order in which it would have run, as if each key had been cancelled.
    pub fn cancel_all(&mut self) -> Vec<(K, u64, V)> {
        let mut all: Vec<(Turn, u32)> = self.seats.taken().map(|seat| (Wheel::at(&self.seats, seat), seat)).collect();
        all.sort_unstable();
        let mut out = Vec::new();
        for (Turn { due, .. }, seat) in all {
            let Some(key) = self.seats.key(seat).cloned() else { continue };
            match self.cancel(&key) {
                Cancelled::Removed { value, .. } | Cancelled::Running { next: Some((_, value)) } => {
                    out.push((key, due, value));
                }
                _ => {}
            }
        }
        out
    }

    /// What a key is doing; `None` when there is nothing to do for it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<(State, Option<&V>)> {
        let seat = self.seats.find(key)?;
        let Turn { due, .. } = Wheel::at(&self.seats, seat);
        Some(match self.seats.look(seat)? {
            Phase::Waiting(value) => (State::Scheduled { due }, Some(value)),
            Phase::Running { .. } => (State::Running, None),
            Phase::Next(value) => (State::RunningWithNext { due }, Some(value)),
        })
    }

    /// The value of the next run that is due by `now`, if any is.
    #[must_use]
    pub fn first_due(&mut self, now: u64) -> Option<&V> {
        let (seat, _) = self.wheel.due(&mut self.seats, now)?;
        match self.seats.look(seat)? {
            Phase::Waiting(value) | Phase::Next(value) => Some(value),
            Phase::Running { .. } => None,
        }
    }

    /// Starts the next run that is due by `now`, if any is.
    pub fn start(&mut self, now: u64) -> Option<Started<K, V>> {
        let (seat, Turn { due, .. }) = self.wheel.due(&mut self.seats, now)?;
        let key = self.seats.key(seat)?.clone();
        self.wheel.pop(&mut self.seats);
        let value = self.seats.turn_to(seat, Phase::Running { cancelled: false })?;
        self.running = self.running.saturating_add(1);
        Some(Started { run: Run { seat }, key, value, due })
    }

    /// Ends a run: for good, or to be tried `again` at that time with that value unless something newer was given.
    pub fn end(&mut self, run: Run, again: Option<(u64, V)>) -> Ended<V> {
        let seat = run.over();
        self.running = self.running.saturating_sub(1);
        match (self.seats.look(seat), again) {
            (Some(Phase::Next(_)), again) => {
                self.seats.follow(seat);
                let at = Wheel::at(&self.seats, seat);
                self.wheel.put(&mut self.seats, seat, at);
                Ended::Next { superseded: again.map(|(_, value)| value) }
            }
            (Some(Phase::Running { cancelled: false }), Some((due, value))) => {
                self.seats.turn_to(seat, Phase::Waiting(value));
                let at = self.turn(due);
                self.wheel.put(&mut self.seats, seat, at);
                Ended::Again
            }
            (_, again) => {
                self.remove(seat);
                again.map_or(Ended::Gone, |(_, value)| Ended::Cancelled(value))
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

    fn remove(&mut self, seat: u32) -> Option<V> {
        let value = self.seats.leave(seat);
        if self.seats.is_empty() {
            self.seats.shrink();
            self.wheel.clear();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last one to leave turns out the light: memory of free seats and of old tickets is given back.
    #[test]
    fn an_empty_timetable_forgets() {
        let mut table = Timetable::new(0);
        for round in 0..3 {
            for key in 0..5000 {
                let _ = table.give(Rule::Keep, key, (), round);
            }
            if round == 1 {
                while let Some(started) = table.start(round) {
                    table.end(started.run, None);
                }
            } else {
                assert_eq!(table.cancel_all().len(), 5000);
            }
            assert!(table.is_empty() && table.seats.is_vacant() && table.wheel.is_vacant(), "round {round}");
        }
    }
}
