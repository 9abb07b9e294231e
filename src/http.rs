//! HTTP: which answers are worth another attempt, when, and whether a call may be made twice. On the types of the crate
//! `http`, which reqwest, hyper and tonic share.
//!
//! [`check`] makes an error of an answer that refuses, with what its server asked for. [`Idempotency`], which only the
//! caller knows, classifies the errors and says what follows an attempt whose outcome is unknown:
//!
//! ```
//! use std::time::Duration;
//! use relent::{http::{self, Idempotency::Idempotent, StatusError}, retry};
//!
//! # async fn get(_: &str) -> Result<::http::Response<String>, std::io::Error> {
//! #     use std::sync::atomic::{AtomicBool, Ordering};
//! #     static ASKED: AtomicBool = AtomicBool::new(false);
//! #     let answer = ::http::Response::builder();
//! #     let answer = if ASKED.swap(true, Ordering::Relaxed) { answer } else { answer.status(503).header("retry-after", "2") };
//! #     Ok(answer.body("here".to_owned()).unwrap())
//! # }
//! #[derive(Debug, thiserror::Error)]
//! enum FetchError {
//!     #[error("no answer")]
//!     NoAnswer(#[from] std::io::Error), // or reqwest::Error, hyper::Error
//!     #[error("refused")]
//!     Refused(#[from] StatusError),
//! }
//!
//! async fn fetch(url: &str) -> Result<String, FetchError> {
//!     let response = get(url).await?;
//!     http::check(response.status(), response.headers())?;
//!     Ok(response.into_body())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let began = tokio::time::Instant::now();
//! let text = retry(async |_| fetch("http://example.net/").await)
//!     .classify(Idempotent)
//!     .on_cut(Idempotent)
//!     .attempt_timeout(Duration::from_secs(5))
//!     .max_retry_after(Duration::from_secs(30)) // a server may ask for a year
//!     .finish_within(Duration::from_secs(60))
//!     .await;
//! assert_eq!(text.unwrap(), "here");
//! # assert_eq!(began.elapsed(), Duration::from_secs(2));
//! # }
//! ```
//!
//! For a call that must not be made twice say `NotIdempotent` in both places. Where one client makes calls of both
//! kinds, [`Idempotency::of`] tells by the method, and a call that is safer than its method (a POST with an idempotency
//! key) says so itself.

use std::{error::Error, fmt, time::Duration};

use ::http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{DATE, RETRY_AFTER},
};

use crate::{
    io,
    operation::Classify,
    policy::{nanos::Written, schedule::attempts::Decision},
    time,
};

/// Whether it does no harm to make a call twice: what decides about repeating one whose outcome is unknown. The caller
/// says it.
///
/// It is a classification for `.classify(..)`, by [`classify`], and what `.on_cut(..)` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Idempotency {
    /// Twice is as good as once.
    Idempotent,
    /// Twice is once too often: it is repeated only where it was certainly not carried out.
    NotIdempotent,
}

impl Idempotency {
    /// What RFC 9110, 9.2.2, says of the method: GET, HEAD, OPTIONS, TRACE, PUT and DELETE are idempotent.
    #[must_use]
    pub fn of(method: &Method) -> Self {
        if method.is_idempotent() { Self::Idempotent } else { Self::NotIdempotent }
    }
}

/// What follows an attempt whose outcome is unknown: for `.on_cut(..)`.
impl From<Idempotency> for Decision {
    fn from(idempotency: Idempotency) -> Self {
        Self::from(idempotency == Idempotency::Idempotent)
    }
}

/// By [`classify`].
impl<E: Error + 'static> Classify<E> for Idempotency {
    fn classify(&mut self, error: &E) -> Decision {
        classify(error, *self)
    }
}

/// What follows an error of a call.
///
/// It goes by the [`StatusError`] that the error is or has among its sources: see [`StatusError::decision`]. Without
/// one there was no answer. An idempotent call is then retried, unless the [`io::Error`](std::io::Error) below it is
/// one that time does not mend ([`io::classify`]), a certificate that is not trusted above all. One that is not
/// idempotent is retried only where [`io::never_sent`] knows that there was no connection.
///
/// A status that only the client's own error knows is not seen, that of reqwest's `error_for_status()` among them: use
/// [`check`]. Nor is what an `#[error(transparent)]` of `thiserror` hides.
#[must_use]
pub fn classify(error: &(dyn Error + 'static), idempotency: Idempotency) -> Decision {
    if let Some(status) = io::causes(error).find_map(|error| error.downcast_ref::<StatusError>()) {
        return status.decision(idempotency);
    }
    match (idempotency, io::cause(error)) {
        (Idempotency::Idempotent, Some(cause)) => io::classify(cause),
        (Idempotency::NotIdempotent, Some(cause)) => io::never_sent(cause).into(),
        (idempotency, None) => idempotency.into(),
    }
}

/// An answer that refuses: a status from 400 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusError {
    status: StatusCode,
    retry_after: Option<Duration>,
}

/// An error of an answer with a status from 400 on, whose body is not read.
///
/// # Errors
/// The status, and what the server asked for in `Retry-After`.
///
/// ```
/// use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
///
/// let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse()?)]);
/// let refused = relent::http::check(StatusCode::TOO_MANY_REQUESTS, &headers).unwrap_err();
/// assert_eq!(refused.to_string(), "the server answered 429 Too Many Requests, Retry-After 7s");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), StatusError> {
    if status.is_client_error() || status.is_server_error() {
        Err(StatusError { status, retry_after: retry_after(headers) })
    } else {
        Ok(())
    }
}

impl StatusError {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// How long the server asked to wait, counted from its answer.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether another attempt may be answered otherwise.
    ///
    /// | status | for | source |
    /// |---|---|---|
    /// | 408, 425, 429 | every call: it was not carried out | RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4 |
    /// | 500, 502, 503, 504 | idempotent calls: it may have been carried out, behind a gateway even with 503 | RFC 9110, 15.6; 500 as the AWS SDKs and `curl --retry` do |
    /// | any other with a `Retry-After` | 4xx every call, 5xx idempotent ones | the server says so itself: RFC 9110, 10.2.3 and 15.5.14 (413); GitHub's 403 |
    #[must_use]
    pub fn decision(&self, idempotency: Idempotency) -> Decision {
        let is_transient = matches!(
            self.status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if idempotency == Idempotency::NotIdempotent && self.status.is_server_error() {
            return Decision::Fatal;
        }
        self.retry_after.map_or(Decision::from(is_transient), Decision::RetryAfter)
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As a number, where the status has no name.
        match self.status.canonical_reason() {
            Some(reason) => write!(f, "the server answered {} {reason}", self.status.as_str())?,
            None => write!(f, "the server answered {}", self.status.as_str())?,
        }
        match self.retry_after {
            Some(after) => write!(f, ", Retry-After {}", Written(after)),
            None => Ok(()),
        }
    }
}

impl Error for StatusError {}

/// The same request with this body: for `repeat_with` of the layer for `tower`, where bodies are not `Clone`.
///
/// ```
/// # struct Body(Option<String>); impl Body { fn try_clone(&self) -> Option<Self> { self.0.clone().map(|text| Body(Some(text))) } }
/// let again = |request: &http::Request<Body>| Some(relent::http::with_body(request, request.body().try_clone()?));
/// let get = http::Request::get("http://example.net/").header("x", "y").body(Body(Some("z".to_owned()))).unwrap();
/// assert_eq!(again(&get).unwrap().headers(), get.headers());
/// ```
pub fn with_body<A, B>(request: &Request<A>, body: B) -> Request<B> {
    let mut again = Request::new(body);
    (*again.method_mut(), *again.uri_mut()) = (request.method().clone(), request.uri().clone());
    (*again.headers_mut(), *again.extensions_mut()) = (request.headers().clone(), request.extensions().clone());
    *again.version_mut() = request.version();
    again
}

/// What the header `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date. Of several the longest; `None`
/// without a valid one.
///
/// A date is counted from that of the answer itself, its header `Date`, so that the two clocks need not agree; without
/// one from the wall clock. A date that is past is zero. There is no cap here: say `.max_retry_after(..)`.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, header::{DATE, RETRY_AFTER}};
///
/// let headers = HeaderMap::from_iter([
///     (DATE, "Fri, 31 Dec 1999 23:57:59 GMT".parse()?),
///     (RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT".parse()?),
/// ]);
/// assert_eq!(relent::http::retry_after(&headers), Some(Duration::from_secs(120)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?.trim()).ok();
    let wait = |value: &HeaderValue| {
        let text = value.to_str().ok()?.trim();
        // `parse` alone would read a sign; what is too large for it is long enough.
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
        }
        let now = headers.get(DATE).and_then(date).unwrap_or_else(time::date);
        Some(date(value)?.duration_since(now).unwrap_or_default())
    };
    headers.get_all(RETRY_AFTER).iter().filter_map(wait).max()
}
