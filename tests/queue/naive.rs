//! The timetable beside a model too simple to be wrong: a list that is searched. The fuzz target runs it, too.

use std::collections::BTreeMap;

use relent::policy::timetable::{Cancelled, Ended, Given, Rule, Run, Started, State, Timetable};

type Key = u8;
type Value = u32;

/// One thing that may happen to a timetable. Times are distances from the present of that moment.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Op {
    Keep(Key, Due),
    Move(Key, Due),
    Earlier(Key, Due),
    Cancel(Key),
    CancelAll,
    Pass(u64),
    /// Time passes as the timetable says, until something is due.
    Sleep,
    Start,
    End(u8),
    Again(u8, Due),
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
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// Waiting, or to follow the run.
    waits: Option<Waits>,
    running: bool,
    cancelled: bool,
}

/// What a history consisted of, so that a test can tell that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) starts: usize,
    pub(crate) conflicts: usize,
    pub(crate) retries: usize,
    pub(crate) wakes: usize,
}

pub(crate) fn compare(start: u64, ops: &[Op]) -> Tally {
    let mut real: Timetable<Key, Value> = Timetable::new(start);
    let mut model: BTreeMap<Key, Entry> = BTreeMap::new();
    let mut running: Vec<(Run, Key, Value)> = Vec::new();
    let (mut now, mut last, mut tally) = (start, start, Tally::default());
    for (turn, op) in ops.iter().enumerate() {
        let value = Value::try_from(turn).unwrap();
        match op {
            Op::Keep(key, due) | Op::Move(key, due) | Op::Earlier(key, due) => {
                let rule = match op {
                    Op::Keep(..) => Rule::Keep,
                    Op::Move(..) => Rule::Move,
                    _ => Rule::Earlier,
                };
                last = at(due, now, last);
                let want = give(model.entry(*key).or_default(), rule, Waits { due: last, turn, value });
                tally.conflicts += usize::from(want != Given::New);
                assert_eq!(real.give(rule, *key, value, last), want, "{turn}: {op:?}");
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
                let want: Vec<_> = want.into_iter().map(|(key, waits)| (key, waits.due, waits.value)).collect();
                assert_eq!(real.cancel_all(), want, "{turn}: {op:?}");
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
                let value = want.and_then(|(key, _)| model[&key].waits.as_ref().map(|waits| waits.value));
                assert_eq!(real.first_due(now).copied(), value, "{turn}: first_due");
                let got = real.start(now);
                assert_eq!(got.as_ref().map(|got| (got.key, got.due)), want, "{turn}: {op:?} at {now}");
                if let Some(Started { run, key, value, .. }) = got {
                    let entry = model.get_mut(&key).unwrap();
                    assert_eq!(entry.waits.take().map(|waits| waits.value), Some(value));
                    assert!(!entry.running, "{turn}: runs twice");
                    (entry.running, entry.cancelled) = (true, false);
                    running.push((run, key, value));
                    tally.starts += 1;
                }
            }
            Op::End(which) if !running.is_empty() => {
                let (run, key, _) = running.swap_remove(usize::from(*which) % running.len());
                let entry = model.get_mut(&key).unwrap();
                entry.running = false;
                let want = if entry.waits.is_some() { Ended::Next { superseded: None } } else { Ended::Gone };
                assert_eq!(real.end(run, None), want, "{turn}: {op:?}");
            }
            Op::Again(which, due) if !running.is_empty() => {
                let (run, key, value) = running.swap_remove(usize::from(*which) % running.len());
                last = at(due, now, last);
                let entry = model.get_mut(&key).unwrap();
                entry.running = false;
                let want = if entry.waits.is_some() {
                    Ended::Next { superseded: Some(value) }
                } else if entry.cancelled {
                    Ended::Cancelled(value)
                } else {
                    entry.waits = Some(Waits { due: last, turn, value });
                    tally.retries += 1;
                    Ended::Again
                };
                assert_eq!(real.end(run, Some((last, value))), want, "{turn}: {op:?}");
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

fn give(entry: &mut Entry, rule: Rule, new: Waits) -> Given<Value> {
    match entry.waits.clone() {
        None => {
            entry.waits = Some(new);
            if entry.running { Given::AfterRun { replaced: None } } else { Given::New }
        }
        Some(old) if rule == Rule::Keep || (rule == Rule::Earlier && old.due <= new.due) => {
            Given::Kept { due: old.due, value: new.value }
        }
        Some(old) => {
            let turn = if old.due == new.due { old.turn } else { new.turn };
            entry.waits = Some(Waits { turn, ..new });
            if entry.running {
                Given::AfterRun { replaced: Some((old.due, old.value)) }
            } else {
                Given::Moved { from: old.due, value: old.value }
            }
        }
    }
}

fn cancel(model: &mut BTreeMap<Key, Entry>, key: Key) -> Cancelled<Value> {
    let Some(entry) = model.get_mut(&key).filter(|entry| entry.running || entry.waits.is_some()) else {
        return Cancelled::Absent;
    };
    let waits = entry.waits.take();
    entry.cancelled = true;
    match waits {
        next if entry.running => Cancelled::Running { next: next.map(|next| (next.due, next.value)) },
        Some(Waits { due, value, .. }) => Cancelled::Removed { due, value },
        None => Cancelled::Absent,
    }
}

fn next(model: &BTreeMap<Key, Entry>) -> Option<(Key, u64)> {
    let waiting = model.iter().filter(|(_, entry)| !entry.running);
    let waiting = waiting.filter_map(|(key, entry)| entry.waits.as_ref().map(|waits| (waits.due, waits.turn, *key)));
    waiting.min().map(|(due, _, key)| (key, due))
}

/// Everything that can be asked has the answer that the model has.
fn same(real: &mut Timetable<Key, Value>, model: &BTreeMap<Key, Entry>, now: u64) {
    assert_eq!(real.len(), model.len());
    assert_eq!(real.is_empty(), model.is_empty());
    assert_eq!(real.running(), model.values().filter(|entry| entry.running).count());
    for key in (0..8).chain(model.keys().copied()) {
        let want = model.get(&key).map(|entry| match &entry.waits {
            Some(Waits { due, value, .. }) if entry.running => (State::RunningWithNext { due: *due }, Some(value)),
            Some(Waits { due, value, .. }) => (State::Scheduled { due: *due }, Some(value)),
            None => (State::Running, None),
        });
        assert_eq!(real.get(&key), want);
    }
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
        self.wakes += other.wakes;
    }
}
