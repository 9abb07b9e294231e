//! What can be attempted, and how its answers are read.

use crate::{
    error::{Detail, Stop},
    policy::attempts::{Attempt, Decision},
};

/// Something that can be attempted more than once: every `async |attempt| ..`, that is every `FnMut(Attempt) -> impl Future`.
///
/// The future is made when its attempt starts, never before the wait, so nothing in it grows stale.
#[diagnostic::on_unimplemented(
    message = "this cannot be attempted: it is neither `async |attempt| ..` nor an `Operation`",
    label = "`{Self}` is no operation",
    note = "give a closure that makes a future for each attempt, `async |attempt| call().await`, not the future itself",
    note = "or implement `Operation` for the type"
)]
pub trait Operation {
    /// What an attempt answers.
    type Output;
    /// One attempt.
    type Future: Future<Output = Self::Output>;

    /// Begins an attempt.
    fn call(&mut self, attempt: Attempt) -> Self::Future;
}

impl<F, Fut> Operation for F
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future,
{
    type Output = Fut::Output;
    type Future = Fut;

    #[inline]
    fn call(&mut self, attempt: Attempt) -> Fut {
        self(attempt)
    }
}

/// What follows an error: every `FnMut(&E) -> impl Into<Decision>`, and [`RetryAll`].
#[diagnostic::on_unimplemented(
    message = "errors cannot be classified by this: it is neither `|error| ..` nor a `Classify`",
    label = "`{Self}` does not classify errors",
    note = "the closure is given a reference to the error and answers `bool` (true is retry) or `Decision`"
)]
pub trait Classify<E: ?Sized> {
    /// Looks at an error of an attempt.
    fn classify(&mut self, error: &E) -> Decision;
}

/// Every error is worth another attempt: what holds unless `.when(..)` says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryAll;

impl<E: ?Sized> Classify<E> for RetryAll {
    #[inline]
    fn classify(&mut self, _error: &E) -> Decision {
        Decision::Retry
    }
}

impl<E: ?Sized, F, D> Classify<E> for F
where
    F: FnMut(&E) -> D,
    D: Into<Decision>,
{
    #[inline]
    fn classify(&mut self, error: &E) -> Decision {
        self(error).into()
    }
}

/// How a verb reads an answer.
pub(crate) trait Verb<Output> {
    /// What the verb gives in the end.
    type Value;
    /// What its attempts fail with.
    type Error;
    /// The name of its future.
    const NAME: &'static str;
    /// Whether its attempts only observe, so that one without an answer has no outcome.
    const OBSERVES: bool = false;

    /// An attempt begins.
    #[inline]
    fn begin(&mut self, attempt: Attempt) {
        _ = attempt;
    }

    /// Reads one answer. `now` reads the clock: nanoseconds since the run began.
    fn judge(&mut self, output: Output, now: impl FnOnce() -> u64) -> Judged<Self::Value, Self::Error>;

    /// An attempt was cut by its own deadline: whether that ends the run.
    #[inline]
    fn cut(&mut self, now: impl FnOnce() -> u64) -> Option<Stop> {
        _ = now;
        None
    }

    /// What the verb knows of the end of a run without a value.
    #[inline]
    fn detail(&mut self, now: impl FnOnce() -> u64) -> Option<Detail> {
        _ = now;
        None
    }
}

/// One answer, as a run sees it.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Judged<T, E> {
    /// The value.
    Value(T),
    /// Not yet.
    NotYet,
    /// Not yet, and this is why.
    NotYetBecause(E),
    /// An error, to be classified.
    Failed(E),
    /// An error that ends the run.
    Fatal(E),
    /// The verb's own rule ends the run; with what the attempt failed with, if it failed.
    Stopped(Stop, Option<E>),
}

/// The answers that `retry` takes: every `Result`. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "what is retried must answer a `Result`",
    label = "an attempt answers `{Self}`",
    note = "for an `Option`, or for anything that becomes true in time, use `poll`: it takes `Option<T>`, `Check<T, E>` and `Result<Option<T>, E>`"
)]
pub trait Outcome {
    /// The value of a success.
    type Value;
    /// The error of a failure.
    type Error;

    #[doc(hidden)]
    fn judge(self) -> Judged<Self::Value, Self::Error>;
}

impl<T, E> Outcome for Result<T, E> {
    type Value = T;
    type Error = E;

    #[inline]
    fn judge(self) -> Judged<T, E> {
        match self {
            Ok(value) => Judged::Value(value),
            Err(error) => Judged::Failed(error),
        }
    }
}

/// The error that an operation fails with.
pub(crate) type ErrorOf<O> = <<O as Operation>::Output as Outcome>::Error;
/// The value that an operation gives.
pub(crate) type ValueOf<O> = <<O as Operation>::Output as Outcome>::Value;
