//! Errors that say themselves whether repeating can mend them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    operation::{Judged, Operation, RetryOutput},
    policy::schedule::attempts::{Attempt, Decision},
};

/// An error, and what its operation says about repeating: for operations of several steps, where only the place tells
/// whether an error is permanent. Understood by `retry(..).by_failure()`; [`GaveUp`](crate::GaveUp) then holds the
/// plain `E`.
///
/// `?` makes an error transient. It is no [`Error`](std::error::Error) itself: where `by_failure` was forgotten, the
/// error of the run cannot be passed on by `?`, rather than permanent errors be retried.
///
/// ```
/// use std::{io, time::Duration};
/// use relent::{Failure, retry};
///
/// # async fn read() -> io::Result<String> { Ok("seven".to_owned()) }
/// async fn setting() -> Result<u32, Failure<io::Error>> {
///     let text = read().await?; // transient: tried again
///     text.trim().parse().map_err(io::Error::other).map_err(Failure::permanent)
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let gave_up = retry(async |_| setting().await).by_failure().await.unwrap_err();
/// assert_eq!(gave_up.attempts(), 1);
/// let _: io::Error = gave_up.into_error().unwrap();
/// # }
/// ```
///
/// What is said inside needs no `when`, which would have nothing to decide:
///
/// ```compile_fail,E0277
/// # use relent::{Failure, retry};
/// # async fn work() -> Result<(), Failure<std::io::Error>> { Ok(()) }
/// let run = retry(async |_| work().await).by_failure().when(|_| true);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure<E> {
    error: E,
    decision: Decision,
}

impl<E> Failure<E> {
    /// Repeating may mend it.
    #[must_use]
    pub const fn transient(error: E) -> Self {
        Self { error, decision: Decision::Retry }
    }

    /// Repeating may mend it, but not before this pause: what a server asked for. At most `max_retry_after`.
    #[must_use]
    pub const fn retry_after(error: E, pause: Duration) -> Self {
        Self { error, decision: Decision::RetryAfter(pause) }
    }

    /// Repeating cannot mend it.
    #[must_use]
    pub const fn permanent(error: E) -> Self {
        Self { error, decision: Decision::Fatal }
    }

    /// The error.
    #[must_use]
    pub const fn error(&self) -> &E {
        &self.error
    }

    /// The error itself.
    #[must_use]
    pub fn into_error(self) -> E {
        self.error
    }

    /// What follows it.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        self.decision
    }

    /// The same with another error.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> Failure<F> {
        Failure { error: change(self.error), decision: self.decision }
    }
}

/// Transient, until it is said otherwise.
impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::transient(error)
    }
}

/// An operation whose errors say themselves what follows: what `.by_failure()` makes of one.
#[derive(Clone, Copy, Debug)]
pub struct WithFailure<O>(pub(crate) O);

pin_project! {
    /// The future of an attempt of [`WithFailure`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct WithFailureFuture<F> {
        #[pin]
        future: F,
    }
}

/// What an attempt of [`WithFailure`] answers.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Said<R>(pub(crate) R);

impl<O: Operation> Operation for WithFailure<O> {
    type Output = Said<O::Output>;
    type Future = WithFailureFuture<O::Future>;

    #[inline]
    fn call(&mut self, attempt: Attempt) -> Self::Future {
        WithFailureFuture { future: self.0.call(attempt) }
    }
}

impl<F: Future> Future for WithFailureFuture<F> {
    type Output = Said<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Said)
    }
}

impl<T, E> RetryOutput for Said<Result<T, Failure<E>>> {
    type Value = T;
    type Error = E;

    #[inline]
    fn judge(self) -> Judged<T, E> {
        match self.0 {
            Ok(value) => Judged::Value(value),
            Err(Failure { error, decision }) => Judged::Decided(error, decision),
        }
    }
}
