//! A future that has ended and is kept: nothing wakes its task any more, neither a timer nor a token.

use std::{
    fmt,
    future::pending,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use relent::{
    Backoff, Check, Decision, Limiter, Observed, Policy, Progress, Rate, ensure,
    leader::{MemoryLock, elect},
    poll, retry, settle,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Polls whenever it is woken, until it has ended.
async fn to_the_end<F: Future>(mut future: Pin<&mut F>, wakes: &Arc<Wakes>) -> F::Output {
    let waker = Waker::from(Arc::clone(wakes));
    for _ in 0..10_000 {
        let before = wakes.0.load(Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while wakes.0.load(Relaxed) == before {
            sleep(S / 1000).await;
        }
    }
    panic!("it does not end");
}

/// How often its task was woken after the end, with time going on and the token cancelled.
async fn wakes_after<F: Future<Output: fmt::Debug>>(name: &str, future: F, token: &CancellationToken, ended: &str) {
    let mut future = pin!(future);
    let wakes = Arc::new(Wakes::default());
    let output = format!("{:?}", to_the_end(future.as_mut(), &wakes).await);
    assert!(output.starts_with(ended), "{name}: {output}");
    let before = wakes.0.load(Relaxed);
    tokio::time::advance(DAY).await;
    sleep(S).await;
    token.cancel();
    sleep(S).await;
    assert_eq!(wakes.0.load(Relaxed), before, "{name} was woken after its end: {output}");
}

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
                    wakes_after($name, future, &token, ended).await;
                } else {
                    wakes_after($name, builder.into_future(), &token, ended).await;
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
    tokio::join!(wakes_after("throttled", run, &token, "Ok"), early);
    let acquire = limiter.acquire(1);
    wakes_after("acquire", acquire, &CancellationToken::new(), "Ok").await;
    limiter.try_acquire(1).unwrap();
    let bounded = retry(|_| async { Ok::<_, &str>(()) }).throttle(&limiter).start_within(S).into_future();
    wakes_after("refused", bounded, &CancellationToken::new(), "Err").await;
}

#[tokio::test(start_paused = true)]
async fn nor_an_election() {
    let token = CancellationToken::new();
    let election = elect(MemoryLock::new(), "one").cancel_on(token.clone()).run(|_| after(3 * S, 7));
    wakes_after("elect", election, &token, "Ok").await;
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
    wakes_after("cancelled", run, &token, "Err").await;
    let run = retry(|_| after(S, Ok::<_, &str>(()))).cancel_when(sleep(60 * S)).into_future();
    wakes_after("not cancelled", run, &CancellationToken::new(), "Ok").await;
    let run = retry(|_| pending::<Result<(), &str>>()).attempt_timeout(S).finish_within(S).into_future();
    wakes_after("cut", run, &CancellationToken::new(), "Err").await;
}
