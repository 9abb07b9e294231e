//! Random runs through retry, cursor and blocking, compared with the model: the same starts at the same instants, the
//! same cuts, the same end.

use std::{cell::RefCell, future::poll_fn, pin::pin, time::Duration};

use proptest::prelude::*;
#[cfg(feature = "test-util")]
use relent::Backoff;
use relent::{Attempt, Decision, GaveUp, error::CutBy, retry};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    model::{History, Last, World, nanos, simulate},
    script::{Answer, FOREVER, MS, Script, script},
};

/// tokio's timers ring on whole milliseconds, also when its clock is paused.
const TOKIO: World = World { wakes: |at| at.div_ceil(MS.into()) * u128::from(MS), cuts: true };
#[cfg(feature = "test-util")]
/// A thread's virtual clock is exact, and a call on a thread cannot be cut.
const THREAD: World = World { wakes: |at| at, cuts: false };

/// The error of an attempt.
#[derive(Clone, Copy, Debug)]
struct Failure {
    number: u32,
    decision: Decision,
}

fn failure(script: &Script, number: u32) -> Result<u32, Failure> {
    let decision = match script.step(number).answer {
        Answer::Value => return Ok(number),
        Answer::FailsAndAsksFor(pause) => Decision::RetryAfter(pause),
        Answer::Fatal => Decision::Fatal,
        Answer::Fails | Answer::Hangs => Decision::Retry,
    };
    Err(Failure { number, decision })
}

fn history(starts: Vec<u128>, elapsed: u128, end: Option<Result<u32, GaveUp<Failure>>>) -> History {
    match end {
        None => History { starts, end: "never", last: Last::NotStarted, error: None, elapsed: 0 },
        Some(Ok(_)) => History { starts, end: "value", last: Last::NotStarted, error: None, elapsed },
        Some(Err(gave_up)) => {
            assert_eq!(gave_up.attempts() as usize, starts.len());
            assert_eq!(nanos(gave_up.elapsed()), elapsed, "the error and the clock agree");
            let last = match gave_up.last() {
                relent::Last::Failed(failure) => {
                    assert_eq!(Some(failure.number), gave_up.last_error().map(|error| error.number));
                    Last::Failed
                }
                relent::Last::Cut { after, by, .. } => {
                    let by = match by {
                        CutBy::AttemptTimeout => "attempt_timeout",
                        CutBy::Deadline => "deadline",
                        CutBy::Cancelled => "cancelled",
                        by => panic!("{by:?}"),
                    };
                    Last::Cut(by, nanos(after))
                }
                relent::Last::NotStarted => Last::NotStarted,
                last => panic!("{last:?}"),
            };
            let end = gave_up.stop().as_str();
            History { starts, end, last, error: gave_up.into_error().map(|error| error.number), elapsed }
        }
    }
}

/// What the model says, without what a run that gives a value or never ends does not tell.
fn expected(script: &Script, world: World) -> History {
    let mut history = simulate(script, world);
    if matches!(history.end, "value" | "never") {
        (history.last, history.error) = (Last::NotStarted, None);
    }
    if history.end == "never" {
        history.elapsed = 0;
    }
    history
}

thread_local! {
    static STARTS: RefCell<Vec<u128>> = const { RefCell::new(vec![]) };
}

/// Runs something under tokio's paused clock together with the script's canceller, which always goes first.
fn under_tokio<F, Fut>(script: &Script, run: F) -> History
where
    F: FnOnce(CancellationToken, Instant) -> Fut,
    Fut: Future<Output = Result<u32, GaveUp<Failure>>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let token = CancellationToken::new();
        if script.cancel_at == Some(Duration::ZERO) {
            token.cancel();
        }
        let mut cancel = pin!(sleep(script.cancel_at.unwrap_or(Duration::MAX)));
        let mut run = pin!(run(token.clone(), began));
        let mut elapsed = 0;
        let both = poll_fn(|cx| {
            if !token.is_cancelled() && script.cancel_at.is_some() && cancel.as_mut().poll(cx).is_ready() {
                token.cancel();
            }
            let end = run.as_mut().poll(cx);
            elapsed = nanos(began.elapsed());
            end
        });
        // Nothing that ends takes a day.
        let end = tokio::time::timeout(Duration::from_secs(86_400), both).await.ok();
        history(STARTS.take(), elapsed, end)
    })
}

async fn attempt(script: &Script, attempt: Attempt, token: CancellationToken, began: Instant) -> Result<u32, Failure> {
    let number = attempt.number();
    assert_eq!(attempt.elapsed(), began.elapsed());
    let left = script.finish_within.filter(|&bound| nanos(bound) != FOREVER);
    assert_eq!(attempt.remaining(), left.map(|bound| bound.saturating_sub(began.elapsed())));
    STARTS.with_borrow_mut(|starts| starts.push(nanos(began.elapsed())));
    let step = script.step(number);
    if step.answer == Answer::Hangs {
        std::future::pending::<()>().await;
    }
    if !step.latency.is_zero() {
        sleep(step.latency).await;
    }
    if script.cancel_in == Some(number) {
        token.cancel();
    }
    failure(script, number)
}

fn by_retry(script: &Script) -> History {
    under_tokio(script, |token, began| {
        let operation_token = token.clone();
        retry(move |info| attempt(script, info, operation_token.clone(), began))
            .policy(&script.policy())
            .when(|failure| failure.decision)
            .cancel_on(token)
            .into_future()
    })
}

fn by_cursor(script: &Script) -> History {
    under_tokio(script, |token, began| async move {
        let mut run = script.policy().begin().when(|failure: &Failure| failure.decision).cancel_on(token.clone());
        loop {
            let turn = run.next().await?;
            let operation = attempt(script, turn.info(), token.clone(), began);
            if let Some(value) = turn.run(operation).await {
                return Ok(value);
            }
        }
    })
}

#[cfg(feature = "test-util")]
fn by_thread(script: &Script) -> History {
    let clock = relent::testing::VirtualClock::new();
    let token = CancellationToken::new();
    let end = relent::blocking::retry(|info| {
        STARTS.with_borrow_mut(|starts| starts.push(nanos(clock.elapsed())));
        assert_eq!(info.elapsed(), clock.elapsed());
        clock.advance(script.step(info.number()).latency);
        if script.cancel_in == Some(info.number()) {
            token.cancel();
        }
        failure(script, info.number())
    })
    .policy(&script.policy())
    .when(|failure| failure.decision)
    .cancel_on(token.clone())
    .call();
    history(STARTS.take(), nanos(clock.elapsed()), Some(end))
}

/// The same for a check: it is asked, and its errors are classified.
#[cfg(feature = "test-util")]
fn by_polling_thread(script: &Script) -> History {
    let clock = relent::testing::VirtualClock::new();
    let token = CancellationToken::new();
    let end = relent::blocking::poll(|info| {
        STARTS.with_borrow_mut(|starts| starts.push(nanos(clock.elapsed())));
        clock.advance(script.step(info.number()).latency);
        if script.cancel_in == Some(info.number()) {
            token.cancel();
        }
        failure(script, info.number()).map(Some)
    })
    .backoff(Backoff::default())
    .policy(&script.policy())
    .when(|failure| failure.decision)
    .cancel_on(token.clone())
    .call();
    history(STARTS.take(), nanos(clock.elapsed()), Some(end))
}

/// No pause takes any time, and everything is decided as if it did.
#[cfg(feature = "test-util")]
fn without_pauses(script: &Script) -> History {
    let clock = relent::testing::VirtualClock::new();
    let token = CancellationToken::new();
    let (mut busy, mut first) = (Duration::ZERO, None);
    let end = relent::blocking::retry(|info| {
        STARTS.with_borrow_mut(|starts| starts.push(nanos(info.elapsed())));
        first.get_or_insert(info.elapsed());
        let latency = script.step(info.number()).latency;
        busy += latency;
        clock.advance(latency);
        if script.cancel_in == Some(info.number()) {
            token.cancel();
        }
        failure(script, info.number())
    })
    .policy(&script.policy().skip_pauses())
    .when(|failure| failure.decision)
    .cancel_on(token.clone())
    .with_report()
    .call();
    assert_eq!(clock.elapsed(), busy, "only calls took time");
    let elapsed = match &end {
        Ok(reported) => nanos(reported.elapsed),
        Err(gave_up) => nanos(gave_up.elapsed()),
    };
    history(STARTS.take(), elapsed, Some(end.map(|reported| reported.value)))
}

proptest! {
    #[test]
    fn retry_does_what_the_model_says(script in script()) {
        prop_assert_eq!(by_retry(&script), expected(&script, TOKIO));
    }

    #[test]
    fn the_cursor_does_what_the_model_says(script in script()) {
        prop_assert_eq!(by_cursor(&script), expected(&script, TOKIO));
    }

    #[cfg(feature = "test-util")]
    #[test]
    fn blocking_does_what_the_model_says(mut script in script()) {
        script.cancel_at = None;
        let expected = expected(&script, THREAD);
        // A thread that waits for ever cannot be looked at.
        prop_assume!(expected.end != "never");
        prop_assert_eq!(&by_thread(&script), &expected);
        // A poll with nothing to wait by would look every second.
        prop_assert_eq!(&by_polling_thread(&script), &expected);
        prop_assert_eq!(&without_pauses(&script), &expected);
    }
}
