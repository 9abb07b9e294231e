//! The words of the builder, on `ensure`.

use std::{cell::Cell, future::pending, time::Duration};

use relent::{Backoff, Change, Decision, Last, Observed, Stop, ensure, error::Detail, events::Event};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);

type Answer = Result<Observed<(), (), &'static str>, &'static str>;

#[tokio::test(start_paused = true)]
async fn already_so_is_not_touched() {
    let ensured = ensure(|_| async { Ok::<_, ()>(Some(7)) }, |()| async { Err::<(), _>(()) }).max_attempts(0).await;
    let ensured = ensured.unwrap();
    assert_eq!((ensured.value, ensured.change), (7, Change::AlreadySo));
}

#[tokio::test(start_paused = true)]
async fn no_act_allowed() {
    let gave_up =
        ensure(|_| async { Ok::<Option<()>, &str>(None) }, |()| async { Ok::<(), &str>(()) }).max_attempts(0).await;
    let gave_up = gave_up.unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Attempts);
    assert!(gave_up.sentence().to_string().contains("(never acted)"), "{gave_up:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_for_good_is_still_looked_at() {
    for (so_after_all, look_fails) in [(true, false), (false, false), (false, true)] {
        let acted = Cell::new(false);
        let look = |_| async {
            match (acted.get(), so_after_all, look_fails) {
                (true, true, _) => Ok(Some(())),
                (true, false, true) => Err("look failed"),
                _ => Ok(None),
            }
        };
        let act = |()| async {
            acted.set(true);
            Err::<(), _>("permission denied")
        };
        let ended = ensure(look, act).when(|error: &&str| !error.contains("denied")).await;
        match ended {
            Ok(ensured) => assert!(so_after_all && ensured.change == Change::AppliedDespiteError),
            Err(gave_up) => {
                assert!(!so_after_all && gave_up.is_fatal());
                assert_eq!(gave_up.last(), Last::Failed(&"permission denied"));
                let unknown = matches!(gave_up.detail(), Some(Detail::Ensure { outcome_unknown: true, .. }));
                assert_eq!(unknown, look_fails);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rounds_go_by_the_cadence() {
    let start = Instant::now();
    let times = std::cell::RefCell::new(Vec::new());
    let look = |_| async {
        times.borrow_mut().push(("look", start.elapsed().as_millis()));
        Ok::<Option<()>, ()>(None)
    };
    let act = |()| async {
        sleep(3 * MS).await;
        times.borrow_mut().push(("act", start.elapsed().as_millis()));
        Ok::<(), ()>(())
    };
    let gave_up = ensure(look, act).backoff(Backoff::fixed(10 * MS)).max_attempts(2).await.unwrap_err();
    let expected = [("look", 0), ("act", 3), ("look", 3), ("look", 13), ("act", 16), ("look", 16)];
    assert_eq!(times.take(), expected);
    assert_eq!(gave_up.attempts(), 2);
    assert_eq!(gave_up.last(), Last::NotReady);
}

#[tokio::test(start_paused = true)]
async fn waiting_does_not_count_as_an_act() {
    let looks = Cell::new(0);
    let look = |_| async {
        looks.set(looks.get() + 1);
        let answer: Answer = match looks.get() {
            1..=5 => Ok(Observed::NotYetBecause("not started")),
            6 => Ok(Observed::Differs(())),
            _ => Ok(Observed::AsWanted(())),
        };
        answer
    };
    let ensured = ensure(look, |()| async { Ok(()) }).every(MS).max_attempts(1).await.unwrap();
    assert_eq!((ensured.change, looks.get()), (Change::Applied, 7));
}

#[tokio::test(start_paused = true)]
async fn what_never_will_be() {
    let gave_up = ensure(|_| async { Observed::<(), (), _>::Fatal("a voter") }, |()| async { Ok::<(), &str>(()) })
        .await
        .unwrap_err();
    assert!(gave_up.is_fatal());
    assert!(gave_up.sentence().to_string().ends_with("(never acted); last attempt: a voter"), "{gave_up:?}");
}

#[tokio::test(start_paused = true)]
async fn cancelled_in_the_act() {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        sleep(20 * MS).await;
        cancel.cancel();
    });
    let look = |_| async { Ok::<Option<()>, &str>(None) };
    let start = Instant::now();
    let gave_up = ensure(look, |()| pending::<Result<(), &str>>()).cancel_on(token.clone()).await.unwrap_err();
    assert!(gave_up.is_cancelled());
    assert_eq!(start.elapsed(), 20 * MS);
    assert!(matches!(gave_up.detail(), Some(Detail::Ensure { acts: 1, outcome_unknown: true, .. })));

    let gave_up = ensure(look, |()| pending::<Result<(), &str>>()).cancel_on(token).await.unwrap_err();
    assert!(gave_up.is_cancelled() && gave_up.attempts() == 0, "nothing starts once it is");
}

/// What is known of an act is said once, and never twice with two meanings.
#[tokio::test(start_paused = true)]
async fn what_a_cut_leaves_known_is_said_once() {
    let (acts, looks) = (Cell::new(0), Cell::new(0));
    // Looks hang from this one on.
    let run = async |hang_from: u32| {
        acts.set(0);
        looks.set(0);
        let look = |_| async {
            looks.set(looks.get() + 1);
            if looks.get() >= hang_from { pending().await } else { Ok::<Option<()>, &str>(None) }
        };
        let act = |()| {
            acts.set(acts.get() + 1);
            pending::<Result<(), &str>>()
        };
        let run = ensure(look, act).every(30 * MS).attempt_timeout(20 * MS).finish_within(100 * MS).max_attempts(1);
        run.await.unwrap_err().sentence().to_string()
    };
    assert_eq!(
        run(u32::MAX).await,
        "gave up after 1 attempt in 20ms: at most 1 act was allowed (acted once, and it was not seen to be applied); last \
         attempt: cut after 20ms by its own deadline"
    );
    let unknown = run(2).await;
    assert!(unknown.contains("(acted once, and whether it was applied is unknown)"), "{unknown}");
    let never = run(1).await;
    assert!(never.contains("(never acted)"), "{never}");
    for text in [unknown, never] {
        assert!(text.contains("; last attempt: cut after ") && !text.contains("outcome unknown"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn on_cut_is_about_acts() {
    let looks = Cell::new(0);
    let look = |_| async {
        looks.set(looks.get() + 1);
        if looks.get() == 1 { pending().await } else { Ok::<Option<()>, &str>(None) }
    };
    let gave_up = ensure(look, |()| pending::<Result<(), &str>>())
        .every(10 * MS)
        .attempt_timeout(10 * MS)
        .on_cut(Decision::Fatal)
        .await
        .unwrap_err();
    assert!(gave_up.is_fatal());
    assert_eq!(looks.get(), 3, "cut, seen, and seen after the act that was cut");
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_of_rounds() {
    let mut heard = Vec::new();
    let acts = Cell::new(0);
    let look = |_| async { Ok::<_, &str>((acts.get() == 2).then_some(())) };
    let act = |()| async {
        acts.set(acts.get() + 1);
        if acts.get() == 1 { Err("busy") } else { Ok(()) }
    };
    let listener = |event: &Event<'_, &'static str>| {
        heard.push(match event {
            Event::Started(attempt) => format!("round {}", attempt.number()),
            Event::Acting { attempt, .. } => format!("acts in {attempt}"),
            Event::Acted { attempt, failed, .. } => format!("acted in {attempt}, failed {failed:?}"),
            Event::Ended { last, .. } => format!("ended {last:?}"),
            Event::Waiting(wait) => format!("{wait:?}"),
            Event::Succeeded { attempts, .. } => format!("succeeded in {attempts}"),
            other => format!("{other:?}"),
        });
    };
    ensure(look, act).every(5 * MS).notify(listener).await.unwrap();
    assert_eq!(
        heard,
        [
            "round 1",
            "acts in 1",
            "acted in 1, failed Some(Failed(\"busy\"))",
            "ended Failed(\"busy\")",
            "Pause(5ms)",
            "round 2",
            "acts in 2",
            "acted in 2, failed None",
            "succeeded in 2",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_of_acts_that_are_cut() {
    for cancelled in [false, true] {
        let mut heard = Vec::new();
        let token = CancellationToken::new();
        let look = |_| async { Ok::<Option<()>, &str>(None) };
        let listener = |event: &Event<'_, &'static str>| {
            heard.push(match event {
                Event::Acting { elapsed, .. } => format!("acts at {elapsed:?}"),
                Event::Acted { elapsed, failed: Some(Last::Cut { after, by, .. }), .. } => {
                    format!("acted at {elapsed:?}, cut after {after:?} by {by:?}")
                }
                Event::GaveUp(gave_up) => format!("{:?}", gave_up.stop()),
                _ => return,
            });
        };
        let run = ensure(look, |()| pending::<Result<(), &'static str>>())
            .attempt_timeout(20 * MS)
            .max_attempts(1)
            .cancel_on(token.clone())
            .notify(listener);
        if cancelled {
            tokio::spawn(async move {
                sleep(5 * MS).await;
                token.cancel();
            });
        }
        run.await.unwrap_err();
        let expected = if cancelled {
            ["acts at 0ns", "acted at 5ms, cut after 5ms by Cancelled", "Cancelled"]
        } else {
            ["acts at 0ns", "acted at 20ms, cut after 20ms by AttemptTimeout", "Attempts"]
        };
        assert_eq!(heard, expected);
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "`EnsureFuture` polled after completion")]
async fn polled_after_completion() {
    let look = |_| async { Ok::<_, ()>(Some(())) };
    let mut future = std::pin::pin!(ensure(look, |()| async { Ok::<(), ()>(()) }).into_future());
    future.as_mut().await.unwrap();
    let _ = future.await;
}

#[tokio::test]
async fn it_can_be_spawned() {
    let look = |_| async { Ok::<_, std::io::Error>(Some(())) };
    let run = ensure(look, |()| async { Ok::<(), std::io::Error>(()) }).finish_within(Duration::from_secs(1));
    tokio::spawn(run.into_future()).await.unwrap().unwrap();
}

/// An act without an answer ends the run, and the observation that follows says why it could not tell: that is heard.
#[tokio::test(start_paused = true)]
async fn what_kept_the_closing_observation_from_telling_is_told() {
    for (closing, cut) in [
        (Err("look failed"), false),
        (Ok(Observed::NotYetBecause("look failed")), false),
        (Ok(Observed::NotYet), false),
        (Ok(Observed::NotYet), true),
    ] as [(Answer, bool); 4]
    {
        let acted = Cell::new(false);
        let look = async |_| match acted.get() {
            false => Ok(Observed::Differs(())),
            true if cut => pending().await,
            true => closing,
        };
        let act = |()| async {
            acted.set(true);
            pending::<Result<(), &str>>().await
        };
        let gave_up = ensure(look, act).attempt_timeout(5 * MS).on_cut(Decision::Fatal).await.unwrap_err();
        assert!(gave_up.is_fatal() && matches!(gave_up.last(), Last::Cut { .. }), "{gave_up:?}");
        let error = if closing == Ok(Observed::NotYet) { None } else { Some(&"look failed") };
        assert_eq!(gave_up.last_error(), error);
        let text = gave_up.sentence().to_string();
        assert!(text.contains("a call without an answer must not be repeated (acted once"), "{text}");
    }
}

/// What an act was refused for good with stays what the run ends with, though the closing observation had no answer.
#[tokio::test(start_paused = true)]
async fn refused_for_good_and_not_observed() {
    let acted = Cell::new(false);
    let look = |_| async { if acted.get() { pending().await } else { Ok(None::<()>) } };
    let act = |()| async {
        acted.set(true);
        Err::<(), _>("permission denied")
    };
    let gave_up = ensure(look, act).when(|_: &&str| false).attempt_timeout(5 * MS).await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.last()), (&Stop::Fatal, Last::Failed(&"permission denied")));
    let text = gave_up.sentence().to_string();
    assert!(text.contains("repeating cannot mend this (acted once, and whether it was applied is unknown)"), "{text}");
}

/// With no time at all a call is still begun, and cut at once if it does not answer: as of any other verb.
#[tokio::test(start_paused = true)]
async fn a_deadline_of_no_time_begins_the_act() {
    let run = |hangs: bool| {
        let act = move |()| async move { if hangs { pending().await } else { Ok::<(), &str>(()) } };
        ensure(async |_| Ok::<Option<()>, &str>(None), act).attempt_timeout(Duration::ZERO).max_attempts(2)
    };
    for (hangs, last) in [(false, "not ready"), (true, "cut after 0ns by its own deadline")] {
        let gave_up = run(hangs).backoff(Backoff::fixed(MS)).await.unwrap_err();
        assert_eq!(gave_up.stop(), &Stop::Attempts);
        assert!(gave_up.sentence().to_string().ends_with(last), "{}", gave_up.sentence());
        assert!(matches!(gave_up.detail(), Some(Detail::Ensure { acts: 2, .. })));
    }
    let gave_up = run(true).finish_within(Duration::ZERO).await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.last()), (&Stop::Deadline, Last::NotReady));
}

/// How long a call ran that was cut is what was set, however late the timer was: of a look and of an act.
#[tokio::test(start_paused = true)]
async fn a_late_timer_makes_no_cut_longer() {
    let timeout = Duration::from_micros(1500);
    let cut = |looks: bool| {
        let look = move |_| async move { if looks { pending().await } else { Ok::<Option<()>, &str>(None) } };
        ensure(look, |()| pending::<Result<(), &str>>()).attempt_timeout(timeout)
    };
    let after = |gave_up: relent::GaveUp<&str>| match gave_up.last() {
        Last::Cut { after, .. } => after,
        last => panic!("{last:?}"),
    };
    assert_eq!(after(cut(false).max_attempts(1).await.unwrap_err()), timeout);
    assert_eq!(after(cut(true).on_cut(false).start_within(Duration::ZERO).await.unwrap_err()), timeout);
    assert_eq!(after(cut(true).finish_within(timeout / 2).await.unwrap_err()), timeout / 2);
}
