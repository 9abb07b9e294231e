//! What a policy that is put over another one keeps of it.

#[cfg(feature = "test-util")]
use super::SKIP_PAUSES;
use super::{CUT_IS_FATAL, Policy, RANDOM_PHASE, SET_BACKOFF, SET_EVERY, SET_ON_CUT, SHARE_RETRY_AFTER};
use crate::policy::nanos::FOREVER;

/// What stays on where a policy without it is put over one that has it.
#[cfg(feature = "test-util")]
const KEPT: u32 = SHARE_RETRY_AFTER | SKIP_PAUSES;
#[cfg(not(feature = "test-util"))]
const KEPT: u32 = SHARE_RETRY_AFTER;

impl Policy {
    /// What `.policy(policy)` makes of a builder that was set like this.
    #[inline(never)]
    pub(crate) fn take_over(&mut self, policy: &Self) {
        *self = policy.clone().guarded_by(self);
    }

    /// What `.policy(self)` makes of a builder that was set as `before`: the bounds (`start_within`, `finish_within`,
    /// `max_attempts`, with `final_try` and `delay_first`) are these, as one set; the cadence, the deadline of each
    /// call, what follows a cut and the cap on `RetryAfter` are those of `before` where none is set here.
    ///
    /// For the word `policy` of a builder of your own.
    ///
    /// ```
    /// use relent::Policy;
    ///
    /// let before: Policy = "every 50ms, start_within 350ms, attempt_timeout 10s".parse()?;
    /// let user: Policy = "max_attempts 3".parse()?;
    /// assert_eq!(user.guarded_by(&before).to_string(), "every 50ms, attempt_timeout 10s, max_attempts 3");
    /// # Ok::<(), relent::ConfigError>(())
    /// ```
    pub fn guarded_by(mut self, before: &Self) -> Self {
        if !self.has(SET_EVERY | SET_BACKOFF) {
            self.every = before.every;
            self.flags |= before.flags & (SET_EVERY | SET_BACKOFF | RANDOM_PHASE);
            self.set_backoff(before.its_backoff());
        }
        self.flags |= before.flags & KEPT;
        if self.bounds.attempt_timeout == FOREVER {
            self.bounds.attempt_timeout = before.bounds.attempt_timeout;
        }
        let takes_on_cut = !self.has(SET_ON_CUT);
        if takes_on_cut {
            self.flags |= before.flags & (SET_ON_CUT | CUT_IS_FATAL);
        }
        if let Some(before) = before.rare.get() {
            self.change_rare(|rare| {
                if takes_on_cut {
                    rare.after_cut = before.after_cut;
                }
                rare.max_retry_after = rare.max_retry_after.or(before.max_retry_after);
                rare.final_try = rare.final_try.or(before.final_try);
            });
        }
        self
    }
}
