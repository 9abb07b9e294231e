//! Random runs in a hostile world: in every callback the clock may jump, the run be cancelled, or a panic strike; at
//! any poll the future may be dropped. What must hold all the same is named at each assertion.

use std::{
    cell::{Cell, RefCell},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use proptest::prelude::*;
use relent::{
    Backoff, Budget, Check, GaveUp, Limiter, Policy, Progress, Rate, Ratio, events::Event, poll, retry, settle,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ends::{is_grammatical, name};

const RESERVE: u32 = 50;

#[derive(Clone, Copy, Debug)]
enum Verb {
    Retry,
    Poll,
    Settle,
    Cursor,
}

/// What a callback does besides.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Stall(u64),
    Cancel,
    Panic,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    takes: u64,
    fails: bool,
}

#[derive(Clone, Debug)]
struct World {
    verb: Verb,
    calls: Vec<Call>,
    /// One for each callback, in the order in which they come.
    acts: Vec<Act>,
    pause: u64,
    timeout: Option<u64>,
    window: Option<u64>,
    bound: Option<u64>,
    attempts: u32,
    cancel_at: Option<u64>,
    drop_after: Option<u32>,
}

fn world() -> impl Strategy<Value = World> {
    let verb = prop_oneof![Just(Verb::Retry), Just(Verb::Poll), Just(Verb::Settle), Just(Verb::Cursor)];
    let act = prop_oneof![
        30 => Just(Act::Nothing),
        2 => (1_u64..400).prop_map(Act::Stall),
        1 => Just(Act::Cancel),
        1 => Just(Act::Panic),
    ];
    let takes = prop_oneof![Just(0), 0_u64..60];
    let call = (takes, prop::bool::weighted(0.9)).prop_map(|(takes, fails)| Call { takes, fails });
    let (calls, acts) = (prop::collection::vec(call, 0..12), prop::collection::vec(act, 0..60));
    let bounds = (prop::option::of(1_u64..50), prop::option::of(0_u64..300), prop::option::of(1_u64..400));
    let ends = (prop::option::weighted(0.2, 0_u64..300), prop::option::weighted(0.2, 0_u32..20));
    (verb, calls, acts, 0_u64..40, bounds, 1_u32..9, ends).prop_map(
        |(verb, calls, acts, pause, bounds, attempts, ends)| {
            let ((timeout, window, bound), (cancel_at, drop_after)) = (bounds, ends);
            World { verb, calls, acts, pause, timeout, window, bound, attempts, cancel_at, drop_after }
        },
    )
}

fn stall(jump: Duration) {
    let advance = pin!(tokio::time::advance(jump));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}

/// What is seen of a run.
#[derive(Default)]
struct Observed {
    callbacks: Cell<usize>,
    started: Cell<u32>,
    heard: RefCell<String>,
    /// The number of the call whose error came last.
    error: Cell<Option<usize>>,
    wrong: RefCell<Vec<String>>,
}

fn play(world: &World) -> Result<(), TestCaseError> {
    let ms = Duration::from_millis;
    let mut policy = Policy::new().backoff(Backoff::fixed(ms(world.pause))).max_attempts(world.attempts);
    policy = world.timeout.map_or(policy.clone(), |timeout| policy.attempt_timeout(ms(timeout)));
    policy = world.window.map_or(policy.clone(), |window| policy.start_within(ms(window)));
    policy = world.bound.map_or(policy.clone(), |bound| policy.finish_within(ms(bound)));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start = Instant::now();
        let seen = Observed::default();
        let token = CancellationToken::new();
        let (limiter, budget) = (Limiter::new(Rate::per_second(20), 2), Budget::ratio(Ratio::ZERO).reserve(RESERVE));
        // Another one waits too, so that the run has to.
        let other = limiter.reserve(2).unwrap();
        let callback = || {
            let act = world.acts.get(seen.callbacks.replace(seen.callbacks.get() + 1));
            match act.copied().unwrap_or(Act::Nothing) {
                Act::Nothing => {}
                Act::Stall(jump) => stall(ms(jump)),
                Act::Cancel => token.cancel(),
                Act::Panic => std::panic::resume_unwind(Box::new("callback")),
            }
        };
        let listen = |event: &Event<'_, usize>| {
            seen.heard.borrow_mut().push(name(event));
            if let Event::Started(attempt) = event {
                seen.started.set(seen.started.get() + 1);
                let at = start.elapsed();
                let mut wrong = seen.wrong.borrow_mut();
                if token.is_cancelled() {
                    wrong.push(format!("started at {at:?}, once cancelled"));
                }
                if world.bound.is_some_and(|bound| at >= ms(bound)) {
                    wrong.push(format!("started at {at:?}, at the hard bound or later"));
                }
                if attempt.number() > 1 && attempt.elapsed() > at {
                    wrong.push(format!("at {at:?} it was told {:?}", attempt.elapsed()));
                }
            }
            callback();
        };
        let call = || {
            callback();
            let number = seen.started.get() as usize;
            let call = world.calls.get(number.wrapping_sub(1)).copied().unwrap_or(Call { takes: 0, fails: false });
            let (seen, callback) = (&seen, &callback);
            async move {
                if call.takes > 0 {
                    sleep(ms(call.takes)).await;
                }
                callback();
                if call.fails {
                    seen.error.set(Some(number));
                    return Err(number);
                }
                Ok(())
            }
        };
        let when = |_: &usize| {
            callback();
            true
        };
        if let Some(at) = world.cancel_at {
            let token = token.clone();
            tokio::spawn(async move {
                sleep(ms(at)).await;
                token.cancel();
            });
        }
        let ended: Pin<Box<dyn Future<Output = Result<(), GaveUp<usize>>>>> = match world.verb {
            Verb::Retry => {
                let run = retry(|_| call()).policy(&policy).when(when).notify(listen);
                Box::pin(run.cancel_on(token.clone()).throttle(&limiter).budget(&budget).into_future())
            }
            Verb::Poll => {
                let run = poll(|_| async { call().await.map(Check::<(), usize>::Ready) });
                let run = run.policy(&policy).when(when).notify(listen);
                Box::pin(run.cancel_on(token.clone()).throttle(&limiter).budget(&budget).into_future())
            }
            Verb::Settle => {
                let run = settle(|_| async { call().await.map(Progress::<(), usize>::Done) });
                let run = run.policy(&policy).when(when).notify(listen);
                Box::pin(run.cancel_on(token.clone()).throttle(&limiter).budget(&budget).into_future())
            }
            Verb::Cursor => {
                let run = policy.begin().when(when).notify(listen);
                let mut run = run.cancel_on(token.clone()).throttle(&limiter).budget(&budget);
                let seen = &seen;
                let call = &call;
                Box::pin(async move {
                    loop {
                        let next = run.next().await?;
                        let attempt = AssertUnwindSafe(next.run(call())).catch_unwind();
                        // A listener that is told of the success may panic; another `next` would begin a new run.
                        if matches!(attempt.await, Ok(Some(()))) || seen.heard.borrow().ends_with('S') {
                            return Ok(());
                        }
                    }
                })
            }
        };
        let mut ended = ended;
        let mut polls = 0;
        let hostile = std::future::poll_fn(|cx| {
            if world.drop_after.is_some_and(|most| polls >= most) {
                return Poll::Ready(None);
            }
            polls += 1;
            ended.as_mut().poll(cx).map(Some)
        });
        let result = AssertUnwindSafe(hostile).catch_unwind().await;
        let what = format!("{:?} {:?} {:?}", seen.heard.borrow(), result, seen.wrong.borrow());
        let panicked = result.is_err();
        match result {
            Ok(Some(end)) => {
                // The future is done and still there.
                prop_assert_eq!(limiter.waiters(), 0, "a waiter stays behind: {}", what);
                prop_assert!(is_grammatical(&seen.heard.borrow()) || matches!(world.verb, Verb::Cursor), "{}", what);
                if let Err(gave_up) = end {
                    prop_assert_eq!(gave_up.last_error().copied(), seen.error.get(), "the latest real error: {}", what);
                    prop_assert_eq!(gave_up.attempts(), seen.started.get(), "{}", what);
                }
            }
            Ok(None) | Err(_) => drop(ended),
        }
        prop_assert!(seen.wrong.borrow().is_empty(), "{}", what);
        let retries = seen.started.get().saturating_sub(1);
        prop_assert_eq!(budget.available(), u64::from(RESERVE - retries), "retries are conserved: {}", what);
        prop_assert_eq!(limiter.waiters(), 0, "{}", what);
        prop_assert!(polls <= 200 || panicked, "it spins: {}", what);
        drop(other);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_in_a_hostile_world(world in world()) {
        play(&world)?;
    }
}
