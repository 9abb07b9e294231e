//! What `Debug` prints of policies, attempts, waits and refusals: times and `None`, and no number that stands for
//! never.

use std::time::Duration;

use relent::{
    Attempt, Backoff, Limiter, Policy, Rate, Ratio,
    events::{Event, Wait},
    retry,
};

const S: Duration = Duration::from_secs(1);

#[test]
fn settings_are_shown_as_their_text() {
    assert_eq!(format!("{:?}", Policy::new()), "Policy(default)");
    let policy = Policy::new().backoff(Backoff::exponential(S, Duration::MAX)).max_attempts(3).finish_within(10 * S);
    assert_eq!(format!("{policy:?}"), "Policy(backoff exponential 1s..forever, finish_within 10s, max_attempts 3)");
    assert_eq!(format!("{:?}", Backoff::fixed(S).take(2)), "Backoff(fixed 1s take 2)");
    assert_eq!(format!("{:?} {:?}", Rate::UNLIMITED, Rate::per_second(5)), "Rate(unlimited) Rate(5/s)");
    assert_eq!(format!("{:?}", Ratio::percent(50)), "Ratio(1/2)");
}

#[test]
fn what_never_comes_is_none() {
    let none = "Attempt { number: 1, elapsed: 0ns, timeout: None, remaining: None, .. }";
    assert_eq!(format!("{:?}", Attempt::new(1)), none);
    let bounded =
        Attempt::new(2).with_policy(&Policy::new().attempt_timeout(3 * S).finish_within(5 * S)).with_elapsed(S);
    let all = "Attempt { number: 2, elapsed: 1s, timeout: Some(3s), remaining: Some(4s), .. }";
    assert_eq!(format!("{bounded:?}"), all);
    assert_eq!(format!("{:?} {:?}", Wait::Limiter(Duration::MAX), Wait::Pause(S)), "Limiter(None) Pause(1s)");
}

#[tokio::test(start_paused = true)]
async fn nothing_prints_a_number_for_never() {
    let empty = Limiter::new(Rate::ZERO, 1);
    empty.try_acquire(1).unwrap();
    assert_eq!(format!("{:?}", empty.try_acquire(1)), "Err(TooFar { ready_in: None, allowed: 0ns })");
    let mut told = Vec::new();
    let gave_up = retry(async |_| Err::<(), _>("x"))
        .max_attempts(3)
        .throttle(&Limiter::new(Rate::per_second(1), 1))
        .notify(|event: &Event<'_, &str>| told.push(format!("{event:?}")))
        .await
        .unwrap_err();
    let refused = retry(async |_| Err::<(), _>("x")).throttle(&empty).finish_within(S).await.unwrap_err();
    told.extend([format!("{gave_up:?}"), format!("{refused:?}"), format!("{:?}", empty.acquire(1))]);
    let endless = retry(async |_| Err::<(), _>("x"))
        .backoff(Backoff::fixed(Duration::MAX))
        .notify(|event| told.push(format!("{event:?}")))
        .into_future();
    assert!(tokio::time::timeout(S, endless).await.is_err());
    let ended = r#"Ended { attempt: 1, elapsed: 0ns, last: Failed("x"), again: Some(None) }"#;
    assert_eq!(told[told.len() - 2..], [ended, "Waiting(Pause(None))"]);
    told.extend([format!("{:?}", empty.reserve(1)), format!("{:?}", Policy::new().begin::<&str>())]);
    for text in told {
        assert!(!text.contains("18446744073709551615") && !text.contains("4294967295"), "{text}");
    }
}
