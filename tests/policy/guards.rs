//! What a builder was set to before `.policy(..)`, on every builder.

use std::{cell::Cell, time::Duration};

use relent::{Decision, Policy, Progress, blocking, ensure, poll, retry, settle};
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

/// A call that hangs is cut all the same, whatever the policy says that says nothing about it.
#[tokio::test(start_paused = true)]
async fn the_deadline_of_each_call_survives_a_policy_that_sets_none() {
    let policy: Policy = "every 3s, max_attempts 2".parse().unwrap();
    let hung = || std::future::pending::<Result<(), &str>>();
    let start = Instant::now();
    let gave_up = retry(|_| hung()).attempt_timeout(S).policy(&policy).await.unwrap_err();
    assert_eq!((gave_up.attempts(), start.elapsed()), (2, 4 * S));

    let start = Instant::now();
    let gave_up = poll(|_| async { hung().await.map(Some) }).attempt_timeout(S).policy(&policy).await.unwrap_err();
    assert_eq!((gave_up.attempts(), start.elapsed()), (2, 4 * S));

    let start = Instant::now();
    let observe = |_| async { hung().await.map(Progress::<(), &str>::Done) };
    let gave_up = settle(observe).attempt_timeout(S).policy(&policy).await.unwrap_err();
    assert_eq!((gave_up.attempts(), start.elapsed()), (2, 4 * S));

    let start = Instant::now();
    let acts = ensure(|_| async { Ok::<Option<()>, &str>(None) }, |()| hung());
    acts.attempt_timeout(S).policy(&policy).await.unwrap_err();
    assert_eq!(start.elapsed(), 4 * S);

    let told = Cell::new(None);
    let call = |attempt: relent::Attempt| {
        told.set(attempt.timeout());
        Ok::<_, &str>(())
    };
    blocking::retry(call).attempt_timeout(S).policy(&policy).call().unwrap();
    assert_eq!(told.get(), Some(S));
}

/// A call that must not run twice does not, though the policy has been written for another.
#[tokio::test(start_paused = true)]
async fn so_do_the_cadence_what_follows_a_cut_and_the_cap_on_retry_after() {
    let policy: Policy = "max_attempts 2".parse().unwrap();
    let hung = || std::future::pending::<Result<(), &str>>();
    let once = retry(|_| hung()).attempt_timeout(S).on_cut(Decision::Fatal).policy(&policy).await.unwrap_err();
    assert!(once.is_fatal() && once.attempts() == 1, "{once:?}");
    // Unless it says so, and be it what it would be by itself.
    let says: Policy = "max_attempts 2, on_cut retry".parse().unwrap();
    let twice = retry(|_| hung()).attempt_timeout(S).on_cut(Decision::Fatal).policy(&says).await.unwrap_err();
    assert_eq!((twice.attempts(), says.to_string().as_str()), (2, "max_attempts 2, on_cut retry"));

    let start = Instant::now();
    let busy = |_| async { Err::<(), _>("busy") };
    retry(busy).every(7 * S).policy(&policy).await.unwrap_err();
    assert_eq!(start.elapsed(), 7 * S);

    let start = Instant::now();
    let asks = |_: &&str| Decision::RetryAfter(3600 * S);
    retry(busy).every(S).max_retry_after(5 * S).when(asks).policy(&policy).await.unwrap_err();
    assert_eq!(start.elapsed(), 5 * S);
}

/// The bounds are one set: a policy with none takes those from before away.
#[tokio::test(start_paused = true)]
async fn the_bounds_are_replaced_as_one_set() {
    let policy: Policy = "max_attempts 9".parse().unwrap();
    let busy = |_| async { Err::<(), _>("busy") };
    let before = retry(busy).every(S).start_within(2 * S).finish_within(3 * S).delay_first();
    let gave_up = before.policy(&policy).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (9, 8 * S));
}
