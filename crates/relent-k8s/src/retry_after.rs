//! Keeps the header `Retry-After` and the status code, which `kube` drops where they are not in the body.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service};

use super::class::NO_STATUS;

/// Writes the seconds of the header `Retry-After` into the `Status` of a refusal, as `details.retryAfterSeconds`.
///
/// An overloaded API server answers 429 in plain text, and says only in a header when to come back. A `kube::Error` has
/// no headers, so [`classify`](super::classify) would not see it. The clients of [`client`](super::client()) have this
/// layer; for one that is built by hand:
///
/// ```
/// # fn example(config: kube::Config) -> Result<kube::Client, kube::Error> {
/// use kube::client::ClientBuilder;
/// use relent_k8s::RetryAfterLayer;
///
/// let client = ClientBuilder::try_from(config)?.with_layer(&RetryAfterLayer::default()).build();
/// # Ok(client) }
/// ```
///
/// A date in the header, as a proxy may send it, is rounded up to seconds: see [`relent::http::retry_after`].
///
/// It keeps the status code of a refusal as well, where the body is JSON and no `Status`, as from a gateway: `kube`
/// would lose it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RetryAfterLayer;

impl<S> Layer<S> for RetryAfterLayer {
    type Service = RetryAfterService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryAfterService { inner }
    }
}

/// The service of [`RetryAfterLayer`].
#[derive(Clone, Copy, Debug)]
pub struct RetryAfterService<S> {
    inner: S,
}

impl<S, R, B> Service<R> for RetryAfterService<S>
where
    S: Service<R, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (mut parts, body) = answer.await.map_err(Into::into)?.into_parts();
            if !is_refused(parts.status) {
                return Ok(Response::from_parts(parts, Either::Left(body)));
            }
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            let seconds = seconds(parts.status, &parts.headers);
            let body = as_status(parts.status, &body, seconds).map_or(body, Bytes::from);
            parts.headers.remove(header::CONTENT_LENGTH);
            Ok(Response::from_parts(parts, Either::Right(Full::new(body))))
        })
    }
}

fn is_refused(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The seconds of a refusal, rounded up.
pub(super) fn seconds(status: StatusCode, headers: &HeaderMap) -> Option<u32> {
    let asked = if is_refused(status) { relent::http::retry_after(headers)? } else { return None };
    let seconds = asked.as_secs().saturating_add(u64::from(asked.subsec_nanos() > 0));
    Some(u32::try_from(seconds).unwrap_or(u32::MAX)).filter(|seconds| *seconds > 0)
}

/// The body as a `Status` with its code, and with the seconds that were asked for; `None` if it is that already, or is
/// read well as it is.
fn as_status(code: StatusCode, body: &[u8], seconds: Option<u32>) -> Option<String> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut status = match serde_json::from_slice::<Value>(body) {
        Ok(status) if status["kind"] == "Status" => status,
        // A text is read well, with its code.
        Err(_) if seconds.is_none() && std::str::from_utf8(body).is_ok() => return None,
        _ => {
            let reason = if code == StatusCode::TOO_MANY_REQUESTS { "TooManyRequests" } else { NO_STATUS };
            let text = String::from_utf8_lossy(body);
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": code.as_u16(), "reason": reason, "message": text.trim() })
        }
    };
    if number(&status["code"]) == 0 {
        status["code"] = code.as_u16().into();
    }
    if let Some(seconds) = seconds
        && number(&status["details"]["retryAfterSeconds"]) == 0
    {
        if !status["details"].is_object() {
            status["details"] = json!({});
        }
        status["details"]["retryAfterSeconds"] = seconds.into();
    }
    Some(status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_of_refusals_alone() {
        let headers = |asked: &[&str]| {
            let date = (header::DATE, "Fri, 31 Dec 1999 23:57:59 GMT");
            let asked = asked.iter().map(|asked| (header::RETRY_AFTER, *asked));
            let all = asked.chain([date]).map(|(name, value)| (name, value.parse().unwrap()));
            all.collect::<HeaderMap>()
        };
        for (asked, expected) in [
            (&["7"][..], Some(7)),
            (&["Fri, 31 Dec 1999 23:59:59 GMT"], Some(120)),
            (&["99999999999999999999"], Some(u32::MAX)),
            (&["0"], None),
            (&["soon"], None),
            (&[], None),
        ] {
            assert_eq!(seconds(StatusCode::TOO_MANY_REQUESTS, &headers(asked)), expected, "{asked:?}");
            assert_eq!(seconds(StatusCode::OK, &headers(asked)), None, "{asked:?}");
        }
    }
}
