//! What else happens to a wait list: waiters leave, hold or give back; settings change, and clocks.

use crate::policy::limit::{
    bucket::Bucket,
    rate::Rate,
    wait_list::{WaitList, WaiterId, WakeList, grants::Grants},
};

impl<W> WaitList<W> {
    /// The permits of `id` count as used when it is granted: nothing will collect them. Returns its waker.
    pub fn consume(&mut self, id: WaiterId) -> Option<W> {
        self.grants.take(id);
        let waiter = self.find(id).and_then(|index| self.waiters.get_mut(index))?;
        waiter.consumed = true;
        waiter.waker.take()
    }

    /// A waiter leaves, and uses nothing. Those behind move up. True as in [`WaitList::refill_and_grant`]; and its
    /// waker.
    pub fn remove(&mut self, now: u64, id: WaiterId, wakes: &mut WakeList<W>) -> (bool, Option<W>) {
        let first = self.waiters.front().is_some_and(|first| first.id == id);
        // The first stood in the way until now, or until it was ready. What it did not take for so long has run over.
        let (mut stalled, mut more) = (false, false);
        if first {
            let ready_at = self.ready_at(id).min(now);
            stalled = ready_at.saturating_add(self.catch_up) < now;
            self.advance_closed(if stalled { now } else { ready_at });
        } else {
            more = self.advance(now, false, wakes);
        }
        let mut waker = None;
        if let Some(grant) = self.grants.take(id) {
            self.refund(grant.permits, grant.at);
        } else if let Some(waiter) = self.find(id).and_then(|index| self.waiters.get_mut(index)) {
            waker = waiter.waker.take();
            self.queued_permits = self.queued_permits.saturating_sub(waiter.permits.into());
            waiter.permits = 0;
            self.removed = self.removed.saturating_add(1);
            self.earliest_grant = self.bucket.updated_at();
            self.moved = (self.moved.0.min(id), self.next_id);
            self.compact();
        }
        let more = if first { self.advance(now, stalled, wakes) } else { more || self.grant(wakes) };
        (more, waker)
    }

    /// Lets time pass, and grants none.
    fn advance_closed(&mut self, now: u64) {
        if self.is_paused() {
            self.bucket.refill(now.min(self.closed_until()));
            self.clamp();
        }
        self.bucket.refill(now);
    }

    /// A waiter that is granted here, but not by all limiters that it waits for, is in the list again as far ahead as
    /// it was, and holds its grant `until` then: none behind it is granted before. What it has collected, permits and
    /// the instant of their grant, goes back. True as in [`WaitList::refill_and_grant`].
    pub fn hold(
        &mut self,
        now: u64,
        id: WaiterId,
        collected: Option<(u32, u64)>,
        until: u64,
        wakes: &mut WakeList<W>,
    ) -> bool {
        if collected.is_none() && self.get(id).is_none_or(|waiter| waiter.hold_until == until) {
            return false;
        }
        let more = self.advance(now, false, wakes);
        if let Some((permits, at)) = collected {
            self.refund(permits, at);
            self.requeue(id, permits);
        }
        if let Some(waiter) = self.find(id).and_then(|index| self.waiters.get_mut(index)) {
            waiter.hold_until = until;
        }
        self.moved = (WaiterId(0), self.next_id);
        more || self.grant(wakes)
    }

    /// Permits come back that were granted at `at` and not used. True as in [`WaitList::refill_and_grant`].
    pub fn refund_permits(&mut self, now: u64, permits: u32, at: u64, wakes: &mut WakeList<W>) -> bool {
        let more = self.advance(now, false, wakes);
        self.refund(permits, at);
        more || self.grant(wakes)
    }

    /// Within the catch-up, and where others have waited for them since, it is as if they had never been asked for.
    /// Otherwise what came in for them meanwhile is another's, or has run over.
    fn refund(&mut self, permits: u32, at: u64) {
        if at < self.opened() {
            return;
        }
        let held = self.bucket.updated_at().saturating_sub(at);
        if held <= self.catch_up && !self.waiters.is_empty() && self.busy_since <= at {
            self.bucket.refund(permits, 0, self.first_permits());
            self.earliest_grant = self.earliest_grant.max(at.min(self.bucket.updated_at()));
        } else {
            self.bucket.refund(permits, held, self.first_permits());
            self.earliest_grant = self.bucket.updated_at();
        }
        self.moved = (WaiterId(0), self.next_id);
    }

    /// From now on the bucket fills at `rate`. Every waiter has a new `ready_at`, and is woken.
    pub fn set_rate(&mut self, rate: Rate, wakes: &mut impl Extend<W>) {
        if rate != self.bucket.rate() {
            self.forget_late_grants();
            self.bucket.set_rate(rate);
            self.replan(wakes);
        }
    }

    /// From now on the bucket holds `burst`. Those in the list keep their places, also when they ask for more.
    pub fn set_burst(&mut self, burst: u32, wakes: &mut impl Extend<W>) {
        if burst != self.bucket.burst() {
            self.forget_late_grants();
            self.bucket.set_burst(burst);
            self.replan(wakes);
        }
    }

    /// From now on the bucket has the settings of another. A bucket that is full, and before which none waits, stays
    /// full.
    pub fn adopt(&mut self, settings: &Bucket, wakes: &mut impl Extend<W>) {
        if (settings.rate(), settings.burst()) == (self.bucket.rate(), self.bucket.burst()) {
            return;
        }
        self.forget_late_grants();
        let full = self.waiters.is_empty() && self.bucket.is_full();
        self.bucket.adopt(settings);
        if full {
            self.bucket.fill();
        }
        self.replan(wakes);
    }

    /// None is granted before `until`, nor before the end of a former pause. Meanwhile the bucket fills to its burst.
    pub fn pause(&mut self, until: u64, wakes: &mut impl Extend<W>) {
        self.paused_until = self.paused_until.max(until);
        if self.is_paused() {
            self.revoke_grants(WaiterId(0));
            self.clamp();
            self.replan(wakes);
        }
    }

    /// The clock is another one, and behind: what is in the bucket stays, and time goes on from `now`.
    pub fn rewind(&mut self, now: u64) {
        let left = self.paused_until.saturating_sub(self.bucket.updated_at());
        self.bucket.rewind(now);
        self.paused_until = if left == 0 { 0 } else { now.saturating_add(left) };
        self.earliest_grant = now;
        self.grants = Grants::default();
        self.each_ready_at(|waiter, ready_at| waiter.ready_at = ready_at);
    }
}
