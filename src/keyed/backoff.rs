//! How often each key has failed, and how long it waits.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use hashbrown::DefaultHashBuilder;

use super::{
    dense_expiring_map::DenseExpiringMap,
    shards::{STEPS, Shards},
};
use crate::{
    limiter::{LimiterClock, Now},
    policy::{
        nanos::{self, FOREVER},
        schedule::{
            backoff::{Backoff, BackoffState},
            jitter::series,
        },
    },
};

/// A [`Backoff`] for each key, as work queues use it: each failure of an item puts it off for longer, a success
/// [forgets](Self::forget) it.
///
/// `Hash`, `Eq`, `to_owned` and drop of a key run under a lock and must not use the same `KeyedBackoff`.
///
/// A key costs itself and 24 bytes, and 6 to 12 in a hash table, up to 17 while that grows.
///
/// A key that has not failed for a set time, its pause not counted, has never failed, and is forgotten in passing: each
/// failure looks at two others, and moves eight while the table grows, and one of 128 looks at up to 64, so that no
/// call takes longer because there are many, and all are looked at while one alone fails.
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, Jitter, KeyedBackoff};
///
/// let backoff = Backoff::exponential(Duration::from_millis(5), Duration::from_secs(1000)).jitter(Jitter::None);
/// let items: KeyedBackoff<String> = KeyedBackoff::new(backoff, Duration::from_secs(3600));
/// assert_eq!(items.failed("a"), Some(Duration::from_millis(5)));
/// assert_eq!(items.failed("a"), Some(Duration::from_millis(10)));
/// assert_eq!(items.failed("b"), Some(Duration::from_millis(5)));
/// assert_eq!(items.failures("a"), 2);
/// assert_eq!(items.last_delay("a"), Some(Duration::from_millis(10)));
/// assert!(items.forget("a"));
/// assert_eq!(items.failed("a"), Some(Duration::from_millis(5)));
/// ```
pub struct KeyedBackoff<K> {
    backoff: Backoff,
    expire_after: u64,
    shards: Shards<DenseExpiringMap<K, Item>>,
    hasher: DefaultHashBuilder,
    clock: LimiterClock,
}

/// Its last pause is not kept, which follows from the rest.
#[derive(Debug)]
struct Item {
    /// How far the backoff has come, besides `failures`.
    current: u64,
    /// When it last failed, in nanoseconds by the clock.
    failed_at: u64,
    failures: u32,
    /// Its own random series.
    seed: u32,
}

impl Item {
    /// Of its last failure, from 0 on.
    fn number(&self) -> u32 {
        self.failures.saturating_sub(1)
    }

    /// The clock may be another one, and behind: then its pause counts from now.
    fn under(&mut self, now: u64) {
        self.failed_at = self.failed_at.min(now);
    }
}

/// The delay of an item whose schedule has ended. No other delay is as long: 584 years less a nanosecond are as good as
/// for ever.
const ENDED: u64 = FOREVER;

impl<K: Eq + Hash> KeyedBackoff<K> {
    /// Every key goes through `backoff` on its own. A key is forgotten `expire_after` its last pause was over;
    /// `Duration::MAX` is never, and then only [`forget`](Self::forget) bounds the memory.
    #[must_use]
    pub fn new(backoff: Backoff, expire_after: Duration) -> Self {
        Self {
            backoff,
            expire_after: nanos::nanos(expire_after),
            shards: Shards::new(DenseExpiringMap::new),
            hasher: DefaultHashBuilder::default(),
            clock: LimiterClock::default(),
        }
    }

    /// This key has failed once more: how long it has to wait. `None`: the schedule has ended, give it up.
    pub fn failed<Q>(&self, key: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.clock.now();
        let hash = self.hasher.hash_one(key);
        let hasher = |key: &K| self.hasher.hash_one(key);
        let new = || Item { current: 0, failed_at: now, failures: 0, seed: fastrand::u32(..) };
        let mut items = self.shards.lock(hash);
        let round_is_over = items.step(|item| !self.expired(item, now), hasher) && items.len() > 0;
        let delay = if let Some(item) = items.get_mut(hash, key) {
            item.under(now);
            if self.expired(item, now) {
                *item = new();
            }
            self.fail(item, now)
        } else {
            let mut item = new();
            let delay = self.fail(&mut item, now);
            items.insert(hash, key.to_owned(), item, hasher);
            delay
        };
        drop(items);
        if round_is_over && let Some(mut others) = self.shards.next() {
            _ = (0..STEPS).any(|_| others.step(|item| !self.expired(item, now), hasher));
        }
        delay
    }

    fn fail(&self, item: &mut Item, now: u64) -> Option<Duration> {
        item.failures = item.failures.saturating_add(1);
        item.failed_at = now;
        let mut state = BackoffState::after(item.number(), item.current);
        let delay = state.next(&self.backoff, || self.random(item));
        item.current = state.current();
        delay.map(|delay| told(delay.min(ENDED - 1)))
    }

    /// The pause that its last failure got, in nanoseconds; [`ENDED`] when the schedule has ended.
    fn delay(&self, item: &Item) -> u64 {
        let state = BackoffState::after(item.number().saturating_add(1), item.current);
        state.last(&self.backoff, || self.random(item)).map_or(ENDED, |delay| delay.min(ENDED - 1))
    }

    /// The random number of its last failure.
    fn random(&self, item: &Item) -> u64 {
        series(self.backoff.seeded().unwrap_or(item.seed.into()), item.number().into())
    }

    /// How often this key has failed since it was last forgotten.
    #[must_use]
    pub fn failures<Q>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = self.clock.now();
        self.get(key, now, |item| if self.expired(item, now) { 0 } else { item.failures }).unwrap_or(0)
    }

    /// The pause that the last failure of this key got. `None` if it has not failed, or if its schedule has ended.
    #[must_use]
    pub fn last_delay<Q>(&self, key: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = self.clock.now();
        let delay = self.get(key, now, |item| if self.expired(item, now) { ENDED } else { self.delay(item) });
        delay.filter(|delay| *delay != ENDED).map(told)
    }

    /// How long this key has to wait still: zero if it may be tried, `Duration::MAX` if its schedule has ended.
    #[must_use]
    pub fn ready_in<Q>(&self, key: &Q) -> Duration
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = self.clock.now();
        let left = self.get(key, now, |item| match item.failed_at.saturating_add(self.delay(item)) {
            _ if self.expired(item, now) => 0,
            FOREVER => FOREVER,
            ready_at => ready_at.saturating_sub(now),
        });
        nanos::duration(left.unwrap_or(0))
    }

    /// This key is well: it has never failed. Whether it was known.
    pub fn forget<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.shards.lock(hash).remove(hash, key, |key| self.hasher.hash_one(key)).is_some()
    }

    /// Forgets every key whose time is over now. It happens in passing too.
    pub fn forget_expired(&self) {
        let now = self.clock.now();
        for mut items in self.shards.iter() {
            items.retain(|item| !self.expired(item, now), |key| self.hasher.hash_one(key));
        }
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|items| items.len()).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A schedule that has ended expires like any other: counted from the last failure.
    fn expired(&self, item: &Item, now: u64) -> bool {
        let is_over = |since: u64| now > since.saturating_add(self.expire_after);
        // Without its pause, which takes more to tell, it would be over earlier.
        if self.expire_after == FOREVER || !is_over(item.failed_at) {
            return false;
        }
        match item.failed_at.saturating_add(self.delay(item)) {
            FOREVER => true,
            ready_at => is_over(ready_at),
        }
    }

    fn get<Q, R>(&self, key: &Q, now: u64, read: impl FnOnce(&Item) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.shards.lock(hash).get_mut(hash, key).map(|item| {
            item.under(now);
            read(item)
        })
    }
}

impl<K: Eq + Hash> fmt::Debug for KeyedBackoff<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBackoff")
            .field("backoff", &self.backoff)
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}

/// A delay as the backoff gave it.
fn told(delay: u64) -> Duration {
    nanos::duration(if delay == ENDED - 1 { FOREVER } else { delay })
}
