//! `random_phase`: pollers that begin together do not stay together.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use relent::{
    Policy,
    policy::schedule::attempts::{Attempts, Decision, Next},
    poll,
};
use tokio::time::Instant;

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
