//! Pods that are evicted and not gone yet, as far as is known.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use kube::Client;
use tokio::sync::watch;

use super::{
    EvictError, Evicted, PodKey,
    api::{self, code, is_refusal},
};
use crate::{
    ApiError,
    refusal::LASTS,
    time::{self, Instant},
};

/// How often it is looked whether an evicted pod is gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one such look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The pods that are leaving.
#[derive(Debug, Default)]
pub(super) struct Leaving(BTreeMap<PodKey, Option<Unseen>>);

/// The looks at a pod fail.
#[derive(Clone, Debug)]
struct Unseen {
    first: Instant,
    last: Instant,
    /// Since when each of them is refused.
    refused: Option<Instant>,
    why: String,
}

impl Unseen {
    fn is_final(&self) -> bool {
        self.refused.is_some_and(|since| self.last.saturating_duration_since(since) >= LASTS)
    }
}

impl Leaving {
    /// Whether it was not in it yet.
    pub(super) fn insert(&mut self, pod: PodKey) -> bool {
        self.0.insert(pod, None).is_none()
    }

    pub(super) fn pods(&self) -> Vec<PodKey> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none whose end is worth waiting for.
    pub(super) fn is_over(&self) -> bool {
        self.0.values().all(|unseen| unseen.as_ref().is_some_and(Unseen::is_final))
    }

    pub(super) fn why_unseen(&self, pod: &PodKey) -> Option<EvictError> {
        let Unseen { first, last, why, .. } = self.0.get(pod)?.clone()?;
        Some(EvictError::Unseen { pod: pod.clone(), lasted: last.saturating_duration_since(first), why })
    }

    /// What a look has shown; whether that changes anything.
    fn note(&mut self, pod: &PodKey, looked: Looked, now: Instant) -> bool {
        let Some(unseen) = self.0.get_mut(pod) else { return false };
        match looked {
            Looked::Gone => self.0.remove(pod).is_some(),
            Looked::There => unseen.take().is_some(),
            Looked::Failed { refused, why } => {
                let before = unseen.take();
                let first = before.as_ref().map_or(now, |before| before.first);
                let since = before.and_then(|before| before.refused).unwrap_or(now);
                *unseen = Some(Unseen { first, last: now, refused: refused.then_some(since), why });
                true
            }
        }
    }
}

enum Looked {
    Gone,
    There,
    Failed { refused: bool, why: String },
}

async fn look(client: &Client, pod: &PodKey) -> Looked {
    match time::within(LOOK_TIMEOUT, api::look(client, pod)).await {
        Some(Ok(Some(Evicted::Gone | Evicted::Replaced))) => Looked::Gone,
        Some(Ok(_)) => Looked::There,
        Some(Err(error)) => {
            let refused = is_refusal(code(&error));
            let error = ApiError::of(error, "pods", pod.name(), Some(pod.namespace()));
            Looked::Failed { refused, why: error.to_string() }
        }
        None => Looked::Failed { refused: false, why: format!("no answer from the server within {LOOK_TIMEOUT:?}") },
    }
}

/// It does not return.
pub(super) enum Never {}

/// Looks again and again whether the pods that were evicted are gone.
pub(super) async fn watch(client: &Client, leaving: &watch::Sender<Leaving>) -> Never {
    let mut seen = leaving.subscribe();
    loop {
        // The sender is borrowed here, so that it cannot be gone.
        let _ = seen.wait_for(|leaving| leaving.len() > 0).await;
        time::pause(LOOK_EVERY).await;
        let pods = leaving.borrow().pods();
        stream::iter(pods)
            .for_each_concurrent(4, async |pod| {
                let looked = look(client, &pod).await;
                leaving.send_if_modified(|leaving| leaving.note(&pod, looked, time::now()));
            })
            .await;
    }
}
