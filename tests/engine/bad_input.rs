//! Zero, one nanosecond and forever in every setting, of every builder: it ends as designed, and never in a panic.

use std::time::Duration;

use relent::{Backoff, Jitter, Policy, Ratio, retry};

const ODD: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX];

fn backoffs() -> Vec<Backoff> {
    let mut all = vec![Backoff::steps([])];
    let ratios = [Ratio::ZERO, Ratio::new(1, u32::MAX).unwrap(), Ratio::ONE, Ratio::whole(u32::MAX)];
    for base in ODD {
        all.push(Backoff::fixed(base));
        all.push(Backoff::steps([base, Duration::ZERO]).then(Backoff::fixed(base).take(1)));
        for cap in ODD {
            all.push(Backoff::linear(base, cap));
            all.push(Backoff::fibonacci(base, cap));
            all.push(Backoff::decorrelated(base, cap));
            for ratio in ratios {
                let exponential = Backoff::exponential(base, cap).factor(ratio);
                all.push(exponential.clone().jitter(Jitter::None));
                all.push(exponential.clone().jitter(Jitter::Equal));
                all.push(exponential.clone().jitter(Jitter::Plus(ratio)));
                all.push(exponential.jitter(Jitter::PlusMinus(ratio)).take(3));
            }
        }
    }
    all
}

#[test]
fn delays_stay_within_their_cap_for_ever() {
    for backoff in backoffs() {
        for cap in ODD {
            let capped = Backoff::exponential(cap, cap).jitter(Jitter::Plus(Ratio::whole(u32::MAX)));
            assert!(capped.into_iter().take(100).all(|delay| delay <= cap));
        }
        // Far beyond where anything overflows.
        let _ = backoff.into_iter().take(300).max();
    }
}

#[tokio::test(start_paused = true)]
async fn odd_policies_end() {
    for backoff in backoffs() {
        for bound in ODD {
            for every in [None, Some(bound)] {
                let mut policy = Policy::new().backoff(backoff.clone()).max_attempts(4).max_retry_after(bound);
                policy = every.map_or(policy.clone(), |every| policy.every(every));
                for policy in [
                    policy.clone().attempt_timeout(bound),
                    policy.clone().start_within(bound).final_try(),
                    policy.clone().finish_within(bound).attempt_timeout(bound).final_try(),
                    policy.clone().start_within(bound).finish_within(bound).delay_first(),
                ] {
                    let _ = policy.plan().to_string();
                    let run = retry(|_| async { Err::<(), _>("no") }).policy(&policy).into_future();
                    // What ends at all ends by then.
                    let _ = tokio::time::timeout(Duration::from_secs(200), run).await;
                }
            }
        }
    }
}

#[test]
fn ratios_are_what_they_say() {
    assert!(Ratio::new(1, 0).is_err());
    assert_eq!(Ratio::new(0, 7).unwrap(), Ratio::ZERO);
    assert_eq!(Ratio::new(u32::MAX, u32::MAX).unwrap(), Ratio::ONE);
}
