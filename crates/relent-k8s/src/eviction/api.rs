//! The calls of one eviction.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
    client::Body,
    core::{
        Status,
        response::{StatusDetails, StatusSummary},
    },
};
use serde_json::{Value, json};

use super::{EvictError, Evicted, PodKey};
use crate::{class::NO_STATUS, retry_after};

/// Evicts a pod once, if it is still the one with this UID.
///
/// `grace`: seconds that it has to end; `None`: the pod's own.
///
/// The pod is read first: of a pod that was made anew under the same name the server would take the disruption from the
/// budget before it compares the UIDs. Without the right to read pods that is left out. A pod is deleted past the
/// Eviction API only where the API server itself says that it has none, in its answer and in its discovery.
///
/// # Errors
/// What the server answered, if the pod may still be there; [`EvictError::Invalid`] for a key without a UID.
///
/// # Cancel safety
/// Dropped, it may have evicted the pod or not; called again, it does no harm.
pub async fn evict(client: &Client, pod: &PodKey, grace: Option<u32>) -> Result<Evicted, EvictError> {
    pod.check().map_err(EvictError::Invalid)?;
    match look(client, pod).await {
        // With a grace period of its own the eviction may shorten what is left.
        Ok(Some(Evicted::Terminating)) if grace.is_some() => {}
        Ok(Some(gone)) => return Ok(gone),
        Ok(None) => {}
        Err(error) if is_refusal(code(&error)) => {}
        Err(error) => return Err(EvictError::of(pod, error)),
    }
    // `Api::evict` writes `delete_options`, which servers do not read: the precondition would be lost.
    let mut options = json!({ "preconditions": { "uid": pod.uid() } });
    if let Some(grace) = grace {
        options["gracePeriodSeconds"] = grace.into();
    }
    let body = |version: &str| {
        json!({
            "apiVersion": version,
            "kind": "Eviction",
            "metadata": { "name": pod.name(), "namespace": pod.namespace() },
            "deleteOptions": options,
        })
    };
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace(), pod.name());
    let answer = match post(client, &path, &body("policy/v1")).await {
        // Servers before 1.22 know only the version before.
        Err(error) if is_unknown_kind(&error) => post(client, &path, &body("policy/v1beta1")).await,
        answer => answer,
    };
    match answer {
        Ok(()) => Ok(Evicted::Accepted),
        Err(error) if is_absence(&error, pod) => Ok(Evicted::Gone),
        Err(error) => match code(&error) {
            404 | 405 if is_status(&error) && has_no_evictions(client).await => delete(client, pod, grace).await,
            409 => conflict(client, pod, error).await,
            _ => Err(EvictError::of(pod, error)),
        },
    }
}

/// What has become of the pod: `None` if it is there as ever.
pub(super) async fn look(client: &Client, pod: &PodKey) -> Result<Option<Evicted>, kube::Error> {
    match pods(client, pod).get_metadata(pod.name()).await {
        Ok(found) if found.metadata.uid.as_deref() == Some(pod.uid()) => {
            Ok(found.metadata.deletion_timestamp.is_some().then_some(Evicted::Terminating))
        }
        Ok(found) if found.metadata.uid.is_some() => Ok(Some(Evicted::Replaced)),
        // That is no object.
        Ok(_) => Ok(None),
        Err(error) if is_absence(&error, pod) => Ok(Some(Evicted::Gone)),
        Err(error) => Err(error),
    }
}

/// Whether the server has never heard of this version of what was sent.
fn is_unknown_kind(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 400 && status.message.contains("no kind \"Eviction\" is registered"))
}

/// Whether the server itself does not list the subresource. Whatever else is unclear counts as "it has it".
async fn has_no_evictions(client: &Client) -> bool {
    match client.list_core_api_resources("v1").await {
        Ok(list) => {
            let has = |name: &str| list.resources.iter().any(|resource| resource.name == name);
            has("pods") && !has("pods/eviction")
        }
        Err(_) => false,
    }
}

/// Posts, and keeps what `Client::request` loses of a refusal: a `Retry-After` that comes without a `Status`, as from a
/// server that sheds load.
async fn post(client: &Client, path: &str, body: &Value) -> Result<(), kube::Error> {
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_string().into_bytes())).map_err(kube::Error::HttpError)?;
    let response = client.send(request).await?;
    if response.status().is_success() {
        let code = response.status().as_u16();
        let text = response.into_body().collect_bytes().await?;
        let answer: Value = serde_json::from_slice(&text).map_err(kube::Error::SerdeError)?;
        // The server's own word: its `Status`, or what was sent; and not a page that stands before it.
        let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        return match (word("kind"), word("status")) {
            ("Status", status) if status != "Failure" => Ok(()),
            ("Eviction", _) => Ok(()),
            _ => Err(no_word(code)),
        };
    }
    let code = response.status().as_u16();
    let told = retry_after::seconds(response.status(), response.headers());
    let text = response.into_body().collect_bytes().await?;
    let is_status = |value: &Value| value.get("kind").and_then(Value::as_str) == Some("Status");
    let status =
        serde_json::from_slice(&text).ok().filter(is_status).and_then(|value| serde_json::from_value(value).ok());
    let mut status =
        status.unwrap_or_else(|| Status::failure(String::from_utf8_lossy(&text).trim(), NO_STATUS)).with_code(code);
    if let Some(told) = told {
        let details = status.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: told,
        });
        details.retry_after_seconds = details.retry_after_seconds.max(told);
    }
    Err(kube::Error::Api(status.boxed()))
}

/// A success that is none of the API's: whether anything was done, the next look shows.
fn no_word(code: u16) -> kube::Error {
    kube::Error::Api(Status::failure("the answer is no word of the API's", NO_STATUS).with_code(code).boxed())
}

async fn delete(client: &Client, pod: &PodKey, grace: Option<u32>) -> Result<Evicted, EvictError> {
    let options = DeleteParams {
        grace_period_seconds: grace,
        preconditions: Some(Preconditions { uid: Some(pod.uid().into()), resource_version: None }),
        ..DeleteParams::default()
    };
    match pods(client, pod).delete(pod.name(), &options).await {
        Ok(answer) => {
            // To `kube` any JSON object is a pod.
            let is_this = |deleted: Pod| deleted.metadata.uid.as_deref() == Some(pod.uid());
            let is_done = answer.either(is_this, |status| status.status != Some(StatusSummary::Failure));
            if is_done { Ok(Evicted::Deleted) } else { Err(EvictError::of(pod, no_word(200))) }
        }
        Err(error) if is_absence(&error, pod) => Ok(Evicted::Gone),
        Err(error) if code(&error) == 409 => conflict(client, pod, error).await,
        Err(error) => Err(EvictError::of(pod, error)),
    }
}

/// A conflict is a UID that differs, or something passing: look.
async fn conflict(client: &Client, pod: &PodKey, error: kube::Error) -> Result<Evicted, EvictError> {
    match look(client, pod).await {
        Ok(Some(gone @ (Evicted::Gone | Evicted::Replaced))) => Ok(gone),
        _ => Err(EvictError::of(pod, error)),
    }
}

fn pods(client: &Client, pod: &PodKey) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.namespace())
}

/// The status code of an answer; 0 if there was none.
pub(super) fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}

/// The caller is not known, or has no right.
pub(super) fn is_refusal(code: u16) -> bool {
    matches!(code, 401 | 403)
}

/// Whether the answer is the API's own, and not the text of something on the way to it.
fn is_status(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if kube::core::response::reason::is_known(&status.reason))
}

/// Whether a 404 says that the pod is not there, rather than anything else.
fn is_absence(error: &kube::Error, pod: &PodKey) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let named = |details: &StatusDetails| details.name == pod.name() && details.kind == "pods";
    status.code == 404 && status.details.as_ref().is_some_and(named)
}
