//! What can be attempted, and how its answers are read: for operations, classifiers and observations that are types.

pub use crate::{
    ensure::reconciler::{Closures, ObserveOutput, ObserveOutputTypes, Reconciler, ReconcilerTypes},
    poll::{PollOutput, PollOutputTypes},
    settle::{SettleOutput, SettleOutputTypes},
};
use crate::{
    error::{Detail, Stop},
    policy::schedule::attempts::{Attempt, Decision},
};

/// Something that can be attempted more than once: every `FnMut(Attempt) -> impl Future`, and types that implement it.
///
/// The future is made when its attempt starts, never before the wait, so nothing in it grows stale.
///
/// A closure has no name, and so has no future that is made from one. Where a run has to stand in a struct (a `tower`
/// service, a `Stream`), or the operation has state of its own, make the operation a type and give it to
/// [`Retry::new`](crate::builder::Retry::new), [`Polling::new`](crate::builder::Polling::new) or
/// [`Settle::new`](crate::builder::Settle::new):
///
/// ```
/// use std::future::{Ready, ready};
/// use relent::{Attempt, Operation, builder::{Retry, RetryFuture}};
///
/// struct Ping { port: u16 }
///
/// impl Operation for Ping {
///     type Output = Result<u32, std::io::Error>;
///     type Future = Ready<Self::Output>;
///
///     fn call(&mut self, attempt: Attempt) -> Self::Future {
///         ready(if attempt.number() < 3 { Err(std::io::Error::other("refused")) } else { Ok(u32::from(self.port)) })
///     }
/// }
///
/// struct Client { pending: RetryFuture<Ping> }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let client = Client { pending: Retry::new(Ping { port: 80 }).max_attempts(5).into_future() };
/// assert_eq!(client.pending.await.unwrap(), 80);
/// # }
/// ```
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

    /// What is read, in words, for the text of a run that ends without an error to say it: cut, cancelled, refused. It
    /// becomes a [`Detail::Read`]. Default: nothing.
    ///
    /// ```
    /// use std::future::{Pending, pending};
    /// use std::time::Duration;
    /// use relent::{Attempt, Operation, builder::Retry};
    ///
    /// struct Row(u64);
    ///
    /// impl Operation for Row {
    ///     type Output = Result<String, std::io::Error>;
    ///     type Future = Pending<Self::Output>;
    ///
    ///     fn call(&mut self, _: Attempt) -> Self::Future {
    ///         pending()
    ///     }
    ///
    ///     fn reads(&self) -> Option<String> {
    ///         Some(format!("row {}", self.0))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let gave_up = Retry::new(Row(7)).finish_within(Duration::from_secs(1)).await.unwrap_err();
    /// assert!(gave_up.to_string().contains("(reading row 7)"), "{gave_up}");
    /// # }
    /// ```
    fn reads(&self) -> Option<String> {
        None
    }
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

/// What follows an error: every `FnMut(&E) -> impl Into<Decision>`, [`RetryAll`], and types that implement it.
///
/// A closure goes into `.when(..)`, where its types infer; a type into `.classify(..)`, so that the run can be named
/// and the rule be written once. `None` of an `Option` is [`RetryAll`]: for a rule that holds only sometimes.
///
/// ```
/// use relent::{Decision, retry, operation::Classify};
///
/// /// The same rule for every call of one client.
/// #[derive(Clone, Copy, Debug)]
/// struct Transient;
///
/// impl Classify<std::io::Error> for Transient {
///     fn classify(&mut self, error: &std::io::Error) -> Decision {
///         (error.kind() == std::io::ErrorKind::ConnectionRefused).into()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let gave_up = retry(async |_| Err::<(), _>(std::io::Error::other("broken"))).classify(Transient).await.unwrap_err();
/// assert!(gave_up.is_fatal());
/// # }
/// ```
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
#[expect(clippy::exhaustive_structs, reason = "there is nothing to add to it")]
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

/// A rule that holds only sometimes: without it, every error is worth another attempt.
impl<E: ?Sized, C: Classify<E>> Classify<E> for Option<C> {
    fn classify(&mut self, error: &E) -> Decision {
        self.as_mut().map_or(Decision::Retry, |when| when.classify(error))
    }
}

/// What a verb makes of an answer, as types.
///
/// Apart from [`Verb`], as everywhere in the crate the types of a future are named by a trait whose impls bind nothing
/// twice: a future within an async block is `Send` only if the types of its fields can be named for every lifetime, and
/// there even `'static` is one among all. What acts may ask for more.
pub(crate) trait VerbTypes<Output> {
    /// What the verb gives in the end.
    type Value;
    /// What its attempts fail with.
    type Error;
    /// The name of its future.
    const NAME: &'static str;
    /// Whether its attempts only observe, so that one without an answer has no outcome.
    const OBSERVES: bool = false;
}

/// How a verb reads an answer.
pub(crate) trait Verb<Output>: VerbTypes<Output> {
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
    /// An error, and what follows it.
    Decided(E, Decision),
    /// The verb's own rule ends the run; with what the attempt failed with, if it failed.
    Stopped(Stop, Option<E>),
}

/// The answers that `retry` takes: every `Result`. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "what is retried must answer a `Result`",
    label = "an attempt answers `{Self}`",
    note = "for an `Option`, or for anything that becomes true in time, use `poll`: it takes `Option<T>`, `Check<T, E>` and `Result<Option<T>, E>`"
)]
pub trait RetryOutput {
    /// The value of a success.
    type Value;
    /// The error of a failure.
    type Error;

    #[doc(hidden)]
    fn judge(self) -> Judged<Self::Value, Self::Error>;
}

impl<T, E> RetryOutput for Result<T, E> {
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

/// An outcome whose errors are for `.when(..)` to classify.
#[doc(hidden)]
pub trait Undecided: RetryOutput {
    /// It is a `Result`.
    fn into_result(self) -> Result<Self::Value, Self::Error>;
}

impl<T, E> Undecided for Result<T, E> {
    #[inline]
    fn into_result(self) -> Self {
        self
    }
}

/// The error that an operation fails with.
pub(crate) type ErrorOf<O> = <<O as Operation>::Output as RetryOutput>::Error;
/// The value that an operation gives.
pub(crate) type ValueOf<O> = <<O as Operation>::Output as RetryOutput>::Value;
