//! The same for threads: sync closures, the same words, the same decisions.

use std::{
    error::Error,
    future::{Ready, ready},
    time::Duration,
};

use crate::{
    error::{BoxedError, Chained, GaveUp},
    events::Listener,
    failure::{Failure, Said},
    mapped::{Boxed, BoxedFuture, WithSource},
    operation::{Classify, Operation, RetryAll, RetryOutput, Unclassified, Undecided, Unheard},
    policy::schedule::{Policy, attempts::Attempt},
    poll::{PollOutput, PollOutputTypes, PollVerb},
    report::{Reported, Reports, WithReport, WithReportFuture},
    retry::RetryVerb,
    run::RunFuture,
    run::controls::Control,
    run::settings::settings,
    time::{ThreadSleeper, block_on},
};

/// Calls `operation` on this thread until it answers `Ok`, and sleeps in between.
///
/// It is [`retry`](crate::retry()) with one difference: a call on a thread cannot be cut. The call sees its own
/// deadline in [`Attempt::timeout`] and is asked to keep it; one that does not is left to finish, and its answer
/// counts.
///
/// Do not call it on a thread of an async runtime: it blocks.
///
/// # Errors
/// [`GaveUp`]: why the run stopped and what its last attempt did.
///
/// # Panics
/// A panic of the operation goes through. No runtime is needed.
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, blocking};
///
/// let mut answers = ["busy", "busy", "here"].into_iter();
/// let answer = blocking::retry(|_| match answers.next() {
///     Some("here") => Ok("here"),
///     other => Err(format!("{other:?}")),
/// })
/// .backoff(Backoff::fixed(Duration::from_millis(1)))
/// .max_attempts(5)
/// .call();
/// assert_eq!(answer.unwrap(), "here");
/// ```
pub fn retry<F, T, E>(operation: F) -> BlockingRetry<F>
where
    F: FnMut(Attempt) -> Result<T, E>,
{
    BlockingRetry { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
}

/// A retry to be: made by [`retry`], run by [`call`](Self::call).
#[derive(Clone, Debug)]
#[must_use = "a retry does nothing unless you `.call()` it"]
pub struct BlockingRetry<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

/// Calls `check` on this thread until it answers that the condition is met, and sleeps in between.
///
/// It is [`poll`](crate::poll()), with the same answers and the same cadence (every second, unless set), and the
/// difference that [`blocking::retry`](retry) has: a call on a thread cannot be cut.
///
/// # Errors
/// [`GaveUp`]: why the run stopped, and what the last check answered.
///
/// # Panics
/// A panic of the check goes through. No runtime is needed.
///
/// ```
/// use std::{path::Path, time::Duration};
/// use relent::blocking;
///
/// let socket = Path::new(".");
/// blocking::poll(|_| socket.exists().then_some(()))
///     .every(Duration::from_millis(50))
///     .finish_within(Duration::from_secs(5))
///     .call()
///     .unwrap();
/// ```
pub fn poll<F, A>(check: F) -> BlockingPolling<F>
where
    F: FnMut(Attempt) -> A,
    A: PollOutput,
{
    BlockingPolling { operation: check, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
}

/// A poll to be: made by [`poll`], run by [`call`](Self::call).
#[derive(Clone, Debug)]
#[must_use = "a poll does nothing unless you `.call()` it"]
pub struct BlockingPolling<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

/// A sync call as an operation: its future is ready when it is made.
#[derive(Debug)]
struct Call<O>(O);

impl<O: SyncOperation> Operation for Call<O> {
    type Output = O::Output;
    type Future = Ready<O::Output>;

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        ready(self.0.call(attempt))
    }
}

/// Every `FnMut(Attempt) -> R`, and what [`by_failure`](BlockingRetry::by_failure) makes of one.
pub trait SyncOperation {
    /// What a call answers.
    type Output;

    /// One attempt.
    fn call(&mut self, attempt: Attempt) -> Self::Output;
}

impl<F, R> SyncOperation for F
where
    F: FnMut(Attempt) -> R,
{
    type Output = R;

    fn call(&mut self, attempt: Attempt) -> R {
        self(attempt)
    }
}

/// An operation whose errors say themselves what follows: what `.by_failure()` makes of one.
#[derive(Clone, Copy, Debug)]
pub struct BlockingWithFailure<O>(O);

impl<O: SyncOperation> SyncOperation for BlockingWithFailure<O> {
    type Output = Said<O::Output>;

    fn call(&mut self, attempt: Attempt) -> Self::Output {
        Said(self.0.call(attempt))
    }
}

settings!(BlockingRetry, SyncOperation<Output: RetryOutput>, <O::Output as RetryOutput>::Error, SyncOperation<Output: Undecided>);
settings!(BlockingPolling, SyncOperation<Output: PollOutput>, <O::Output as PollOutputTypes>::Error);

impl<O, W, L, G> BlockingRetry<O, W, L, G> {
    /// The operation says itself which of its errors are transient and which permanent: it answers
    /// `Result<T, Failure<E>>`, and the error of the run is the plain `E`. See [`Failure`]. Before `notify` and
    /// `profile`; there is no `when` then, and the classification of a [`Profile`](crate::Profile) is not asked.
    pub fn by_failure<T, E>(self) -> BlockingRetry<BlockingWithFailure<O>, RetryAll, (), G>
    where
        O: SyncOperation<Output = Result<T, Failure<E>>>,
        W: Unclassified,
        L: Unheard,
    {
        let Self { operation, policy, shared, .. } = self;
        BlockingRetry { operation: BlockingWithFailure(operation), when: RetryAll, listener: (), policy, shared }
    }
}

impl<O, W, L, G> BlockingRetry<O, W, L, G>
where
    O: SyncOperation<Output: RetryOutput>,
    W: Classify<<O::Output as RetryOutput>::Error>,
    L: Listener<<O::Output as RetryOutput>::Error>,
    G: Control,
{
    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last attempt did.
    pub fn call(self) -> Result<<O::Output as RetryOutput>::Value, GaveUp<<O::Output as RetryOutput>::Error>> {
        block_on(self.run())
    }
}

impl<O, W, L, G> BlockingPolling<O, W, L, G>
where
    O: SyncOperation<Output: PollOutput>,
    W: Classify<<O::Output as PollOutputTypes>::Error>,
    L: Listener<<O::Output as PollOutputTypes>::Error>,
    G: Control,
{
    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last check answered.
    pub fn call(self) -> Result<<O::Output as PollOutputTypes>::Value, GaveUp<<O::Output as PollOutputTypes>::Error>> {
        block_on(self.run())
    }
}

/// A run on a thread that may have its last words: what their `call` runs. Not to be implemented elsewhere.
#[doc(hidden)]
pub trait BlockingRun {
    /// The value of the run.
    type Value;
    /// The error of its attempts.
    type Error;

    /// It is driven on this thread, and never waits for a runtime.
    fn run(self) -> impl Future<Output = Result<Self::Value, GaveUp<Self::Error>>> + Reports;
}

impl<O, W, L, G> BlockingRun for BlockingRetry<O, W, L, G>
where
    O: SyncOperation<Output: RetryOutput>,
    W: Classify<<O::Output as RetryOutput>::Error>,
    L: Listener<<O::Output as RetryOutput>::Error>,
    G: Control,
{
    type Value = <O::Output as RetryOutput>::Value;
    type Error = <O::Output as RetryOutput>::Error;

    fn run(self) -> impl Future<Output = Result<Self::Value, GaveUp<Self::Error>>> + Reports {
        let Self { operation, when, listener, policy, shared } = self;
        RunFuture::<_, _, _, _, _, ThreadSleeper>::new(RetryVerb, Call(operation), when, listener, policy, shared)
    }
}

impl<O, W, L, G> BlockingRun for BlockingPolling<O, W, L, G>
where
    O: SyncOperation<Output: PollOutput>,
    W: Classify<<O::Output as PollOutputTypes>::Error>,
    L: Listener<<O::Output as PollOutputTypes>::Error>,
    G: Control,
{
    type Value = <O::Output as PollOutputTypes>::Value;
    type Error = <O::Output as PollOutputTypes>::Error;

    fn run(self) -> impl Future<Output = Result<Self::Value, GaveUp<Self::Error>>> + Reports {
        let Self { operation, when, listener, policy, shared } = self;
        let policy = policy.or_every(Duration::from_secs(1));
        RunFuture::<_, _, _, _, _, ThreadSleeper>::new(PollVerb, Call(operation), when, listener, policy, shared)
    }
}

impl<B: BlockingRun> BlockingRun for WithReport<B> {
    type Value = Reported<B::Value>;
    type Error = B::Error;

    fn run(self) -> impl Future<Output = Result<Self::Value, GaveUp<Self::Error>>> + Reports {
        WithReportFuture { future: self.0.run() }
    }
}

impl<B> BlockingRun for Boxed<B>
where
    B: BlockingRun<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Value = B::Value;
    type Error = BoxedError;

    fn run(self) -> impl Future<Output = Result<Self::Value, GaveUp<Self::Error>>> + Reports {
        BoxedFuture { future: self.0.run() }
    }
}

impl<B: BlockingRun> WithReport<B> {
    /// Runs it on this thread, where that is how it began.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last attempt did.
    pub fn call(self) -> Result<Reported<B::Value>, GaveUp<B::Error>> {
        block_on(self.run())
    }
}

impl<B> Boxed<B>
where
    B: BlockingRun<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    /// Runs it on this thread, where that is how it began.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last attempt did.
    pub fn call(self) -> Result<B::Value, GaveUp<BoxedError>> {
        block_on(self.run())
    }
}

impl<B: BlockingRun> WithSource<B> {
    /// Runs it on this thread, where that is how it began.
    ///
    /// # Errors
    /// [`Chained`]: why the run stopped, with what its last attempt gave as the source.
    pub fn call(self) -> Result<B::Value, Chained<B::Error>> {
        block_on(self.0.run()).map_err(GaveUp::chained)
    }
}
