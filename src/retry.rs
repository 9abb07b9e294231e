//! `retry`: call until it works.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;

use crate::{
    error::GaveUp,
    events::Listener,
    operation::{Classify, ErrorOf, Judged, Operation, Outcome, RetryAll, ValueOf, Verb},
    policy::{Policy, attempts::Attempt},
    run::Run,
    settings::settings,
    shared::Ties,
    time::Timer,
};

/// Calls `operation` until it answers `Ok`, and otherwise says why it gave up.
///
/// With nothing set it goes on for ever, with pauses that grow from 100 ms to 10 s under full jitter: set
/// [`finish_within`](Retry::finish_within), [`start_within`](Retry::start_within) or [`max_attempts`](Retry::max_attempts).
///
/// # Errors
/// [`GaveUp`]: why the run stopped and what its last attempt did.
///
/// # Cancel safety
/// Dropping the future at any point leaves no timer, permit or task behind. What the attempt in flight had set going
/// outside (a request on the wire) is the operation's own affair.
///
/// # Panics
/// The future panics if it has to wait outside a tokio runtime with time enabled, and when it is polled after completion.
/// A panic of the operation goes through.
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, Decision, retry};
///
/// # #[derive(Debug, thiserror::Error)] #[error("busy")] struct Busy(Option<Duration>);
/// # async fn fetch(n: u32) -> Result<&'static str, Busy> { if n < 3 { Err(Busy(None)) } else { Ok("here") } }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let answer = retry(async |attempt| fetch(attempt.number()).await)
///     .backoff(Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2)))
///     .attempt_timeout(Duration::from_secs(1))
///     .finish_within(Duration::from_secs(10))
///     .when(|busy| match busy.0 {
///         Some(pause) => Decision::RetryAfter(pause),
///         None => Decision::Retry,
///     })
///     .await;
/// assert_eq!(answer.unwrap(), "here");
/// # }
/// ```
#[inline]
pub fn retry<F, Fut, T, E>(operation: F) -> Retry<F>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    Retry { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
}

/// A retry to be: made by [`retry`], run by `.await`.
#[derive(Clone, Debug)]
#[must_use = "a retry does nothing unless you `.await` it"]
pub struct Retry<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

settings!(Retry, Operation<Output: Outcome>, ErrorOf<O>);

impl<O, W, L, G> IntoFuture for Retry<O, W, L, G>
where
    O: Operation<Output: Outcome>,
    W: Classify<ErrorOf<O>>,
    L: Listener<ErrorOf<O>>,
    G: Ties,
{
    type Output = Result<ValueOf<O>, GaveUp<ErrorOf<O>>>;
    type IntoFuture = RetryFuture<O, W, L, G>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        let Self { operation, when, listener, policy, shared } = self;
        RetryFuture { run: Run::new(Retrying, operation, when, listener, policy, shared) }
    }
}

/// The future of [`retry`].
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct RetryFuture<O, W = RetryAll, L = (), G = ()>
where
    O: Operation<Output: Outcome>,
    G: Ties,
{
    #[pin]
    run: Run<Retrying, O, W, L, G, Timer>,
}

impl<O, W, L, G> Future for RetryFuture<O, W, L, G>
where
    O: Operation<Output: Outcome>,
    W: Classify<ErrorOf<O>>,
    L: Listener<ErrorOf<O>>,
    G: Ties,
{
    type Output = Result<ValueOf<O>, GaveUp<ErrorOf<O>>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

/// How `retry` reads an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retrying;

impl<R: Outcome> Verb<R> for Retrying {
    type Value = R::Value;
    type Error = R::Error;
    const NAME: &'static str = "RetryFuture";

    #[inline]
    fn judge(&mut self, output: R, _: impl FnOnce() -> u64) -> Judged<R::Value, R::Error> {
        output.judge()
    }
}
