//! `random_phase`: pollers that begin together do not stay together.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use proptest::prelude::*;
use relent::{
    Policy, Rate,
    plan::Warning,
    policy::schedule::attempts::{Attempts, Decision, Next},
    poll,
};
use tokio::time::Instant;

use crate::{
    bytes, cases,
    models::{
        attempts::{Call, End, History, Says, Settings, drive},
        backoff::{Schedule, Shape, nanos},
        source::Source,
    },
    source,
};

const SECOND: Duration = Duration::from_secs(1);

/// Where the second attempt starts, if the first fails at once.
fn second(policy: &Policy, random: u64) -> u64 {
    let mut run = Attempts::default();
    assert_eq!(run.first(policy, || random), Next::Start(0));
    run.start(policy, 0);
    match run.end(policy, 0, Decision::Retry, || random) {
        Next::Start(at) => at,
        Next::Stop(why) => panic!("{why:?}"),
        _ => unreachable!("no third way"),
    }
}

#[test]
fn every_phase_is_equally_likely() {
    const EVERY: u64 = 997;
    let policy = Policy::new().every(Duration::from_nanos(EVERY)).random_phase();
    // Random numbers that lie evenly: each phase comes exactly once.
    let starts = (0..u128::from(EVERY))
        .map(|k| second(&policy, u64::try_from(((k << 64) + (1 << 63)) / u128::from(EVERY)).unwrap()));
    let starts: Vec<u64> = starts.collect();
    assert!(starts.iter().all(|start| (EVERY / 2 + 1..EVERY * 3 / 2 + 1).contains(start)), "{starts:?}");
    assert_eq!(starts.iter().map(|start| start % EVERY).collect::<HashSet<_>>().len(), starts.len());
}

#[tokio::test(start_paused = true)]
async fn pollers_that_begin_together_never_meet_again() {
    const POLLERS: usize = 25;
    let began = Instant::now();
    let starts: Vec<Mutex<Vec<Duration>>> = (0..POLLERS).map(|_| Mutex::default()).collect();
    let pollers = starts.iter().map(|starts| {
        poll(async |_| {
            starts.lock().unwrap().push(began.elapsed());
            Ok::<_, std::io::Error>(None::<()>)
        })
        .every(10 * SECOND)
        .random_phase()
        .max_attempts(6)
        .into_future()
    });
    futures_util::future::join_all(pollers).await;
    let mut seen = HashSet::new();
    for starts in starts {
        let starts = starts.into_inner().unwrap();
        assert_eq!((starts.len(), starts[0]), (6, Duration::ZERO), "the first starts at once");
        assert!((5 * SECOND..15 * SECOND).contains(&starts[1]), "{starts:?}");
        for pair in starts[1..].windows(2) {
            // The timer's wheel turns by milliseconds.
            assert!(pair[1].abs_diff(pair[0] + 10 * SECOND) <= Duration::from_millis(1), "{starts:?}");
        }
        seen.insert(starts[1].as_nanos() % (10 * SECOND).as_nanos());
    }
    assert!(seen.len() > POLLERS - 3, "of ten thousand instants three of {POLLERS} pollers do not share one: {seen:?}");
}

/// Settings of a few nanoseconds, so that every grid there may be can be tried.
fn tiny(source: &mut Source<'_>) -> Settings {
    fn below(source: &mut Source<'_>, most: u8) -> Duration {
        Duration::from_nanos((source.byte() % most).into())
    }
    let at_times = |source: &mut Source<'_>, most| source.one_in(2).then(|| below(source, most));
    let shape = match source.byte() % 3 {
        0 => None,
        1 => Some(Shape::Fixed(below(source, 30))),
        _ => Some(Shape::Steps((0..source.byte() % 5).map(|_| below(source, 30)).collect())),
    };
    Settings {
        every: Some(Duration::from_nanos(1) + below(source, 12)),
        random_phase: true,
        backoff: shape.map(Schedule::of),
        attempt_timeout: at_times(source, 40),
        start_within: at_times(source, 60),
        finish_within: at_times(source, 80),
        max_attempts: source.one_in(2).then(|| (source.byte() % 6).into()),
        final_try: source.one_in(3),
        delay_first: source.one_in(4),
        on_cut: if source.one_in(3) { Says::RetryAfter(below(source, 40)) } else { Says::Retry },
        max_retry_after: at_times(source, 40),
    }
}

/// The same run on each grid that there may be.
fn on_each_grid(settings: &Settings, calls: &[Call]) -> Vec<History> {
    let every = settings.every.map_or(1, nanos);
    let randoms = (0..every).map(|place| u64::try_from((place << 64).div_ceil(every)).unwrap());
    let on_grid = |random| calls.iter().map(|call| Call { random, ..*call }).collect::<Vec<_>>();
    randoms.map(|random| drive(settings, &on_grid(random))).collect()
}

/// When a run ends whose calls wait for permits: a full bucket of so many, and one more after each interval.
fn throttled(policy: &Policy, random: u64, (interval, burst): (u64, u64), takes: &[u64]) -> u64 {
    let mut run = Attempts::default();
    let (mut level, mut asked_at, mut end) = (burst * interval, 0, 0);
    let mut next = run.first(policy, || random);
    for takes in takes {
        let Next::Start(planned) = next else { return end };
        level = (level + (planned - asked_at)).min(burst * interval);
        let wait = interval.saturating_sub(level);
        level = level + wait - interval;
        asked_at = planned + wait;
        run.start(policy, asked_at);
        let (cut, _) = run.cut(policy);
        end = cut.min(asked_at + takes);
        next = run.end(policy, end, Decision::Retry, || random);
    }
    end
}

fn last_end(history: &History) -> u128 {
    history.attempts.last().map_or(0, |last| last.1)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_grid_exceeds_the_plan(bytes in bytes()) {
        let mut source = source(&bytes);
        let settings = tiny(&mut source);
        let plan = settings.policy().plan();
        let call = |takes, says| Call { takes, says, random: 0, late: Duration::ZERO };
        let foreseen = settings.max_retry_after.is_some();
        let of_all_sorts = (0..40).map(|_| {
            let takes = Duration::from_nanos((source.byte() % 50).into());
            let pause = Duration::from_nanos((source.byte() % 50).into());
            call(takes, if foreseen && source.one_in(3) { Says::RetryAfter(pause) } else { Says::Retry })
        });
        for calls in [
            of_all_sorts.collect(),
            vec![call(Duration::ZERO, Says::Retry); 40],
            vec![call(Duration::MAX, Says::Retry); 40],
        ] {
            for history in on_each_grid(&settings, &calls) {
                if let Some(total) = plan.worst_total() {
                    let end = last_end(&history);
                    prop_assert!(end <= total.as_nanos(), "{}: {end} after {total:?}", settings.policy());
                }
                for warning in plan.warnings() {
                    let most = match warning {
                        Warning::NothingAttempted { .. } => 0,
                        Warning::NoRetry { .. } => 1,
                        Warning::AttemptsUnreachable { reachable, .. } => *reachable,
                        _ => usize::MAX,
                    };
                    prop_assert!(history.attempts.len() <= most, "{}: {warning}: {history:?}", settings.policy());
                }
            }
        }
    }

    #[test]
    fn no_grid_exceeds_the_plan_with_a_limiter(bytes in bytes(), interval in 1_u32..30, burst in 1_u32..4) {
        let mut source = source(&bytes);
        let mut settings = tiny(&mut source);
        (settings.start_within, settings.finish_within, settings.on_cut) = (None, None, Says::Retry);
        let every = u64::try_from(settings.every.map_or(1, nanos)).unwrap();
        let policy = settings.policy();
        let plan = policy.plan().throttled(Rate::every(Duration::from_nanos(interval.into())).unwrap(), burst);
        let Some(total) = plan.worst_total() else { return Ok(()) };
        let takes: Vec<u64> = (0..40).map(|_| (source.byte() % 50).into()).collect();
        for place in 0..every {
            let random = u64::try_from((u128::from(place) << 64).div_ceil(every.into())).unwrap();
            let end = throttled(&policy, random, (interval.into(), burst.into()), &takes);
            prop_assert!(u128::from(end) <= total.as_nanos(), "{policy}, a permit in {interval}ns of {burst}: {end}");
        }
    }

    /// Where calls wait for nothing but the grid, the worst grid makes the worst course, to the nanosecond, and the
    /// earliest fits most.
    #[test]
    fn the_worst_grid_is_found(bytes in bytes()) {
        let mut settings = tiny(&mut source(&bytes));
        (settings.backoff, settings.on_cut) = (None, Says::Retry);
        let runs = |settings: &Settings, takes| {
            let call = Call { takes, says: Says::Retry, random: 0, late: Duration::ZERO };
            on_each_grid(settings, &[call; 100])
        };
        let plan = settings.policy().plan();
        let most = runs(&settings, Duration::ZERO).iter().map(|run| run.attempts.len()).max();
        if runs(&settings, Duration::ZERO).iter().all(|run| run.end != End::Open) {
            prop_assert_eq!(most, Some(plan.best().attempts()), "{}", plan);
        }
        (settings.start_within, settings.finish_within, settings.max_retry_after) = (None, None, None);
        let plan = settings.policy().plan();
        let hung = runs(&settings, Duration::MAX);
        if let Some(total) = plan.worst_total() {
            prop_assert_eq!(hung.iter().map(last_end).max(), Some(total.as_nanos()), "{}", plan);
            prop_assert_eq!(plan.worst().total(), Some(total), "{}", plan);
        }
    }
}
