//! A waiter is polled: it collects its grant, or is put back where it was if it comes too late for it.

use super::{
    WaitList,
    grants::Grant,
    waiter::{Polled, Waiter, WaiterId},
    wake_list::WakeList,
};
use crate::policy::nanos::FOREVER;

impl<W> WaitList<W> {
    /// Whether `id`, which asked for `permits`, is granted. The grant is collected.
    pub fn poll(&mut self, now: u64, id: WaiterId, permits: u32, wakes: &mut WakeList<W>) -> Polled {
        let late = |waiter: &Waiter<W>| waiter.ready_at.saturating_add(self.catch_up) < now;
        let stalled = self.get(id).is_some_and(late);
        if self.advance(now, stalled, wakes) {
            return Polled::WakeFirst;
        }
        if self.find(id).is_none() && !self.grants.has(id, self.oldest_grant()) {
            self.requeue(id, permits);
            if self.grant(wakes) {
                return Polled::WakeFirst;
            }
        }
        if !self.grants.has(id, self.oldest_grant()) {
            return Polled::ReadyAt(self.poll_at(id));
        }
        self.grants.take(id).map_or(Polled::ReadyAt(FOREVER), |grant| Polled::Granted(grant.at))
    }

    /// A waiter that did not collect its grant in time is in the list again, as far ahead as it was, and so are those
    /// behind it that have not collected theirs.
    pub(super) fn requeue(&mut self, id: WaiterId, permits: u32) {
        self.revoke_grants(id);
        self.insert(Grant { id, permits, at: 0 });
        self.earliest_grant = self.bucket.updated_at();
        self.clamp();
    }

    /// Takes back the grants from `id` on that are not collected. The waiters of those that are too old come back when
    /// they are polled.
    pub(super) fn revoke_grants(&mut self, id: WaiterId) {
        let oldest = self.oldest_grant();
        while let Some(grant) = self.grants.pop_from(id) {
            if grant.give_back(&mut self.bucket, oldest) {
                self.insert(grant);
            }
        }
        self.moved = (WaiterId(0), self.next_id);
    }

    /// Forgets the grants that are too old to be collected, and for which by now as much has come in.
    pub(super) fn expire_grants(&mut self) {
        let (bucket, oldest) = (&self.bucket, self.oldest_grant());
        self.grants.expire(|grant| grant.at < oldest && bucket.refills(grant.permits, grant.at));
    }

    /// Forgets the grants that are too old to be collected: other settings are about to hold, and by these nothing can
    /// be said of what ran over for them.
    pub(super) fn forget_late_grants(&mut self) {
        let oldest = self.oldest_grant();
        self.grants.expire(|grant| grant.at < oldest);
    }

    fn insert(&mut self, Grant { id, permits, at: ready_at }: Grant) {
        self.mark_busy();
        let index = self.waiters.partition_point(|waiter| waiter.id < id);
        self.waiters.insert(index, Waiter { id, ready_at, permits, hold_until: 0, consumed: false, waker: None });
        self.queued_permits = self.queued_permits.saturating_add(permits.into());
    }

    /// When `id` in the list is to be polled, after all that are ready were granted.
    fn poll_at(&mut self, id: WaiterId) -> u64 {
        let Some(index) = self.find(id) else { return FOREVER };
        let passed = self.waiters.get(index).is_none_or(|waiter| waiter.ready_at <= self.bucket.updated_at());
        let exact = if passed { self.ready_at(id) } else { 0 };
        self.waiters.get_mut(index).map_or(FOREVER, |waiter| {
            // Others are ahead of it again, or a stall put it off.
            waiter.ready_at = waiter.ready_at.max(exact);
            waiter.ready_at
        })
    }
}
