//! The three bounds of a run, and what each of them decides.

pub use super::stop::CutBy;
use crate::policy::{nanos::FOREVER, schedule::stop::PolicyStop};

/// How long a call, the window for starts, and the whole may take, in nanoseconds; `u64::MAX` is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Bounds {
    /// Each call.
    pub attempt_timeout: u64,
    /// The window in which attempts may start, its end included.
    pub start_within: u64,
    /// Everything. Nothing starts at its end or later.
    pub finish_within: u64,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Self = Self { attempt_timeout: FOREVER, start_within: FOREVER, finish_within: FOREVER };

    /// Whether an attempt may be planned for this instant. Where both windows refuse, the smaller one is the reason.
    #[inline]
    pub fn admit(&self, planned: u64) -> Result<(), PolicyStop> {
        if self.admits(planned) { Ok(()) } else { Err(self.nearer()) }
    }

    #[inline]
    pub(super) fn admits(&self, planned: u64) -> bool {
        let in_window = planned <= self.start_within;
        let in_time = planned < self.finish_within || self.finish_within == FOREVER;
        in_window && in_time
    }

    /// Whether it is too late to start anything at `now`, whatever it was planned for. The first instant never is, so
    /// that a first attempt that waits for nothing always starts.
    #[inline]
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        now >= self.finish_within && now != 0 && self.finish_within != FOREVER
    }

    /// Which of the two windows closes first; the hard bound when they coincide.
    #[inline]
    #[must_use]
    pub fn nearer(&self) -> PolicyStop {
        if self.start_within < self.finish_within { PolicyStop::StartWindow } else { PolicyStop::Deadline }
    }

    /// When an attempt that starts at `start` is cut, and by what; the hard bound when two coincide.
    #[inline]
    #[must_use]
    pub fn cut(&self, start: u64) -> (u64, CutBy) {
        let own = start.saturating_add(self.attempt_timeout);
        if own < self.finish_within { (own, CutBy::AttemptTimeout) } else { (self.finish_within, CutBy::Deadline) }
    }

    /// How long something planned for `planned` may still be put off.
    #[must_use]
    pub fn room(&self, planned: u64) -> u64 {
        let last = match self.finish_within {
            FOREVER => FOREVER,
            // Nothing starts at the hard bound itself.
            bound => bound.saturating_sub(1),
        };
        match self.start_within.min(last) {
            FOREVER => FOREVER,
            last => last.saturating_sub(planned),
        }
    }

    /// Where `final_try` puts the last attempt: the end of the start window; without one, as late as leaves it its
    /// own deadline before the hard bound.
    #[must_use]
    pub fn last_chance(&self) -> Option<u64> {
        let at = match (self.start_within, self.finish_within, self.attempt_timeout) {
            (FOREVER, FOREVER, _) | (FOREVER, _, FOREVER) => return None,
            (FOREVER, finish, timeout) => finish.checked_sub(timeout)?,
            (window, ..) => window,
        };
        self.admit(at).is_ok().then_some(at)
    }

    /// The latest end of a run whose attempts are all cut in time; [`FOREVER`] if it has none.
    #[must_use]
    pub fn latest_end(&self) -> u64 {
        self.start_within.saturating_add(self.attempt_timeout).min(self.finish_within)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_bounds()(times in proptest::array::uniform3(prop_oneof![0_u64..9, Just(FOREVER), any::<u64>()])) -> Bounds {
            Bounds { attempt_timeout: times[0], start_within: times[1], finish_within: times[2] }
        }
    }

    proptest! {
        #[test]
        fn what_is_admitted_has_room_and_what_has_room_is_admitted(bounds in any_bounds(), planned in 0_u64..9, wait in 0_u64..9) {
            if bounds.admit(planned).is_ok() {
                let later = bounds.admit(planned + wait).is_ok();
                prop_assert_eq!(later, wait <= bounds.room(planned));
            }
        }

        #[test]
        fn the_reason_is_a_bound_that_refuses(bounds in any_bounds(), planned: u64) {
            match bounds.admit(planned) {
                Ok(()) => {}
                Err(PolicyStop::StartWindow) => prop_assert!(planned > bounds.start_within && bounds.start_within < bounds.finish_within),
                Err(ended) => {
                    prop_assert_eq!(ended, PolicyStop::Deadline);
                    prop_assert!(planned >= bounds.finish_within && bounds.finish_within <= bounds.start_within);
                }
            }
        }

        #[test]
        fn what_comes_late_may_start_until_the_hard_bound(bounds in any_bounds(), planned in 0_u64..9, late in 0_u64..9) {
            if bounds.admit(planned).is_ok() {
                let over = bounds.is_over(planned + late);
                prop_assert!(late > 0 || !over, "an admission in time is not revoked");
                prop_assert_eq!(over, planned + late >= bounds.finish_within);
            }
        }

        #[test]
        fn a_cut_is_never_after_either_bound(bounds in any_bounds(), start: u64) {
            let (at, by) = bounds.cut(start);
            prop_assert_eq!(at, start.saturating_add(bounds.attempt_timeout).min(bounds.finish_within));
            prop_assert!(by == CutBy::Deadline || at < bounds.finish_within);
        }

        #[test]
        fn the_last_chance_is_admitted_and_has_its_time(bounds in any_bounds()) {
            if let Some(at) = bounds.last_chance() {
                prop_assert!(bounds.admit(at).is_ok());
                prop_assert!(bounds.start_within != FOREVER || at.checked_add(bounds.attempt_timeout) == Some(bounds.finish_within));
            }
        }
    }
}
