//! The event of an eviction: for people, and best effort.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use relent::{Backoff, Jitter, retry};

use super::{Events, PodKey, api::code};
use crate::{name::LONGEST, time};

/// All tries to write one event together take no longer.
pub(super) const WITHIN: Duration = Duration::from_secs(2);

/// Writes the event of an eviction: at most one for each pod, however often it is tried.
///
/// # Errors
/// Why it was not written. Nothing hangs on it.
pub(super) async fn write(
    client: &Client,
    signed: &Events,
    pod: &PodKey,
    note: &str,
    within: Duration,
) -> Result<(), String> {
    let now = Time(Timestamp::try_from(time::wall()).unwrap_or_default());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name(pod)),
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
        reason: Some(signed.reason.to_string()),
        message: Some(note.into()),
        source: Some(EventSource { component: Some(signed.component.to_string()), host: None }),
        type_: Some("Normal".into()),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client.clone(), pod.namespace());
    let written = retry(async |_| match events.create(&PostParams::default(), &event).await {
        // It is there already: the answer to an earlier try was lost.
        Err(error) if code(&error) == 409 => Ok(()),
        written => written.map(drop).map_err(crate::ApiError::from),
    })
    .backoff(Backoff::exponential(Duration::from_millis(100), within).jitter(Jitter::Equal))
    .attempt_timeout(within / 2)
    .finish_within(within)
    .when(|error: &crate::ApiError| crate::classify(error.get_ref()))
    .await;
    written.map_err(|gave_up| gave_up.to_string())
}

/// `{pod}.{uid}`, with the pod's name cut where that is too long.
fn name(pod: &PodKey) -> String {
    let room = LONGEST.saturating_sub(1).saturating_sub(pod.uid().len());
    let end =
        pod.name().char_indices().map(|(at, c)| at.saturating_add(c.len_utf8())).take_while(|end| *end <= room).last();
    let start = pod.name().get(..end.unwrap_or(0)).unwrap_or("").trim_end_matches(['-', '.']);
    format!("{start}.{}", pod.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_fits() {
        let uid = "6d0f1c6e-0000-4000-8000-000000000000";
        assert_eq!(name(&PodKey::new("default", "web-0", uid)), format!("web-0.{uid}"));
        for length in [215, 216, 217, 253] {
            let written = name(&PodKey::new("default", &"a".repeat(length), uid));
            assert_eq!(written.len(), (length + 37).min(253), "{length}");
            assert!(written.ends_with(uid));
        }
        let cut = name(&PodKey::new("default", &format!("{}-{}", "a".repeat(215), "b".repeat(30)), uid));
        assert_eq!(cut, format!("{}.{uid}", "a".repeat(215)), "no part of a name ends with a hyphen");
    }
}
