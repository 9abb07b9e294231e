//! How often each key has failed, and how long it waits.

use std::{borrow::Borrow, fmt, hash::Hash, sync::OnceLock, time::Duration};

use super::map::Forgetful;
use crate::{
    policy::{
        nanos::{self, FOREVER},
        schedule::{
            backoff::{Backoff, BackoffState},
            jitter::series,
        },
    },
    time::{self, Instant},
};

/// A [`Backoff`] for each key, as work queues use it: each failure of an item puts it off for longer, a success
/// [forgets](Self::forget) it.
///
/// A key that has not failed for a set time, its pause not counted, has never failed, and is forgotten in passing: the
/// memory is bounded by about twice the number of keys that failed within that time.
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
    items: Forgetful<K, Item>,
    start: OnceLock<Instant>,
}

#[derive(Debug, Default)]
struct Item {
    progress: BackoffState,
    failures: u32,
    /// When it may be tried again; `FOREVER` when the schedule has ended.
    ready_at: u64,
    /// When it last failed.
    failed_at: u64,
    /// The pause that it got then; `None` when the schedule has ended.
    delay: Option<u64>,
    seed: u64,
}

impl<K: Eq + Hash> KeyedBackoff<K> {
    /// Every key goes through `backoff` on its own. A key is forgotten `expire_after` its last pause was over;
    /// `Duration::MAX` is never, and then only [`forget`](Self::forget) bounds the memory.
    #[must_use]
    pub fn new(backoff: Backoff, expire_after: Duration) -> Self {
        Self { backoff, expire_after: nanos::nanos(expire_after), items: Forgetful::new(), start: OnceLock::new() }
    }

    /// This key has failed once more: how long it has to wait. `None`: the schedule has ended, give it up.
    pub fn failed<Q>(&self, key: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        let expired = |item: &Item| self.expired(item, now);
        let seed = || self.backoff.seeded().unwrap_or_else(|| fastrand::u64(..));
        self.items.with(key, expired, Item::default, |item| {
            if item.failures == 0 || expired(item) {
                *item = Item { seed: seed(), ..Item::default() };
            }
            let number = item.failures;
            item.failures = number.saturating_add(1);
            let delay = self.backoff.next(&mut item.progress, || series(item.seed, number.into()));
            item.failed_at = now;
            item.delay = delay;
            item.ready_at = delay.map_or(FOREVER, |delay| now.saturating_add(delay));
            delay.map(nanos::duration)
        })
    }

    /// How often this key has failed since it was last forgotten.
    #[must_use]
    pub fn failures<Q>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = self.now();
        self.items.get(key, |item| if self.expired(item, now) { 0 } else { item.failures }).unwrap_or(0)
    }

    /// The pause that the last failure of this key got. `None` if it has not failed, or if its schedule has ended.
    #[must_use]
    pub fn last_delay<Q>(&self, key: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = self.now();
        let delay = self.items.get(key, |item| item.delay.filter(|_| !self.expired(item, now)));
        delay.flatten().map(nanos::duration)
    }

    /// How long this key has to wait still: zero if it may be tried, `Duration::MAX` if its schedule has ended.
    #[must_use]
    pub fn ready_in<Q>(&self, key: &Q) -> Duration
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = self.now();
        let left = self.items.get(key, |item| match item.ready_at {
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
        self.items.remove(key).is_some()
    }

    /// Forgets every key whose time is over now. It happens in passing too.
    pub fn forget_expired(&self) {
        let now = self.now();
        self.items.sweep(|item| self.expired(item, now));
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A schedule that has ended expires like any other: counted from the last failure.
    fn expired(&self, item: &Item, now: u64) -> bool {
        let since = if item.ready_at == FOREVER { item.failed_at } else { item.ready_at };
        self.expire_after != FOREVER && now > since.saturating_add(self.expire_after)
    }

    fn now(&self) -> u64 {
        let now = time::now();
        time::between(*self.start.get_or_init(|| now), now)
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
