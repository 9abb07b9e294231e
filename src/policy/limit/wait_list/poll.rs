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
        match self.grants.collect(id, self.oldest_grant()) {
            Some(grant) => Polled::Granted(grant.at),
            None => Polled::ReadyAt(self.poll_at(id)),
        }
    }

    /// A waiter that did not collect its grant in time is in the list again, as far ahead as it was, and so are those behind it
    /// that have not collected theirs.
    pub(super) fn requeue(&mut self, id: WaiterId, permits: u32) {
        self.revoke_grants(id);
        self.insert(Grant { id, permits, at: 0 });
        self.earliest_grant = self.bucket.updated_at();
        self.clamp();
    }

    /// Takes back the grants from `id` on that are not collected. Those that are too old are lost: their permits have run over, and
    /// their waiters come back when they are polled.
    pub(super) fn revoke_grants(&mut self, id: WaiterId) {
        while let Some(grant) = self.grants.pop_from(id, self.oldest_grant()) {
            self.bucket.refund(grant.permits, 0, u32::MAX);
            self.insert(grant);
        }
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
