//! Random histories of the whole queue on a paused clock, each step checked against a naive model: the same runs at the
//! same instants in the same order, the same answers, every value accounted for.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use relent::{
    Backoff, Decision, Jitter, Stop, TimedQueue,
    queue::{Cancelled, ItemEvent, Job, KeyStatus, QueueHandle, Scheduled},
};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);
const PAUSE: u64 = 20;
const TIMEOUT: u64 = 50;
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Waits {
    /// Milliseconds; negative is before the history began.
    due: i64,
    turn: u64,
    value: u64,
    /// Attempts made so far, and the end of the pause after the last one.
    attempts: u32,
    pause: i64,
}

#[derive(Clone, Copy, Debug)]
struct Runs {
    value: u64,
    attempt: u32,
    start: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    waits: Option<Waits>,
    runs: Option<Runs>,
    /// Nothing is to remain of the run if it fails.
    forgets: bool,
}

/// What the worker does in an attempt: how long, and what it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Ok,
    Retry,
    Fatal,
}

fn script(value: u64, attempt: u32) -> (u64, Answer) {
    let mut rng = Rng::with_seed(value * 8 + u64::from(attempt));
    let lasts = *rng.choice(&[0, 0, 10, 30, 49, 200]).unwrap();
    (lasts, *rng.choice(&[Answer::Ok, Answer::Ok, Answer::Retry, Answer::Retry, Answer::Fatal]).unwrap())
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<u8, Entry>,
    turns: u64,
    values: u64,
    concurrency: usize,
    zero: Option<Instant>,
    /// An item whose last attempt failed and that must come back next: key, value, stop, superseded.
    owed: Option<(u8, u64, Stop, bool)>,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    starts: usize,
    done: usize,
    failed: usize,
    gave_up: usize,
    superseded: usize,
    /// Newer values that went on with the attempts at older ones.
    carried: usize,
    after_run: usize,
    kept: usize,
    moved: usize,
    cancelled: usize,
    dropped: usize,
}

impl Model {
    fn now(&self) -> i64 {
        let since = self.zero.unwrap().elapsed();
        assert_eq!(since.as_nanos() % MS.as_nanos(), 0);
        i64::try_from(since.as_millis()).unwrap()
    }

    fn at(&self, ms: i64) -> Instant {
        let zero = self.zero.unwrap();
        if ms < 0 { zero - MS * ms.unsigned_abs() as u32 } else { zero + MS * ms as u32 }
    }

    fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.runs.is_some()).count()
    }

    fn next(&self) -> Option<(u8, Waits)> {
        let free = self.entries.iter().filter(|(_, entry)| entry.runs.is_none());
        free.filter_map(|(key, entry)| Some((*key, entry.waits?))).min_by_key(|(_, waits)| (waits.due, waits.turn))
    }

    fn started(&mut self, job: &Job<u8, u64>) {
        let (key, waits) = self.next().expect("something waits");
        assert_eq!((job.key, job.value, job.due), (key, waits.value, self.at(waits.due)), "the next in order");
        assert_eq!(job.attempt.number(), waits.attempts + 1);
        assert!(waits.due <= self.now(), "started early");
        assert!(self.running() < self.concurrency);
        let runs = Runs { value: job.value, attempt: job.attempt.number(), start: self.now() };
        *self.entries.get_mut(&key).unwrap() = Entry { waits: None, runs: Some(runs), forgets: false };
        self.tally.starts += 1;
    }

    fn told(&mut self, outcome: ItemEvent<'_, u8, u64, Answer>) {
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
    fn failed(&mut self, key: u8, value: u64, attempts: u32, want: Option<i64>) {
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

    fn tidy(&mut self) {
        self.entries.retain(|_, entry| entry.waits.is_some() || entry.runs.is_some());
    }

    /// Nothing is left undone at this instant.
    fn settled(&self, handle: Option<&QueueHandle<u8, u64>>) {
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

    fn give(&mut self, rng: &mut Rng, handle: &QueueHandle<u8, u64>) {
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

    fn cancel(&mut self, key: u8, handle: &QueueHandle<u8, u64>) {
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

    fn forget(&mut self, key: u8) {
        if let Some(entry) = self.entries.get_mut(&key) {
            (entry.waits, entry.forgets) = (None, true);
        }
        self.tidy();
    }

    fn cancel_all(&mut self, handle: &QueueHandle<u8, u64>) {
        let mut want: Vec<_> = self.entries.iter().filter_map(|(key, entry)| Some((*key, entry.waits?))).collect();
        want.sort_by_key(|(_, waits)| (waits.due, waits.turn));
        let want: Vec<_> = want.into_iter().map(|(key, waits)| (key, waits.value, self.at(waits.due))).collect();
        assert_eq!(handle.cancel_all(), want);
        (0..8).for_each(|key| self.forget(key));
    }

    /// The run was dropped: the one that ran was cut, and the item comes back unless it is tried again.
    fn run_dropped(&mut self, queue: &TimedQueue<u8, u64>) {
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

async fn history(seed: u64) -> Tally {
    let mut rng = Rng::with_seed(seed);
    let mut queue = TimedQueue::new()
        .backoff(Backoff::fixed(MS * PAUSE as u32).jitter(Jitter::None))
        .attempt_timeout(MS * TIMEOUT as u32)
        .max_attempts(ATTEMPTS);
    let concurrency = rng.usize(1..4);
    let zero = Some(Instant::now());
    let model = Arc::new(Mutex::new(Model { concurrency, zero, values: seed * 1000, ..Model::default() }));
    let lock = || -> MutexGuard<'_, Model> { model.lock().unwrap() };
    let handles = [queue.handle(), queue.handle()];
    let mut steps = rng.u32(1..30);
    let mut handles = Some(handles);
    loop {
        let work = queue.run(|job: Job<u8, u64>| {
            lock().started(&job);
            async move {
                let (lasts, answer) = script(job.value, job.attempt.number());
                if lasts > 0 {
                    sleep(MS * lasts as u32).await;
                }
                if answer == Answer::Ok { Ok(()) } else { Err(answer) }
            }
        });
        let work = work
            .concurrency(concurrency)
            .unwrap()
            .when(|answer| if *answer == Answer::Fatal { Decision::Fatal } else { Decision::Retry })
            .notify(|outcome| lock().told(outcome))
            .on_given_up(drop);
        let mut working = work.into_future();
        let mut pause = pin!(sleep(MS * 10 * rng.u32(0..4)));
        // One task acts and works, so that it is known which comes first at an instant.
        let finished = poll_fn(|cx| {
            while steps > 0 && pause.as_mut().poll(cx).is_ready() {
                steps -= 1;
                pause.as_mut().reset(Instant::now() + MS * 10 * rng.u32(0..4));
                let handle = &handles.as_ref().unwrap()[usize::from(rng.bool())];
                match rng.u8(0..20) {
                    0..13 => lock().give(&mut rng, handle),
                    13..17 => lock().cancel(rng.u8(0..8), handle),
                    17 => lock().cancel_all(handle),
                    18 if lock().running() <= 1 => return Poll::Ready(None),
                    _ => {}
                }
            }
            if steps == 0 {
                handles = None;
            }
            let polled = Pin::new(&mut working).poll(cx);
            if polled.is_pending() {
                lock().settled(handles.as_ref().map(|handles| &handles[0]));
            }
            polled.map(Some)
        })
        .await;
        drop(working);
        if let Some(finished) = finished {
            assert!(finished.given_up.is_empty() && finished.waiting.is_empty());
            break;
        }
        lock().run_dropped(&queue);
    }
    let model = lock();
    assert!(model.entries.is_empty(), "left over: {model:?}");
    model.tally
}

#[test]
fn ten_thousand_histories_of_the_queue() {
    let first = std::env::var("RELENT_SEED").map_or_else(|_| fastrand::u64(..1 << 40), |seed| seed.parse().unwrap());
    let mut total = Tally::default();
    for seed in first..first + 10_000 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ran = std::panic::catch_unwind(|| runtime.block_on(history(seed)));
        let Ok(tally) = ran else { panic!("RELENT_SEED={seed}") };
        macro_rules! add {
            ($($field:ident)*) => { $(total.$field += tally.$field;)* };
        }
        add!(starts done failed gave_up superseded carried after_run kept moved cancelled dropped);
    }
    println!("10000 histories from RELENT_SEED={first}: {total:?}");
    let Tally { starts, done, failed, gave_up, superseded, carried, after_run, kept, moved, cancelled, dropped } =
        total;
    let rare = [gave_up, superseded, carried, after_run, kept, moved, cancelled, dropped];
    let least = [starts / 50, done / 20, failed / 20].into_iter().chain(rare);
    assert!(least.into_iter().min() > Some(500), "the histories were idle");
}
