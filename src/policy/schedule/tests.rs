//! Guards of a policy, setting by setting.

use proptest::prelude::*;

use super::{
    backoff::{Backoff, BackoffState},
    jitter::Jitter,
    *,
};
use crate::policy::ratio::Ratio;

/// Some settings, as text; the same number of parts as [`Setting::ALL`](text::Setting::ALL), empty where not set.
fn settings() -> impl Strategy<Value = Vec<&'static str>> {
    let one = |choices: &'static [&'static str]| prop_oneof![2 => Just(""), 3 => prop::sample::select(choices)];
    (
        one(&["every 0ms", "every 50ms", "every forever"]),
        one(&["backoff fixed 1s", "backoff exponential 1s..9s take 3 seed 7", "backoff steps 1s 2s then fixed 5s"]),
        one(&["attempt_timeout 0ms", "attempt_timeout 10s"]),
        one(&["start_within 350ms", "start_within 0ms"]),
        one(&["finish_within 1m", "finish_within 2m"]),
        one(&["max_attempts 0", "max_attempts 8"]),
        one(&["final_try"]),
        one(&["delay_first"]),
        one(&["on_cut fatal", "on_cut retry after 5s"]),
        one(&["max_retry_after 0ms", "max_retry_after 1m"]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, j)| vec![a, b, c, d, e, f, g, h, i, j])
}

fn read(settings: &[&str]) -> Policy {
    settings.iter().filter(|set| !set.is_empty()).copied().collect::<Vec<_>>().join(", ").parse().unwrap()
}

proptest! {
    /// What is expected is put together from the texts, setting by setting.
    #[test]
    fn guards_hold_where_a_policy_sets_none_and_bounds_are_one_set(own in settings(), before in settings()) {
        let mut expected = own.clone();
        if own[0].is_empty() && own[1].is_empty() {
            expected[..2].copy_from_slice(&before[..2]);
        }
        for guard in [2, 8, 9] {
            if own[guard].is_empty() {
                expected[guard] = before[guard];
            }
        }
        let guarded = read(&own).guarded_by(&read(&before));
        prop_assert_eq!(&guarded, &read(&expected));
        prop_assert_eq!(guarded.to_string(), read(&expected).to_string());
        prop_assert_eq!(&guarded.clone().guarded_by(&read(&before)), &guarded);
        prop_assert_eq!(read(&own).guarded_by(&Policy::new()), read(&own));
    }
}

#[test]
fn pauses_that_reach_584_years_are_one_and_the_same_forever() {
    let forever = |pause| Policy::new().on_cut(Decision::RetryAfter(pause));
    assert_eq!(forever(Duration::from_nanos(u64::MAX)), forever(Duration::MAX));
    assert_eq!(forever(Duration::from_secs(1 << 60)), forever(Duration::MAX));
}

proptest! {
    #[test]
    fn the_last_delay_follows_from_the_state(
        shape in 0..6,
        jitter in prop::sample::select(vec![Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Plus(Ratio::whole(1))]),
        [base, cap] in [0_u64..5, 0_u64..50].prop_map(|times| times.map(Duration::from_nanos)),
        take in prop::option::of(0_u32..5),
        chained in any::<bool>(),
        randoms in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let mut backoff = match shape {
            0 => Backoff::fixed(base),
            1 => Backoff::exponential(base, cap),
            2 => Backoff::linear(base, cap),
            3 => Backoff::fibonacci(base, cap),
            4 => Backoff::decorrelated(base, cap),
            _ => Backoff::steps([base, cap, base]),
        };
        backoff = backoff.jitter(jitter);
        if let Some(take) = take {
            backoff = backoff.take(take);
        }
        if chained {
            backoff = backoff.then(Backoff::decorrelated(base, cap).take(4)).then(Backoff::exponential(base, cap));
        }
        let mut current = 0;
        for (step, random) in (0..).zip(randoms) {
            let mut state = BackoffState::after(step, current);
            let delay = state.next(&backoff, || random);
            current = state.current();
            prop_assert_eq!(BackoffState::after(step + 1, current).last(&backoff, || random), delay);
        }
    }
}
