//! What one client's calls have in common serves its queue as well.

use std::{sync::Mutex, time::Duration};

use relent::{
    Backoff, Budget, Limiter, Policy, Profile, Ratio, Stop, TimedQueue,
    builder::ErasedProfile,
    queue::{GivenUp, Job},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn policy_limiter_budget_and_classification_are_the_clients() {
    let (limiter, budget) = (Limiter::per_second(1), Budget::ratio(Ratio::ZERO).reserve(3));
    let calls: ErasedProfile<&str> = Profile::new(Policy::new().backoff(Backoff::fixed(MS)).max_attempts(3))
        .throttle(&limiter)
        .budget(&budget)
        .when(|error: &&str| *error != "denied")
        .erased();
    let mut queue = TimedQueue::new().attempt_timeout(5 * S);
    let handle = queue.handle();
    for (key, value) in [("a", "busy"), ("b", "denied"), ("c", "busy")] {
        let _ = handle.schedule(key, value, Duration::ZERO);
    }
    drop(handle);
    let run = tokio::spawn(async move {
        let (start, starts) = (Instant::now(), Mutex::new(Vec::new()));
        let run = queue.run(|job: Job<&'static str, &'static str>| {
            assert_eq!(job.attempt.limit(), Some(5 * S), "what the policy does not set stays");
            starts.lock().unwrap().push((start.elapsed(), job.key));
            async move { Err::<(), _>(job.value) }
        });
        let finished = run.profile(&calls.without_listener()).await;
        (finished, starts.into_inner().unwrap())
    });
    let (finished, starts) = run.await.unwrap();
    let keys: Vec<_> = starts.iter().map(|(_, key)| *key).collect();
    assert_eq!(starts.last().unwrap().0, 5 * S, "one a second: {starts:?}");
    assert_eq!(keys.len(), 6);
    let stops: Vec<_> = finished.given_up.iter().map(|back| (back.key, back.error.stop().clone())).collect();
    assert!(stops.contains(&("b", Stop::Fatal)), "{stops:?}");
    assert!(stops.contains(&("a", Stop::Attempts)) && stops.contains(&("c", Stop::Budget)), "{stops:?}");
    assert_eq!(budget.available(), 0);
}

/// What the run says itself goes before the profile, in whatever order; the client's token stops it.
#[tokio::test(start_paused = true)]
async fn a_run_narrows_for_itself() {
    for first in [true, false] {
        let token = CancellationToken::new();
        let calls = Profile::new(Policy::new()).when(|_: &&str| true).cancel_on(token.clone());
        let mut queue = TimedQueue::new();
        let handle = queue.handle();
        let _ = handle.schedule("a", 1, Duration::ZERO);
        let run = queue.run(async |_| Err::<(), _>("denied"));
        let run = if first { run.when(|_| false).profile(&calls) } else { run.profile(&calls).when(|_| false) };
        let given_up = |back: GivenUp<_, _, _>| {
            assert_eq!(back.error.stop(), &Stop::Fatal);
            token.cancel();
        };
        assert!(run.on_given_up(given_up).await.waiting.is_empty());
    }
}
