//! A future that has ended and is kept: nothing wakes its task any more, neither a timer nor a token.

use std::{future::pending, time::Duration};

use relent::{
    Backoff, Check, Decision, Limiter, Observed, Policy, Progress, Rate, ensure,
    leader::{MemoryLock, elect},
    poll, retry, settle,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::wakes::nothing_wakes_it_after;

const S: Duration = Duration::from_secs(1);

/// Waits so long, with a timer of its own that is gone then.
async fn after<T>(pause: Duration, answer: T) -> T {
    sleep(pause).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn nothing_wakes_a_future_that_has_ended() {
    // With a token or without, with a value or without: what shares nothing is another type.
    for (fails, shares) in [(false, false), (true, false), (false, true), (true, true)] {
        let policy: Policy = "attempt_timeout 10s, finish_within 1m, every 2s".parse().unwrap();
        let ended = if fails { "Err" } else { "Ok" };
        let fatal = |_: &&str| Decision::Fatal;
        macro_rules! ends {
            ($name:literal, $builder:expr) => {
                let token = CancellationToken::new();
                let builder = $builder.policy(&policy).when(fatal);
                if shares {
                    let future = builder.cancel_on(token.clone()).cancel_on(token.clone()).into_future();
                    nothing_wakes_it_after($name, future, &token, ended).await;
                } else {
                    nothing_wakes_it_after($name, builder.into_future(), &token, ended).await;
                }
            };
        }
        ends!("retry", retry(|_| after(S, if fails { Err("no") } else { Ok(()) })));
        let mut polls = 0;
        ends!(
            "poll",
            poll(|_| {
                polls += 1;
                after(
                    S,
                    if polls < 3 {
                        Ok(Check::NotYet)
                    } else if fails {
                        Err("no")
                    } else {
                        Ok(Check::Ready(()))
                    },
                )
            })
        );
        ends!("settle", settle(|_| after(S, if fails { Progress::Failed("no") } else { Progress::Done(()) })));
        let mut observations = 0;
        ends!(
            "ensure",
            ensure(
                |_| {
                    observations += 1;
                    let is_done = observations > 1 && !fails;
                    after(S, Ok::<_, &str>(if is_done { Observed::AsWanted(()) } else { Observed::Differs(()) }))
                },
                |()| after(S, if fails { Err("no") } else { Ok(()) }),
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nor_one_that_waited_for_a_permit() {
    let token = CancellationToken::new();
    let limiter = Limiter::new(Rate::every(60 * S).unwrap(), 1);
    let taken = limiter.reserve(1).unwrap();
    // It is granted long before the timer that was set for it.
    let early = async {
        sleep(S).await;
        drop(taken);
    };
    let run = retry(|_| after(S, Ok::<_, &str>(()))).throttle(&limiter).cancel_on(token.clone()).into_future();
    tokio::join!(nothing_wakes_it_after("throttled", run, &token, "Ok"), early);
    let acquire = limiter.acquire(1);
    nothing_wakes_it_after("acquire", acquire, &CancellationToken::new(), "Ok").await;
    limiter.try_acquire(1).unwrap();
    let bounded = retry(|_| async { Ok::<_, &str>(()) }).throttle(&limiter).start_within(S).into_future();
    nothing_wakes_it_after("refused", bounded, &CancellationToken::new(), "Err").await;
}

#[tokio::test(start_paused = true)]
async fn nor_an_election() {
    let token = CancellationToken::new();
    let election = elect(MemoryLock::new(), "one").cancel_on(token.clone()).run(|_| after(3 * S, 7));
    nothing_wakes_it_after("elect", election, &token, "Ok").await;
}

/// What ends by itself between two attempts: cancelled in a pause.
#[tokio::test(start_paused = true)]
async fn nor_one_that_was_cancelled_in_its_pause() {
    let token = CancellationToken::new();
    let run = retry(|_| async { Err::<(), _>("no") })
        .backoff(Backoff::fixed(60 * S))
        .cancel_on(token.clone())
        .cancel_when(sleep(2 * S))
        .into_future();
    nothing_wakes_it_after("cancelled", run, &token, "Err").await;
    let run = retry(|_| after(S, Ok::<_, &str>(()))).cancel_when(sleep(60 * S)).into_future();
    nothing_wakes_it_after("not cancelled", run, &CancellationToken::new(), "Ok").await;
    let run = retry(|_| pending::<Result<(), &str>>()).attempt_timeout(S).finish_within(S).into_future();
    nothing_wakes_it_after("cut", run, &CancellationToken::new(), "Err").await;
}
