//! `poll`: check until it is so.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    error::GaveUp,
    events::Listener,
    operation::{Classify, Judged, Operation, RetryAll, Verb, VerbTypes},
    policy::schedule::{
        Policy,
        attempts::{Attempt, Decision},
    },
    report::Reports,
    run::RunFuture,
    run::controls::Control,
    run::settings::settings,
    time::Timer,
};

/// Calls `check` until it answers that the condition is met, and otherwise says why it gave up.
///
/// A check answers [`Check`], `Option<T>`, `Result<Option<T>, E>` or `Result<Check<T, E>, E>`, so that `?` works. An
/// `Err` goes through [`when`](Polling::when); a [`Check`] has decided for itself.
///
/// With no cadence set it checks every second, on a grid. With no bound set it goes on for ever.
///
/// # Errors
/// [`GaveUp`]: why the run stopped, and what the last check answered.
///
/// # Cancel safety
/// Dropping the future leaves no timer, permit or task behind.
///
/// # Panics
/// As [`retry`](crate::retry()): if it has to wait outside a tokio runtime with time enabled.
///
/// ```
/// use std::time::Duration;
/// use relent::{Check, poll};
///
/// # async fn phase(n: u32) -> Result<&'static str, std::io::Error> { Ok(if n < 3 { "Pending" } else { "Running" }) }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let running = poll(async |attempt| {
///     let phase = phase(attempt.number()).await?;
///     Ok::<_, std::io::Error>((phase == "Running").then_some(phase))
/// })
/// .every(Duration::from_millis(200))
/// .finish_within(Duration::from_secs(30))
/// .await;
/// assert_eq!(running.unwrap(), "Running");
/// # }
/// ```
#[inline]
pub fn poll<F, Fut>(check: F) -> Polling<F>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output: PollOutput>,
{
    Polling::new(check)
}

/// What a check found.
///
/// A check that cannot fail names no error: it answers `Option<T>`, or `Check<T>`.
///
/// ```
/// use relent::{Check, poll};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// async fn is_third(number: u32) -> Check<u32> {
///     if number < 3 { Check::NotYet } else { Check::Ready(number) }
/// }
/// assert_eq!(poll(async |attempt| is_third(attempt.number()).await).await.unwrap(), 3);
/// // Where nothing else tells the type, `Check::<_>` is enough.
/// assert_eq!(poll(async |_| Check::<_>::Ready(1)).await.unwrap(), 1);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these four are what a check can say")]
pub enum Check<T, E = Infallible> {
    /// The condition is met.
    Ready(T),
    /// Not yet.
    NotYet,
    /// Not yet, and this is why: it is remembered for the error. It does not go through `.when(..)`.
    NotYetBecause(E),
    /// It never will be.
    Fatal(E),
}

/// The types of what a check may answer: value and error.
// Apart from `PollOutput`, as `VerbTypes` says.
#[diagnostic::on_unimplemented(
    message = "a check of `poll` must answer `Check<T, E>`, `Option<T>`, `Result<Option<T>, E>` or `Result<Check<T, E>, E>`",
    label = "a check answers `{Self}`",
    note = "for a `bool`: `is_so.then_some(())`",
    note = "a `Check<T>` has no errors: in a `Result` it is `Check<T, E>`, with the error of both",
    note = "to repeat a call that answers `Result<T, E>` until it is `Ok`, use `retry`"
)]
pub trait PollOutputTypes {
    /// The value of a met condition.
    type Value;
    /// The error of a failed check.
    type Error;
}

impl<T, E> PollOutputTypes for Check<T, E> {
    type Value = T;
    type Error = E;
}

impl<T> PollOutputTypes for Option<T> {
    type Value = T;
    type Error = Infallible;
}

impl<T, E> PollOutputTypes for Result<Option<T>, E> {
    type Value = T;
    type Error = E;
}

impl<T, F, E> PollOutputTypes for Result<Check<T, F>, E> {
    type Value = T;
    type Error = E;
}

/// What a check may answer. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "a check of `poll` must answer `Check<T, E>`, `Option<T>`, `Result<Option<T>, E>` or `Result<Check<T, E>, E>`",
    label = "a check answers `{Self}`",
    note = "for a `bool`: `is_so.then_some(())`",
    note = "a `Check<T>` has no errors: in a `Result` it is `Check<T, E>`, with the error of both",
    note = "to repeat a call that answers `Result<T, E>` until it is `Ok`, use `retry`"
)]
pub trait PollOutput: PollOutputTypes {
    #[doc(hidden)]
    fn judge(self) -> Judged<Self::Value, Self::Error>;
}

impl<T, E> PollOutput for Check<T, E> {
    fn judge(self) -> Judged<T, E> {
        match self {
            Self::Ready(value) => Judged::Value(value),
            Self::NotYet => Judged::NotYet,
            Self::NotYetBecause(error) => Judged::NotYetBecause(error),
            Self::Fatal(error) => Judged::Decided(error, Decision::Fatal),
        }
    }
}

impl<T> PollOutput for Option<T> {
    fn judge(self) -> Judged<T, Self::Error> {
        self.map_or(Judged::NotYet, Judged::Value)
    }
}

impl<T, E> PollOutput for Result<Option<T>, E> {
    fn judge(self) -> Judged<T, E> {
        match self {
            Ok(Some(value)) => Judged::Value(value),
            Ok(None) => Judged::NotYet,
            Err(error) => Judged::Failed(error),
        }
    }
}

impl<T, E> PollOutput for Result<Check<T, E>, E> {
    fn judge(self) -> Judged<T, E> {
        match self {
            Ok(check) => PollOutput::judge(check),
            Err(error) => Judged::Failed(error),
        }
    }
}

/// The error that a check fails with.
type CheckErrorOf<O> = <<O as Operation>::Output as PollOutputTypes>::Error;
/// The value that a check gives.
type CheckedOf<O> = <<O as Operation>::Output as PollOutputTypes>::Value;

/// A poll to be: made by [`poll`], run by `.await`. [`Retry`](crate::builder::Retry) tells which words can stand in an
/// `if`.
#[derive(Clone, Debug)]
#[must_use = "a poll does nothing unless you `.await` it"]
pub struct Polling<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

impl<O: Operation<Output: PollOutput>> Polling<O> {
    /// [`poll`] for a check that is a type, so that its future can be named: see [`Operation`].
    #[inline]
    pub fn new(check: O) -> Self {
        Self { operation: check, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
    }
}

settings!(Polling, Operation<Output: PollOutputTypes>, CheckErrorOf<O>);

impl<O, W, L, G> IntoFuture for Polling<O, W, L, G>
where
    O: Operation<Output: PollOutput>,
    W: Classify<CheckErrorOf<O>>,
    L: Listener<CheckErrorOf<O>>,
    G: Control,
{
    type Output = Result<CheckedOf<O>, GaveUp<CheckErrorOf<O>>>;
    type IntoFuture = PollingFuture<O, W, L, G>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        let Self { operation, when, listener, policy, shared } = self;
        let policy = policy.or_every(Duration::from_secs(1));
        PollingFuture { run: RunFuture::new(PollVerb, operation, when, listener, policy, shared) }
    }
}

pin_project! {
    /// The future of [`poll`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct PollingFuture<O, W = RetryAll, L = (), G = ()>
    where
        O: Operation<Output: PollOutputTypes>,
        G: Control,
    {
        #[pin]
        run: RunFuture<PollVerb, O, W, L, G, Timer>,
    }
}

impl<O, W, L, G> Reports for PollingFuture<O, W, L, G>
where
    O: Operation<Output: PollOutput>,
    G: Control,
{
    fn report(&self) -> (u32, u64) {
        self.run.report()
    }
}

impl<O, W, L, G> Future for PollingFuture<O, W, L, G>
where
    O: Operation<Output: PollOutput>,
    W: Classify<CheckErrorOf<O>>,
    L: Listener<CheckErrorOf<O>>,
    G: Control,
{
    type Output = Result<CheckedOf<O>, GaveUp<CheckErrorOf<O>>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

/// How `poll` reads an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollVerb;

impl<A: PollOutputTypes> VerbTypes<A> for PollVerb {
    type Value = A::Value;
    type Error = A::Error;
    const NAME: &'static str = "PollingFuture";
    const OBSERVES: bool = true;
}

impl<A: PollOutput> Verb<A> for PollVerb {
    #[inline]
    fn judge(&mut self, output: A, _: impl FnOnce() -> u64) -> Judged<A::Value, A::Error> {
        output.judge()
    }
}
