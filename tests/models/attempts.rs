//! One run, from its settings and what its calls do.

use std::time::Duration;

use relent::{
    Decision, Policy,
    error::CutBy,
    policy::schedule::{
        attempts::{Attempts, Next, PolicyStop},
        jitter::series,
    },
};

use super::{
    FOREVER,
    backoff::{Schedule, Shape, nanos},
    source::Source,
};

/// A policy, written down.
#[derive(Clone, Debug)]
pub struct Settings {
    pub every: Option<Duration>,
    pub random_phase: bool,
    pub backoff: Option<Schedule>,
    pub attempt_timeout: Option<Duration>,
    pub start_within: Option<Duration>,
    pub finish_within: Option<Duration>,
    pub max_attempts: Option<u32>,
    pub final_try: bool,
    pub delay_first: bool,
    pub on_cut: Says,
    pub max_retry_after: Option<Duration>,
}

/// What follows an error.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    Retry,
    RetryAfter(Duration),
    Fatal,
}

/// One call of the operation: it fails after a time, if it is not cut before.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub takes: Duration,
    pub says: Says,
    /// What is drawn for the pause before the call.
    pub random: u64,
    /// How much later than planned it starts.
    pub late: Duration,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// When each attempt started and ended, and what cut it.
    pub attempts: Vec<(u128, u128, Option<CutBy>)>,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stopped(PolicyStop),
    /// A call or a pause has no end.
    Never,
    /// There were no more calls to make it of.
    Open,
}

impl From<Says> for Decision {
    fn from(says: Says) -> Self {
        match says {
            Says::Retry => Self::Retry,
            Says::RetryAfter(pause) => Self::RetryAfter(pause),
            Says::Fatal => Self::Fatal,
        }
    }
}

fn bound(time: Option<Duration>) -> u128 {
    match time.map_or(FOREVER, nanos) {
        FOREVER => u128::MAX,
        bound => bound,
    }
}

impl Settings {
    /// The real thing.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::new().on_cut(Decision::from(self.on_cut));
        if let Some(every) = self.every {
            policy = policy.every(every);
        }
        if let Some(backoff) = &self.backoff {
            policy = policy.backoff(backoff.build());
        }
        if let Some(timeout) = self.attempt_timeout {
            policy = policy.attempt_timeout(timeout);
        }
        if let Some(window) = self.start_within {
            policy = policy.start_within(window);
        }
        if let Some(bound) = self.finish_within {
            policy = policy.finish_within(bound);
        }
        if let Some(attempts) = self.max_attempts {
            policy = policy.max_attempts(attempts);
        }
        if let Some(most) = self.max_retry_after {
            policy = policy.max_retry_after(most);
        }
        if self.random_phase {
            policy = policy.random_phase();
        }
        if self.final_try {
            policy = policy.final_try();
        }
        if self.delay_first { policy.delay_first() } else { policy }
    }

    /// The same calls, with what a run draws for the pause before each if it has a seed.
    pub fn seeded(&self, calls: &[Call]) -> Vec<Call> {
        let seed = self.backoff.as_ref().and_then(Schedule::seed);
        let first = u64::from(!self.delay_first);
        let drawn = |(before, call): (u64, &Call)| match (seed, before.checked_sub(first)) {
            (Some(seed), Some(number)) => Call { random: series(seed, number), ..*call },
            _ => *call,
        };
        (0_u64..).zip(calls).map(drawn).collect()
    }

    /// What the documentation says that a run with these calls does.
    pub fn history(&self, calls: &[Call]) -> History {
        let (timeout, window, hard) =
            (bound(self.attempt_timeout), bound(self.start_within), bound(self.finish_within));
        let usual = Schedule::of(Shape::Exponential(Duration::from_millis(100), Duration::from_secs(10)));
        let backoff = match (&self.backoff, self.every) {
            (Some(backoff), _) => Some(backoff),
            (None, None) => Some(&usual),
            (None, Some(_)) => None,
        };
        let healthy = backoff.and_then(Schedule::reset_after).map(nanos);
        let most = bound(self.max_retry_after);
        let closes = if window < hard { PolicyStop::StartWindow } else { PolicyStop::Deadline };

        let mut attempts: Vec<(u128, u128, Option<CutBy>)> = Vec::new();
        let mut drawn: Vec<u64> = Vec::new();
        let mut tried_finally = false;
        let mut grid = 0_u128;
        // When the call before ended, and the pause that was asked for.
        let (mut now, mut asked) = (0_u128, 0_u128);
        let max = self.max_attempts.unwrap_or(u32::MAX);
        let stopped = |attempts, why| History { attempts, end: End::Stopped(why) };
        for call in calls {
            if attempts.len() as u128 >= u128::from(max) {
                return stopped(attempts, PolicyStop::Attempts);
            }
            let start = if attempts.is_empty() && !self.delay_first {
                0
            } else {
                let mut planned = now + asked;
                if let Some(backoff) = backoff {
                    drawn.push(call.random);
                    match backoff.last_of(&drawn) {
                        Some(delay) => planned = planned.max(now + delay),
                        None => return stopped(attempts, PolicyStop::BackoffEnded),
                    }
                }
                let started = attempts.last().map_or(0, |last| last.0);
                if let Some(every) = self.every.map(nanos) {
                    match attempts.len() {
                        0 if self.random_phase => grid = phase(every, call.random),
                        1 if self.random_phase && !self.delay_first => grid = started + phase(every, call.random),
                        1 => grid = started,
                        _ => {}
                    }
                    // A grid that is laid in the last nanosecond before forever has no tick.
                    if grid == FOREVER - 1 {
                        grid = u128::MAX;
                    }
                    planned = planned.max(tick(grid, every, started, now));
                }
                let is_admitted = |start: u128| start.min(FOREVER) <= window && start.min(FOREVER) < hard;
                if is_admitted(planned) && !tried_finally {
                    planned
                } else {
                    // One last attempt at the end of the window; without one, in time for its own deadline.
                    let last = match (self.final_try && !tried_finally, window, hard, timeout) {
                        (false, ..) | (true, u128::MAX, u128::MAX, _) | (true, u128::MAX, _, u128::MAX) => None,
                        (true, u128::MAX, hard, timeout) => hard.checked_sub(timeout),
                        (true, window, ..) => Some(window),
                    };
                    let comes =
                        |&at: &u128| is_admitted(at) && at >= now + asked && (at > started || attempts.is_empty());
                    match last.filter(comes) {
                        Some(at) => {
                            tried_finally = true;
                            at
                        }
                        None => return stopped(attempts, closes),
                    }
                }
            };
            if start >= FOREVER {
                return History { attempts, end: End::Never };
            }
            let start = start + nanos(call.late);
            // However late it has become, nothing starts at the hard bound.
            if start > 0 && start >= hard {
                return stopped(attempts, PolicyStop::Deadline);
            }
            if start >= FOREVER {
                return History { attempts, end: End::Never };
            }
            let answers = start + nanos(call.takes);
            let cut = start.saturating_add(timeout).min(hard);
            // A value that is ready at its deadline counts.
            let end = answers.min(cut);
            if end >= FOREVER {
                return History { attempts, end: End::Never };
            }
            let cut_by = match () {
                () if answers <= cut => None,
                () if cut == hard => Some(CutBy::Deadline),
                () => Some(CutBy::AttemptTimeout),
            };
            attempts.push((start, end, cut_by));
            now = end;
            let says = match cut_by {
                None => call.says,
                Some(CutBy::AttemptTimeout) => self.on_cut,
                Some(_) => return stopped(attempts, PolicyStop::Deadline),
            };
            asked = match says {
                Says::Retry => 0,
                Says::RetryAfter(pause) => nanos(pause).min(most),
                Says::Fatal => return stopped(attempts, PolicyStop::Fatal),
            };
            if healthy.is_some_and(|healthy| end - start >= healthy) {
                drawn.clear();
            }
        }
        History { attempts, end: End::Open }
    }
}

/// The place of a grid among all that there may be.
fn phase(every: u128, random: u64) -> u128 {
    every.div_ceil(2) + ((every * u128::from(random)) >> 64)
}

/// The first point of the grid that is neither before now nor one that had its attempt.
fn tick(grid: u128, every: u128, started: u128, now: u128) -> u128 {
    if every == 0 {
        return now;
    }
    if grid == u128::MAX {
        return grid;
    }
    let at_or_after_now = grid + now.saturating_sub(grid).div_ceil(every) * every;
    if at_or_after_now > started { at_or_after_now } else { at_or_after_now + every }
}

/// What the real thing does with these calls.
pub fn drive(settings: &Settings, calls: &[Call]) -> History {
    let policy = settings.policy();
    let mut run = Attempts::default();
    let mut attempts = Vec::new();
    let mut ended = None;
    for call in calls {
        let next = match ended.take() {
            None => run.first(&policy, || call.random),
            Some((now, says)) => run.end(&policy, now, says, || call.random),
        };
        let start = match next {
            Next::Start(u64::MAX) => return History { attempts, end: End::Never },
            Next::Start(start) => start,
            Next::Stop(why) => return History { attempts, end: End::Stopped(why) },
            _ => unreachable!("no third way"),
        };
        let start = start.saturating_add(u64::try_from(nanos(call.late)).unwrap());
        // The first instant is never too late.
        if start != 0 && u128::from(start) >= bound(settings.finish_within) {
            return History { attempts, end: End::Stopped(PolicyStop::Deadline) };
        }
        if start == u64::MAX {
            return History { attempts, end: End::Never };
        }
        let attempt = run.start(&policy, start);
        assert_eq!(attempt.number() as usize, attempts.len() + 1);
        assert_eq!(nanos(attempt.elapsed()), u128::from(start));
        let (cut, by) = run.cut(&policy);
        let allowed = attempt.timeout().map_or(u128::MAX, |timeout| timeout.as_nanos());
        assert_eq!((u128::from(start).saturating_add(allowed)).min(FOREVER), cut.max(start).into());
        let answers = start.saturating_add(u64::try_from(nanos(call.takes)).unwrap());
        let (end, cut_by) = if answers <= cut { (answers, None) } else { (cut, Some(by)) };
        if end == u64::MAX {
            return History { attempts, end: End::Never };
        }
        attempts.push((start.into(), end.into(), cut_by));
        let says = match cut_by {
            None => call.says.into(),
            Some(CutBy::AttemptTimeout) => settings.on_cut.into(),
            Some(_) => return History { attempts, end: End::Stopped(PolicyStop::Deadline) },
        };
        // What cannot be mended ends at once: it needs no further call.
        match run.clone().end(&policy, end, says, || 0) {
            Next::Stop(PolicyStop::Fatal) => return History { attempts, end: End::Stopped(PolicyStop::Fatal) },
            _ => ended = Some((end, says)),
        }
    }
    History { attempts, end: End::Open }
}

/// The real thing does what the model does.
pub fn check(source: &mut Source<'_>) {
    let settings = source.settings();
    let mut calls = vec![source.call()];
    while !source.is_empty() && calls.len() < 24 {
        calls.push(source.call());
    }
    let (real, expected) = (drive(&settings, &calls), settings.history(&calls));
    assert_eq!(real, expected, "{}: {calls:?}", settings.policy());
}
