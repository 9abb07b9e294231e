//! The calls of one eviction.

use std::{fmt, time::Duration};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
    client::Body,
    core::{Status, response::StatusDetails},
};
use serde_json::json;

use super::PodKey;
use crate::policy::attempts::Decision;

/// What evicting a pod came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evicted {
    /// The Eviction API took it.
    Accepted,
    /// There is no Eviction API; the pod was deleted.
    Deleted,
    /// The pod is not there any more.
    Gone,
    /// There is a pod of this name, but another one.
    Replaced,
}

/// Why a pod was not evicted, or its event not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvictError {
    /// A disruption budget, or a server that is too busy, says wait.
    #[error("told to wait: {}", Words(source))]
    #[non_exhaustive]
    Wait {
        /// How long at least; `None` if it does not say.
        after: Option<Duration>,
        /// What the server answered.
        source: kube::Error,
    },
    /// The call failed.
    #[error("could not evict: {}", Words(.0))]
    Evict(#[source] kube::Error),
    /// The pod is evicted, but its event could not be written.
    #[error("evicted, but could not write the event: {}", Words(.0))]
    Event(#[source] kube::Error),
}

/// What a server said, in its words: `Cannot evict pod ..: The disruption budget .. (429)`.
struct Words<'a>(&'a kube::Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kube::Error::Api(status) = self.0 else { return self.0.fmt(f) };
        f.write_str(status.message.trim_end_matches('.'))?;
        for cause in status.details.iter().flat_map(|details| &details.causes) {
            write!(f, ": {}", cause.message)?;
        }
        write!(f, " ({})", status.code)
    }
}

impl EvictError {
    /// What follows: as long as the server asks for; requests that it calls malformed are not repeated.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self {
            Self::Wait { after: Some(after), .. } => Decision::RetryAfter(*after),
            Self::Evict(kube::Error::Api(status)) | Self::Event(kube::Error::Api(status))
                if matches!(status.code, 400 | 422) =>
            {
                Decision::Fatal
            }
            _ => Decision::Retry,
        }
    }
}

/// Evicts a pod once, if it is still the one with this UID.
///
/// `grace`: seconds that it has to end; `None`: the pod's own.
///
/// # Errors
/// What the server answered, if the pod may still be there.
pub async fn evict(client: &Client, pod: &PodKey, grace: Option<u32>) -> Result<Evicted, EvictError> {
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
        Err(error) => match code(&error) {
            404 | 405 if !is_about(&error, pod) => delete(client, pod, grace).await,
            404 => Ok(Evicted::Gone),
            409 => conflict(client, pod, error).await,
            _ => Err(failed(error)),
        },
    }
}

/// Whether the server has never heard of this version of what was sent.
fn is_unknown_kind(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 400 && status.message.contains("no kind \"Eviction\" is registered"))
}

/// Posts, and keeps what `Client::request` loses of a refusal: a `Retry-After` that comes without a `Status`, as from a
/// server that sheds load.
async fn post(client: &Client, path: &str, body: &serde_json::Value) -> Result<(), kube::Error> {
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_string().into_bytes())).map_err(kube::Error::HttpError)?;
    let response = client.send(request).await?;
    if response.status().is_success() {
        return Ok(());
    }
    let code = response.status().as_u16();
    let told = response.headers().get(http::header::RETRY_AFTER).and_then(|told| told.to_str().ok()?.parse().ok());
    let text = response.into_body().collect_bytes().await?;
    let mut status = serde_json::from_slice(&text)
        .unwrap_or_else(|_| Status::failure(String::from_utf8_lossy(&text).trim(), "").with_code(code));
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

async fn delete(client: &Client, pod: &PodKey, grace: Option<u32>) -> Result<Evicted, EvictError> {
    let options = DeleteParams {
        grace_period_seconds: grace,
        preconditions: Some(Preconditions { uid: Some(pod.uid().into()), resource_version: None }),
        ..DeleteParams::default()
    };
    match pods(client, pod).delete(pod.name(), &options).await {
        Ok(_) => Ok(Evicted::Deleted),
        Err(error) => match code(&error) {
            404 => Ok(Evicted::Gone),
            409 => conflict(client, pod, error).await,
            _ => Err(failed(error)),
        },
    }
}

/// A conflict is a UID that differs, or something passing: look.
async fn conflict(client: &Client, pod: &PodKey, error: kube::Error) -> Result<Evicted, EvictError> {
    match pods(client, pod).get_metadata_opt(pod.name()).await {
        Ok(None) => Ok(Evicted::Gone),
        Ok(Some(found)) if found.metadata.uid.as_deref() != Some(pod.uid()) => Ok(Evicted::Replaced),
        _ => Err(EvictError::Evict(error)),
    }
}

/// Writes the event of an eviction: at most one for each pod, however often it is tried.
pub(super) async fn write_event(client: &Client, component: &str, pod: &PodKey, note: &str) -> Result<(), EvictError> {
    // The one place where the crate asks for the date: events are for people.
    let now = Time(Timestamp::now());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", pod.name(), pod.uid())),
            namespace: Some(pod.namespace().into()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace().into()),
            name: Some(pod.name().into()),
            uid: Some(pod.uid().into()),
            ..ObjectReference::default()
        },
        reason: Some("TaintManagerEviction".into()),
        message: Some(note.into()),
        source: Some(EventSource { component: Some(component.into()), host: None }),
        type_: Some("Normal".into()),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client.clone(), pod.namespace());
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        Err(error) => match code(&error) {
            // It is there already, or its namespace is going and takes no more.
            409 | 404 => Ok(()),
            403 if error.to_string().contains("being terminated") => Ok(()),
            429 => Err(failed(error)),
            _ => Err(EvictError::Event(error)),
        },
    }
}

fn pods(client: &Client, pod: &PodKey) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.namespace())
}

fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}

/// Whether a 404 says that the pod is not there, rather than the Eviction API.
fn is_about(error: &kube::Error, pod: &PodKey) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let named = |details: &StatusDetails| details.name == pod.name() && details.kind == "pods";
    status.code == 404 && status.details.as_ref().is_some_and(named)
}

fn failed(error: kube::Error) -> EvictError {
    match &error {
        kube::Error::Api(status) if status.code == 429 => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            let after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            EvictError::Wait { after, source: error }
        }
        _ => EvictError::Evict(error),
    }
}
