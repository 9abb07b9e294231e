//! A limiter that is open for a time only: it follows a share of a rate that many keep together.

use std::time::Duration;

use super::{
    Limiter, Refused,
    clock::{HEAD, LimiterClock},
    lapse::{Lapse, Leased, Standing},
};
use crate::{
    policy::{
        limit::{
            rate::Rate,
            wait_list::{CATCH_UP, Usage, WaitList},
        },
        nanos,
    },
    sync::{Mutex, lock},
    time::Instant,
};

impl Limiter {
    /// One that is empty, and grants nothing until it is given a share. Its clock goes on while the machine is
    /// suspended, where the platform has one that does. `burst` is what may be waited for until then.
    pub(crate) fn leased(burst: u32, fleet: String) -> Self {
        let leased = Leased(Mutex::new(Lapse::new(fleet, Standing::New, None)));
        Self::of(WaitList::leased(burst, CATCH_UP), LimiterClock::boot(), 0, Some(Box::new(leased)))
    }

    pub(super) fn is_leased(&self) -> bool {
        self.semaphore.leased.is_some()
    }

    /// From now on, and until its clock shows `until`, it fills at `rate` and holds `burst`, all at once. Tokens above
    /// the burst are gone, and at `until` all of them are: nothing is granted then, by whatever thread and however late
    /// it comes.
    pub(crate) fn set_share(&self, rate: Rate, burst: u32, until: u64) {
        self.semaphore.set_share(rate, burst, until);
    }

    /// Nothing is granted any more: the member has left.
    pub(crate) fn end_share(&self, trouble: Option<String>) {
        self.set_lapse(Standing::Gone, trouble);
        self.set_share(Rate::ZERO, 0, 0);
    }

    /// What to tell while it has no share.
    pub(crate) fn set_lapse(&self, standing: Standing, trouble: Option<String>) {
        let Some(Leased(lapse)) = self.semaphore.leased.as_deref() else { return };
        let mut lapse = lock(lapse);
        if lapse.standing() != Standing::Gone {
            *lapse = lapse.renewed(standing, trouble);
        }
    }

    /// What was asked of it, all in all, and whether anything has had to wait since this was last called.
    pub(crate) fn take_usage(&self) -> Usage {
        self.semaphore.lock().take_usage()
    }

    /// For how long it has had no share, unless because others want all of it and it did not ask for one.
    pub(crate) fn no_share_for(&self) -> Option<Duration> {
        let Leased(lapse) = self.semaphore.leased.as_deref()?;
        let without = lock(lapse).standing() == Standing::Without;
        if without { None } else { self.lapsed_for() }
    }

    fn lapsed_for(&self) -> Option<Duration> {
        let list = self.lock_and_grant();
        let since = list.lapsed_since()?;
        // One that never had any: since it was first used.
        Some(nanos::duration(list.bucket().updated_at().saturating_sub(since.max(HEAD))))
    }

    /// The refusal of one without a share.
    pub(super) fn no_share(&self) -> Option<Refused> {
        let Leased(lapse) = self.semaphore.leased.as_deref()?;
        let lapsed = self.lapsed_for()?;
        let why = lock(lapse).clone();
        Some(Refused::NoShare { lapsed, why })
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
