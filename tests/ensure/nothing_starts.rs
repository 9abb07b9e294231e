//! Once it is cancelled, or too late by the clock, an ensure does not act and does not look.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use relent::{Backoff, Change, Decision, Last, Observed, Policy, Stop, ensure, error::Detail, events::Event};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

/// The clock jumps in the middle of whatever runs.
fn stall(jump: Duration) {
    let advance = pin!(tokio::time::advance(jump));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}

#[tokio::test(start_paused = true)]
async fn cancelled_while_it_looks_it_does_not_act() {
    for same_poll in [true, false] {
        let (token, acts) = (CancellationToken::new(), Cell::new(0));
        let look = |_| async {
            if same_poll {
                token.cancel();
            } else {
                sleep(S).await;
            }
            Ok::<Option<()>, &str>(None)
        };
        let act = |()| {
            acts.set(acts.get() + 1);
            async { Ok::<(), &str>(()) }
        };
        let cancel = token.clone();
        let canceller = tokio::spawn(async move {
            sleep(S).await;
            cancel.cancel();
        });
        let gave_up = ensure(look, act).cancel_on(token.clone()).await.unwrap_err();
        assert_eq!((gave_up.stop(), gave_up.last(), acts.get()), (&Stop::Cancelled, Last::NotReady, 0));
        assert!(
            gave_up.sentence().to_string().ends_with("cancelled (never acted); last attempt: not ready"),
            "{gave_up:?}"
        );
        canceller.abort();
    }
}

/// The act that was in flight has answered, or not: it is not observed any more, and that is said.
#[tokio::test(start_paused = true)]
async fn cancelled_while_it_acts_it_does_not_look() {
    for answers in [true, false] {
        let (token, looks) = (CancellationToken::new(), Cell::new(0));
        let look = |_| {
            looks.set(looks.get() + 1);
            async { Ok::<Option<()>, &str>(None) }
        };
        let act = |()| async {
            token.cancel();
            if !answers {
                std::future::pending::<()>().await;
            }
            Ok::<(), &str>(())
        };
        let gave_up = ensure(look, act).cancel_on(token.clone()).await.unwrap_err();
        assert_eq!((gave_up.stop(), looks.get()), (&Stop::Cancelled, 1));
        assert!(matches!(gave_up.detail(), Some(Detail::Ensure { acts: 1, outcome_unknown: true, .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_it_neither_acts_nor_looks() {
    for stalls_in in ["started", "look", "acting", "act", "acted"] {
        let heard = RefCell::new(Vec::new());
        let look = |_| async {
            heard.borrow_mut().push("look");
            if stalls_in == "look" {
                stall(100 * S);
            }
            Ok::<Option<()>, &str>(None)
        };
        let act = |()| async {
            heard.borrow_mut().push("act");
            if stalls_in == "act" {
                stall(100 * S);
            }
            Err::<(), &str>("reset")
        };
        let listen = |event: &Event<'_, &str>| match event {
            Event::Acted { .. } if stalls_in == "acted" => stall(100 * S),
            Event::Acting { .. } if stalls_in == "acting" => stall(100 * S),
            Event::Started(_) if stalls_in == "started" => stall(100 * S),
            _ => {}
        };
        let run = ensure(look, act).attempt_timeout(2 * S).finish_within(10 * S).notify(listen);
        let gave_up = run.await.unwrap_err();
        let (expected, acted): (&[_], _) = match stalls_in {
            "started" => (&[], false),
            "look" | "acting" => (&["look"], false),
            _ => (&["look", "act"], true),
        };
        assert_eq!(heard.take(), expected, "{stalls_in}");
        assert_eq!((gave_up.stop(), gave_up.last_error()), (&Stop::Deadline, acted.then_some(&"reset")));
        let Some(&Detail::Ensure { acts, outcome_unknown, .. }) = gave_up.detail() else { panic!("{gave_up:?}") };
        assert_eq!((acts, outcome_unknown), (u32::from(acted), acted));
    }
}

/// What was about to begin when the listener cancelled the run does not, and nothing is said of an outcome.
#[tokio::test(start_paused = true)]
async fn a_listener_that_cancels_is_heeded_at_once() {
    for (cancels_in, expected) in [("started", vec![]), ("acting", vec!["look"])] {
        let (token, called, heard) = (CancellationToken::new(), RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let look = |_| {
            called.borrow_mut().push("look");
            async { Ok::<Option<()>, &str>(None) }
        };
        let act = |()| {
            called.borrow_mut().push("act");
            async { Ok::<(), &str>(()) }
        };
        let listen = |event: &Event<'_, &str>| {
            let name = match event {
                Event::Started(_) => "started",
                Event::Acting { .. } => "acting",
                Event::Acted { failed, .. } => {
                    assert_eq!(*failed, Some(Last::NotCalled));
                    "acted"
                }
                Event::Ended { .. } => "ended",
                _ => "gave up",
            };
            heard.borrow_mut().push(name);
            if name == cancels_in {
                token.cancel();
            }
        };
        let gave_up = ensure(look, act).cancel_on(token.clone()).notify(listen).await.unwrap_err();
        assert_eq!((gave_up.stop(), called.take()), (&Stop::Cancelled, expected), "{cancels_in}");
        assert!(matches!(gave_up.detail(), Some(Detail::Ensure { acts: 0, outcome_unknown: false, .. })));
        let acting: &[_] = if cancels_in == "acting" { &["acting", "acted"] } else { &[] };
        assert_eq!(heard.take(), [&["started"], acting, &["ended", "gave up"]].concat());
    }
}

/// A look that wakes late, with the answer that an act is due.
#[tokio::test(start_paused = true)]
async fn a_late_look_does_not_act() {
    let acts = Cell::new(0);
    let look = |_| async {
        sleep(S).await;
        Ok::<Option<()>, &str>(None)
    };
    let act = |()| {
        acts.set(acts.get() + 1);
        async { Ok::<(), &str>(()) }
    };
    let mut run = pin!(ensure(look, act).finish_within(10 * S).into_future());
    assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    stall(100 * S);
    let gave_up = run.await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.elapsed(), acts.get()), (&Stop::Deadline, 100 * S, 0));
}

#[tokio::test(start_paused = true)]
async fn with_no_act_allowed_it_says_what_it_did() {
    let look = |_| async { Ok::<Option<()>, &str>(None) };
    let run = |allowed| ensure(look, |()| async { Err::<(), _>("x") }).backoff(Backoff::fixed(S)).max_attempts(allowed);
    let gave_up = run(0).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.last()), (1, Last::NotReady));
    assert_eq!(
        gave_up.sentence().to_string(),
        "gave up after 1 attempt: at most 0 acts were allowed (never acted); last attempt: not ready"
    );
    assert_eq!(
        run(2).await.unwrap_err().sentence().to_string(),
        "gave up after 2 attempts in 1s: at most 2 acts were allowed (acted 2 times, and it was not seen to be applied); \
         last attempt: x"
    );
}

#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Look,
    Looked(u8),
    Act,
    Acted,
}

#[derive(Clone, Debug)]
struct Call {
    takes: u64,
    stalls: u64,
    answer: u8,
}

fn call() -> impl Strategy<Value = Call> {
    let takes = prop_oneof![3 => 0_u64..10, 1 => 0_u64..120];
    let stalls = prop_oneof![9 => Just(0), 1 => 1_u64..400];
    (takes, stalls, 0_u8..8).prop_map(|(takes, stalls, answer)| Call { takes, stalls, answer })
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, ..ProptestConfig::default() })]

    /// Random calls under random settings, cancelled at any instant, and stalled in any call: it acts only on what it
    /// has just seen, never too often, and nothing starts too late; what it says in the end is true.
    #[test]
    fn whatever_happens(
        calls in prop::collection::vec(call(), 1..20),
        timeout in prop::option::of(1_u64..60),
        bound in prop::option::of(1_u64..200),
        window in prop::option::weighted(0.3, 0_u64..100),
        pause in 0_u64..20,
        allowed in 0_u32..4,
        fatal in prop::bool::weighted(0.25),
        cancel_at in prop::option::weighted(0.2, 0_u64..150),
    ) {
        // Something has to end it.
        let bound = if timeout.is_none() { bound.or(Some(150)) } else { bound };
        let ms = Duration::from_millis;
        let mut policy = Policy::new().backoff(Backoff::fixed(ms(pause))).max_attempts(allowed);
        policy = timeout.map_or(policy.clone(), |timeout| policy.attempt_timeout(ms(timeout)));
        policy = bound.map_or(policy.clone(), |bound| policy.finish_within(ms(bound)));
        policy = window.map_or(policy.clone(), |window| policy.start_within(ms(window)));
        if fatal {
            policy = policy.on_cut(Decision::Fatal);
        }
        let log = RefCell::new(Vec::new());
        let (applied, next, token) = (Cell::new(false), Cell::new(0), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (ended, end) = runtime.block_on(async {
            let start = Instant::now();
            let now = || u64::try_from(start.elapsed().as_millis()).unwrap();
            let say = |heard| log.borrow_mut().push((now(), token.is_cancelled(), heard));
            let take = || {
                next.set(next.get() + 1);
                // Once the script is over, all is well at once.
                calls.get(next.get() - 1).cloned().unwrap_or(Call { takes: 0, stalls: 0, answer: 7 })
            };
            if let Some(at) = cancel_at {
                let token = token.clone();
                tokio::spawn(async move {
                    sleep(ms(at)).await;
                    token.cancel();
                });
            }
            let run = ensure(
                |_| {
                    say(Heard::Look);
                    let call = take();
                    let (applied, say) = (&applied, &say);
                    async move {
                        if call.takes > 0 {
                            sleep(ms(call.takes)).await;
                        }
                        stall(ms(call.stalls));
                        let seen = match call.answer {
                            0 => 2,
                            1 => 3,
                            _ => u8::from(!applied.get()),
                        };
                        say(Heard::Looked(seen));
                        match seen {
                            0 => Ok(Observed::AsWanted(7)),
                            1 => Ok(Observed::Differs(())),
                            2 => Ok(Observed::NotYet),
                            _ => Err("look"),
                        }
                    }
                },
                |()| {
                    say(Heard::Act);
                    let call = take();
                    let (applied, say) = (&applied, &say);
                    async move {
                        applied.set(applied.get() || call.answer % 4 == 0);
                        if call.takes > 0 {
                            sleep(ms(call.takes)).await;
                        }
                        stall(ms(call.stalls));
                        applied.set(applied.get() || call.answer % 4 != 1);
                        say(Heard::Acted);
                        if call.answer % 4 < 3 { Ok(()) } else { Err("act") }
                    }
                },
            );
            let ended = run.policy(&policy).cancel_on(token.clone()).await;
            (ended, now())
        });
        let log = log.into_inner();
        let what = format!("{policy} {log:?} {end} {ended:?}");
        let stalled: u64 = calls.iter().map(|call| call.stalls).sum();
        let acts: Vec<_> = log.iter().filter(|heard| heard.2 == Heard::Act).collect();
        prop_assert!(acts.len() <= allowed as usize, "{}", what);
        let acted = |index: usize| index > 0 && matches!(log[index - 1].2, Heard::Act | Heard::Acted);
        for (index, &(at, cancelled, ref heard)) in log.iter().enumerate() {
            let starts = matches!(heard, Heard::Look | Heard::Act);
            prop_assert!(!(starts && cancelled), "nothing starts once it is cancelled: {}", what);
            if let Some(bound) = bound {
                // An act may run up to the bound itself, and the look that follows may answer there and then.
                let closing = *heard == Heard::Look && at == bound && acted(index);
                prop_assert!(!starts || at < bound || closing, "nothing starts at the bound: {}", what);
                if let (Heard::Act, Some(timeout)) = (heard, timeout) {
                    prop_assert!(at <= bound - timeout.min(bound / 2), "the last look has its time: {}", what);
                }
            }
            if *heard == Heard::Act {
                prop_assert!(index > 0 && log[index - 1].2 == Heard::Looked(1), "an act on nothing: {}", what);
            }
        }
        if let Some(bound) = bound {
            prop_assert!(end <= bound + stalled, "{}", what);
        }
        match &ended {
            Ok(ensured) => {
                prop_assert_eq!(&log.last().unwrap().2, &Heard::Looked(0));
                prop_assert_eq!(ensured.change == Change::AlreadySo, acts.is_empty());
            }
            Err(gave_up) => {
                let Some(&Detail::Ensure { acts: said, outcome_unknown, .. }) = gave_up.detail() else { panic!() };
                prop_assert_eq!(said as usize, acts.len(), "{}", what);
                let rounds = log.iter().filter(|heard| heard.2 == Heard::Look).count() - acts.len().min(log.len());
                prop_assert!(gave_up.attempts() as usize >= rounds, "{}", what);
                if let Some(last) = log.iter().rposition(|heard| heard.2 == Heard::Act) {
                    let look = log[last..].iter().rposition(|heard| heard.2 == Heard::Look);
                    let seen = look.is_some_and(|look| {
                        log[last + look..].iter().any(|heard| matches!(heard.2, Heard::Looked(0..=2)))
                    });
                    prop_assert_eq!(outcome_unknown, !seen, "{}", what);
                    let late = bound.is_some_and(|bound| end > bound);
                    prop_assert!(look.is_some() || gave_up.is_cancelled() || late, "not observed after the act: {}", what);
                } else {
                    prop_assert!(!outcome_unknown, "{}", what);
                }
            }
        }
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// What a look holds is let go before the act, and that may take its time: 7 s leave the look that closes the run its
/// time, 8 s do not.
#[tokio::test(start_paused = true)]
async fn a_look_that_is_long_let_go_of_does_not_act_too_late() {
    for (takes, acts) in [(7, 1), (8, 0), (9, 0), (100, 0)] {
        for listens in [true, false] {
            let (acted, first) = (Cell::new(0), Cell::new(true));
            let look = |_| {
                let held = OnDrop(|| {
                    if first.replace(false) {
                        stall(takes * S);
                    }
                });
                poll_fn(move |_| {
                    let _ = &held;
                    Poll::Ready(Ok::<Option<()>, &str>(None))
                })
            };
            let act = |()| {
                acted.set(acted.get() + 1);
                async { Ok::<(), &str>(()) }
            };
            let run = ensure(look, act).attempt_timeout(2 * S).finish_within(10 * S).max_attempts(1);
            let gave_up = if listens { run.notify(|_| {}).await } else { run.await }.unwrap_err();
            assert_eq!(acted.get(), acts, "{takes} s, {gave_up:?}");
            assert_eq!(*gave_up.stop(), if acts == 1 { Stop::Attempts } else { Stop::Deadline }, "{takes} s");
        }
    }
}

/// So may the listener that hears of the act. What it leaves of the time until the closing look is the act's.
#[tokio::test(start_paused = true)]
async fn a_listener_that_takes_long_does_not_let_it_act_too_late() {
    for (takes, acts) in [(7, 1), (8, 0), (9, 0), (100, 0)] {
        let acted = RefCell::new(Vec::new());
        let act = |()| {
            acted.borrow_mut().push(Instant::now());
            std::future::pending::<Result<(), &str>>()
        };
        let began = Instant::now();
        let looks = Cell::new(0);
        let look = |_| {
            looks.set(looks.get() + 1);
            async { Ok::<Option<()>, &str>(None) }
        };
        let run = ensure(look, act).attempt_timeout(2 * S).finish_within(10 * S).max_attempts(1).notify(|event| {
            if let Event::Acting { .. } = event {
                stall(takes * S);
            }
        });
        let gave_up = run.await.unwrap_err();
        assert_eq!(acted.borrow().len(), acts, "{takes} s, {gave_up:?}");
        // It is cut when the closing look needs the time, not before it has begun.
        let ended = if acts == 1 { 8 * S } else { takes * S };
        assert_eq!((gave_up.elapsed(), looks.get()), (ended, 1 + acts), "{takes} s, {gave_up:?}");
        assert!(acted.borrow().iter().all(|at| *at - began < 8 * S));
    }
}
