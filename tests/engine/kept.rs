//! A future that has ended and is kept: nothing wakes its task any more, neither a timer nor a token.

use std::{future::pending, time::Duration};

use relent::{
    Backoff, Check, Decision, Limiter, Observed, Policy, Progress, Rate, TimedQueue, ensure,
    leader::{MemoryLock, elect},
    poll, retry, settle,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::wakes::nothing_wakes_it_after;

const DAY: Duration = Duration::from_secs(86_400);
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

#[tokio::test(start_paused = true)]
async fn nor_the_run_of_a_queue() {
    // The alarm of the first attempt's deadline is still to come when the last item ends, or the token is cancelled.
    for at in [S, 3 * S] {
        let stop = CancellationToken::new();
        let other = CancellationToken::new();
        let mut queue = TimedQueue::<u32, ()>::new().attempt_timeout(60 * S);
        let handle = queue.handle();
        _ = handle.schedule(1, (), Instant::now() + S);
        _ = handle.schedule(2, (), Instant::now() + DAY);
        let run = queue.run(|_| after(S, Ok::<(), &str>(()))).cancel_on(stop.clone()).cancel_on(other.clone());
        let stopper = async {
            sleep(at).await;
            stop.cancel();
        };
        tokio::join!(nothing_wakes_it_after("queue", run.into_future(), &other, "Finished"), stopper);
    }
}

#[tokio::test(start_paused = true)]
async fn nor_a_loop_of_ones_own() {
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let policy = Policy::new().every(S).max_attempts(2);
    let mut run = policy.begin::<&str>().cancel_on(first).cancel_on(second.clone()).cancel_when(sleep(60 * S));
    let all = async {
        loop {
            match run.next().await {
                Ok(next) => _ = next.run(after(S, Err::<(), _>("no"))).await,
                Err(gave_up) => return Err::<(), _>(gave_up),
            }
        }
    };
    nothing_wakes_it_after("a loop", all, &second, "Err").await;
    assert!(run.next().await.is_err());
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
