//! `retry`: call until it works.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    error::GaveUp,
    events::Listener,
    failure::{Failure, WithFailure},
    operation::{
        Classify, ErrorOf, Judged, Operation, RetryAll, RetryOutput, Unclassified, Undecided, Unheard, ValueOf, Verb,
        VerbTypes,
    },
    policy::schedule::{Policy, attempts::Attempt},
    report::Reports,
    run::RunFuture,
    run::controls::Control,
    run::settings::settings,
    time::Timer,
};

/// Calls `operation` until it answers `Ok`, and otherwise says why it gave up.
///
/// With nothing set it goes on for ever, with pauses that grow from 100 ms to 10 s under full jitter: set
/// [`finish_within`](Retry::finish_within), [`start_within`](Retry::start_within) or
/// [`max_attempts`](Retry::max_attempts).
///
/// # Errors
/// [`GaveUp`]: why the run stopped and what its last attempt did.
///
/// # Cancel safety
/// Dropping the future at any point leaves no timer, permit or task behind. What the attempt in flight had set going
/// outside (a request on the wire) is the operation's own affair.
///
/// # Panics
/// The future panics if it has to wait outside a tokio runtime with time enabled, and when it is polled after
/// completion. A panic of the operation goes through.
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
    Retry::new(operation)
}

/// A retry to be: made by [`retry`], run by `.await`.
///
/// # Settings in an `if`
/// Words for data keep the type of the builder, so they can stand in an `if`. So can `cancel_on`, `throttle` and
/// `budget` once one of them was given: a token that is never cancelled will do. `when`, `classify`, `notify`, `listen`
/// and `cancel_when` change the type: there the condition goes into what they are given. A closure can decide by
/// itself; `classify` and `listen` take an `Option`.
///
/// ```
/// use std::{future::pending, time::Duration};
/// use relent::{Budget, Limiter, retry, events::Event};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let (urgent, strict, verbose) = (true, true, true);
/// # let (stop, limiter, budget) = (None::<CancellationToken>, None::<Limiter>, None::<Budget>);
/// # let shutdown = None::<std::future::Ready<()>>;
/// let say = |event: &Event<'_, std::io::Error>| println!("{event:?}");
/// let mut run = retry(async |_| fetch().await)
///     .cancel_on(stop.unwrap_or_default())
///     .when(move |error| !strict || error.kind() == std::io::ErrorKind::ConnectionRefused)
///     .listen(verbose.then_some(say))
///     .cancel_when(async {
///         match shutdown {
///             Some(shutdown) => shutdown.await,
///             None => pending().await,
///         }
///     });
/// if urgent {
///     run = run.every(Duration::from_millis(10)).max_attempts(3);
/// }
/// if let Some(limiter) = &limiter {
///     run = run.throttle(limiter);
/// }
/// if let Some(budget) = &budget {
///     run = run.budget(budget);
/// }
/// assert_eq!(run.await.unwrap(), 7);
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a retry does nothing unless you `.await` it"]
pub struct Retry<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

impl<O: Operation<Output: RetryOutput>> Retry<O> {
    /// [`retry`] for an operation that is a type, so that its future can be named: see [`Operation`].
    #[inline]
    pub fn new(operation: O) -> Self {
        Self { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
    }
}

settings!(Retry, Operation<Output: RetryOutput>, ErrorOf<O>, Operation<Output: Undecided>);

impl<O, W, L, G> Retry<O, W, L, G> {
    /// The operation says itself which of its errors are transient and which permanent: it answers
    /// `Result<T, Failure<E>>`, and the error of the run is the plain `E`. See [`Failure`]. Before `notify` and
    /// `profile`; there is no `when` then, and the classification of a [`Profile`](crate::Profile) is not asked.
    #[inline]
    pub fn by_failure<T, E>(self) -> Retry<WithFailure<O>, RetryAll, (), G>
    where
        O: Operation<Output = Result<T, Failure<E>>>,
        W: Unclassified,
        L: Unheard,
    {
        let Self { operation, policy, shared, .. } = self;
        Retry { operation: WithFailure(operation), when: RetryAll, listener: (), policy, shared }
    }
}

impl<O, W, L, G> IntoFuture for Retry<O, W, L, G>
where
    O: Operation<Output: RetryOutput>,
    W: Classify<ErrorOf<O>>,
    L: Listener<ErrorOf<O>>,
    G: Control,
{
    type Output = Result<ValueOf<O>, GaveUp<ErrorOf<O>>>;
    type IntoFuture = RetryFuture<O, W, L, G>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        let Self { operation, when, listener, policy, shared } = self;
        RetryFuture { run: RunFuture::new(RetryVerb, operation, when, listener, policy, shared) }
    }
}

pin_project! {
    /// The future of [`retry`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct RetryFuture<O, W = RetryAll, L = (), G = ()>
    where
        O: Operation<Output: RetryOutput>,
        G: Control,
    {
        #[pin]
        run: RunFuture<RetryVerb, O, W, L, G, Timer>,
    }
}

impl<O, W, L, G> Reports for RetryFuture<O, W, L, G>
where
    O: Operation<Output: RetryOutput>,
    G: Control,
{
    fn report(&self) -> (u32, u64) {
        self.run.report()
    }
}

impl<O, W, L, G> Future for RetryFuture<O, W, L, G>
where
    O: Operation<Output: RetryOutput>,
    W: Classify<ErrorOf<O>>,
    L: Listener<ErrorOf<O>>,
    G: Control,
{
    type Output = Result<ValueOf<O>, GaveUp<ErrorOf<O>>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

/// How `retry` reads an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryVerb;

impl<R: RetryOutput> VerbTypes<R> for RetryVerb {
    type Value = R::Value;
    type Error = R::Error;
    const NAME: &'static str = "RetryFuture";
}

impl<R: RetryOutput> Verb<R> for RetryVerb {
    #[inline]
    fn judge(&mut self, output: R, _: impl FnOnce() -> u64) -> Judged<R::Value, R::Error> {
        output.judge()
    }
}
