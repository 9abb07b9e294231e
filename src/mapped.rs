//! The last words of a builder: what becomes of its error.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::error::{BoxedError, Chained, GaveUp};

/// A run whose error is an [`Error`] whatever the operation's is: what `.boxed()` makes of a builder. Only
/// `with_report` and `chained` may follow.
///
/// See [`GaveUp::boxed`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless you `.await` it, or `.call()` it on a thread"]
pub struct Boxed<B>(pub(crate) B);

/// A run whose error has the operation's as its source: what `.chained()` makes of a builder. Its last word.
///
/// See [`GaveUp::chained`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless you `.await` it, or `.call()` it on a thread"]
pub struct WithSource<B>(pub(crate) B);

pin_project! {
    /// The future of [`Boxed`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct BoxedFuture<F> {
        #[pin]
        pub(crate) future: F,
    }
}

pin_project! {
    /// The future of [`WithSource`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct WithSourceFuture<F> {
        #[pin]
        future: F,
    }
}

impl<B> Boxed<B> {
    /// The error as the source of what is returned, and not in its text: for code that looks for an error of its own in
    /// the sources. See [`GaveUp::chained`].
    pub fn chained(self) -> WithSource<Self> {
        WithSource(self)
    }
}

impl<B, T, E> IntoFuture for Boxed<B>
where
    B: IntoFuture<Output = Result<T, GaveUp<E>>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<T, GaveUp<BoxedError>>;
    type IntoFuture = BoxedFuture<B::IntoFuture>;

    fn into_future(self) -> Self::IntoFuture {
        BoxedFuture { future: self.0.into_future() }
    }
}

impl<F, T, E> Future for BoxedFuture<F>
where
    F: Future<Output = Result<T, GaveUp<E>>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<T, GaveUp<BoxedError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map_err(GaveUp::boxed)
    }
}

impl<B, T, E> IntoFuture for WithSource<B>
where
    B: IntoFuture<Output = Result<T, GaveUp<E>>>,
{
    type Output = Result<T, Chained<E>>;
    type IntoFuture = WithSourceFuture<B::IntoFuture>;

    fn into_future(self) -> Self::IntoFuture {
        WithSourceFuture { future: self.0.into_future() }
    }
}

impl<F, T, E> Future for WithSourceFuture<F>
where
    F: Future<Output = Result<T, GaveUp<E>>>,
{
    type Output = Result<T, Chained<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map_err(GaveUp::chained)
    }
}
