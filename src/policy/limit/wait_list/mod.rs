//! The wait list in front of a token bucket: which waiter is granted when.
//!
//! Structure: a bucket, a queue of waiters in the order in which they joined, and the grants that are not collected
//! yet.
//!
//! Algorithm: the first waiter is granted at the first instant at which the bucket holds what it asks for, then the
//! next. Every call lets time pass and grants all that are ready, as of the instant at which they were, whichever
//! waiter (or none) made the call. So it does not matter which of them is polled, and one that never is holds up no
//! other.
//!
//! A grant has to be collected within the catch-up, which is what timers need. Afterwards its permits are in the bucket
//! again, but for what came in meanwhile, which may have run over for them; and its waiter is the first again when it
//! is polled. So permits come out as the bucket refills, at most the catch-up later, whatever stalls. A waiter that is
//! itself polled later than that is the sign of a stall: what no bucket would hold has run over, and those behind it
//! wait on.
//!
//! Every waiter has a `ready_at`, at which its task polls it. It is exact as long as no waiter ahead leaves. When one
//! does, the first ones, a window of them, are woken as theirs comes nearer: so a wait costs two polls, three if others
//! leave, however long the list is.
//!
//! Invariants: ids grow along the list; its first entry never is a removed one; `queued_permits` is the sum over the
//! list; while there are waiters the bucket holds less than the first asks for, or is paused.
//!
//! Cost: joining, polling and granting take constant time; leaving too, on average; a change of settings takes time in
//! proportion to the list.

mod changes;
mod grants;
mod lease;
mod leased;
mod poll;
mod ready_at;
mod waiter;
mod wake_list;

use std::collections::VecDeque;

use self::{
    grants::{Grant, Grants, shrink},
    lease::Lease,
    waiter::Waiter,
    wake_list::NUM_WAKERS,
};
pub use self::{
    lease::Usage,
    waiter::{Admission, Polled, WaiterId},
    wake_list::WakeList,
};
use crate::policy::{
    limit::{bucket::Bucket, packed::Params, rate::Rate},
    nanos::FOREVER,
};

/// What timers need: a millisecond is the tick of tokio's.
pub const CATCH_UP: u64 = 10_000_000;

/// A bucket and those that wait for it. `W` is whatever wakes one of them.
#[derive(Debug)]
pub struct WaitList<W> {
    bucket: Bucket,
    /// In order of their ids. The first is never a removed one.
    waiters: VecDeque<Waiter<W>>,
    /// Granted and not collected yet.
    grants: Grants,
    /// For how long a grant may be collected, in nanoseconds.
    catch_up: u64,
    /// No waiter is granted before.
    paused_until: u64,
    /// The latest event that filled the bucket or cleared the way, other than time: no grant is dated before.
    earliest_grant: u64,
    /// The id of the next waiter.
    next_id: WaiterId,
    /// Since when there have been waiters, if there are any.
    busy_since: u64,
    /// Permits that all waiters together ask for.
    queued_permits: u64,
    /// Entries of `waiters` that were removed and are not compacted yet.
    removed: usize,
    /// Waiters from the first id up to the second may be ready before their `ready_at`.
    moved: (WaiterId, WaiterId),
    /// Of a bucket that may be used for a time only.
    lease: Option<Lease>,
}

impl<W> WaitList<W> {
    /// A full bucket without waiters.
    #[must_use]
    pub fn new(rate: Rate, burst: u32, catch_up: u64) -> Self {
        Self::of(Bucket::new(rate, burst), catch_up, 0)
    }

    /// A bucket without waiters, paused until then.
    #[must_use]
    pub fn of(bucket: Bucket, catch_up: u64, paused_until: u64) -> Self {
        Self {
            bucket,
            waiters: VecDeque::new(),
            grants: Grants::default(),
            catch_up,
            paused_until,
            earliest_grant: 0,
            next_id: WaiterId(0),
            busy_since: 0,
            queued_permits: 0,
            removed: 0,
            moved: (WaiterId(0), WaiterId(0)),
            lease: None,
        }
    }

    /// An empty bucket that may be used only when, and as long as, [`set_share`](Self::set_share) says so. `burst` is
    /// what may be waited for until then.
    #[must_use]
    pub fn leased(burst: u32, catch_up: u64) -> Self {
        let mut list = Self::new(Rate::ZERO, burst, catch_up);
        list.bucket.drain();
        list.lease = Some(Lease::default());
        list
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// For how long a grant may be collected.
    #[must_use]
    pub fn catch_up(&self) -> u64 {
        self.catch_up
    }

    /// The bucket in one word, if there are no waiters; see [`Bucket::pack`].
    #[must_use]
    pub fn pack(&self, former: Params) -> Option<(Params, u64)> {
        if self.is_idle() && self.lease.is_none() { self.bucket.pack(former) } else { None }
    }

    /// The bucket from its packed form; see [`Bucket::unpack`].
    pub fn unpack(&mut self, params: Params, word: u64) {
        self.bucket.unpack(params, word);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len().saturating_sub(self.removed)
    }

    /// How many entries the list has, those of removed waiters included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.waiters.len()
    }

    /// Permits that could be taken now.
    #[must_use]
    pub fn available(&self) -> u32 {
        if self.is_idle() { self.bucket.available() } else { 0 }
    }

    /// Whether a request is answered by the bucket alone.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiters.is_empty() && !self.is_paused() && !self.is_lapsed()
    }

    /// No waiter is granted before: it is paused, or the first holds its grant.
    fn closed_until(&self) -> u64 {
        self.paused_until.max(self.waiters.front().map_or(0, |first| first.hold_until))
    }

    fn is_paused(&self) -> bool {
        self.bucket.updated_at() < self.closed_until()
    }

    /// Lets time pass and grants all that are ready. True: `wakes` is full, wake them and call again.
    pub fn refill_and_grant(&mut self, now: u64, wakes: &mut WakeList<W>) -> bool {
        self.advance(now, false, wakes)
    }

    /// The same; after a stall what is above the burst runs over first.
    fn advance(&mut self, now: u64, stalled: bool, wakes: &mut WakeList<W>) -> bool {
        if self.lapse(now) {
            return false;
        }
        while self.is_paused() {
            let closed_until = self.closed_until();
            self.bucket.refill(now.min(closed_until));
            self.clamp();
            if now < closed_until {
                return self.wake_moved(wakes);
            }
            self.earliest_grant = closed_until;
            if self.grant(wakes) {
                return true;
            }
        }
        self.bucket.refill(now);
        if stalled {
            self.earliest_grant = self.bucket.updated_at();
            if self.clamp() {
                self.postpone();
            }
        }
        self.expire_grants();
        self.grant(wakes)
    }

    /// Takes `permits`, or joins the list, after [`refill_and_grant`](Self::refill_and_grant) for the same `now`.
    /// `allowed` is the longest wait, in nanoseconds.
    pub fn enqueue(&mut self, now: u64, permits: u32, allowed: u64) -> Admission {
        let granted = permits == 0 || (self.is_idle() && self.bucket.try_take(permits));
        self.note_use(permits, granted);
        if granted {
            return Admission::Granted;
        }
        if self.is_lapsed() && allowed != FOREVER {
            return Admission::TooFar(FOREVER);
        }
        // One permit can always be waited for, also where nothing is ever saved up.
        if permits > self.bucket.burst().max(1) {
            return Admission::OverBurst;
        }
        let queued = self.queued_permits.saturating_add(permits.into());
        let first = self.waiters.front().map_or(permits, |first| first.permits);
        let ready_at = self.bucket_ready_at(queued, first);
        if ready_at.saturating_sub(now) > allowed || (ready_at == FOREVER && allowed != FOREVER) {
            return Admission::TooFar(ready_at);
        }
        self.queued_permits = queued;
        let id = self.next_id();
        self.mark_busy();
        self.waiters.push_back(Waiter { id, ready_at, permits, hold_until: 0, consumed: false, waker: None });
        Admission::Waiting(id)
    }

    /// The same, but permits that are there are granted, to be collected like those of any waiter.
    pub fn reserve(&mut self, now: u64, permits: u32, allowed: u64) -> Admission {
        let admission = self.enqueue(now, permits, allowed);
        if admission != Admission::Granted || permits == 0 {
            return admission;
        }
        let id = self.next_id();
        self.grants.push(Grant { id, permits, at: self.bucket.updated_at() });
        Admission::Waiting(id)
    }

    /// What wakes `id` in the list.
    #[must_use]
    pub fn waker(&self, id: WaiterId) -> Option<&W> {
        self.get(id).and_then(|waiter| waiter.waker.as_ref())
    }

    /// From now on `waker` is called when the `ready_at` of `id` comes nearer. Returns the former one.
    pub fn set_waker(&mut self, id: WaiterId, waker: W) -> Option<W> {
        match self.find(id).and_then(|index| self.waiters.get_mut(index)) {
            Some(waiter) => waiter.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Grants all for which the bucket holds enough, then wakes those of the first that are ready earlier than they
    /// know.
    fn grant(&mut self, wakes: &mut WakeList<W>) -> bool {
        if self.is_lapsed() {
            return false;
        }
        while let Some(first) = self.waiters.front_mut() {
            if wakes.is_full() {
                return true;
            }
            if self.bucket.updated_at() < self.paused_until.max(first.hold_until)
                || !self.bucket.try_take(first.permits)
            {
                return self.wake_moved(wakes);
            }
            self.queued_permits = self.queued_permits.saturating_sub(first.permits.into());
            wakes.push(first.waker.take());
            if !first.consumed {
                let at = self.bucket.ready_since().max(self.earliest_grant);
                self.grants.push(Grant { id: first.id, permits: first.permits, at });
            }
            self.waiters.pop_front();
            self.compact();
        }
        // Clamped only here: while there are waiters nothing runs over, since the first takes it before.
        self.bucket.clamp();
        self.moved = (self.next_id, self.next_id);
        false
    }

    /// Drops the entries of removed waiters: at the front at once, elsewhere when they are the majority.
    fn compact(&mut self) {
        while self.waiters.front().is_some_and(|first| first.permits == 0) {
            self.waiters.pop_front();
            self.removed = self.removed.saturating_sub(1);
        }
        if self.removed > NUM_WAKERS && self.removed > self.waiting() {
            self.waiters.retain(|waiter| waiter.permits != 0);
            self.removed = 0;
        }
        shrink(&mut self.waiters);
    }

    /// Runs over what is above the burst, or above what the first asks for. Whether anything did.
    fn clamp(&mut self) -> bool {
        self.bucket.clamp_to(self.first_permits())
    }

    /// A waiter is about to join.
    fn mark_busy(&mut self) {
        if self.waiters.is_empty() {
            self.busy_since = self.bucket.updated_at();
        }
    }

    /// What the first asks for.
    fn first_permits(&self) -> u32 {
        self.waiters.front().map_or(0, |first| first.permits)
    }

    /// No grant that is older can be collected.
    fn oldest_grant(&self) -> u64 {
        self.bucket.updated_at().saturating_sub(self.catch_up)
    }

    fn next_id(&mut self) -> WaiterId {
        let id = self.next_id;
        self.next_id = id.next();
        id
    }

    fn get(&self, id: WaiterId) -> Option<&Waiter<W>> {
        self.find(id).and_then(|index| self.waiters.get(index))
    }

    /// Ids only grow along the list; without gaps the first guess is right.
    fn find(&self, id: WaiterId) -> Option<usize> {
        let first = self.waiters.front()?.id;
        let guess = usize::try_from(id.0.checked_sub(first.0)?).ok()?;
        if self.waiters.get(guess).is_some_and(|waiter| waiter.id == id) {
            return Some(guess);
        }
        self.waiters.binary_search_by_key(&id, |waiter| waiter.id).ok()
    }
}
