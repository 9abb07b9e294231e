//! What the guide says of other libraries holds: the same delays, the same instants, the same permits.

use std::{num::NonZeroU32, time::Duration};

use backoff::backoff::Backoff as _;
use backon::BackoffBuilder;
use governor::{Quota, RateLimiter, clock::FakeRelativeClock};
use relent::{Backoff, Jitter, Limiter, Ratio, retry};
use retry_policies::{RetryDecision, RetryPolicy};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn ours(backoff: &Backoff, delays: usize) -> Vec<Duration> {
    backoff.iter().take(delays).collect()
}

#[test]
fn backoff_pauses_as_exponential_by_three_halves() {
    let mut theirs =
        backoff::ExponentialBackoff { randomization_factor: 0.0, max_elapsed_time: None, ..Default::default() };
    let theirs: Vec<_> = (0..20).map(|_| theirs.next_backoff().unwrap()).collect();
    let plain = Backoff::exponential(500 * MS, 60 * SECOND).factor(Ratio::new(3, 2).unwrap());
    let near = |(a, b): (Duration, Duration)| a.abs_diff(b) <= Duration::from_nanos(20);
    let exact = ours(&plain.clone().jitter(Jitter::None), 20);
    assert!(theirs.iter().copied().zip(exact.iter().copied()).all(near), "{theirs:?} {exact:?}");

    // Theirs by half up and down; ours too, but never above the cap: near it the range, as wide as before, slides down.
    let mut random = backoff::ExponentialBackoff { max_elapsed_time: None, ..Default::default() };
    let jittered = plain.jitter(Jitter::PlusMinus(Ratio::percent(50)));
    for (delay, own) in exact.iter().zip(jittered.iter()) {
        let range = *delay / 2 - MS..=*delay * 3 / 2 + MS;
        assert!(range.contains(&random.next_backoff().unwrap()));
        let range = if *delay * 3 / 2 > 60 * SECOND { Duration::ZERO..=60 * SECOND } else { range };
        assert!(range.contains(&own), "{own:?} of {delay:?}");
    }
}

#[test]
fn backon_pauses_as_exponential_without_jitter() {
    let theirs: Vec<_> = backon::ExponentialBuilder::default().build().collect();
    assert_eq!(theirs, ours(&Backoff::exponential(SECOND, 60 * SECOND).jitter(Jitter::None), 3));
    let theirs: Vec<_> = backon::ExponentialBuilder::default().without_max_times().build().take(12).collect();
    assert_eq!(theirs, ours(&Backoff::exponential(SECOND, 60 * SECOND).jitter(Jitter::None), 12));
    let theirs: Vec<_> = backon::ConstantBuilder::default().build().collect();
    assert_eq!(theirs, ours(&Backoff::fixed(SECOND), 3));
    // Theirs goes past its `max_delay` of 60 s by one step.
    let mut theirs: Vec<_> = backon::FibonacciBuilder::default().without_max_times().build().take(12).collect();
    assert_eq!(theirs.split_off(10), [89 * SECOND, 89 * SECOND]);
    assert_eq!(theirs, ours(&Backoff::fibonacci(SECOND, 60 * SECOND).jitter(Jitter::None), 10));
    // Their jitter adds up to the whole of the first delay; `Plus` adds a share of each.
    let theirs: Vec<_> = backon::ConstantBuilder::default().with_jitter().with_max_times(50).build().collect();
    assert!(theirs.iter().all(|delay| (SECOND..=2 * SECOND).contains(delay)));
    let own = ours(&Backoff::fixed(SECOND).jitter(Jitter::Plus(Ratio::percent(100))), 50);
    assert!(own.iter().all(|delay| (SECOND..=2 * SECOND).contains(delay)));
}

#[test]
fn tokio_retry_pauses_by_powers() {
    use tokio_retry::strategy::{ExponentialBackoff, FibonacciBackoff, FixedInterval};
    let theirs: Vec<_> = ExponentialBackoff::from_millis(10).max_delay(60 * SECOND).take(8).collect();
    assert_eq!(theirs, ours(&Backoff::exponential(10 * MS, 60 * SECOND).factor(10).jitter(Jitter::None), 8));
    let theirs: Vec<_> = ExponentialBackoff::from_millis(2).factor(500).max_delay(60 * SECOND).take(8).collect();
    assert_eq!(theirs, ours(&Backoff::exponential(SECOND, 60 * SECOND).jitter(Jitter::None), 8));
    let theirs: Vec<_> = FibonacciBackoff::from_millis(10).max_delay(SECOND).take(12).collect();
    assert_eq!(theirs, ours(&Backoff::fibonacci(10 * MS, SECOND).jitter(Jitter::None), 12));
    let theirs: Vec<_> = FixedInterval::from_millis(10).take(3).collect();
    assert_eq!(theirs, ours(&Backoff::fixed(10 * MS), 3));
}

/// What reqwest-retry is given.
#[test]
fn retry_policies_pause_as_exponential() {
    let policy = retry_policies::policies::ExponentialBackoff::builder()
        .jitter(retry_policies::Jitter::None)
        .build_with_max_retries(9);
    let now = std::time::SystemTime::now();
    let delay = |retries| match policy.should_retry(now, retries) {
        RetryDecision::Retry { execute_after } => {
            Some(execute_after.duration_since(std::time::SystemTime::now()).unwrap())
        }
        RetryDecision::DoNotRetry => None,
    };
    let own = ours(&Backoff::exponential(SECOND, 1800 * SECOND).jitter(Jitter::None), 9);
    for (retries, own) in own.into_iter().enumerate() {
        let theirs = delay(retries as u32).unwrap();
        assert!(theirs <= own + SECOND / 2 && own <= theirs + SECOND / 2, "{retries}: {theirs:?} {own:?}");
    }
    assert_eq!(delay(9), None, "9 retries are 10 attempts");
}

/// The same number of attempts: of theirs the retries are counted, of ours the attempts.
#[tokio::test(start_paused = true)]
async fn attempts_are_one_more_than_retries() {
    use backon::Retryable;
    use std::cell::Cell;
    let calls = Cell::new(0);
    let fails = async || {
        calls.set(calls.get() + 1);
        Err::<(), _>("no")
    };
    let began = tokio::time::Instant::now();
    let theirs = backon::ConstantBuilder::default().with_max_times(4);
    assert!((|| fails()).retry(theirs).sleep(tokio::time::sleep).await.is_err());
    assert_eq!((calls.replace(0), began.elapsed()), (5, 4 * SECOND));

    let began = tokio::time::Instant::now();
    assert!(
        tokio_retry::Retry::start(tokio_retry::strategy::FixedInterval::new(SECOND).take(4), || fails()).await.is_err()
    );
    assert_eq!(calls.replace(0), 5);
    assert!(began.elapsed().abs_diff(4 * SECOND) <= 5 * MS);

    let began = tokio::time::Instant::now();
    assert!(retry(async |_| fails().await).backoff(Backoff::fixed(SECOND)).max_attempts(5).await.is_err());
    assert_eq!((calls.replace(0), began.elapsed()), (5, 4 * SECOND));
}

/// The same permits at the same instants, whatever comes when.
#[tokio::test(start_paused = true)]
async fn governor_grants_what_a_limiter_grants() {
    for (rate, burst) in [(10, 1), (100, 20), (8, 3), (1000, 1000)] {
        let clock = FakeRelativeClock::default();
        let number = |n| NonZeroU32::new(n).unwrap();
        let quota = Quota::per_second(number(rate)).allow_burst(number(burst));
        let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
        let own = Limiter::per_second(rate).burst(burst);
        let mut rng = fastrand::Rng::with_seed(u64::from(rate));
        for _ in 0..2000 {
            let passes = Duration::from_millis(rng.u64(..3000 / u64::from(rate) + 2));
            clock.advance(passes);
            tokio::time::advance(passes).await;
            assert_eq!(theirs.check().is_ok(), own.try_acquire(1).is_ok(), "{rate}/s, burst {burst}");
        }
    }
}
