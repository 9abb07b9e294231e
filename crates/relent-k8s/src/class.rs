//! What may follow an error of a `kube` call: one table.

use std::{error::Error, io::ErrorKind, time::Duration};

use kube::core::Status;
use relent::Decision;

use super::chain::{io_kind, says};

/// What an error of a call to an API server means for the next one.
///
/// | class | errors |
/// |---|---|
/// | `Final` | 400, 401, 403, 404, 405, 406, 410, 413, 415, 422, 501 and other 4xx; a certificate that is not trusted; a request that could not be built; an answer that could not be read as its type; credentials that could not be had |
/// | `Conflict` | 409: `Conflict`, `AlreadyExists` |
/// | `Transient` | 429; 503 with a `Status`; 504 for a revision that is still to come; connections that were never made: refused, no address, timed out |
/// | `Ambiguous` | 500, 502, 504, 408, 503 without a `Status`; connections that broke later |
///
/// ```
/// use relent::Decision;
/// use relent_k8s::{self as k8s, ErrorClass};
///
/// // Read, change, write: after a conflict, begin again.
/// let judge = |error: &kube::Error| match ErrorClass::of(error) {
///     ErrorClass::Conflict => Decision::Retry,
///     _ => k8s::classify(error),
/// };
/// // A write that must not be applied twice.
/// let once = |error: &kube::Error| match ErrorClass::of(error) {
///     ErrorClass::Ambiguous => Decision::Fatal,
///     _ => k8s::classify(error),
/// };
/// # let _ = (judge, once);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The same request will get the same answer.
    Final,
    /// Nothing was done; the same request may work later.
    Transient,
    /// The object is not in the state that the request takes for granted: read it again, and decide anew.
    Conflict,
    /// What was done is not known: a write may have been applied, or may still be. A read can simply be repeated.
    Ambiguous,
}

impl ErrorClass {
    /// The class of an error.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => of_status(status),
            kube::Error::Service(error) => of_connection(&**error),
            kube::Error::HyperError(error) => of_connection(error),
            kube::Error::ReadEvents(error) => of_connection(error),
            _ => Self::Final,
        }
    }
}

/// What follows an error: for `.when(..)` around reads, and around writes that may be repeated.
///
/// [`ErrorClass::Final`] and [`ErrorClass::Conflict`] end the run; the same request cannot mend them.
/// [`ErrorClass::Transient`] and [`ErrorClass::Ambiguous`] are tried again, not before the server's `Retry-After`, if
/// it named one.
///
/// The text of a `kube::Error` dumps what the server answered, `Status { .. }` and all: as an
/// [`ApiError`](crate::ApiError) it says the same in words.
///
/// ```
/// # async fn example(maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap>) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use relent::retry;
/// use relent_k8s as k8s;
///
/// let all = retry(async |_| maps.list(&Default::default()).await)
///     .attempt_timeout(Duration::from_secs(5))
///     .finish_within(Duration::from_secs(30))
///     .when(k8s::classify)
///     .await
///     .map_err(|gave_up| gave_up.map_error(k8s::ApiError::from))?;
/// # Ok(()) }
/// ```
#[must_use]
pub fn classify(error: &kube::Error) -> Decision {
    match ErrorClass::of(error) {
        ErrorClass::Final | ErrorClass::Conflict => Decision::Fatal,
        ErrorClass::Transient | ErrorClass::Ambiguous => {
            retry_after(error).map_or(Decision::Retry, Decision::RetryAfter)
        }
    }
}

/// The text of a server that has no room for a request. It always comes with `Retry-After: 1` or more, which `kube`
/// drops.
const OVERLOADED: &str = "Too many requests, please try again later.";

/// How long the server asks to be left alone. See [`RetryAfterLayer`](super::RetryAfterLayer) for what a client keeps
/// of it.
pub(super) fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    match status.details.as_ref().map_or(0, |details| details.retry_after_seconds) {
        0 if status.code == 429 && status.message == OVERLOADED => Some(Duration::from_secs(1)),
        0 => None,
        seconds => Some(Duration::from_secs(seconds.into())),
    }
}

/// Whether this is what `kube` makes of an answer that is no `Status`.
fn is_plain(status: &Status) -> bool {
    !kube::core::response::reason::is_known(&status.reason)
}

/// The reason in place of one, of what is no `Status`.
pub(super) const NO_STATUS: &str = "not a Status";

/// Whether it is certain that an answer was no `Status`: the reason that `kube` then gives is no word, and of JSON it
/// has no code.
pub(super) fn is_no_status(status: &Status) -> bool {
    status.reason.contains(' ') || status.code == 0
}

fn of_status(status: &Status) -> ErrorClass {
    match status.reason.as_str() {
        "Conflict" | "AlreadyExists" => ErrorClass::Conflict,
        "TooManyRequests" => ErrorClass::Transient,
        "ServerTimeout" | "InternalError" | "StorageReadError" => ErrorClass::Ambiguous,
        "Timeout" if has_cause(status, "ResourceVersionTooLarge") => ErrorClass::Transient,
        _ => match status.code {
            409 => ErrorClass::Conflict,
            429 => ErrorClass::Transient,
            // From a proxy, it may have come after the request was passed on.
            503 if !is_plain(status) => ErrorClass::Transient,
            501 => ErrorClass::Final,
            0 | 408 | 500.. => ErrorClass::Ambiguous,
            _ => ErrorClass::Final,
        },
    }
}

pub(super) fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
}

/// Whether a server's certificate, or its speaking TLS at all, is what broke a connection.
pub(super) fn is_certificate(error: &(dyn Error + 'static)) -> bool {
    says(error, "invalid peer certificate") || says(error, "certificate verify failed") || is_not_tls(error)
}

/// Whether the server answers TLS with something else.
pub(super) fn is_not_tls(error: &(dyn Error + 'static)) -> bool {
    says(error, "received corrupt message of type InvalidContentType") || says(error, "wrong version number")
}

/// Whether the server's name has no address.
pub(super) fn is_unknown_host(error: &(dyn Error + 'static)) -> bool {
    says(error, "dns error") || says(error, "failed to lookup address information")
}

/// Whether no connection could be made, so that nothing was sent.
pub(super) fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    says(error, "client error (Connect)")
}

fn of_connection(error: &(dyn Error + 'static)) -> ErrorClass {
    // The client may have wrapped one of its own, such as credentials that could not be had.
    if let Some(error) = error.downcast_ref::<kube::Error>() {
        return ErrorClass::of(error);
    }
    if is_certificate(error) {
        ErrorClass::Final
    } else if io_kind(error) == Some(ErrorKind::ConnectionRefused) || is_unknown_host(error) || is_unconnected(error) {
        ErrorClass::Transient
    } else {
        ErrorClass::Ambiguous
    }
}
