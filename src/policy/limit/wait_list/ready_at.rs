//! When each waiter is granted as things stand, and when its task polls it.

use crate::policy::{
    limit::{
        bucket::Bucket,
        wait_list::{WaitList, Waiter, WaiterId, WakeList},
    },
    nanos::FOREVER,
};

/// Of the first `SCANNED` waiters, so many that have a waker know exactly when they are granted.
const WINDOW: usize = 64;
const SCANNED: usize = 256;

impl<W> WaitList<W> {
    /// When `id`, which asked for `permits`, would be granted if it were polled, as things stand: now, if it is
    /// granted.
    #[must_use]
    pub fn ready_at_for(&self, id: WaiterId, permits: u32) -> u64 {
        if self.grants.has(id, self.oldest_grant()) {
            return self.bucket.updated_at();
        }
        if self.find(id).is_some() {
            return self.ready_at(id);
        }
        // It did not collect in time, and would be ahead again of all that are behind it.
        let ahead = self.waiters.iter().take_while(|waiter| waiter.id < id);
        let queued = ahead.fold(u64::from(permits), |sum, waiter| sum.saturating_add(waiter.permits.into()));
        let first = if queued == u64::from(permits) { permits } else { self.first_permits() };
        let mut bucket = self.bucket.clone();
        self.grants.from(id).for_each(|grant| _ = grant.give_back(&mut bucket, self.oldest_grant()));
        bucket.clamp_to(first);
        if self.is_lapsed() { FOREVER } else { self.planned(bucket, first).ready_at(queued) }
    }

    /// When `id` in the list is granted, as things stand, at the cost of a walk along it.
    #[must_use]
    pub fn ready_at(&self, id: WaiterId) -> u64 {
        let upto = self.waiters.iter().take_while(|waiter| waiter.id <= id);
        let queued = upto.fold(0_u64, |sum, waiter| sum.saturating_add(waiter.permits.into()));
        self.bucket_ready_at(queued, self.first_permits())
    }

    /// Wakes those of the first that are granted earlier than they know. True: `wakes` is full.
    pub(super) fn wake_moved(&mut self, wakes: &mut WakeList<W>) -> bool {
        let least = self.first_permits();
        let (mut asked, mut index, mut known) = (0_u64, 0_usize, 0_usize);
        while self.moved.0 < self.moved.1 && known < WINDOW && index < SCANNED {
            let Some(waiter) = self.waiters.get(index) else {
                self.moved.0 = self.moved.1;
                break;
            };
            if waiter.permits == 0 {
                self.waiters.remove(index);
                self.removed = self.removed.saturating_sub(1);
                continue;
            }
            let id = waiter.id;
            asked = asked.saturating_add(waiter.permits.into());
            known = known.saturating_add(waiter.waker.is_some().into());
            if id >= self.moved.0 {
                if wakes.is_full() {
                    return true;
                }
                let ready_at = self.bucket_ready_at(asked, least);
                if let Some(waiter) = self.waiters.get_mut(index).filter(|waiter| ready_at < waiter.ready_at) {
                    waiter.ready_at = ready_at;
                    wakes.push(waiter.waker.take());
                }
                self.moved.0 = id.next();
            }
            index = index.saturating_add(1);
        }
        false
    }

    /// Every waiter has a new `ready_at`, and is woken.
    pub(super) fn replan(&mut self, wakes: &mut impl Extend<W>) {
        self.earliest_grant = self.bucket.updated_at();
        self.each_ready_at(|waiter, ready_at| {
            if ready_at != waiter.ready_at {
                waiter.ready_at = ready_at;
                wakes.extend(waiter.waker.take());
            }
        });
        self.moved = (self.next_id, self.next_id);
    }

    /// All are granted later, or some. Those that are polled too early learn it then.
    pub(super) fn postpone(&mut self) {
        self.each_ready_at(|waiter, ready_at| waiter.ready_at = waiter.ready_at.max(ready_at));
    }

    pub(super) fn each_ready_at(&mut self, mut act: impl FnMut(&mut Waiter<W>, u64)) {
        let least = self.first_permits();
        let (bucket, lapsed) = (self.planned(self.bucket.clone(), least), self.is_lapsed());
        let mut asked = 0_u64;
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.permits != 0) {
            asked = asked.saturating_add(waiter.permits.into());
            act(waiter, if lapsed { FOREVER } else { bucket.ready_at(asked) });
        }
    }

    /// When `permits` are there, if nothing else takes any; `least` is what the first asks for.
    pub(super) fn bucket_ready_at(&self, permits: u64, least: u32) -> u64 {
        if self.is_lapsed() {
            return FOREVER;
        }
        if self.is_paused() {
            self.planned(self.bucket.clone(), least).ready_at(permits)
        } else {
            self.bucket.ready_at(permits)
        }
    }

    /// The bucket as of the first instant at which it may grant.
    pub(super) fn planned(&self, mut bucket: Bucket, least: u32) -> Bucket {
        if self.is_paused() {
            bucket.refill(self.closed_until());
            bucket.clamp_to(least);
        }
        bucket
    }
}
