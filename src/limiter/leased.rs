//! A limiter that is open for a time only: it follows a share of a rate that many keep together.

use std::time::Duration;

use super::{
    Limiter, Refused,
    clock::{HEAD, LimiterClock},
};
use crate::{
    policy::{
        limit::{
            rate::Rate,
            wait_list::{CATCH_UP, Usage, WaitList},
        },
        nanos,
    },
    time::Instant,
};

impl Limiter {
    /// One that is empty, and grants nothing until it is given a share. Its clock goes on while the machine is suspended, where the
    /// platform has one that does. `burst` is what may be waited for until then.
    pub(crate) fn leased(burst: u32) -> Self {
        Self::of(WaitList::leased(burst, CATCH_UP), LimiterClock::boot(), 0)
    }

    pub(super) fn is_leased(&self) -> bool {
        self.semaphore.clock.is_boot()
    }

    /// From now on, and until its clock shows `until`, it fills at `rate` and holds `burst`, all at once. Tokens above the burst
    /// are gone, and at `until` all of them are: nothing is granted then, by whatever thread and however late it comes.
    pub(crate) fn set_share(&self, rate: Rate, burst: u32, until: u64) {
        self.semaphore.set_share(rate, burst, until);
    }

    /// What was asked of it, all in all, and whether anything has had to wait since this was last called.
    pub(crate) fn take_usage(&self) -> Usage {
        self.semaphore.lock().take_usage()
    }

    /// For how long it has had no share.
    pub(crate) fn lapsed_for(&self) -> Option<Duration> {
        if !self.is_leased() {
            return None;
        }
        let list = self.lock_and_grant();
        let since = list.lapsed_since()?;
        // One that never had any: since it was first used.
        Some(nanos::duration(list.bucket().updated_at().saturating_sub(since.max(HEAD))))
    }

    /// The refusal of one without a share.
    pub(super) fn no_share(&self) -> Option<Refused> {
        self.lapsed_for().map(|lapsed| Refused::NoShare { lapsed })
    }

    /// What its clock shows, in nanoseconds.
    pub(crate) fn clock(&self) -> u64 {
        self.semaphore.now()
    }

    /// When its clock will show that, if the machine is not suspended until then; `None`: never.
    pub(crate) fn instant_of(&self, clock: u64) -> Option<Instant> {
        self.semaphore.clock.instant(clock)
    }
}
