//! When a pod goes for its node's taints: each taint has its own time.

use std::time::{Duration, SystemTime};

use k8s_openapi::{
    api::core::v1::{Pod, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::toleration::tolerated_for;
use crate::time::Instant;

/// What is known of a pod under taints.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Planned {
    taints: Vec<UnderTaint>,
    /// When it goes; `None` is beyond what a clock can show.
    pub(super) due: Option<Instant>,
}

/// Since when a pod is under one taint.
#[derive(Clone, Debug, PartialEq)]
struct UnderTaint {
    taint: Taint,
    first_seen: Instant,
    /// How long the pod had been under it when this process first saw it.
    before: Duration,
}

impl Planned {
    /// The plan for these taints, where `old` is the last one; `None` if the pod may stay.
    ///
    /// `date` is the wall clock: `timeAdded` is a date.
    pub(super) fn new(old: Option<&Self>, pod: &Pod, taints: &[Taint], now: Instant, date: SystemTime) -> Option<Self> {
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let mut planned = Self::default();
        let mut due: Option<Option<Instant>> = None;
        for taint in taints {
            let Some(tolerated) = tolerated_for(taint, tolerations) else { continue };
            let known = old.and_then(|old| old.taints.iter().find(|known| known.taint == *taint)).cloned();
            let under = known.unwrap_or_else(|| UnderTaint {
                taint: taint.clone(),
                first_seen: now,
                before: taint.time_added.as_ref().map_or(Duration::ZERO, |added| passed(added, pod, date)),
            });
            let at = under.first_seen.checked_add(tolerated.saturating_sub(under.before));
            // The earliest; never comes last.
            due = Some(match due {
                None => at,
                Some(due) => [due, at].into_iter().flatten().min(),
            });
            planned.taints.push(under);
        }
        planned.due = due?;
        Some(planned)
    }
}

/// How long a pod has been under a taint that was added then: not longer than it has been on the node.
fn passed(added: &Time, pod: &Pod, date: SystemTime) -> Duration {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "True");
    let bound = scheduled.and_then(|condition| condition.last_transition_time.as_ref());
    let started = status.and_then(|status| status.start_time.as_ref());
    let since = [Some(added), bound, started].into_iter().flatten().map(|time| SystemTime::from(time.0)).max();
    since.and_then(|since| date.duration_since(since).ok()).unwrap_or_default()
}
