//! A success with its report: what became of the run that gave it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    error::GaveUp,
    mapped::{Boxed, BoxedFuture, WithSource},
    policy::nanos::duration,
};

/// A value, and what the run took to get it: what a run gives after `.with_report()`.
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, retry};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let reported = retry(async |attempt| if attempt.number() < 3 { Err("busy") } else { Ok(7) })
///     .backoff(Backoff::fixed(Duration::from_secs(2)))
///     .with_report()
///     .await
///     .unwrap();
/// assert_eq!((reported.value, reported.attempts, reported.elapsed), (7, 3, Duration::from_secs(4)));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Reported<T> {
    /// The value.
    pub value: T,
    /// Attempts made, the successful one included: rounds of an `ensure`.
    pub attempts: u32,
    /// Time since the run began; zero if the first attempt of an async run without bounds gave the value
    /// at once.
    pub elapsed: Duration,
}

/// A run whose value comes with its report: what `.with_report()` makes of a builder. Only `boxed` and `chained` may
/// follow.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless you `.await` it, or `.call()` it on a thread"]
pub struct WithReport<B>(pub(crate) B);

pin_project! {
    /// The future of [`WithReport`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct WithReportFuture<F> {
        #[pin]
        pub(crate) future: F,
    }
}

/// A future that knows how its run went. Not to be implemented elsewhere.
#[doc(hidden)]
pub trait Reports {
    /// Attempts made, and nanoseconds since the run began.
    fn report(&self) -> (u32, u64);
}

impl<F: Reports> Reports for BoxedFuture<F> {
    fn report(&self) -> (u32, u64) {
        self.future.report()
    }
}

impl<F: Reports> Reports for WithReportFuture<F> {
    fn report(&self) -> (u32, u64) {
        self.future.report()
    }
}

impl<B> Boxed<B> {
    /// The value with a report: how many attempts it took, and how long. See [`Reported`](crate::builder::Reported).
    pub fn with_report(self) -> WithReport<Self> {
        WithReport(self)
    }
}

impl<B> WithReport<B> {
    /// For errors that are no [`Error`](std::error::Error). See [`GaveUp::boxed`].
    pub fn boxed(self) -> Boxed<Self> {
        Boxed(self)
    }

    /// The error as the source of what is returned, and not in its text. The last word of the builder. See
    /// [`GaveUp::chained`].
    pub fn chained(self) -> WithSource<Self> {
        WithSource(self)
    }
}

impl<B, T, E> IntoFuture for WithReport<B>
where
    B: IntoFuture<Output = Result<T, GaveUp<E>>, IntoFuture: Reports>,
{
    type Output = Result<Reported<T>, GaveUp<E>>;
    type IntoFuture = WithReportFuture<B::IntoFuture>;

    fn into_future(self) -> Self::IntoFuture {
        WithReportFuture { future: self.0.into_future() }
    }
}

impl<F, T, E> Future for WithReportFuture<F>
where
    F: Future<Output = Result<T, GaveUp<E>>> + Reports,
{
    type Output = Result<Reported<T>, GaveUp<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut run = self.project().future;
        run.as_mut().poll(cx).map_ok(|value| {
            let (attempts, elapsed) = run.report();
            Reported { value, attempts, elapsed: duration(elapsed) }
        })
    }
}
