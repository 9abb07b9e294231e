//! The same for threads: sync closures, the same words, the same decisions.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use crate::{
    error::GaveUp,
    events::Listener,
    failure::{Failure, Said},
    operation::{Classify, Operation, RetryAll, RetryOutput, Undecided},
    policy::schedule::{Policy, attempts::Attempt},
    poll::{PollOutput, PollOutputTypes, PollVerb},
    report::{Reported, WithReportFuture},
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

/// What a run with a report answers.
type WithReport<T, E> = Result<Reported<T>, GaveUp<E>>;

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

impl<O, G> BlockingRetry<O, RetryAll, (), G> {
    /// The operation says itself which of its errors are transient and which permanent: it answers
    /// `Result<T, Failure<E>>`, and the error of the run is the plain `E`. See [`Failure`]. Before `notify`; there is
    /// no `when` then, and the classification of a [`Profile`](crate::Profile) is not asked.
    pub fn by_failure<T, E>(self) -> BlockingRetry<BlockingWithFailure<O>, RetryAll, (), G>
    where
        O: SyncOperation<Output = Result<T, Failure<E>>>,
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

    /// Runs it on this thread: the value comes with how many attempts it took, and how long.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with_report(self) -> WithReport<<O::Output as RetryOutput>::Value, <O::Output as RetryOutput>::Error> {
        block_on(WithReportFuture { future: self.run() })
    }

    fn run(self) -> RunFuture<RetryVerb, Call<O>, W, L, G, ThreadSleeper> {
        let Self { operation, when, listener, policy, shared } = self;
        RunFuture::new(RetryVerb, Call(operation), when, listener, policy, shared)
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

    /// Runs it on this thread: the value comes with how many attempts it took, and how long.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with_report(
        self,
    ) -> WithReport<<O::Output as PollOutputTypes>::Value, <O::Output as PollOutputTypes>::Error> {
        block_on(WithReportFuture { future: self.run() })
    }

    fn run(self) -> RunFuture<PollVerb, Call<O>, W, L, G, ThreadSleeper> {
        let Self { operation, when, listener, policy, shared } = self;
        RunFuture::new(PollVerb, Call(operation), when, listener, policy.or_every(Duration::from_secs(1)), shared)
    }
}
