//! The delays: bit for bit those of the naive model, spread evenly, and a series of its own for every run.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;
use relent::{
    Backoff, Decision, Jitter, KeyedBackoff, Policy, Ratio,
    events::{Event, Wait},
    policy::schedule::attempts::{Attempts, Next, PolicyStop},
    retry,
};

use crate::{bytes, cases, models, source};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const NANO: Duration = Duration::from_nanos(1);

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn delays_are_what_the_model_says(bytes in bytes()) {
        models::backoff::check(&mut source(&bytes));
    }

    #[test]
    fn a_seed_names_a_series(bytes in bytes(), seed: u64) {
        let backoff = source(&bytes).schedule().build().seed(seed);
        let (one, other): (Vec<_>, Vec<_>) = (backoff.iter().take(20).collect(), backoff.clone().iter().take(20).collect());
        prop_assert_eq!(one, other);
    }
}

fn half() -> Ratio {
    Ratio::new(1, 2).unwrap()
}

/// Every iterator, of one builder or of its clones, starts a series that no other has.
#[test]
fn no_two_runs_share_a_series() {
    let backoff = Backoff::exponential(SECOND, 10 * SECOND);
    let mut seen = HashSet::new();
    for _ in 0..50_000 {
        for delays in [backoff.iter(), backoff.clone().into_iter(), (&backoff).into_iter()] {
            // Two delays are 60 bits: with 150,000 series, two alike by chance would take 10^8 runs of this test.
            assert!(seen.insert(delays.take(2).collect::<Vec<_>>()));
        }
    }
}

/// How many values are drawn for one test of uniformity.
const DRAWS: u32 = 1_000_000;
const BINS: u32 = 101;
/// With 100 degrees of freedom, a uniform source exceeds this in one test of a thousand: NIST/SEMATECH e-Handbook of
/// Statistical Methods, section 1.3.6.7.4, upper-tail critical values of the chi-square distribution. The seeds are
/// fixed.
const CRITICAL: f64 = 149.449;

/// Pearson's chi-square of values that should be uniform on whole nanoseconds from `low` to `high`.
fn chi_square(values: impl Iterator<Item = Duration>, low: Duration, high: Duration) -> f64 {
    let (low, high) = (low.as_nanos(), high.as_nanos());
    let width = high - low + 1;
    let mut counts = [0_u32; BINS as usize];
    let mut drawn = 0_u32;
    for value in values.map(|value| value.as_nanos()) {
        assert!((low..=high).contains(&value), "{value} is not in {low}..={high}");
        counts[usize::try_from((value - low) * u128::from(BINS) / width).unwrap()] += 1;
        drawn += 1;
    }
    assert_eq!(drawn, DRAWS);
    let expected = f64::from(DRAWS) / f64::from(BINS);
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}

/// Backoffs that are at one and the same nominal delay from the `skip`-th on, and the range in which it is spread.
fn spread() -> Vec<(&'static str, Backoff, usize, Duration, Duration)> {
    let whole = Backoff::fixed(SECOND);
    let four = Backoff::fixed(4 * SECOND);
    let capped = Backoff::exponential(SECOND, 10 * SECOND);
    let tenth = Jitter::PlusMinus(Ratio::percent(10));
    vec![
        ("full, 1 s", whole.clone().jitter(Jitter::Full), 0, Duration::ZERO, SECOND),
        ("full, 4 s", four.clone().jitter(Jitter::Full), 0, Duration::ZERO, 4 * SECOND),
        ("equal, 1 s", whole.clone().jitter(Jitter::Equal), 0, 500 * MILLI, SECOND),
        ("plus, 1 s", whole.jitter(Jitter::Plus(half())), 0, SECOND, 1500 * MILLI),
        ("plus_minus, 4 s", four.jitter(tenth), 0, 3600 * MILLI, 4400 * MILLI),
        ("full, cap", capped.clone(), 4, Duration::ZERO, 10 * SECOND),
        ("equal, cap", capped.clone().jitter(Jitter::Equal), 4, 5 * SECOND, 10 * SECOND),
        ("plus, cap", capped.clone().jitter(Jitter::Plus(half())), 4, 5 * SECOND, 10 * SECOND),
        ("plus_minus, cap", capped.jitter(tenth), 4, 8 * SECOND, 10 * SECOND),
        ("decorrelated, cap", Backoff::decorrelated(SECOND, 3 * SECOND), 0, SECOND, 3 * SECOND),
    ]
}

#[test]
fn the_delays_of_a_run_are_uniform() {
    for (name, backoff, skip, low, high) in spread() {
        let delays = backoff.seed(2026).into_iter().skip(skip).take(DRAWS as usize);
        let chi_square = chi_square(delays, low, high);
        assert!(chi_square < CRITICAL, "{name}: {chi_square}");
    }
}

/// Not within one run, but from run to run: each draws a seed of its own, and these are made reproducible here.
#[test]
fn the_same_delay_of_many_runs_is_uniform() {
    fastrand::seed(2026);
    for (name, backoff, skip, low, high) in spread().into_iter().step_by(3) {
        let delays = (0..DRAWS).map(|_| backoff.iter().nth(skip).unwrap());
        let chi_square = chi_square(delays, low, high);
        assert!(chi_square < CRITICAL, "{name}: {chi_square}");
    }
}

#[test]
fn the_test_of_uniformity_finds_what_is_not() {
    let lumpy = |step: u64| {
        let values =
            (0..u64::from(DRAWS)).map(move |n| Duration::from_nanos(n * 999_983 % 1_000_000_000 / step * step));
        chi_square(values, Duration::ZERO, SECOND)
    };
    assert!(lumpy(1) < CRITICAL);
    assert!(lumpy(10_000_000) > CRITICAL, "hundredths of a second only");
    assert!(lumpy(1_000_000_000) > CRITICAL, "whole seconds only");
}

/// The delays of a run whose attempts take so long each, in nanoseconds.
fn pauses(policy: &Policy, takes: &[u64]) -> Vec<u64> {
    let (mut run, mut now) = (Attempts::default(), 0);
    let mut pauses = Vec::new();
    run.start(policy, now);
    for takes in takes {
        now += takes;
        match run.end(policy, now, Decision::Retry, || u64::MAX) {
            Next::Start(at) => pauses.push(at - now),
            _ => break,
        }
        now += pauses[pauses.len() - 1];
        run.start(policy, now);
    }
    pauses
}

fn listed(backoff: Backoff, count: usize) -> Vec<Duration> {
    backoff.into_iter().take(count).collect()
}

/// The table of a well-known step function (`Duration, Factor, Jitter, Steps, Cap`), and where these delays differ.
#[test]
fn steps_with_factor_and_cap() {
    let plain = |cap: Duration| Backoff::exponential(SECOND, cap).jitter(Jitter::None);
    // No backoff at all is a pause of zero.
    assert_eq!(listed(Backoff::fixed(Duration::ZERO), 4), [Duration::ZERO; 4]);
    // Without growth. There a factor of 0 means none; here it is what it says, and `fixed` is without growth.
    assert_eq!(listed(Backoff::fixed(SECOND), 3), [SECOND; 3]);
    assert_eq!(listed(plain(Duration::MAX).factor(1), 3), [SECOND; 3]);
    assert_eq!(listed(plain(Duration::MAX).factor(0), 3), [SECOND, Duration::ZERO, Duration::ZERO]);
    assert_eq!(listed(plain(Duration::MAX), 3), [SECOND, 2 * SECOND, 4 * SECOND]);
    assert_eq!(listed(plain(3 * SECOND), 4), [SECOND, 2 * SECOND, 3 * SECOND, 3 * SECOND]);
    // There the fourth of three steps still doubles and then all stay: here `take` ends it, and without it it goes on.
    assert_eq!(listed(plain(Duration::MAX).take(3), 9).len(), 3);
    assert_eq!(listed(plain(Duration::MAX), 5)[3..], [8 * SECOND, 16 * SECOND]);
    // There the first delay may exceed the cap.
    assert_eq!(listed(Backoff::exponential(10 * SECOND, 3 * SECOND).jitter(Jitter::None), 3), [3 * SECOND; 3]);
    // There this is undefined after ten steps.
    assert_eq!(listed(plain(Duration::MAX).factor(10), 100)[99], Duration::MAX);
    for seed in 0..5 {
        // There jitter takes the third beyond the cap, to 4.5 s.
        let jittered = listed(plain(3 * SECOND).jitter(Jitter::Plus(half())).seed(seed), 3);
        let ranges = [(1000, 1500), (2000, 3000), (1500, 3000)];
        for (delay, (low, high)) in jittered.into_iter().zip(ranges) {
            assert!((low * MILLI..=high * MILLI).contains(&delay), "{delay:?}");
        }
        let wide = listed(plain(Duration::MAX).jitter(Jitter::Plus(Ratio::whole(4))).seed(seed), 6);
        for (delay, nominal) in wide.into_iter().zip([1, 2, 4, 8, 16, 32]) {
            assert!(nominal * SECOND < delay && delay <= 5 * nominal * SECOND, "{delay:?}");
        }
    }
}

/// What is set for a whole run counts wherever in the chain it is set; the first has precedence.
#[test]
fn set_behind_then() {
    let (first, second) = (Backoff::fixed(NANO).take(2), Backoff::fixed(5 * NANO));
    let chain = first.clone().then(second.clone().reset_after(10 * NANO).seed(7));
    assert_eq!(chain, first.clone().reset_after(10 * NANO).seed(7).then(second.clone()));
    assert_eq!(pauses(&Policy::new().backoff(chain.clone()), &[0, 0, 0, 10, 0, 0]), [1, 1, 5, 1, 1, 5]);
    assert_eq!(
        chain.then(second.clone().seed(8)).to_string(),
        "fixed 1ns take 2 reset_after 10ns seed 7 then fixed 5ns then fixed 5ns"
    );
    let (one, other) = (first.clone().seed(1).then(second.clone().seed(2)), first.then(second).seed(1));
    assert_eq!(one, other);
}

/// The table of a backoff that begins anew. There it does after time without a call, here after an attempt that ran
/// long.
#[test]
fn starting_over() {
    let backoff = Backoff::exponential(NANO, 10 * NANO).jitter(Jitter::None);
    assert_eq!(pauses(&Policy::new().backoff(backoff.clone()), &[0; 7]), [1, 2, 4, 8, 10, 10, 10]);
    let healthy = Policy::new().backoff(backoff.clone().reset_after(10 * NANO));
    assert_eq!(pauses(&healthy, &[0, 0, 0, 0, 0, 0, 0, 11]), [1, 2, 4, 8, 10, 10, 10, 1]);
    assert_eq!(pauses(&healthy, &[0, 0, 9, 10, 0]), [1, 2, 4, 1, 2]);
    assert_eq!(pauses(&Policy::new().backoff(backoff.reset_after(Duration::ZERO)), &[0; 7]), [1; 7]);
    // There a jitter of 1 adds up to as much again; a negative one, which means none, cannot be written here.
    let doubled = Backoff::fixed(NANO).jitter(Jitter::Plus(Ratio::ONE));
    let seen: HashSet<Duration> = listed(doubled.seed(1), 100).into_iter().collect();
    assert_eq!(seen, HashSet::from([NANO, 2 * NANO]));
}

/// The table of a backoff with a share of randomness on both sides. There jitter goes beyond the maximum.
#[test]
fn both_sides() {
    let tenth = Jitter::PlusMinus(Ratio::percent(10));
    let centres = [500_u32, 1000, 2000, 4000, 5000, 5000, 5000, 5000, 5000, 5000];
    for seed in 0..20 {
        let delays = listed(Backoff::exponential(500 * MILLI, 5 * SECOND).jitter(tenth).seed(seed), 10);
        for (delay, centre) in delays.into_iter().zip(centres) {
            let (low, high) = match centre {
                5000 => (4 * SECOND, 5 * SECOND),
                centre => (centre * 9 / 10 * MILLI, centre * 11 / 10 * MILLI),
            };
            assert!((low..=high).contains(&delay), "{delay:?} around {centre} ms");
        }
    }
    let two = Backoff::fixed(2 * NANO).jitter(Jitter::PlusMinus(half()));
    for (hundredths, delay) in [(0, 1), (33, 1), (34, 2), (66, 2), (67, 3), (99, 3)] {
        let random = u64::try_from((u128::from(u64::MAX) + 1) * hundredths / 100).unwrap();
        assert_eq!(relent::policy::schedule::backoff::BackoffState::default().next(&two, || random), Some(delay));
    }
    let most = Duration::from_nanos(i64::MAX.unsigned_abs());
    let huge = Backoff::exponential(most / 2, most).factor(Ratio::new(21, 10).unwrap()).jitter(Jitter::None);
    assert_eq!(listed(huge, 2), [most / 2, most]);
}

/// So many retries are one attempt more; and what a server asks for does not begin the backoff anew, as it does there.
#[test]
fn retries_and_what_servers_ask_for() {
    let take = |n| Policy::new().backoff(Backoff::exponential(SECOND, 9 * SECOND).jitter(Jitter::None).take(n));
    for n in 0..5 {
        assert_eq!(pauses(&take(n), &[0; 9]).len(), n as usize);
        let mut run = Attempts::default();
        let ended = (0..=n).map(|_| {
            run.start(&take(n), 0);
            run.end(&take(n), 0, Decision::Retry, || 0)
        });
        assert_eq!(ended.last(), Some(Next::Stop(PolicyStop::BackoffEnded)));
    }
    // An empty list allows no retry, rather than one that never comes.
    assert!(pauses(&Policy::new().backoff(Backoff::steps([])), &[0; 3]).is_empty());
    assert_eq!(listed(Backoff::steps([]).then(Backoff::fixed(SECOND)), 2), [SECOND; 2]);
    let (policy, mut run) = (take(9), Attempts::default());
    let second = 1_000_000_000;
    run.start(&policy, 0);
    assert_eq!(run.end(&policy, 0, Decision::RetryAfter(7 * SECOND), || 0), Next::Start(7 * second));
    run.start(&policy, 7 * second);
    assert_eq!(run.end(&policy, 7 * second, Decision::Retry, || 0), Next::Start(9 * second));
    run.start(&policy, 9 * second);
    assert_eq!(run.end(&policy, 9 * second, Decision::Fatal, || 0), Next::Stop(PolicyStop::Fatal));
}

/// The iterator, a run, its plan and each key draw the same series from one seed.
#[tokio::test(start_paused = true)]
async fn a_seed_names_one_series_for_all() {
    for backoff in [
        Backoff::exponential(SECOND, 60 * SECOND).seed(7),
        Backoff::decorrelated(SECOND, 60 * SECOND).seed(8),
        Backoff::fixed(SECOND).jitter(Jitter::Full).take(2).then(Backoff::linear(SECOND, 9 * SECOND)).seed(9),
    ] {
        let of_iter: Vec<Duration> = backoff.iter().take(5).collect();
        for delayed in [false, true] {
            let mut policy = Policy::new().backoff(backoff.clone()).max_attempts(if delayed { 5 } else { 6 });
            if delayed {
                policy = policy.delay_first();
            }
            let mut waits = Vec::new();
            let run = retry(|_| async { Err::<(), _>("no") }).policy(&policy);
            let run = run.notify(|event: &Event<'_, &str>| {
                if let Event::Waiting(Wait::Pause(delay)) = event {
                    waits.push(*delay);
                }
            });
            assert!(run.await.unwrap_err().is_exhausted());
            assert_eq!(waits, of_iter, "the run: {policy}");
            let starts = of_iter.iter().scan(Duration::ZERO, |at, delay| {
                *at += *delay;
                Some(*at)
            });
            let first = (!delayed).then_some(Duration::ZERO);
            let starts: Vec<Duration> = first.into_iter().chain(starts).collect();
            assert_eq!(policy.plan().best().starts().collect::<Vec<_>>(), starts, "the plan: {policy}");
            assert_eq!(policy.plan().longest_pauses().starts().collect::<Vec<_>>(), starts, "the plan: {policy}");
        }
        let keys: KeyedBackoff<u8> = KeyedBackoff::new(backoff, Duration::MAX);
        for key in [1, 2] {
            for &delay in &of_iter {
                assert_eq!(keys.failed(&key), Some(delay), "a key");
                assert_eq!(keys.last_delay(&key), Some(delay));
            }
        }
        assert_eq!(keys.last_delay(&3), None);
    }
}
