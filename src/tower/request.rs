//! What a [`RetryLayer`](super::RetryLayer) asks about requests and responses: each a trait, so that a closure will do,
//! and a type where the layer has to be named.

use std::error::Error;

use crate::{builder::ErasedProfile, error::BoxedError};

/// By which profile the calls for requests `Q` are retried: an [`ErasedProfile`] for all, or
/// `Fn(&Q) -> ErasedProfile<BoxedError>`.
#[diagnostic::on_unimplemented(
    message = "this does not say by which profile a `{Q}` is retried",
    note = "give `RetryLayer::new` a `Profile<BoxedError, ..>`, or `RetryLayer::choose` a closure `|request: &{Q}| -> ErasedProfile<BoxedError>`"
)]
pub trait Profiles<Q> {
    /// The profile for the calls of this request.
    fn profile(&self, request: &Q) -> ErasedProfile<BoxedError>;
}

impl<Q> Profiles<Q> for ErasedProfile<BoxedError> {
    fn profile(&self, _: &Q) -> ErasedProfile<BoxedError> {
        self.clone()
    }
}

impl<Q, F: Fn(&Q) -> ErasedProfile<BoxedError>> Profiles<Q> for F {
    fn profile(&self, request: &Q) -> ErasedProfile<BoxedError> {
        self(request)
    }
}

/// How a request is made anew for the next attempt: [`CloneRequest`], or `Fn(&Q) -> Option<Q>`.
#[diagnostic::on_unimplemented(
    message = "this does not make a `{Q}` anew",
    note = "requests that are not `Clone` are made anew by `.repeat_with(|request| ..)`, which answers an `Option`"
)]
pub trait RepeatRequest<Q> {
    /// The same again. `None`: it cannot be, so the attempt that it is made for is the last.
    fn repeat(&self, request: &Q) -> Option<Q>;
}

/// Requests that are cloned.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CloneRequest;

impl<Q: Clone> RepeatRequest<Q> for CloneRequest {
    fn repeat(&self, request: &Q) -> Option<Q> {
        Some(request.clone())
    }
}

impl<Q, F: Fn(&Q) -> Option<Q>> RepeatRequest<Q> for F {
    fn repeat(&self, request: &Q) -> Option<Q> {
        self(request)
    }
}

/// Which responses are failures: [`AnyResponse`], or `Fn(&R) -> Result<(), impl Into<Box<dyn Error + Send + Sync>>>`.
#[diagnostic::on_unimplemented(
    message = "this does not check a `{R}`",
    note = "give `.check(..)` a closure `|response: &{R}| -> Result<(), E>`, whose error is then classified by the profile"
)]
pub trait CheckResponse<R> {
    /// The error that this response stands for, if it is none that was asked for.
    fn check(&self, response: &R) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Every response is one.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AnyResponse;

impl<R> CheckResponse<R> for AnyResponse {
    fn check(&self, _: &R) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

impl<R, F, E> CheckResponse<R> for F
where
    F: Fn(&R) -> Result<(), E>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn check(&self, response: &R) -> Result<(), Box<dyn Error + Send + Sync>> {
        self(response).map_err(Into::into)
    }
}

/// Responses of the crate `http` are failures by their status: see [`check`](crate::http::check).
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to add to it")]
pub struct CheckStatus;

#[cfg(feature = "http")]
impl<B> CheckResponse<http::Response<B>> for CheckStatus {
    fn check(&self, response: &http::Response<B>) -> Result<(), Box<dyn Error + Send + Sync>> {
        crate::http::check(response.status(), response.headers()).map_err(Into::into)
    }
}
