//! What the clones of a limiter share: a semaphore whose permits refill at a rate.
//!
//! As long as no task waits, the bucket is one word ([packed](crate::policy::limit::packed)), and taking permits is one
//! exchange of it. For all else a thread takes the lock, closes the word and unpacks it into the wait list; at the end
//! of the [`Guard`] it is packed again, if no task waits and it is not paused.
//!
//! The lowest byte of the word is the epoch of the parameters by which to read it. A thread reads the word, then the
//! parameters, then exchanges the word: if it still was the same, so were its parameters. (Within one take the
//! parameters would have to change 256 times, and the word to come back to the same number, for that to be wrong.)

use std::{
    ops::{Deref, DerefMut},
    task::Waker,
};

use crate::{
    limiter::{
        clock::{LimiterClock, Now},
        lapse::Leased,
        wake::WakeOnDrop,
    },
    policy::limit::{
        bucket::Bucket,
        packed::{Missing, Params},
        rate::Rate,
        wait_list::{Admission, Polled, WaitList, WaiterId},
    },
    sync::{
        Mutex, MutexGuard,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Release},
        },
        lock,
    },
};

/// The word of a semaphore whose bucket is in the wait list: above all words of buckets.
const CLOSED: u64 = u64::MAX;

/// A bucket and the tasks that wait for it, for many threads.
#[derive(Debug)]
pub(super) struct RateSemaphore<C = LimiterClock> {
    /// [`CLOSED`], or the packed bucket and the epoch of its parameters. It leaves `CLOSED` only under the lock.
    word: CachePadded<AtomicU64>,
    /// The four [`Params`]. They are written only under the lock while the word is closed; a thread that reads some of
    /// them meanwhile finds the word changed.
    base: AtomicU64,
    refill: AtomicU64,
    cost: AtomicU64,
    capacity: AtomicU64,
    /// Its place in the order in which all limiters were made.
    pub(super) created: u64,
    pub(super) clock: C,
    /// Of one that follows the share of a fleet's member.
    pub(super) leased: Option<Box<Leased>>,
    /// The bucket in it is the true one while the word is closed, and out of date otherwise. No foreign code, wakers
    /// above all, is called, cloned or dropped under the lock.
    list: Mutex<Locked>,
}

/// In cache lines of its own, two because they are fetched in pairs: what all write is not beside what all read.
#[derive(Debug)]
#[repr(align(128))]
struct CachePadded<T>(T);

#[derive(Debug)]
struct Locked {
    list: WaitList<Waker>,
    /// Of the parameters: it changes with them.
    epoch: u8,
    /// Of the settings, where they are those of many limiters: it only grows.
    version: u64,
}

/// The wait list, locked and unpacked.
pub(super) struct Guard<'a> {
    word: &'a AtomicU64,
    params: [&'a AtomicU64; 4],
    locked: MutexGuard<'a, Locked>,
}

impl<C: Now> RateSemaphore<C> {
    pub(super) fn new(list: WaitList<Waker>, clock: C, created: u64, version: u64) -> Self {
        let (params, word) = list.pack(Params::default()).unwrap_or((Params::default(), CLOSED));
        Self {
            word: CachePadded(AtomicU64::new(word)),
            base: AtomicU64::new(params.base),
            refill: AtomicU64::new(params.refill),
            cost: AtomicU64::new(params.cost),
            capacity: AtomicU64::new(params.capacity),
            created,
            clock,
            leased: None,
            list: Mutex::new(Locked { list, epoch: 0, version }),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// What time it is for a first try by [`try_take`](Self::try_take).
    #[inline]
    pub(super) fn fast_now(&self) -> u64 {
        self.clock.fast_now()
    }

    /// Takes permits if they are there and no task waits. If not: the word, and what is missing by it.
    #[inline]
    pub(super) fn try_take(&self, now: u64, permits: u32) -> Result<(), (u64, Missing)> {
        // Acquire: pairs with the Release of `Guard::drop`, so that the parameters are those of this word or later
        // ones.
        let mut word = self.word.0.load(Acquire);
        // Nothing can be taken from the closed word, by any parameters.
        loop {
            let after = self.params().take(now, word, permits).map_err(|missing| (word, missing))?;
            // AcqRel: Release, so that a thread that closes the word has seen this take; Acquire, as above, for the
            // next try.
            match self.word.0.compare_exchange_weak(word, after, AcqRel, Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => word = other,
            }
        }
    }

    /// In how many nanoseconds permits that [`try_take`](Self::try_take) did not get will be there, if only the bucket
    /// decides.
    #[inline]
    pub(super) fn ready_in(&self, word: u64, missing: Missing, permits: u32) -> Option<u64> {
        let wait = self.params().ready_in(missing, permits)?;
        // Acquire: as in `try_take`. If it still is the same, so were its parameters.
        (word != CLOSED && self.word.0.load(Acquire) == word).then_some(wait)
    }

    #[inline]
    fn params(&self) -> Params {
        // Acquire: the second look at the word, by load or exchange, comes after these.
        let [base, refill, cost, capacity] = self.params_parts().map(|part| part.load(Acquire));
        Params::new(base, refill, cost, capacity)
    }

    #[inline]
    fn params_parts(&self) -> [&AtomicU64; 4] {
        [&self.base, &self.refill, &self.cost, &self.capacity]
    }

    /// The wait list as it is, whatever time it is.
    pub(super) fn lock(&self) -> Guard<'_> {
        let mut locked = lock(&self.list);
        // AcqRel: Acquire, to see all that was taken; Release, so that no thread sees parameters written after this
        // with the word from before.
        let word = self.word.0.swap(CLOSED, AcqRel);
        if word != CLOSED {
            locked.list.unpack(self.params(), word);
        }
        Guard { word: &self.word.0, params: self.params_parts(), locked }
    }

    /// The wait list, and what time it is. No thread reads a time that is earlier than one that it has seen, unless it
    /// is on another clock: that of another runtime, where this one is paused or that one was.
    fn lock_now(&self) -> (Guard<'_>, u64) {
        let now = self.now();
        let mut list = self.lock();
        if list.bucket().updated_at() <= now {
            return (list, now);
        }
        let now = self.now();
        if now < list.bucket().updated_at() {
            list.rewind(now);
        }
        (list, now)
    }

    /// The wait list, after all that are ready were granted, and what time it is.
    pub(super) fn lock_and_grant(&self) -> (Guard<'_>, u64) {
        let mut wake = WakeOnDrop::default();
        loop {
            let (mut list, now) = self.lock_now();
            let more = list.refill_and_grant(now, &mut wake.list);
            if !more && wake.is_empty() {
                return (list, now);
            }
            drop(list);
            wake.wake();
            if !more {
                wake.resume_panic();
            }
        }
    }

    /// Takes permits or joins the wait list, and what time it is.
    pub(super) fn enqueue(&self, permits: u32, allowed: u64) -> (Admission, u64) {
        let (mut list, now) = self.lock_and_grant();
        (list.enqueue(now, permits, allowed), now)
    }

    /// The same, but permits that are there have to be collected like those of any waiter.
    pub(super) fn reserve(&self, permits: u32, allowed: u64) -> (Admission, u64) {
        let (mut list, now) = self.lock_and_grant();
        (list.reserve(now, permits, allowed), now)
    }

    /// Whether `id` is granted: since when. Otherwise it is to be polled again at the time in `Err`, and `waker` is
    /// called if that is to be earlier.
    pub(super) fn poll_acquire(&self, id: WaiterId, permits: u32, waker: &Waker) -> Result<u64, u64> {
        let mut wake = WakeOnDrop::default();
        // To clone and to drop a waker is foreign code.
        let mut cloned = None;
        loop {
            let (mut list, now) = self.lock_now();
            let ready_at = match list.poll(now, id, permits, &mut wake.list) {
                Polled::ReadyAt(at) => at,
                Polled::WakeFirst => {
                    drop(list);
                    wake.wake();
                    continue;
                }
                Polled::Granted(at) => {
                    drop(list);
                    return Ok(at);
                }
            };
            if list.waker(id).is_some_and(|registered| registered.will_wake(waker)) {
                drop(list);
                return Err(ready_at);
            }
            if let Some(waker) = cloned.take() {
                let former = list.set_waker(id, waker);
                drop(list);
                drop(former);
                return Err(ready_at);
            }
            drop(list);
            wake.wake();
            cloned = Some(waker.clone());
        }
    }

    /// The permits of `id` count as used when it is granted.
    pub(super) fn consume(&self, id: WaiterId) {
        let mut list = self.lock();
        let waker = list.consume(id);
        drop(list);
        drop(waker);
    }

    /// When `id` is granted, and what time it is, for callers that want to know without waiting.
    pub(super) fn waiter_ready_at(&self, id: WaiterId, permits: u32) -> (u64, u64) {
        let (list, now) = self.lock_and_grant();
        (list.ready_at_for(id, permits), now)
    }

    /// A waiter leaves that has not collected its permits.
    pub(super) fn remove(&self, id: WaiterId) {
        let mut wake = WakeOnDrop::default();
        let (mut list, now) = self.lock_now();
        let (more, waker) = list.remove(now, id, &mut wake.list);
        drop(list);
        wake.wake();
        if more {
            self.grant_rest();
        }
        drop((wake, waker));
    }

    /// A waiter holds its grant until then, and gives back what it has collected; see [`WaitList::hold`].
    pub(super) fn hold(&self, id: WaiterId, collected: Option<(u32, u64)>, until: u64) {
        self.change_and_grant(|list, now, wake| list.hold(now, id, collected, until, &mut wake.list));
    }

    /// Permits come back that were collected, granted at `at`, and not used.
    pub(super) fn refund(&self, permits: u32, at: u64) {
        self.change_and_grant(|list, now, wake| list.refund_permits(now, permits, at, &mut wake.list));
    }

    fn change_and_grant(&self, change: impl FnOnce(&mut WaitList<Waker>, u64, &mut WakeOnDrop) -> bool) {
        let mut wake = WakeOnDrop::default();
        let (mut list, now) = self.lock_now();
        let more = change(&mut list, now, &mut wake);
        drop(list);
        wake.wake();
        if more {
            self.grant_rest();
        }
    }

    pub(super) fn set_rate(&self, rate: Rate) {
        self.set(|list, wake| list.set_rate(rate, wake));
    }

    pub(super) fn set_burst(&self, burst: u32) {
        self.set(|list, wake| list.set_burst(burst, wake));
    }

    pub(super) fn set_share(&self, rate: Rate, burst: u32, until: u64) {
        self.set(|list, wake| list.set_share(rate, burst, until, wake));
    }

    pub(super) fn pause(&self, length: u64) {
        self.set(|list, wake| list.pause(list.bucket().updated_at().saturating_add(length), wake));
    }

    /// Takes over the settings of a bucket that are those of many limiters, unless it has later ones; and a pause, if
    /// there is one: the later end of all of them holds, in whatever order they come.
    pub(super) fn adopt(&self, version: u64, settings: &Bucket, paused_until: u64) {
        let mut wake = WakeOnDrop::default();
        let mut list = self.lock_and_grant().0;
        if list.locked.version < version {
            list.locked.version = version;
            list.adopt(settings, &mut wake);
        }
        if paused_until > 0 {
            list.pause(paused_until, &mut wake);
        }
        drop(list);
        wake.wake();
        self.grant_rest();
    }

    fn set(&self, change: impl FnOnce(&mut WaitList<Waker>, &mut WakeOnDrop)) {
        let mut wake = WakeOnDrop::default();
        change(&mut self.lock_and_grant().0, &mut wake);
        wake.wake();
        self.grant_rest();
    }

    /// Grants those that a change made ready.
    #[cold]
    fn grant_rest(&self) {
        drop(self.lock_and_grant());
    }

    /// The bucket, if it is all there is: no waiter, no pause.
    pub(super) fn idle_bucket(&self) -> Option<Bucket> {
        let list = self.lock_and_grant().0;
        list.is_idle().then(|| list.bucket().clone())
    }
}

impl Deref for Guard<'_> {
    type Target = WaitList<Waker>;

    fn deref(&self) -> &WaitList<Waker> {
        &self.locked.list
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut WaitList<Waker> {
        &mut self.locked.list
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Acquire: all writes were made under this lock, so any order would do; it is that of all reads.
        let [base, refill, cost, capacity] = self.params.map(|part| part.load(Acquire));
        let former = Params::new(base, refill, cost, capacity);
        let Some((params, word)) = self.locked.list.pack(former) else { return };
        if params != former {
            let parts = [params.base, params.refill, params.cost, params.capacity];
            for (part, value) in self.params.into_iter().zip(parts) {
                // Release: a thread that reads this also sees that the word was closed.
                part.store(value, Release);
            }
            self.locked.epoch = self.locked.epoch.wrapping_add(1);
        }
        // Release: pairs with the Acquire of `try_take`, which sees the parameters then.
        self.word.store(word | u64::from(self.locked.epoch), Release);
    }
}
