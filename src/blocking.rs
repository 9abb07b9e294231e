//! The same for threads: sync closures, the same words, the same decisions.

use std::future::{Ready, ready};

use crate::{
    error::GaveUp,
    events::Listener,
    operation::{Classify, Operation, Outcome, RetryAll},
    policy::{Policy, attempts::Attempt},
    retry::Retrying,
    run::Run,
    settings::settings,
    shared::Ties,
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

/// A sync call as an operation: its future is ready when it is made.
#[derive(Debug)]
struct Call<O>(O);

impl<O, R> Operation for Call<O>
where
    O: FnMut(Attempt) -> R,
{
    type Output = R;
    type Future = Ready<R>;

    fn call(&mut self, attempt: Attempt) -> Ready<R> {
        ready((self.0)(attempt))
    }
}

/// Every `FnMut(Attempt) -> Result<T, E>`.
pub trait SyncOperation: FnMut(Attempt) -> <Self as SyncOperation>::Answer {
    /// What a call answers.
    type Answer: Outcome;
}

impl<F, R: Outcome> SyncOperation for F
where
    F: FnMut(Attempt) -> R,
{
    type Answer = R;
}

settings!(Retry, SyncOperation, <O::Answer as Outcome>::Error);

impl<O, W, L, G> Retry<O, W, L, G>
where
    O: SyncOperation,
    W: Classify<<O::Answer as Outcome>::Error>,
    L: Listener<<O::Answer as Outcome>::Error>,
    G: Ties,
{
    /// Runs it on this thread.
    ///
    /// # Errors
    /// [`GaveUp`]: why the run stopped and what its last attempt did.
    pub fn call(self) -> Result<<O::Answer as Outcome>::Value, GaveUp<<O::Answer as Outcome>::Error>> {
        let Self { operation, when, listener, policy, shared } = self;
        block_on(Run::<_, _, _, _, _, ThreadAlarm>::new(Retrying, Call(operation), when, listener, policy, shared))
    }
}
