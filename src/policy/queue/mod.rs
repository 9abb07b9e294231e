//! A delay queue of keyed work, without a clock: what is to be done for which key, and when.
//!
//! Per key: waiting, then running, then gone or waiting again. One key never runs twice at once: what is wanted of a
//! key that runs is kept beside the run and applied when it ends. Due times are nanoseconds of the queue's own time,
//! any distance ahead or behind; `u64::MAX` is never. Equal due times come out in the order in which they were given.
//!
//! A run that fails leaves an [`AttemptHistory`]: the count of failures, and the pause before the next attempt. It
//! belongs to the key, not to the value: a newer value, given during the run or in the pause, changes what is tried
//! next and may put it off, but brings it forward no further than the end of the pause. The history is forgotten with a
//! run that succeeds or is given up, with a cancellation, by [`OnOccupied::Reset`], and where the new due time lies
//! beyond the bounds of the attempts so far.
//!
//! # Structure
//! - `slab`: a slot for each key, with its phase and what waits; found by the key's hash.
//! - `wheel`: which slot expires next; `ready` has in order what is due in the present millisecond or before.
//! - `deadline`: what these two know of a slot.
//!
//! Waiting slots, and no others, are in the wheel. A slot that runs has no deadline there, or keeps the one of what
//! follows.

mod deadline;
mod protocol;
mod ready;
mod slab;
mod wheel;

use std::{collections::BTreeMap, hash::Hash};

pub use self::protocol::{
    AfterRun, AttemptHistory, Cancelled, Inserted, OnOccupied, Removed, RunningKey, Started, State,
};
use self::{
    deadline::Deadline,
    slab::{KeySlot, Phase, Slab},
    wheel::Wheel,
};

/// What waits: a value, and what failed attempts have left.
#[derive(Debug)]
struct Entry<V, T> {
    value: V,
    history: Option<T>,
}

/// Keys, their values, when they are due, and which of them run.
#[derive(Debug)]
pub struct KeyedDelayQueue<K, V, T> {
    slab: Slab<K, Entry<V, T>>,
    wheel: Wheel,
    /// The number of the last deadline.
    last_seq: u64,
    /// The number of the last run.
    last_run: u64,
    running: usize,
    /// By the number of a run: the slot of its key, if that has changed meanwhile.
    relocated: BTreeMap<u64, u32>,
}

impl<K: Hash + Eq + Clone, V, T: AttemptHistory> KeyedDelayQueue<K, V, T> {
    /// An empty queue. `now` is the time from which on things will mostly be due: earlier is allowed, and slower.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            slab: Slab::new(),
            wheel: Wheel::new(now),
            last_seq: 0,
            last_run: 0,
            running: 0,
            relocated: BTreeMap::new(),
        }
    }

    /// Gives work for a key, due at `due`. Key and value are taken where they are needed; where they are not, or where
    /// the key's own code panics, they stay with the caller. Without a key or a value nothing is given.
    ///
    /// # Panics
    /// With more than 2^32 - 2 keys.
    pub fn insert(
        &mut self,
        on_occupied: OnOccupied,
        key: &mut Option<K>,
        value: &mut Option<V>,
        due: u64,
    ) -> Inserted<V, T> {
        let slot = match self.slab.insert(key, value, |value| Entry { value, history: None }) {
            None => return Inserted::Kept { due },
            Some(KeySlot::Existing(slot)) => slot,
            Some(KeySlot::New(slot)) => {
                let deadline = self.new_deadline(due);
                self.wheel.insert(&mut self.slab, slot, deadline);
                return Inserted::New;
            }
        };
        let before = Wheel::deadline(&self.slab, slot);
        let (follows, forgets, window) = match self.slab.phase(slot) {
            Some(Phase::Waiting(Entry { history, .. })) => (false, false, history.as_ref().map(AttemptHistory::window)),
            Some(Phase::Next(_, forgets)) => (true, forgets, None),
            Some(Phase::Running { forgets }) => {
                let Some(value) = value.take() else { return Inserted::AfterRun { replaced: None } };
                let next = Phase::Next(Entry { value, history: None }, forgets || on_occupied == OnOccupied::Reset);
                self.slab.set_phase(slot, next);
                let deadline = self.new_deadline(due);
                Wheel::set_deadline(&mut self.slab, slot, deadline);
                return Inserted::AfterRun { replaced: None };
            }
            None => return Inserted::Kept { due },
        };
        let carried = window.filter(|_| on_occupied != OnOccupied::Reset).and_then(|window| carried(window, due));
        let due = carried.unwrap_or(due);
        let kept = match on_occupied {
            OnOccupied::Keep => true,
            OnOccupied::Replace | OnOccupied::Reset => false,
            OnOccupied::KeepEarlier => before.at <= due,
        };
        if kept {
            return Inserted::Kept { due: before.at };
        }
        let Some(value) = value.take() else { return Inserted::Kept { due: before.at } };
        let entry = Entry { value, history: None };
        let phase = if follows {
            Phase::Next(entry, forgets || on_occupied == OnOccupied::Reset)
        } else {
            Phase::Waiting(entry)
        };
        let Some(Entry { value, mut history }) = self.slab.set_phase(slot, phase) else { return Inserted::New };
        if carried.is_some()
            && let Some(entry) = self.slab.entry_mut(slot)
        {
            entry.history = history.take();
        }
        if before.at != due {
            let deadline = self.new_deadline(due);
            if follows {
                Wheel::set_deadline(&mut self.slab, slot, deadline);
            } else {
                self.wheel.remove(&mut self.slab, slot);
                self.wheel.insert(&mut self.slab, slot, deadline);
            }
        }
        if follows {
            Inserted::AfterRun { replaced: Some((before.at, value)) }
        } else {
            Inserted::Moved { from: before.at, due, value, history }
        }
    }

    /// Takes out what waits for a key. What runs is not stopped, but nothing will follow it.
    pub fn cancel(&mut self, key: &K) -> Cancelled<K, V, T> {
        self.slab.find(key).map_or(Cancelled::Absent, |slot| self.cancel_slot(slot))
    }

    /// Takes out all that waits, in the order in which it would have run, as if each key had been cancelled.
    pub fn cancel_all(&mut self) -> Vec<Removed<K, V, T>> {
        let mut all: Vec<(Deadline, u32)> =
            self.slab.occupied().map(|slot| (Wheel::deadline(&self.slab, slot), slot)).collect();
        all.sort_unstable();
        let mut out = Vec::new();
        // Slots are given back only afterwards: until then their numbers are good.
        for (Deadline { at: due, .. }, slot) in all {
            let key = match self.slab.phase(slot) {
                Some(Phase::Next(..)) => self.slab.key(slot).cloned(),
                _ => None,
            };
            match (self.cancel_without_compacting(slot), key) {
                (Cancelled::Removed(removed), _) => out.push(removed),
                (Cancelled::Running { next: Some((_, value)) }, Some(key)) => {
                    out.push(Removed { key, due, value, history: None });
                }
                _ => {}
            }
        }
        (0..out.len()).for_each(|_| self.compact());
        out
    }

    /// What a key is doing, its value where one waits, and what failed attempts left; `None` when there is nothing to
    /// do for it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<(State, Option<&V>, Option<&T>)> {
        let slot = self.slab.find(key)?;
        let Deadline { at: due, .. } = Wheel::deadline(&self.slab, slot);
        Some(match self.slab.phase(slot)? {
            Phase::Waiting(Entry { value, history }) => (State::Scheduled { due }, Some(value), history.as_ref()),
            Phase::Running { .. } => (State::Running, None, None),
            Phase::Next(Entry { value, .. }, _) => (State::RunningWithNext { due }, Some(value), None),
        })
    }

    /// The next run that is due by `now`, if any is: its value, and what failed attempts left.
    #[must_use]
    pub fn first_due(&mut self, now: u64) -> Option<(&V, Option<&T>)> {
        let (slot, _) = self.wheel.peek_due(&mut self.slab, now)?;
        match self.slab.phase(slot)? {
            Phase::Waiting(Entry { value, history }) => Some((value, history.as_ref())),
            Phase::Running { .. } | Phase::Next(..) => None,
        }
    }

    /// Starts the next run that is due by `now`, if any is.
    pub fn start(&mut self, now: u64) -> Option<Started<K, V, T>> {
        let (slot, Deadline { at: due, .. }) = self.wheel.peek_due(&mut self.slab, now)?;
        let key = self.slab.key(slot)?.clone();
        self.wheel.pop(&mut self.slab);
        let Entry { value, history } = self.slab.set_phase(slot, Phase::Running { forgets: false })?;
        self.running = self.running.saturating_add(1);
        self.last_run = self.last_run.saturating_add(1);
        let run = RunningKey { slot, number: self.last_run };
        self.slab.set_run_id(slot, run.number);
        Some(Started { run, key, value, history, due })
    }

    /// Ends a run: for good, or to be tried again with that value, when the history says, unless something newer was
    /// given for the key.
    pub fn end(&mut self, run: RunningKey, again: Option<(V, T)>) -> AfterRun<K, V, T> {
        let (slot, number) = run.into_parts();
        let slot = self.relocated.remove(&number).unwrap_or(slot);
        self.running = self.running.saturating_sub(1);
        match (self.slab.phase(slot), again) {
            (Some(Phase::Next(_, forgets)), again) => {
                let due = Wheel::deadline(&self.slab, slot).at;
                self.follow(slot, due, forgets, again)
            }
            (Some(Phase::Running { forgets: false }), Some((value, history))) => {
                let (due, _) = history.window();
                self.slab.set_phase(slot, Phase::Waiting(Entry { value, history: Some(history) }));
                let deadline = self.new_deadline(due);
                self.wheel.insert(&mut self.slab, slot, deadline);
                AfterRun::Again
            }
            (_, again) => {
                let Some((key, _)) = self.remove(slot) else { unreachable!("a key stays until its run is ended") };
                self.compact();
                match again {
                    None => AfterRun::Gone { key },
                    Some((value, history)) => AfterRun::Cancelled { key, value, history },
                }
            }
        }
    }

    /// When to ask for the next start: not after the next due time, and a few times before it at most. `None`: nothing
    /// waits.
    #[must_use]
    pub fn next_wake(&mut self) -> Option<u64> {
        self.wheel.next_wake(&mut self.slab)
    }

    /// Whether something is due by `now`.
    #[must_use]
    pub fn is_due(&mut self, now: u64) -> bool {
        self.wheel.peek_due(&mut self.slab, now).is_some()
    }

    /// How many keys wait that are due by `now`. It takes a moment for each that is due within the same millisecond or
    /// came out of order.
    #[must_use]
    pub fn due(&mut self, now: u64) -> usize {
        self.wheel.count_due(&mut self.slab, now)
    }

    /// How many keys there are, waiting or running.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
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

    fn new_deadline(&mut self, due: u64) -> Deadline {
        self.last_seq = self.last_seq.saturating_add(1);
        Deadline { at: due, seq: self.last_seq }
    }

    /// What was given during a run waits from its end on, and goes on with the history if the run failed.
    fn follow(&mut self, slot: u32, due: u64, forgets: bool, again: Option<(V, T)>) -> AfterRun<K, V, T> {
        let window = again.as_ref().filter(|_| !forgets).map(|(_, history)| history.window());
        let carried = window.and_then(|window| carried(window, due));
        let (superseded, history) = match (again, carried) {
            (Some((value, mut history)), Some(_)) => (Some((value, history.split_off())), Some(history)),
            (again, _) => (again, None),
        };
        self.slab.promote_next(slot);
        if let Some(entry) = self.slab.entry_mut(slot) {
            entry.history = history;
        }
        let mut deadline = Wheel::deadline(&self.slab, slot);
        if let Some(later) = carried.filter(|&later| later != due) {
            deadline = self.new_deadline(later);
        }
        self.wheel.insert(&mut self.slab, slot, deadline);
        AfterRun::Next { due: deadline.at, superseded }
    }

    fn cancel_slot(&mut self, slot: u32) -> Cancelled<K, V, T> {
        let cancelled = self.cancel_without_compacting(slot);
        self.compact();
        cancelled
    }

    fn cancel_without_compacting(&mut self, slot: u32) -> Cancelled<K, V, T> {
        let Deadline { at: due, .. } = Wheel::deadline(&self.slab, slot);
        if let Some(Phase::Waiting(_)) = self.slab.phase(slot) {
            self.wheel.remove(&mut self.slab, slot);
            return match self.remove(slot) {
                Some((key, Some(Entry { value, history }))) => Cancelled::Removed(Removed { key, due, value, history }),
                _ => Cancelled::Absent,
            };
        }
        let next = self.slab.set_phase(slot, Phase::Running { forgets: true });
        Cancelled::Running { next: next.map(|Entry { value, .. }| (due, value)) }
    }

    fn remove(&mut self, slot: u32) -> Option<(K, Option<Entry<V, T>>)> {
        let left = self.slab.remove(slot);
        if self.slab.is_empty() {
            self.wheel.clear();
        }
        left
    }

    /// After a removal: where most slots are vacant, the last two are given back, so that memory follows the number of
    /// keys down and no call takes long.
    fn compact(&mut self) {
        for _ in 0..2 {
            let Some(last) = self.slab.last_if_sparse() else { return };
            match self.slab.phase(last) {
                None => self.slab.pop_vacant(),
                Some(Phase::Waiting(_)) => {
                    let deadline = Wheel::deadline(&self.slab, last);
                    self.wheel.remove(&mut self.slab, last);
                    let Some(slot) = self.slab.relocate_last() else { return };
                    self.wheel.insert(&mut self.slab, slot, deadline);
                }
                Some(Phase::Running { .. } | Phase::Next(..)) => {
                    let Some(slot) = self.slab.relocate_last() else { return };
                    self.relocated.insert(self.slab.run_id(slot), slot);
                }
            }
        }
    }
}

impl<K, V, T> KeyedDelayQueue<K, V, T> {
    /// What failed attempts have left of all that waits for another, in no order.
    pub fn histories_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.entries_mut().filter_map(|entry| entry.history.as_mut())
    }
}

/// When an entry that is wanted at `due` may go on with a history: then or at the end of the pause; `None` if that is
/// beyond the bounds, and it begins anew.
fn carried((first, last): (u64, u64), due: u64) -> Option<u64> {
    let due = due.max(first);
    (due <= last).then_some(due)
}

#[cfg(test)]
mod tests;
