//! Every verb, with every word, awaited in an async block that is spawned: for the error types that people have.
//!
//! In an async block each lifetime in the type of what is awaited is a fresh unknown, `'static` too. So what compiles
//! for `io::Error` may not for `&'static str`: a matter of the types alone, and most of this is only compiled.

use std::{borrow::Cow, convert::Infallible, future::pending, io, time::Duration};

use relent::{
    Attempt, Budget, Check, Decision, GaveUp, Limiter, Observed, Policy, Progress, Ratio, TimedQueue, blocking, ensure,
    leader::{Manager, MemoryLock, elect},
    operation::RetryAll,
    poll, retry, settle,
};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// What `tokio::spawn` asks for.
fn spawns<F>(_: F)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
}

/// A run with each word, and with all of them.
macro_rules! words {
    ($run:expr) => {
        spawns(async { $run.await.map(drop) });
        spawns(async { $run.when(|_| true).await.map(drop) });
        spawns(async { $run.classify(RetryAll).await.map(drop) });
        spawns(async { $run.notify(|_| {}).await.map(drop) });
        spawns(async { $run.cancel_on(CancellationToken::new()).await.map(drop) });
        spawns(async { $run.cancel_when(pending::<()>()).await.map(drop) });
        spawns(async {
            let limiter = Limiter::unlimited();
            $run.throttle(&limiter).await.map(drop)
        });
        spawns(async {
            let budget = Budget::ratio(Ratio::percent(10));
            $run.budget(&budget).await.map(drop)
        });
        spawns(async { $run.chained().await.map(drop) });
        spawns(async {
            let (limiter, budget) = (Limiter::unlimited(), Budget::ratio(Ratio::percent(10)));
            let run =
                $run.finish_within(Duration::from_secs(1)).when(|_| Decision::Retry).notify(|_| {}).notify(|_| {});
            run.throttle(&limiter)
                .budget(&budget)
                .cancel_on(CancellationToken::new())
                .cancel_when(pending::<()>())
                .chained()
                .await
                .map(drop)
        });
    };
}

/// The same, and what only errors other than `Infallible` need.
macro_rules! fallible {
    ($run:expr) => {
        words!($run);
        spawns(async { $run.boxed().await.map(drop) });
        spawns(async { $run.when(|_| true).notify(|_| {}).boxed().chained().await.map(drop) });
        // Made outside, and with a local that the await holds.
        let run = $run.into_future();
        spawns(async move {
            let local = String::from("kept");
            let answer = run.await.map(drop);
            drop(local);
            answer
        });
    };
}

/// An answer that is not there at once.
async fn later<T>(answer: T) -> T {
    yield_now().await;
    answer
}

macro_rules! matrix {
    ($($error:ty),+) => {$(
        // 14 forms, each as a closure that gives a future and as an async one, times 13 sets of words.
        const _: fn() = || {
            type E = $error;
            fallible!(retry(|_| async { later(Ok::<u8, E>(1)).await }));
            spawns(async { retry(async |_| later(Ok::<u8, E>(1)).await).boxed().with_report().await });
            fallible!(retry(async |_| later(Ok::<u8, E>(1)).await));
            fallible!(poll(|_| async { later(Ok::<_, E>(Some(1))).await }));
            fallible!(poll(async |_| later(Ok::<_, E>(Some(1))).await));
            fallible!(poll(|_| async { later(Check::<u8, E>::Ready(1)).await }));
            fallible!(poll(async |_| later(Check::<u8, E>::Ready(1)).await));
            fallible!(poll(|_| async { later(Ok::<_, E>(Check::<u8, E>::Ready(1))).await }));
            fallible!(poll(async |_| later(Ok::<_, E>(Check::<u8, E>::Ready(1))).await));
            fallible!(settle(|_| async { later(Progress::<u8, E>::Done(1)).await }));
            fallible!(settle(async |_| later(Progress::<u8, E>::Done(1)).await));
            fallible!(settle(|_| async { later(Ok::<_, E>(Progress::<u8, E>::Done(1))).await }));
            fallible!(settle(async |_| later(Ok::<_, E>(Progress::<u8, E>::Done(1))).await));
            fallible!(ensure(|_| async { later(Ok::<_, E>(Some(1))).await }, |()| async { later(Ok::<(), E>(())).await }));
            fallible!(ensure(async |_| later(Ok::<_, E>(Some(1))).await, async |()| later(Ok::<(), E>(())).await));
            fallible!(ensure(
                |_| async { later(Observed::<u8, &'static str, E>::Differs("state")).await },
                |_| async { later(Ok::<(), E>(())).await },
            ));
            fallible!(ensure(
                async |_| later(Observed::<u8, E, E>::AsWanted(1)).await,
                async |state: E| later(Err::<(), E>(state)).await,
            ));
            fallible!(ensure(
                |_| async { later(Ok::<_, E>(Observed::<u8, Cow<'static, str>, E>::NotYet)).await },
                |state| async move { later(Ok::<_, E>(state)).await },
            ));
            fallible!(ensure(
                async |_| later(Ok::<_, E>(Observed::<u8, Boxed, E>::NotYet)).await,
                async |state: Boxed| later(Ok::<_, E>(state)).await,
            ));
            // Values that have a lifetime of their own.
            fallible!(retry(async |_| later(Ok::<&'static str, E>("here")).await));
            fallible!(poll(async |_| later(Ok::<_, E>(Check::<Cow<'static, str>, E>::NotYet)).await));
            fallible!(settle(async |_| later(Ok::<_, E>(Progress::<&'static str, E>::Done("done"))).await));
            // The cursor.
            spawns(async {
                let mut run = Policy::new().begin::<E>();
                loop {
                    let turn = run.next().await?;
                    if let Some(answer) = turn.run(later(Ok(1))).await {
                        break Ok::<u8, GaveUp<E>>(answer);
                    }
                }
            });
            spawns(async {
                let (limiter, budget) = (Limiter::unlimited(), Budget::ratio(Ratio::percent(10)));
                let run = Policy::new().begin::<E>().when(|_| true).notify(|_| {}).throttle(&limiter).budget(&budget);
                let mut run = run.cancel_on(CancellationToken::new()).cancel_when(pending::<()>());
                loop {
                    let turn = run.next().await?;
                    if let Some(answer) = turn.run(later(Ok(1))).await {
                        break Ok::<u8, GaveUp<E>>(answer);
                    }
                }
            });
            // What runs long.
            spawns(async {
                let mut queue = TimedQueue::<&'static str, Cow<'static, str>>::new();
                let run = queue.run(async |job| later(Err::<(), E>(E::of(job.key))).await).when(|_| true);
                run.classify(RetryAll).await.given_up.len()
            });
            spawns(async { elect(MemoryLock::new(), "a").run(async |_| later(Ok::<(), E>(())).await).await.map(drop) });
            spawns(async {
                let again = elect(MemoryLock::new(), "a").again();
                again.run(|term| async move { later(Ok::<(), E>(term.lost().await)).await }).await.map(drop)
            });
            spawns(async {
                let manager = Manager::new();
                manager.add("a", |_| async { later(Ok::<(), E>(())).await })?;
                manager.add_leader("b", |term| async move { later(Ok::<(), E>(term.lost().await)).await })?;
                manager.elect_by(async { later(Ok::<_, E>(elect(MemoryLock::new(), "a"))).await })?;
                manager.run(CancellationToken::new()).await
            });
            // The form for threads.
            spawns(async {
                let calling = || blocking::retry(|_| Ok::<u8, E>(1)).when(|_| true).notify(|_| {}).call().map(drop);
                later(()).await;
                tokio::task::spawn_blocking(calling).await
            });
            let boxed = || blocking::retry(|_| Ok::<u8, E>(1)).boxed().with_report().call().map(|report| report.value);
            spawns(async move { tokio::task::spawn_blocking(boxed).await });
        };
    )+};
}

matrix!(&'static str, String, Cow<'static, str>, Boxed, anyhow::Error, io::Error);

const _: fn() = || {
    words!(poll(|_| async { later(Some(1)).await }));
    words!(poll(async |_| later(Some("found")).await));
    words!(poll(async |_| later(Check::<_>::Ready(1)).await));
    words!(settle(async |_| later(Progress::<_>::Done(1)).await));
};

/// An error of each type.
trait Make: Sized {
    fn of(text: &'static str) -> Self;

    fn error() -> Self {
        Self::of("no luck")
    }
}

macro_rules! make {
    ($text:ident: $($error:ty => $made:expr;)+) => {$(
        impl Make for $error {
            fn of($text: &'static str) -> Self {
                $made
            }
        }
    )+};
}

make! { text:
    &'static str => text;
    String => text.to_owned();
    Cow<'static, str> => Cow::Borrowed(text);
    Boxed => text.into();
    anyhow::Error => anyhow::anyhow!(text);
    io::Error => io::Error::other(text);
}

/// Fails at first, then works: each verb, spawned, with what it gives.
macro_rules! runs {
    ($($name:ident: $error:ty;)+) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            type E = $error;
            let task = tokio::spawn(async {
                let retried = retry(async |attempt: Attempt| match later(attempt.number()).await {
                    1 => Err(E::error()),
                    number => Ok(number),
                });
                let polled = poll(async |attempt: Attempt| match later(attempt.number()).await {
                    1 => Err(E::error()),
                    2 => Ok(Check::NotYetBecause(E::error())),
                    number => Ok(Check::Ready(number)),
                });
                let settled = settle(async |attempt: Attempt| match later(attempt.number()).await {
                    1 => Err(E::error()),
                    number => Ok(Progress::Done(number)),
                });
                let ensured = ensure(
                    async |attempt: Attempt| match later(attempt.number()).await {
                        1 => Err(E::error()),
                        2 => Ok(Observed::Differs("state")),
                        number => Ok(Observed::AsWanted(number)),
                    },
                    async |_| later(Err::<(), _>(E::error())).await,
                );
                let failed = retry(async |_| later(Err::<(), _>(E::error())).await).max_attempts(2).boxed();
                let said = failed.await.unwrap_err().to_string();
                assert!(said.ends_with("; last attempt: no luck"), "{said}");
                (retried.await.ok(), polled.await.ok(), settled.await.ok(), ensured.await.ok().map(|it| it.value))
            });
            assert_eq!(task.await.unwrap(), (Some(2), Some(3), Some(2), Some(3)));
        }
    )+};
}

runs! {
    strs: &'static str;
    strings: String;
    cows: Cow<'static, str>;
    boxed_errors: Boxed;
    anyhow_errors: anyhow::Error;
    io_errors: io::Error;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_fail_names_no_error() {
    let ready = tokio::spawn(async { poll(async |_| Check::<_>::Ready(1)).await });
    let answer: Result<u8, GaveUp<Infallible>> = ready.await.unwrap();
    assert_eq!(answer.unwrap(), 1);
    let done = settle(async |_| Progress::<_>::Done("done")).await;
    assert_eq!(done.unwrap(), "done");
}
