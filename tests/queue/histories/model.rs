//! The naive queue: a map and a number of the turn.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use relent::{
    Stop, TimedQueue,
    queue::{Cancelled, ItemEvent, Job, KeyStatus, QueueHandle, Scheduled},
};
use tokio::time::Instant;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const PAUSE: u64 = 20;
pub(super) const TIMEOUT: u64 = 50;
pub(super) const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waits {
    /// Milliseconds; negative is before the history began.
    pub(super) due: i64,
    pub(super) turn: u64,
    pub(super) value: u64,
    /// Attempts made so far, and the end of the pause after the last one.
    pub(super) attempts: u32,
    pub(super) pause: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    pub(super) value: u64,
    pub(super) attempt: u32,
    pub(super) start: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) waits: Option<Waits>,
    pub(super) runs: Option<Runs>,
    /// Nothing is to remain of the run if it fails.
    pub(super) forgets: bool,
}

/// What the worker does in an attempt: how long, and what it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Ok,
    Retry,
    Fatal,
}

pub(super) fn script(value: u64, attempt: u32) -> (u64, Answer) {
    let mut rng = Rng::with_seed(value * 8 + u64::from(attempt));
    let lasts = *rng.choice(&[0, 0, 10, 30, 49, 200]).unwrap();
    (lasts, *rng.choice(&[Answer::Ok, Answer::Ok, Answer::Retry, Answer::Retry, Answer::Fatal]).unwrap())
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<u8, Entry>,
    pub(super) turns: u64,
    pub(super) values: u64,
    pub(super) concurrency: usize,
    pub(super) zero: Option<Instant>,
    /// An item whose last attempt failed and that must come back next: key, value, stop, superseded.
    pub(super) owed: Option<(u8, u64, Stop, bool)>,
    pub(super) tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) starts: usize,
    pub(super) done: usize,
    pub(super) failed: usize,
    pub(super) gave_up: usize,
    pub(super) superseded: usize,
    /// Newer values that went on with the attempts at older ones.
    pub(super) carried: usize,
    pub(super) after_run: usize,
    pub(super) kept: usize,
    pub(super) moved: usize,
    pub(super) cancelled: usize,
    pub(super) dropped: usize,
}

impl Model {
    pub(super) fn now(&self) -> i64 {
        let since = self.zero.unwrap().elapsed();
        assert_eq!(since.as_nanos() % MS.as_nanos(), 0);
        i64::try_from(since.as_millis()).unwrap()
    }

    pub(super) fn at(&self, ms: i64) -> Instant {
        let zero = self.zero.unwrap();
        if ms < 0 { zero - MS * ms.unsigned_abs() as u32 } else { zero + MS * ms as u32 }
    }

    pub(super) fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.runs.is_some()).count()
    }

    pub(super) fn next(&self) -> Option<(u8, Waits)> {
        let free = self.entries.iter().filter(|(_, entry)| entry.runs.is_none());
        free.filter_map(|(key, entry)| Some((*key, entry.waits?))).min_by_key(|(_, waits)| (waits.due, waits.turn))
    }

    pub(super) fn started(&mut self, job: &Job<u8, u64>) {
        let (key, waits) = self.next().expect("something waits");
        assert_eq!((job.key, job.value, job.due), (key, waits.value, self.at(waits.due)), "the next in order");
        assert_eq!(job.attempt.number(), waits.attempts + 1);
        assert!(waits.due <= self.now(), "started early");
        assert!(self.running() < self.concurrency);
        let runs = Runs { value: job.value, attempt: job.attempt.number(), start: self.now() };
        *self.entries.get_mut(&key).unwrap() = Entry { waits: None, runs: Some(runs), forgets: false };
        self.tally.starts += 1;
    }

    pub(super) fn told(&mut self, outcome: ItemEvent<'_, u8, u64, Answer>) {
        let now = self.now();
        if let Some((key, value, stop, superseded)) = self.owed.take() {
            let given_up = match outcome {
                ItemEvent::GaveUp(given_up) if !superseded => given_up,
                ItemEvent::Superseded(given_up) if superseded => given_up,
                other => panic!("{key} was to come back, not {other:?}"),
            };
            assert_eq!((given_up.key, given_up.value, given_up.error.stop()), (key, value, &stop));
            assert_eq!(given_up.superseded, superseded);
            return;
        }
        let key = match &outcome {
            ItemEvent::Done { key, .. } | ItemEvent::Failed { key, .. } => **key,
            other => panic!("unexpected {other:?}"),
        };
        let entry = self.entries.get_mut(&key).unwrap();
        let Runs { value, attempt, start } = entry.runs.take().expect("it ran");
        let (lasts, answer) = script(value, attempt);
        let ran = u64::try_from(now - start).unwrap();
        match outcome {
            ItemEvent::Done { value: back, attempt: number, .. } => {
                assert_eq!((*back, number.number(), ran, answer), (value, attempt, lasts, Answer::Ok));
                self.tally.done += 1;
            }
            ItemEvent::Failed { again, last, .. } => {
                let cut = lasts >= TIMEOUT;
                assert_eq!(ran, lasts.min(TIMEOUT));
                assert!(matches!(last, relent::Last::Cut { .. }) == cut, "{last:?}");
                let fatal = !cut && answer == Answer::Fatal;
                assert!(cut || answer != Answer::Ok);
                let due = now + PAUSE as i64;
                let want = (!fatal && attempt < ATTEMPTS).then_some(due);
                let zero = self.zero.unwrap();
                assert_eq!(again, want.map(|want| zero + MS * want as u32));
                self.tally.failed += 1;
                let stop = match want {
                    Some(_) => Stop::Cancelled,
                    None if fatal => Stop::Fatal,
                    None => Stop::Attempts,
                };
                // Given up rather than superseded if there was to be no attempt anyway.
                let superseded = want.is_some() && entry.waits.is_some();
                if superseded || want.is_none() || entry.forgets {
                    self.owed = Some((key, value, stop, superseded));
                    self.tally.superseded += usize::from(superseded);
                    self.tally.gave_up += usize::from(!superseded);
                }
                self.failed(key, value, attempt, want);
            }
            _ => unreachable!(),
        }
        self.tidy();
    }

    /// What follows a failed attempt after which there may be another one then.
    pub(super) fn failed(&mut self, key: u8, value: u64, attempts: u32, want: Option<i64>) {
        let entry = self.entries.get_mut(&key).unwrap();
        let Some(pause) = want.filter(|_| !entry.forgets) else { return };
        self.turns += 1;
        let turn = self.turns;
        match &mut entry.waits {
            None => entry.waits = Some(Waits { due: pause, turn, value, attempts, pause }),
            Some(waits) => {
                (waits.attempts, waits.pause) = (attempts, pause);
                if waits.due < pause {
                    (waits.due, waits.turn) = (pause, turn);
                }
                self.tally.carried += 1;
            }
        }
    }

    pub(super) fn tidy(&mut self) {
        self.entries.retain(|_, entry| entry.waits.is_some() || entry.runs.is_some());
    }

    /// Nothing is left undone at this instant.
    pub(super) fn settled(&self, handle: Option<&QueueHandle<u8, u64>>) {
        let now = self.now();
        assert!(self.owed.is_none());
        if self.running() < self.concurrency {
            assert!(self.next().is_none_or(|(_, waits)| waits.due > now), "{:?} waits at {now}", self.next());
        }
        for (key, entry) in &self.entries {
            if let Some(Runs { value, attempt, start }) = entry.runs {
                assert!(start + script(value, attempt).0.min(TIMEOUT) as i64 > now, "{key} runs on at {now}");
            }
        }
        let Some(handle) = handle else { return };
        assert_eq!((handle.len(), handle.running()), (self.entries.len(), self.running()));
        for key in 0..8 {
            let status = match (handle.get(&key), self.entries.get(&key)) {
                (None, None) => continue,
                (Some(status), Some(entry)) => (status, entry),
                other => panic!("{key}: {other:?}"),
            };
            match status {
                (KeyStatus::Scheduled { due, attempts, .. }, Entry { waits: Some(waits), runs: None, .. }) => {
                    assert_eq!((due, attempts), (self.at(waits.due), waits.attempts));
                }
                (KeyStatus::Running, Entry { waits: None, runs: Some(_), .. }) => {}
                (KeyStatus::RunningWithNext { due, .. }, Entry { waits: Some(waits), runs: Some(_), .. }) => {
                    assert_eq!(due, self.at(waits.due));
                }
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    pub(super) fn give(&mut self, rng: &mut Rng, handle: &QueueHandle<u8, u64>) {
        let (key, rule) = (rng.u8(0..8), rng.u8(0..10));
        let asked = self.now() + rng.i64(-3..12) * 10;
        self.values += 1;
        self.turns += 1;
        let (value, at, turn) = (self.values, self.at(asked), self.turns);
        let got = match rule {
            0..3 => handle.schedule(key, value, at),
            3..6 => handle.reschedule(key, value, at),
            6..9 => handle.bring_forward(key, value, at),
            _ => handle.begin_anew(key, value, at),
        };
        let entry = *self.entries.entry(key).or_default();
        let old = entry.waits.map(|old| (self.at(old.due), old.value));
        // In the pause it is the next try, and not before the pause is over.
        let tried = entry.waits.filter(|old| old.attempts > 0 && rule < 9);
        let (attempts, pause) = tried.map_or((0, i64::MIN), |old| (old.attempts, old.pause));
        let due = asked.max(pause);
        let new = Waits { due, turn, value, attempts, pause };
        let keeps = entry.waits.is_some_and(|old| rule < 3 || ((6..9).contains(&rule) && old.due <= due));
        match (got, old) {
            (Scheduled::New, None) => assert!(entry.runs.is_none()),
            (Scheduled::Kept { due, value, .. }, Some(old)) => {
                assert!(keeps && (due, value) == (old.0, new.value));
                self.tally.kept += 1;
                return;
            }
            (Scheduled::Moved { from, value, .. }, Some(old)) => {
                assert!(!keeps && entry.runs.is_none() && (from, value) == old);
                self.tally.moved += 1;
                self.tally.carried += usize::from(attempts > 0);
            }
            (Scheduled::AfterCurrentRun { replaced, .. }, old) => {
                assert!(!keeps && entry.runs.is_some() && replaced == old);
                self.tally.after_run += 1;
            }
            other => panic!("{other:?}"),
        }
        let turn = entry.waits.filter(|old| old.due == due).map_or(new.turn, |old| old.turn);
        let entry = self.entries.get_mut(&key).unwrap();
        entry.waits = Some(Waits { turn, ..new });
        entry.forgets |= rule == 9;
    }

    pub(super) fn cancel(&mut self, key: u8, handle: &QueueHandle<u8, u64>) {
        let entry = self.entries.get(&key).copied().unwrap_or_default();
        let next = entry.waits.map(|waits| (self.at(waits.due), waits.value));
        match handle.cancel(&key) {
            Cancelled::Absent => assert!(next.is_none() && entry.runs.is_none()),
            Cancelled::Removed { due, value, .. } => assert!(entry.runs.is_none() && next == Some((due, value))),
            Cancelled::Running { next: got, .. } => assert!(entry.runs.is_some() && next == got),
            other => panic!("{other:?}"),
        }
        self.forget(key);
        self.tally.cancelled += 1;
    }

    pub(super) fn forget(&mut self, key: u8) {
        if let Some(entry) = self.entries.get_mut(&key) {
            (entry.waits, entry.forgets) = (None, true);
        }
        self.tidy();
    }

    pub(super) fn cancel_all(&mut self, handle: &QueueHandle<u8, u64>) {
        let mut want: Vec<_> = self.entries.iter().filter_map(|(key, entry)| Some((*key, entry.waits?))).collect();
        want.sort_by_key(|(_, waits)| (waits.due, waits.turn));
        let want: Vec<_> = want.into_iter().map(|(key, waits)| (key, waits.value, self.at(waits.due))).collect();
        assert_eq!(handle.cancel_all(), want);
        (0..8).for_each(|key| self.forget(key));
    }

    /// The run was dropped: the one that ran was cut, and the item comes back unless it is tried again.
    pub(super) fn run_dropped(&mut self, queue: &TimedQueue<u8, u64>) {
        let now = self.now();
        let Some((key, entry)) = self.entries.iter_mut().find(|(_, entry)| entry.runs.is_some()) else { return };
        let (key, Runs { value, attempt, .. }) = (*key, entry.runs.take().unwrap());
        let want = (attempt < ATTEMPTS).then_some(now + PAUSE as i64);
        let superseded = want.is_some() && entry.waits.is_some();
        let back = (superseded || want.is_none() || entry.forgets).then_some((key, value, superseded));
        self.failed(key, value, attempt, want);
        let given_up = queue.take_given_up();
        let got = given_up.first().map(|given_up| (given_up.key, given_up.value, given_up.superseded));
        assert_eq!(got, back);
        assert!(given_up.len() <= 1);
        if let Some(error) = given_up.first().and_then(|given_up| given_up.error.last_error()) {
            assert!(error.is::<Answer>());
        }
        self.tally.dropped += 1;
        self.tidy();
    }
}
