//! A bucket that is somebody's for a time only: one's share of a rate that many keep together.

use crate::policy::{
    limit::{
        rate::Rate,
        wait_list::{WaitList, WaiterId},
    },
    nanos::FOREVER,
};

/// Until when a bucket may be used, and how it was.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Nothing is granted at this instant or later, nothing fills, and what is in by then is gone.
    until: u64,
    /// Since when that has been so; if it is.
    lapsed: Option<u64>,
    /// Since when it has been usable without a break: what was granted before does not come back.
    opened: u64,
    usage: Usage,
}

/// What was asked of a leased bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Permits, all in all, whether they were granted or not.
    pub asked: u64,
    /// Whether anything waited or was refused since this was last read.
    pub pressed: bool,
}

impl<W> WaitList<W> {
    /// Since when nothing is granted because the lease has run out.
    #[must_use]
    pub fn lapsed_since(&self) -> Option<u64> {
        self.lease.as_ref().and_then(|lease| lease.lapsed)
    }

    pub(super) fn is_lapsed(&self) -> bool {
        self.lapsed_since().is_some()
    }

    /// Permits of grants before this instant are gone; never comes while it is closed.
    pub(super) fn opened(&self) -> u64 {
        self.lease.as_ref().map_or(0, |lease| if lease.lapsed.is_some() { FOREVER } else { lease.opened })
    }

    /// Whether the lease has run out by `now`. Then grants that were not collected are none, and time passes without filling.
    pub(super) fn lapse(&mut self, now: u64) -> bool {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.until <= now) else { return false };
        if lease.lapsed.is_none() {
            lease.lapsed = Some(lease.until);
            self.revoke_grants(WaiterId(0));
        }
        self.bucket.drain();
        self.bucket.rewind(self.bucket.updated_at().max(now));
        true
    }

    /// From now on, and until then, the bucket fills at `rate` and holds `burst`, all at once; what is above is gone. Every waiter
    /// has a new `ready_at`. With an end that has come the bucket is closed; rate and burst are kept for what asks meanwhile.
    pub fn set_share(&mut self, rate: Rate, burst: u32, until: u64, wakes: &mut impl Extend<W>) {
        let now = self.bucket.updated_at();
        let Some(lease) = &mut self.lease else { return };
        lease.until = until;
        if until > now {
            if lease.lapsed.take().is_some() {
                lease.opened = now;
            }
            self.bucket.set_rate(rate);
            self.bucket.set_burst(burst);
            self.clamp();
        } else {
            // It may be closed before its time.
            lease.lapsed = lease.lapsed.or(Some(now));
            self.revoke_grants(WaiterId(0));
            self.bucket.drain();
        }
        self.replan(wakes);
    }

    pub(super) fn note_use(&mut self, permits: u32, granted: bool) {
        if let Some(Lease { usage, .. }) = &mut self.lease {
            usage.asked = usage.asked.saturating_add(permits.into());
            usage.pressed |= !granted;
        }
    }

    /// What was asked so far.
    pub fn take_usage(&mut self) -> Usage {
        let waits = self.waiting() > 0;
        let Some(Lease { usage, .. }) = &mut self.lease else { return Usage::default() };
        let taken = *usage;
        usage.pressed = waits;
        taken
    }
}
