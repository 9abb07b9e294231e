//! Why there is no permit.

use std::{error::Error, fmt, time::Duration};

use super::lapse::Lapse;
use crate::policy::nanos;

/// Why there is no permit: the wait would be too long, or what was asked for is more than there ever is at once.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It would be ready, but too late. Nothing was taken.
    #[non_exhaustive]
    TooFar {
        /// When it would be ready, as things stand; `Duration::MAX` is never.
        ready_in: Duration,
        /// The wait that was allowed.
        allowed: Duration,
    },
    /// This process has no share of its fleet's rate. Nothing was taken. See [`fleet`](crate::fleet).
    #[non_exhaustive]
    NoShare {
        /// For how long.
        lapsed: Duration,
        /// Of which fleet, and what was wrong last.
        why: Lapse,
    },
    /// More than ever are there at once. Nothing was taken.
    #[non_exhaustive]
    OverBurst {
        /// The number asked for.
        asked: u32,
        /// The burst.
        burst: u32,
    },
}

impl Refused {
    /// When what was asked for would be ready; `None` if it never would, as things stand.
    #[must_use]
    pub fn ready_in(&self) -> Option<Duration> {
        match self {
            Self::TooFar { ready_in, .. } if *ready_in < Duration::MAX => Some(*ready_in),
            _ => None,
        }
    }

    /// Of a try that may not wait: not for so many nanoseconds, which are fewer than for ever.
    #[inline]
    pub(crate) fn not_for(wait: u64) -> Self {
        Self::TooFar { ready_in: Duration::from_nanos(wait), allowed: Duration::ZERO }
    }

    /// Both on the clock of the limiter, in nanoseconds.
    pub(crate) fn too_far(now: u64, ready_at: u64, allowed: u64) -> Self {
        let ready_in = if ready_at == nanos::FOREVER { ready_at } else { ready_at.saturating_sub(now) };
        Self::TooFar { ready_in: nanos::duration(ready_in), allowed: nanos::duration(allowed) }
    }
}

/// As derived, but for times that never come.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use nanos::Shown;
        match self {
            &Self::TooFar { ready_in, allowed } => {
                f.debug_struct("TooFar").field("ready_in", &Shown(ready_in)).field("allowed", &Shown(allowed)).finish()
            }
            Self::NoShare { lapsed, why } => {
                f.debug_struct("NoShare").field("lapsed", lapsed).field("why", why).finish()
            }
            Self::OverBurst { asked, burst } => {
                f.debug_struct("OverBurst").field("asked", asked).field("burst", burst).finish()
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            &Self::TooFar { ready_in, allowed } => {
                write!(f, "would be ready in {}, and {} is allowed", nanos::Measured(ready_in), nanos::Written(allowed))
            }
            Self::NoShare { lapsed, why } => why.write(f, *lapsed),
            Self::OverBurst { asked, burst } => {
                write!(f, "{asked} permits at once are more than the burst of {burst}")
            }
        }
    }
}

impl Error for Refused {}
