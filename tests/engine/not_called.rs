//! A call that its run's listener, or the owner of a loop, kept from being begun has an ending of its own.

use std::{cell::Cell, cell::RefCell, pin::pin, task::Context, task::Waker, time::Duration};

use relent::{Check, GaveUp, Last, Policy, Progress, Stop, ensure, error::Detail, events::Event, poll, retry, settle};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

/// The clock jumps in the middle of whatever runs.
fn stall(jump: Duration) {
    let advance = pin!(tokio::time::advance(jump));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}

/// What is done at the start of the second attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    ByToken,
    ByStall,
}

/// Ends the run when it hears of the second start; notes what it hears.
fn ending<'a>(
    how: Ends,
    token: &'a CancellationToken,
    heard: &'a RefCell<Vec<String>>,
) -> impl FnMut(&Event<'_, &'static str>) + 'a {
    move |event| match event {
        Event::Started(attempt) if attempt.number() == 2 => match how {
            Ends::ByToken => token.cancel(),
            Ends::ByStall => stall(100 * S),
        },
        Event::Ended { attempt, last, again, .. } => heard.borrow_mut().push(format!("{attempt} {last:?} {again:?}")),
        Event::GaveUp(gave_up) => heard.borrow_mut().push(gave_up.sentence().to_string()),
        _ => {}
    }
}

fn is_told(how: Ends, verb: &str, gave_up: &GaveUp<&'static str>, calls: u32, heard: &[String]) {
    let what = format!("{verb}, {how:?}: {gave_up:?} {heard:?}");
    assert_eq!(calls, 1, "{what}");
    assert_eq!(*gave_up.stop(), if how == Ends::ByToken { Stop::Cancelled } else { Stop::Deadline }, "{what}");
    assert_eq!((gave_up.last(), gave_up.attempts()), (Last::NotCalled, 2), "{what}");
    assert_eq!(gave_up.last_error(), Some(&"reset"), "{what}");
    let text = gave_up.sentence().to_string();
    assert!(text.ends_with("; last attempt: not called; last error: reset"), "{text}");
    assert!(!text.contains("outcome") && gave_up.summary().to_string().ends_with("; an earlier attempt failed"));
    assert_eq!(gave_up.elapsed(), if how == Ends::ByToken { S } else { 101 * S }, "{what}");
    let (ended, end) = (&heard[heard.len() - 2], &heard[heard.len() - 1]);
    assert_eq!((ended.as_str(), end), ("2 NotCalled None", &text), "{what}");
}

#[tokio::test(start_paused = true)]
async fn what_its_listener_kept_from_being_called_was_never_called() {
    let policy: Policy = "backoff fixed 1s, attempt_timeout 5s, finish_within 1m, on_cut fatal".parse().unwrap();
    for how in [Ends::ByToken, Ends::ByStall] {
        let (token, heard, calls) = (CancellationToken::new(), RefCell::default(), Cell::new(0));
        let call = || calls.set(calls.get() + 1);
        let gave_up = retry(async |_| {
            call();
            Err::<(), _>("reset")
        });
        let gave_up = gave_up.policy(&policy).cancel_on(token.clone()).notify(ending(how, &token, &heard)).await;
        is_told(how, "retry", &gave_up.unwrap_err(), calls.take(), &heard.take());

        let token = CancellationToken::new();
        let gave_up = poll(async |_| {
            call();
            Check::<(), _>::NotYetBecause("reset")
        });
        let gave_up = gave_up.policy(&policy).cancel_on(token.clone()).notify(ending(how, &token, &heard)).await;
        is_told(how, "poll", &gave_up.unwrap_err(), calls.take(), &heard.take());

        let token = CancellationToken::new();
        let gave_up = settle(async |_| {
            call();
            Err::<Progress<(), _>, _>("reset")
        });
        let gave_up = gave_up.policy(&policy).cancel_on(token.clone()).notify(ending(how, &token, &heard)).await;
        is_told(how, "settle", &gave_up.unwrap_err(), calls.take(), &heard.take());

        let token = CancellationToken::new();
        let mut run = policy.begin().cancel_on(token.clone()).notify(ending(how, &token, &heard));
        let gave_up = loop {
            match run.next().await {
                Err(gave_up) => break gave_up,
                Ok(turn) => {
                    let answer = turn.run(async {
                        call();
                        Err::<(), _>("reset")
                    });
                    assert_eq!(answer.await, None);
                }
            }
        };
        is_told(how, "cursor", &gave_up, calls.take(), &heard.take());
        let Err(again) = run.next().await else { panic!("it has ended") };
        assert_eq!((again.last(), again.last_error()), (Last::NotCalled, None));

        let token = CancellationToken::new();
        let look = async |_| {
            call();
            Err::<Option<()>, _>("reset")
        };
        let run = ensure(look, async |()| Ok::<(), _>(())).policy(&policy).cancel_on(token.clone());
        let gave_up = run.notify(ending(how, &token, &heard)).await.unwrap_err();
        is_told(how, "ensure", &gave_up, calls.take(), &heard.take());
    }
}

/// The look that is not begun takes nothing from what the one before it has seen.
#[tokio::test(start_paused = true)]
async fn an_act_that_was_seen_not_to_be_applied_stays_so() {
    let (token, acts) = (CancellationToken::new(), Cell::new(0));
    let act = async |()| {
        acts.set(acts.get() + 1);
        Ok::<(), &str>(())
    };
    let gave_up = ensure(async |_| Ok::<Option<()>, &str>(None), act)
        .cancel_on(token.clone())
        .notify(|event| {
            if let Event::Started(attempt) = event
                && attempt.number() == 2
            {
                token.cancel();
            }
        })
        .await
        .unwrap_err();
    assert_eq!((acts.get(), gave_up.last()), (1, Last::NotCalled));
    assert!(matches!(gave_up.detail(), Some(Detail::Ensure { acts: 1, outcome_unknown: false, .. })), "{gave_up:?}");
    let text = gave_up.sentence().to_string();
    assert!(
        text.ends_with("cancelled (acted once, and it was not seen to be applied); last attempt: not called"),
        "{text}"
    );
}

/// The owner of a loop who takes too long between `next` and `run`, or cancels there.
#[tokio::test(start_paused = true)]
async fn a_turn_that_is_used_too_late_is_not_called() {
    for cancels in [true, false] {
        let (token, called) = (CancellationToken::new(), Cell::new(false));
        let mut run = Policy::new().finish_within(10 * S).begin::<&str>().cancel_on(token.clone());
        let turn = run.next().await.unwrap();
        if cancels {
            token.cancel();
        } else {
            tokio::time::sleep(10 * S).await;
        }
        let answer = turn.run(async {
            called.set(true);
            Ok(7)
        });
        assert_eq!(answer.await, None);
        let gave_up = run.next().await.unwrap_err();
        assert_eq!((gave_up.last(), gave_up.attempts(), called.get()), (Last::NotCalled, 1, false));
        assert_eq!(*gave_up.stop(), if cancels { Stop::Cancelled } else { Stop::Deadline });
        assert!(gave_up.sentence().to_string().ends_with("; last attempt: not called"));
    }
}
