//! Cases that other retry loops are known by, as far as they apply here.

use std::{cell::Cell, time::Duration};

use relent::{Backoff, Jitter, Policy, Stop, retry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

/// Attempts made and how it ended, for an operation that succeeds in attempt `success` (0: never).
async fn run(policy: Policy, success: u32) -> (u32, Result<(), Stop>, Duration) {
    let (began, calls) = (Instant::now(), Cell::new(0));
    let end = retry(|attempt| {
        calls.set(attempt.number());
        async move { if attempt.number() == success { Ok(()) } else { Err("no") } }
    })
    .policy(&policy)
    .await;
    (calls.get(), end.map_err(|gave_up| gave_up.stop().clone()), began.elapsed())
}

/// A count of attempts and nothing else.
#[tokio::test(start_paused = true)]
async fn counts() {
    let attempts = |n| Policy::new().backoff(Backoff::fixed(S)).max_attempts(n);
    assert_eq!(run(attempts(0), 0).await, (0, Err(Stop::Attempts), Duration::ZERO));
    assert_eq!(run(attempts(1), 0).await, (1, Err(Stop::Attempts), Duration::ZERO));
    assert_eq!(run(attempts(3), 0).await, (3, Err(Stop::Attempts), 2 * S));
    assert_eq!(run(attempts(3), 1).await, (1, Ok(()), Duration::ZERO));
    assert_eq!(run(attempts(3), 3).await, (3, Ok(()), 2 * S));
    assert_eq!(
        run(Policy::new().backoff(Backoff::fixed(Duration::ZERO)).max_attempts(10), 3).await,
        (3, Ok(()), Duration::ZERO)
    );
}

/// Reaching the cap neither ends the run nor leads to a last sleep for nothing: 1 s, 2 s, 3 s, 3 s, ..
#[tokio::test(start_paused = true)]
async fn a_cap_is_a_ceiling_and_nothing_else() {
    let capped = Backoff::exponential(S, 3 * S).jitter(Jitter::None);
    assert_eq!(run(Policy::new().backoff(capped.clone()).max_attempts(10), 0).await, (10, Err(Stop::Attempts), 24 * S));
    let above = Backoff::exponential(10 * S, 3 * S).jitter(Jitter::None);
    assert_eq!(run(Policy::new().backoff(above).max_attempts(2), 0).await, (2, Err(Stop::Attempts), 3 * S));
}

/// The real error is what comes out, whatever the loop was doing: fatal at once, and a later one that is fatal is not
/// replaced by an older one.
#[tokio::test(start_paused = true)]
async fn no_error_is_masked() {
    let gave_up =
        retry(|attempt| async move { Err::<(), _>(if attempt.number() == 1 { "conflict" } else { "cancelled" }) })
            .backoff(Backoff::fixed(S))
            .when(|error| *error == "conflict")
            .await
            .unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.last_error(), gave_up.attempts()), (&Stop::Fatal, Some(&"cancelled"), 2));
}

/// 350 ms, every 50 ms: eight attempts if each ends before its next tick; half of them if each overruns one.
#[tokio::test(start_paused = true)]
async fn the_config_map_schedule() {
    let policy = Policy::new().every(Duration::from_millis(50)).start_within(Duration::from_millis(350));
    assert_eq!(run(policy.clone(), 0).await.0, 8);
    for (latency, attempts) in [(0, 8), (10, 8), (50, 8), (51, 4), (350, 2), (351, 1)] {
        let gave_up = retry(|_| async {
            tokio::time::sleep(Duration::from_millis(latency)).await;
            Err::<(), _>("no")
        })
        .policy(&policy)
        .await
        .unwrap_err();
        assert_eq!((gave_up.attempts(), gave_up.stop()), (attempts, &Stop::StartWindow), "{latency} ms");
    }
}

/// Cancelled before: nothing starts. Cancelled in the fourth attempt, which fails: there is no fifth, and both are
/// told.
#[tokio::test(start_paused = true)]
async fn cancellation() {
    let token = CancellationToken::new();
    let gave_up = retry(|attempt| {
        if attempt.number() == 4 {
            token.cancel();
        }
        async { Err::<(), _>("no") }
    })
    .backoff(Backoff::fixed(S))
    .cancel_on(token.clone())
    .await
    .unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.last_error(), gave_up.attempts()), (&Stop::Cancelled, Some(&"no"), 4));
    let before = retry(|_| async { Err::<(), _>("no") }).cancel_on(token).await.unwrap_err();
    assert_eq!((before.stop(), before.attempts()), (&Stop::Cancelled, 0));
}
