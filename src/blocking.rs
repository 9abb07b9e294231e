//! The same for threads: sync closures, the same words, the same decisions.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use crate::{
    error::GaveUp,
    events::Listener,
    failure::{Failure, Said},
    operation::{Classify, Operation, Outcome, RetryAll, Undecided},
    policy::schedule::{Policy, attempts::Attempt},
    poll::{Answer, AnswerTypes, Looking},
    report::{Reported, WithReportFuture},
    retry::Retrying,
    run::Run,
    run::controls::Ties,
    run::settings::settings,
    time::{ThreadAlarm, block_on},
};

/// Calls `operation` on this thread until it answers `Ok`, and sleeps in between.
///
/// It is [`retry`](crate::retry()) with one difference: a call on a thread cannot be cut. The call sees its own deadline
/// in [`Attempt::timeout`] and is asked to keep it; one that does not is left to finish, and its answer counts.
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
pub fn retry<F, T, E>(operation: F) -> Retry<F>
where
    F: FnMut(Attempt) -> Result<T, E>,
{
    Retry { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
}

/// A retry to be: made by [`retry`], run by [`call`](Self::call).
#[derive(Clone, Debug)]
#[must_use = "a retry does nothing unless you `.call()` it"]
pub struct Retry<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

/// Calls `check` on this thread until it answers that the condition is met, and sleeps in between.
///
/// It is [`poll`](crate::poll()), with the same answers and the same cadence (every second, unless set), and the difference that
/// [`blocking::retry`](retry) has: a call on a thread cannot be cut.
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
pub fn poll<F, A>(check: F) -> Polling<F>
where
    F: FnMut(Attempt) -> A,
    A: Answer,
{
    Polling { operation: check, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
}

/// A poll to be: made by [`poll`], run by [`call`](Self::call).
#[derive(Clone, Debug)]
#[must_use = "a poll does nothing unless you `.call()` it"]
pub struct Polling<O, W = RetryAll, L = (), G = ()> {
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
    type Output = O::Answer;
    type Future = Ready<O::Answer>;

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        ready(self.0.call(attempt))
    }
}

/// Every `FnMut(Attempt) -> R`, and what [`by_failure`](Retry::by_failure) makes of one.
pub trait SyncOperation {
    /// What a call answers.
    type Answer;

    /// One attempt.
    fn call(&mut self, attempt: Attempt) -> Self::Answer;
}

impl<F, R> SyncOperation for F
where
    F: FnMut(Attempt) -> R,
{
    type Answer = R;

    fn call(&mut self, attempt: Attempt) -> R {
        self(attempt)
    }
}

/// An operation whose errors say themselves what follows: what `.by_failure()` makes of one.
#[derive(Clone, Copy, Debug)]
pub struct WithFailure<O>(O);

impl<O: SyncOperation> SyncOperation for WithFailure<O> {
    type Answer = Said<O::Answer>;

    fn call(&mut self, attempt: Attempt) -> Self::Answer {
        Said(self.0.call(attempt))
    }
}

settings!(Retry, SyncOperation<Answer: Outcome>, <O::Answer as Outcome>::Error, SyncOperation<Answer: Undecided>);
settings!(Polling, SyncOperation<Answer: Answer>, <O::Answer as AnswerTypes>::Error);

impl<O, G> Retry<O, RetryAll, (), G> {
    /// The operation says itself which of its errors are transient and which permanent: it answers
    /// `Result<T, Failure<E>>`, and the error of the run is the plain `E`. See [`Failure`]. Before `notify`; there is no
    /// `when` then, and the classification of a [`Profile`](crate::Profile) is not asked.
    pub fn by_failure<T, E>(self) -> Retry<WithFailure<O>, RetryAll, (), G>
    where
        O: SyncOperation<Answer = Result<T, Failure<E>>>,
    {
        let Self { operation, policy, shared, .. } = self;
        Retry { operation: WithFailure(operation), when: RetryAll, listener: (), policy, shared }
    }
}

impl<O, W, L, G> Retry<O, W, L, G>
where
    O: SyncOperation<Answer: Outcome>,
    W: Classify<<O::Answer as Outcome>::Error>,
    L: Listener<<O::Answer as Outcome>::Error>,
    G: Ties,
{
    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last attempt did.
    pub fn call(self) -> Result<<O::Answer as Outcome>::Value, GaveUp<<O::Answer as Outcome>::Error>> {
        block_on(self.run())
    }

    /// Runs it on this thread: the value comes with how many attempts it took, and how long.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with_report(self) -> WithReport<<O::Answer as Outcome>::Value, <O::Answer as Outcome>::Error> {
        block_on(WithReportFuture(self.run()))
    }

    fn run(self) -> Run<Retrying, Call<O>, W, L, G, ThreadAlarm> {
        let Self { operation, when, listener, policy, shared } = self;
        Run::new(Retrying, Call(operation), when, listener, policy, shared)
    }
}

impl<O, W, L, G> Polling<O, W, L, G>
where
    O: SyncOperation<Answer: Answer>,
    W: Classify<<O::Answer as AnswerTypes>::Error>,
    L: Listener<<O::Answer as AnswerTypes>::Error>,
    G: Ties,
{
    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last check answered.
    pub fn call(self) -> Result<<O::Answer as AnswerTypes>::Value, GaveUp<<O::Answer as AnswerTypes>::Error>> {
        block_on(self.run())
    }

    /// Runs it on this thread: the value comes with how many attempts it took, and how long.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with_report(self) -> WithReport<<O::Answer as AnswerTypes>::Value, <O::Answer as AnswerTypes>::Error> {
        block_on(WithReportFuture(self.run()))
    }

    fn run(self) -> Run<Looking, Call<O>, W, L, G, ThreadAlarm> {
        let Self { operation, when, listener, policy, shared } = self;
        Run::new(Looking, Call(operation), when, listener, policy.or_every(Duration::from_secs(1)), shared)
    }
}
