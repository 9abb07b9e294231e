//! Why a pod was not evicted.

use std::{fmt, time::Duration};

use relent::{ConfigError, Decision};

use super::PodKey;
use crate::{advice::advice, class::is_no_status, error::said};

/// Why a pod was not evicted.
///
/// Its text names the pod and tells what the server said and what to do; so there is no `source`, and
/// [`get_ref`](Self::get_ref) is the error as `kube` gave it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EvictError {
    /// A disruption budget, or a server that is too busy, says wait.
    #[error("{pod} cannot be evicted yet: {}{}", Words(error), ComeBack(*after))]
    #[non_exhaustive]
    Wait {
        /// The pod.
        pod: PodKey,
        /// How long at least; `None` if it does not say.
        after: Option<Duration>,
        /// What the server answered.
        error: crate::ApiError,
    },
    /// The caller is not known or has no right to this (401, 403), and so it was said for some time: a server that has
    /// only just started refuses every user for a moment.
    #[error("not allowed to evict {pod}, for {lasted:?} now: {}", Words(error))]
    #[non_exhaustive]
    Refused {
        /// The pod.
        pod: PodKey,
        /// From the first of these refusals to the last.
        lasted: Duration,
        /// What the server answered last.
        error: crate::ApiError,
    },
    /// A call failed.
    #[error("could not evict {pod}: {}", Words(error))]
    #[non_exhaustive]
    Evict {
        /// The pod.
        pod: PodKey,
        /// What became of the call.
        error: crate::ApiError,
    },
    /// It was evicted, and whether it is gone cannot be seen: told by
    /// [`Evictions::unseen`](super::Evictions::unseen).
    #[error("{pod} was evicted, and for {lasted:?} now it cannot be seen whether it is gone: {why}")]
    #[non_exhaustive]
    Unseen {
        /// The pod.
        pod: PodKey,
        /// From the first look in a row that failed to the last.
        lasted: Duration,
        /// What came of the last look, and what to do about it.
        why: String,
    },
    /// This is no pod's key: nothing was asked.
    #[error(transparent)]
    Invalid(ConfigError),
}

debug_as_display!(EvictError);

/// It is malformed: the API server's own word, and not that of something on the way to it.
fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 422) && !is_no_status(status))
}

/// What a server said, in its words: `Cannot evict pod ..: The disruption budget .. (429)`.
struct Words<'a>(&'a crate::ApiError);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kube::Error::Api(status) = self.0.get_ref() else { return self.0.fmt(f) };
        f.write_str(&said(status))?;
        for cause in status.details.iter().flat_map(|details| &details.causes) {
            write!(f, ": {}", cause.message.trim_end_matches('.'))?;
        }
        if !status.message.trim().is_empty() {
            write!(f, " ({})", status.code)?;
        }
        match advice(self.0.get_ref()) {
            // What is waited for needs no advice.
            Some(advice) if status.code != 429 => write!(f, ": {advice}"),
            _ => Ok(()),
        }
    }
}

/// How long a server asks to be left alone.
struct ComeBack(Option<Duration>);

impl fmt::Display for ComeBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |after| write!(f, " (come back in {} s)", after.as_secs()))
    }
}

impl EvictError {
    /// What follows: as long as the server asks for; a lasting refusal and what the server calls malformed are not
    /// repeated.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self {
            Self::Wait { after: Some(after), .. } => Decision::RetryAfter(*after),
            Self::Refused { .. } | Self::Invalid(_) => Decision::Fatal,
            Self::Evict { error, .. } if is_invalid(error.get_ref()) => Decision::Fatal,
            Self::Wait { .. } | Self::Evict { .. } | Self::Unseen { .. } => Decision::Retry,
        }
    }

    /// The error as `kube` gave it; `None` where nothing was asked, and of what cannot be seen.
    #[must_use]
    pub fn get_ref(&self) -> Option<&kube::Error> {
        match self {
            Self::Wait { error, .. } | Self::Refused { error, .. } | Self::Evict { error, .. } => Some(error.get_ref()),
            Self::Unseen { .. } | Self::Invalid(_) => None,
        }
    }

    /// The status code of the server's answer; 0 if there was none.
    pub(super) fn code(&self) -> u16 {
        self.get_ref().map_or(0, super::api::code)
    }

    /// What an error of a call means for this pod.
    pub(super) fn of(pod: &PodKey, error: kube::Error) -> Self {
        let pod = pod.clone();
        match &error {
            kube::Error::Api(status) if status.code == 429 => {
                let error = crate::ApiError::from(error);
                Self::Wait { pod, after: error.retry_after(), error }
            }
            // A 403, although it passes by itself when the budgets' controller has caught up.
            kube::Error::Api(status) if status.message.contains("DisruptedPods map too big") => {
                Self::Wait { pod, after: None, error: error.into() }
            }
            _ => Self::Evict { pod, error: error.into() },
        }
    }

    /// The same, where it is a refusal that has lasted so long.
    pub(super) fn refused_for(self, lasted: Duration) -> Self {
        match self {
            Self::Evict { pod, error } => Self::Refused { pod, lasted, error },
            other => other,
        }
    }
}
