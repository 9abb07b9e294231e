//! The delay queue beside a model too simple to be wrong: a list that is searched. The fuzz target runs it, too.

use std::collections::BTreeMap;

use relent::policy::queue::{
    AfterRun, AttemptHistory, Cancelled, Inserted, KeyedDelayQueue, OnOccupied, Removed, RunningKey, Started, State,
};

type Key = u8;
type Value = u32;

/// What failures left: how many, and when the next attempt may start. Split off is the error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Failures {
    count: u32,
    first: u64,
    last: u64,
    error: Option<Value>,
}

impl AttemptHistory for Failures {
    fn window(&self) -> (u64, u64) {
        (self.first, self.last)
    }

    fn split_off(&mut self) -> Self {
        Self { error: self.error.take(), ..*self }
    }
}

/// One thing that may happen to a delay queue. Times are distances from the present of that moment.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Op {
    Keep(Key, Due),
    Move(Key, Due),
    Earlier(Key, Due),
    Anew(Key, Due),
    Cancel(Key),
    CancelAll,
    Pass(u64),
    /// Time passes as the delay queue says, until something is due.
    Sleep,
    Start,
    End(u8),
    /// To be tried again then, or this much later.
    Again(u8, Due, u64),
}

#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Due {
    Ago(u64),
    /// In so many nanoseconds.
    In(u64),
    /// When the last one was due that was given.
    Same,
    /// A little after that: less than a timer can tell.
    After(u8),
    Never,
}

#[derive(Clone, Debug, PartialEq)]
struct Waits {
    due: u64,
    turn: usize,
    value: Value,
    failures: Option<Failures>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// Waiting, or to follow the run.
    waits: Option<Waits>,
    running: bool,
    /// Nothing is to remain of the run if it fails.
    forgets: bool,
}

/// What a history consisted of, so that a test can tell that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) starts: usize,
    pub(crate) conflicts: usize,
    pub(crate) retries: usize,
    /// Newer values that went on with the failures of older ones.
    pub(crate) carried: usize,
    pub(crate) wakes: usize,
}

pub(crate) fn compare(start: u64, ops: &[Op]) -> Tally {
    let mut real: KeyedDelayQueue<Key, Value, Failures> = KeyedDelayQueue::new(start);
    let mut model: BTreeMap<Key, Entry> = BTreeMap::new();
    let mut running: Vec<(RunningKey, Key, Value, u32)> = Vec::new();
    let (mut now, mut last, mut tally) = (start, start, Tally::default());
    for (turn, op) in ops.iter().enumerate() {
        let value = Value::try_from(turn).unwrap();
        match op {
            Op::Keep(key, due) | Op::Move(key, due) | Op::Earlier(key, due) | Op::Anew(key, due) => {
                let rule = match op {
                    Op::Keep(..) => OnOccupied::Keep,
                    Op::Move(..) => OnOccupied::Replace,
                    Op::Anew(..) => OnOccupied::Reset,
                    _ => OnOccupied::KeepEarlier,
                };
                last = at(due, now, last);
                let new = Waits { due: last, turn, value, failures: None };
                let want = give(model.entry(*key).or_default(), rule, new);
                tally.conflicts += usize::from(want != Inserted::New);
                let carries = |entry: &Entry| entry.waits.as_ref().is_some_and(|waits| waits.failures.is_some());
                tally.carried += usize::from(matches!(want, Inserted::Moved { .. }) && carries(&model[key]));
                let (mut given, mut value) = (Some(*key), Some(value));
                assert_eq!(real.insert(rule, &mut given, &mut value, last), want, "{turn}: {op:?}");
                assert_eq!(given.is_some(), want != Inserted::New, "{turn}: a key that is there already is not taken");
                assert_eq!(value.is_some(), matches!(want, Inserted::Kept { .. }));
            }
            Op::Cancel(key) => {
                let want = cancel(&mut model, *key);
                assert_eq!(real.cancel(key), want, "{turn}: {op:?}");
            }
            Op::CancelAll => {
                let mut want: Vec<_> =
                    model.iter().filter_map(|(key, entry)| entry.waits.clone().map(|waits| (*key, waits))).collect();
                want.sort_by_key(|(_, waits)| (waits.due, waits.turn));
                for key in model.keys().copied().collect::<Vec<_>>() {
                    cancel(&mut model, key);
                }
                let out = real.cancel_all().into_iter();
                let out: Vec<_> =
                    out.map(|Removed { key, due, value, history, .. }| (key, due, value, history)).collect();
                let want =
                    want.into_iter().map(|(key, Waits { due, value, failures, .. })| (key, due, value, failures));
                assert_eq!(out, want.collect::<Vec<_>>(), "{turn}: {op:?}");
            }
            Op::Pass(time) => now = now.saturating_add(*time),
            Op::Sleep => {
                let Some((_, due)) = next(&model) else { continue };
                let mut wakes = 0;
                while now < due {
                    now = real.next_wake().unwrap().max(now);
                    assert!(now <= due, "{turn}: overslept");
                    if now < due {
                        assert!(real.start(now).is_none(), "{turn}: started early");
                    }
                    wakes += 1;
                }
                assert!(wakes <= 9, "{turn}: woke {wakes} times");
                tally.wakes += wakes;
            }
            Op::Start => {
                let want = next(&model).filter(|(_, due)| *due <= now);
                assert_eq!(real.is_due(now), want.is_some(), "{turn}: is_due");
                let first = want.and_then(|(key, _)| model[&key].waits.as_ref());
                let first = first.map(|waits| (&waits.value, waits.failures.as_ref()));
                assert_eq!(real.first_due(now), first, "{turn}: first_due");
                let got = real.start(now);
                assert_eq!(got.as_ref().map(|got| (got.key, got.due)), want, "{turn}: {op:?} at {now}");
                if let Some(Started { run, key, value, history, .. }) = got {
                    let entry = model.get_mut(&key).unwrap();
                    let waits = entry.waits.take().unwrap();
                    assert_eq!((waits.value, waits.failures), (value, history));
                    assert!(!entry.running, "{turn}: runs twice");
                    (entry.running, entry.forgets) = (true, false);
                    if let Some(Failures { first, .. }) = history {
                        assert!(first <= now, "{turn}: started in the pause");
                    }
                    running.push((run, key, value, history.map_or(0, |failures| failures.count)));
                    tally.starts += 1;
                }
            }
            Op::End(which) if !running.is_empty() => {
                let (run, key, ..) = running.swap_remove(usize::from(*which) % running.len());
                let entry = model.get_mut(&key).unwrap();
                entry.running = false;
                let want = match &entry.waits {
                    Some(waits) => AfterRun::Next { due: waits.due, superseded: None },
                    None => AfterRun::Gone { key },
                };
                assert_eq!(real.end(run, None), want, "{turn}: {op:?}");
            }
            Op::Again(which, due, window) if !running.is_empty() => {
                let (run, key, value, count) = running.swap_remove(usize::from(*which) % running.len());
                last = at(due, now, last);
                let error = Some(value);
                let failed = Failures { count: count + 1, first: last, last: last.saturating_add(*window), error };
                let entry = model.get_mut(&key).unwrap();
                entry.running = false;
                let want = match entry.waits.as_mut() {
                    Some(waits) => {
                        if !entry.forgets && waits.due.max(failed.first) <= failed.last {
                            if waits.due < failed.first {
                                (waits.due, waits.turn) = (failed.first, turn);
                            }
                            waits.failures = Some(Failures { error: None, ..failed });
                            tally.carried += 1;
                        }
                        AfterRun::Next { due: waits.due, superseded: Some((value, failed)) }
                    }
                    None if entry.forgets => AfterRun::Cancelled { key, value, history: failed },
                    None => {
                        entry.waits = Some(Waits { due: last, turn, value, failures: Some(failed) });
                        tally.retries += 1;
                        AfterRun::Again
                    }
                };
                assert_eq!(real.end(run, Some((value, failed))), want, "{turn}: {op:?}");
            }
            Op::End(_) | Op::Again(..) => {}
        }
        model.retain(|_, entry| entry.running || entry.waits.is_some());
        same(&mut real, &model, now);
    }
    tally
}

fn at(due: &Due, now: u64, last: u64) -> u64 {
    match due {
        Due::Ago(ago) => now.saturating_sub(*ago),
        Due::In(after) => now.saturating_add(*after),
        Due::Same => last,
        Due::After(little) => last.saturating_add((*little).into()),
        Due::Never => u64::MAX,
    }
}

fn give(entry: &mut Entry, rule: OnOccupied, new: Waits) -> Inserted<Value, Failures> {
    let Some(old) = entry.waits.clone() else {
        entry.waits = Some(new);
        entry.forgets |= rule == OnOccupied::Reset;
        return if entry.running { Inserted::AfterRun { replaced: None } } else { Inserted::New };
    };
    // Failures go along with a newer value, and so does the pause; not beyond the bounds.
    let goes_on = |failures: &Failures| rule != OnOccupied::Reset && new.due.max(failures.first) <= failures.last;
    let failures = old.failures.filter(goes_on);
    let due = failures.map_or(new.due, |failures| new.due.max(failures.first));
    if rule == OnOccupied::Keep || (rule == OnOccupied::KeepEarlier && old.due <= due) {
        return Inserted::Kept { due: old.due };
    }
    let turn = if old.due == due { old.turn } else { new.turn };
    entry.waits = Some(Waits { due, turn, failures, ..new });
    entry.forgets |= rule == OnOccupied::Reset;
    if entry.running {
        return Inserted::AfterRun { replaced: Some((old.due, old.value)) };
    }
    let history = if failures.is_some() { None } else { old.failures };
    Inserted::Moved { from: old.due, due, value: old.value, history }
}

fn cancel(model: &mut BTreeMap<Key, Entry>, key: Key) -> Cancelled<Key, Value, Failures> {
    let Some(entry) = model.get_mut(&key).filter(|entry| entry.running || entry.waits.is_some()) else {
        return Cancelled::Absent;
    };
    let waits = entry.waits.take();
    entry.forgets = true;
    match waits {
        next if entry.running => Cancelled::Running { next: next.map(|next| (next.due, next.value)) },
        Some(Waits { due, value, failures, .. }) => Cancelled::Removed(Removed::new(key, due, value, failures)),
        None => Cancelled::Absent,
    }
}

fn next(model: &BTreeMap<Key, Entry>) -> Option<(Key, u64)> {
    let waiting = model.iter().filter(|(_, entry)| !entry.running);
    let waiting = waiting.filter_map(|(key, entry)| entry.waits.as_ref().map(|waits| (waits.due, waits.turn, *key)));
    waiting.min().map(|(due, _, key)| (key, due))
}

/// Everything that can be asked has the answer that the model has.
fn same(real: &mut KeyedDelayQueue<Key, Value, Failures>, model: &BTreeMap<Key, Entry>, now: u64) {
    assert_eq!(real.len(), model.len());
    assert_eq!(real.is_empty(), model.is_empty());
    assert_eq!(real.running(), model.values().filter(|entry| entry.running).count());
    for key in (0..8).chain(model.keys().copied()) {
        let want = model.get(&key).map(|entry| match &entry.waits {
            Some(Waits { due, value, .. }) if entry.running => {
                (State::RunningWithNext { due: *due }, Some(value), None)
            }
            Some(Waits { due, value, failures, .. }) => {
                (State::Scheduled { due: *due }, Some(value), failures.as_ref())
            }
            None => (State::Running, None, None),
        });
        assert_eq!(real.get(&key), want);
    }
    let waiting = model.values().filter(|entry| !entry.running).filter_map(|entry| entry.waits.as_ref());
    assert_eq!(real.due(now), waiting.filter(|waits| waits.due <= now).count());
    let due = next(model).map(|(_, due)| due);
    let wake = real.next_wake();
    assert_eq!(wake.is_some(), due.is_some());
    assert!(wake <= due, "would wake at {wake:?}, due at {due:?}, now {now}");
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.starts += other.starts;
        self.conflicts += other.conflicts;
        self.retries += other.retries;
        self.carried += other.carried;
        self.wakes += other.wakes;
    }
}
