//! A production policy in tests that cannot pause the clock: the same decisions, at once.
#![cfg(feature = "test-util")]

use std::time::Duration;

use relent::{
    Attempt, Backoff, Check, Limiter, Policy, Stop, ensure,
    events::{Event, Wait},
    poll, retry,
};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

/// None of these tests waits for longer than this, in real time.
const AT_ONCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_pass_at_once_on_any_runtime_and_bounds_count_them() {
    let began = Instant::now();
    let policy = Policy::new().backoff(Backoff::fixed(HOUR)).finish_within(HOUR * 5 / 2).skip_pauses();
    let run = retry(async |_| Err::<(), _>("busy")).policy(&policy);
    let gave_up = tokio::spawn(run.clone().into_future()).await.unwrap().unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Deadline, 3));
    assert!(gave_up.elapsed() >= 2 * HOUR && gave_up.elapsed() < 2 * HOUR + AT_ONCE);
    // Also where a caller sets the rest, and puts its own policy over it.
    let gave_up = run.policy(&Policy::new().every(HOUR).start_within(3 * HOUR)).final_try().await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::StartWindow, 4));

    let ready = |attempt: Attempt| async move { (attempt.elapsed() >= 4 * HOUR).then_some(attempt.number()) };
    let polled = poll(ready).every(HOUR).policy(&Policy::new().skip_pauses()).with_report().await.unwrap();
    assert_eq!((polled.value, polled.attempts), (5, 5));

    let mut acts = 0;
    let ensured = ensure(
        async |round| Ok::<_, &str>((round.number() > 2).then_some(())),
        |()| {
            acts += 1;
            async { Err::<(), _>("busy") }
        },
    );
    assert!(ensured.backoff(Backoff::fixed(HOUR)).policy(&policy).await.is_ok());
    assert_eq!(acts, 2);

    let mut cursor = policy.begin();
    while let Ok(turn) = cursor.next().await {
        assert_eq!(turn.run(async { Err::<(), _>("busy") }).await, None);
    }
    assert!(began.elapsed() < AT_ONCE);
}

/// The listener is told of each pause in full, and others run in between.
#[tokio::test(flavor = "current_thread")]
async fn pauses_are_told_and_others_run_meanwhile() {
    let began = Instant::now();
    let mut pauses = vec![];
    let token = tokio_util::sync::CancellationToken::new();
    let stop = token.clone();
    let other = tokio::spawn(async move {
        tokio::task::yield_now().await;
        stop.cancel();
    });
    let gave_up = poll(async |_| Check::<(), &str>::NotYet)
        .backoff(Backoff::fixed(HOUR))
        .policy(&Policy::new().skip_pauses())
        .cancel_on(token)
        .notify(|event| {
            if let Event::Waiting(Wait::Pause(pause)) = event {
                pauses.push(*pause);
            }
        })
        .await
        .unwrap_err();
    assert!(gave_up.is_cancelled());
    assert!(!pauses.is_empty() && pauses.iter().all(|&pause| pause == HOUR));
    other.await.unwrap();
    assert!(began.elapsed() < AT_ONCE);
}

/// What is shared goes by real time: here that of a paused clock.
#[tokio::test(start_paused = true)]
async fn a_limiter_is_waited_for_and_counts() {
    let limiter = Limiter::per_second(1);
    let began = Instant::now();
    let gave_up = retry(async |_| Err::<(), _>("busy"))
        .backoff(Backoff::fixed(HOUR))
        .max_attempts(3)
        .policy(&Policy::new().max_attempts(3).skip_pauses())
        .throttle(&limiter)
        .await
        .unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(gave_up.elapsed(), 2 * HOUR + Duration::from_secs(2));
}
