//! A limiter for each key.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use hashbrown::DefaultHashBuilder;

use super::{
    request::{Answer, Tried, Wanted},
    settings::{Context, Settings},
    shard::Shard,
    shards::{STEPS, Shards},
};
use crate::{
    limiter::{Limiter, LimiterClock, Now, Refused, Reservation},
    policy::{limit::rate::Rate, nanos},
    sync::{Mutex, MutexGuard, lock},
};

/// A [`Limiter`] for each key: per tenant, per host, per object.
///
/// All have the same rate and burst and know nothing of each other. Each keeps what a [`Limiter`] promises: the law of
/// the window, the order of waiters, refusals at once.
///
/// A key costs itself and one word, 17 bytes in a hash table beside the key's own, from about a thousand keys on: the
/// limiter itself takes some kilobytes, however few there are. Only while a task waits for its permits, or [its
/// limiter](Self::get) is held, a key is a whole limiter. A key that is full again, with nothing waiting and nothing
/// held, is as good as one that was never seen, and is forgotten in passing: each call looks at others, one to three,
/// or moves eight while the table grows, and one of 256 calls at up to 64, so that no call takes longer because there
/// are many keys, and all are looked at while one alone is used. Settings may change as often as they like: a change
/// looks at no key at rest, and each is brought up to date when it is next asked for, or in passing. Only while they
/// change every few calls, a call looks at 8 others more, and one of each 30,000.
///
/// Keys are hashed by foldhash with random seeds, which is fast and no defence against an attacker that can measure it.
/// `Hash`, `Eq`, `to_owned` and drop of a key run under a lock and must not use the same `KeyedLimiter`. Wakers may.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), relent::limiter::Refused> {
/// use std::time::Duration;
/// use relent::{KeyedLimiter, Rate};
///
/// let tenants: KeyedLimiter<String> = KeyedLimiter::new(Rate::per_second(5), 1);
/// assert!(tenants.try_acquire("a", 1).is_ok());
/// assert!(tenants.try_acquire("a", 1).is_err());
/// assert!(tenants.try_acquire("b", 1).is_ok());
/// assert_eq!(tenants.len(), 2);
/// tenants.ready("a").await;
/// tenants.acquire("a", 1).within(Duration::from_millis(200)).await?;
/// # Ok(())
/// # }
/// ```
pub struct KeyedLimiter<K> {
    /// A thread that has locked `settings` may lock them, not the other way round.
    shards: Shards<Shard<K>>,
    context: Context,
    /// Held while all shards take the settings over, so that all see all changes in one order.
    settings: Mutex<Settings>,
}

impl<K: Eq + Hash> KeyedLimiter<K> {
    /// Each key fills at `rate` and holds `burst` permits.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let settings = Settings { rate, burst, version: 0 };
        Self {
            shards: Shards::new(|| Shard::new(settings)),
            context: Context { clock: LimiterClock::default(), hasher: DefaultHashBuilder::default() },
            settings: Mutex::new(settings),
        }
    }

    /// Takes `permits` of this key now, or not at all; see [`Limiter::try_acquire`]. The key is cloned only if it is
    /// not known.
    ///
    /// # Errors
    /// [`Refused::TooFar`] with the time at which they would be ready, and [`Refused::OverBurst`].
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q, permits: u32) -> Result<(), Refused>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        match self.try_take(now, key, permits) {
            Tried::Taken => Ok(()),
            Tried::ReadyIn(wait) => Err(Refused::not_for(wait)),
            Tried::Unknown => self.try_acquire_unpacked(now, key, permits),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.context.clock.fast_now()
    }

    /// Takes permits of this key now, or not at all, if its word tells.
    pub(super) fn try_take<Q>(&self, now: u64, key: &Q, permits: u32) -> Tried
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.context.hasher.hash_one(key);
        let mut shard = self.shards.lock(hash);
        let (tried, is_to_look_after) = shard.try_take(now, Wanted { key, hash }, permits, &self.context);
        if is_to_look_after {
            self.look_after(shard, now);
        }
        tried
    }

    #[cold]
    #[inline(never)]
    fn look_after(&self, mut shard: MutexGuard<'_, Shard<K>>, now: u64) {
        shard.look_after(now, 1, &self.context);
        self.leave(shard, now);
    }

    /// A round that has ended is a sign that other shards may have been left alone.
    fn leave(&self, mut shard: MutexGuard<'_, Shard<K>>, now: u64) {
        let round_is_over = shard.take_round_is_over();
        drop(shard);
        if round_is_over && let Some(mut other) = self.shards.next() {
            other.look_after(now, STEPS, &self.context);
        }
    }

    /// The same where that cannot tell.
    #[cold]
    #[inline(never)]
    pub(super) fn try_acquire_unpacked<Q>(&self, now: u64, key: &Q, permits: u32) -> Result<(), Refused>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.context.hasher.hash_one(key);
        let mut shard = self.shards.lock(hash);
        let answer = shard.try_take_unpacked(now, Wanted { key, hash }, permits, &self.context);
        self.leave(shard, now);
        match answer {
            Answer::Taken => Ok(()),
            Answer::Refused(refused) => Err(refused),
            Answer::Ask(limiter) => limiter.try_acquire(permits),
        }
    }

    /// Joins the wait list of this key now, not at the first poll; see [`Limiter::reserve`].
    ///
    /// # Errors
    /// [`Refused::OverBurst`].
    pub fn reserve<Q>(&self, key: &Q, permits: u32) -> Result<Reservation, Refused>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.get(key).reserve(permits)
    }

    /// The limiter of this key, for what wants a limiter of its own: `.throttle(&tenants.get("a"))`, a long-lived
    /// connection.
    ///
    /// It stays the limiter of this key as long as it is held, and takes its memory so long: some hundred bytes.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Limiter
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.promote(key).2
    }

    /// From now on every key fills at `rate`; see [`Limiter::set_rate`]. Whichever of several changes at once is the
    /// last, is so for all keys.
    ///
    /// It takes as long with a million keys at rest as with one, and longer for each key that is waited for or held.
    pub fn set_rate(&self, rate: Rate) {
        self.set(|settings| settings.rate = rate, 0);
    }

    /// From now on every key holds `burst` permits: full ones at once, others fill up at the rate; see
    /// [`Limiter::set_burst`]. Whichever of several changes at once is the last, is so for all keys. For what it costs
    /// see [`set_rate`](Self::set_rate).
    pub fn set_burst(&self, burst: u32) {
        self.set(|settings| settings.burst = burst, 0);
    }

    /// No permit of any key is granted for so long; see [`Limiter::pause_for`]. Of two pauses the later end holds. To
    /// pause one key, say so to [its limiter](Self::get).
    pub fn pause_for(&self, length: Duration) {
        self.set(|_| {}, nanos::nanos(length));
    }

    fn set(&self, change: impl FnOnce(&mut Settings), pause: u64) {
        let mut limiters = Vec::new();
        let (settings, full, paused_until) = {
            let mut settings = lock(&self.settings);
            let now = self.context.clock.now();
            let paused_until = if pause == 0 { 0 } else { now.saturating_add(pause) };
            change(&mut settings);
            settings.version = settings.version.saturating_add(1);
            let mut full = None;
            for mut shard in self.shards.iter() {
                limiters.extend(shard.set(now, *settings, paused_until, &self.context));
                full = Some(shard.full().clone());
            }
            (*settings, full, paused_until)
        };
        let Some(full) = full else { return };
        // No lock is held while they wake their waiters, and a waker that panics leaves no limiter behind.
        let mut panic = None;
        for limiter in limiters {
            let adopt = || limiter.adopt(settings.version, &full, paused_until);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(adopt)) {
                panic.get_or_insert(payload);
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// The rate at which each key fills.
    #[must_use]
    pub fn rate(&self) -> Rate {
        lock(&self.settings).rate
    }

    /// The most that each key holds.
    #[must_use]
    pub fn max_burst(&self) -> u32 {
        lock(&self.settings).burst
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every idle key now, at a cost in proportion to their number. In small steps it happens in passing too.
    pub fn forget_idle(&self) {
        for mut shard in self.shards.iter() {
            shard.forget_idle(self.context.clock.now(), &self.context);
        }
    }

    /// How many keys have a limiter of their own.
    #[cfg(test)]
    pub(super) fn promoted(&self) -> usize {
        self.shards.iter().map(|shard| shard.promoted()).sum()
    }

    /// The limiter of a key, after the hash of the key and the slot in its shard.
    pub(super) fn promote<Q>(&self, key: &Q) -> (u64, u32, Limiter)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.context.hasher.hash_one(key);
        let now = self.context.clock.now();
        let (slot, limiter) = self.shards.lock(hash).promote(now, Wanted { key, hash }, &self.context);
        (hash, slot, limiter)
    }

    /// Nothing may need the limiter in this slot any more.
    pub(super) fn demote(&self, hash: u64, slot: u32) {
        self.shards.lock(hash).demote(slot, &self.context);
    }
}

impl<K: Eq + Hash> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { rate, burst, .. } = *lock(&self.settings);
        f.debug_struct("KeyedLimiter")
            .field("rate", &format_args!("{rate}"))
            .field("burst", &burst)
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_has_a_limiter_only_while_a_task_waits_or_holds_it() {
        let keyed: KeyedLimiter<u8> = KeyedLimiter::new(Rate::per_second(10), 1);
        keyed.try_acquire(&0, 1).unwrap();
        keyed.try_acquire(&1, 1).unwrap();
        assert_eq!(keyed.promoted(), 0);
        {
            let mut cx = Context::from_waker(Waker::noop());
            let (mut first, mut second) = (pin!(keyed.ready(&0)), pin!(keyed.acquire(&0, 1)));
            assert!(first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending());
            assert_eq!(keyed.promoted(), 1);
        }
        assert_eq!(keyed.promoted(), 0, "both were dropped");
        keyed.ready(&0).await;
        assert_eq!(keyed.promoted(), 0, "the wait is over");
        let held = keyed.get(&1);
        keyed.reserve(&0, 1).unwrap().spend();
        assert_eq!(keyed.promoted(), 2, "one is held, and the other has permits to give that are spent");
        drop(held);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(keyed.try_acquire(&0, 1).is_err() && keyed.try_acquire(&1, 1).is_ok());
        assert_eq!(keyed.promoted(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_that_are_too_large_for_a_word_have_limiters_until_they_are_full() {
        let keyed: KeyedLimiter<u8> = KeyedLimiter::new(Rate::per_hour(1), 1);
        keyed.try_acquire(&0, 1).unwrap();
        keyed.set_burst(u32::MAX);
        assert_eq!(keyed.try_acquire(&0, 1).unwrap_err().ready_in(), Some(Duration::from_secs(3600)));
        assert!(keyed.try_acquire(&1, u32::MAX).is_ok() && keyed.try_acquire(&1, 1).is_err());
        assert_eq!((keyed.len(), keyed.promoted()), (2, 2));
        keyed.set_burst(1);
        tokio::time::advance(Duration::from_secs(3599)).await;
        assert!(keyed.try_acquire(&0, 1).is_err() && keyed.try_acquire(&1, 1).is_err());
        assert_eq!((keyed.len(), keyed.promoted()), (2, 0));
    }
}
