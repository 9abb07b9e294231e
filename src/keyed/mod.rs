//! One limiter, and one backoff, per key.

mod backoff;
mod expiring_map;

use std::{borrow::Borrow, fmt, hash::Hash};

pub use self::backoff::KeyedBackoff;
use self::expiring_map::ExpiringMap;
use crate::{
    limiter::Limiter,
    policy::limit::rate::Rate,
    sync::{Mutex, lock},
};

/// A [`Limiter`] for each key: per tenant, per host, per object.
///
/// All have the same rate and burst and know nothing of each other. A key that is full again, with nobody waiting and no
/// clone of its limiter about, is as good as one that was never seen, and is forgotten in passing: the memory is bounded
/// by about twice the number of keys in use. No lock is held while anybody waits.
///
/// ```
/// use relent::{KeyedLimiter, Rate};
///
/// let tenants: KeyedLimiter<String> = KeyedLimiter::new(Rate::per_second(5), 1);
/// assert!(tenants.get("a").try_acquire(1).is_ok());
/// assert!(tenants.get("a").try_acquire(1).is_err());
/// assert!(tenants.get("b").try_acquire(1).is_ok());
/// assert_eq!(tenants.len(), 2);
/// ```
pub struct KeyedLimiter<K> {
    limiters: ExpiringMap<K, Limiter>,
    setting: Mutex<Setting>,
}

/// What all keys have, or will have in a moment: each takes on the latest version and no earlier one.
#[derive(Clone, Copy)]
struct Setting {
    rate: Rate,
    burst: u32,
    version: u64,
}

impl<K: Eq + Hash> KeyedLimiter<K> {
    /// Each key fills at `rate` and holds `burst` permits.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { limiters: ExpiringMap::new(), setting: Mutex::new(Setting { rate, burst, version: 0 }) }
    }

    /// The limiter of this key: a new and full one, if the key is not known. Hold on to it as long as you like, it
    /// stays the limiter of this key. The key is cloned only if it is not known.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Limiter
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let make = || {
            let Setting { rate, burst, version } = *lock(&self.setting);
            Limiter::of_version(version, rate, burst)
        };
        self.limiters.with(key, Limiter::is_idle, make, |limiter| limiter.clone())
    }

    /// From now on every key fills at `rate`, known ones too; see [`Limiter::set_rate`]. Whichever of several changes at once
    /// is the last, is so for all keys.
    pub fn set_rate(&self, rate: Rate) {
        self.set(|setting| setting.rate = rate);
    }

    /// From now on every key holds `burst` permits, known ones too; see [`Limiter::set_burst`]. Whichever of several changes
    /// at once is the last, is so for all keys.
    pub fn set_burst(&self, burst: u32) {
        self.set(|setting| setting.burst = burst);
    }

    fn set(&self, change: impl FnOnce(&mut Setting)) {
        let setting = {
            let mut setting = lock(&self.setting);
            change(&mut setting);
            setting.version = setting.version.saturating_add(1);
            *setting
        };
        // No lock is held while they wake those that wait for them.
        self.limiters.each(|limiter| limiter.set_version(setting.version, setting.rate, setting.burst));
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limiters.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every idle key now. It happens in passing too, once per as many look-ups as there are keys.
    pub fn forget_idle(&self) {
        self.limiters.sweep(Limiter::is_idle);
    }
}

impl<K: Eq + Hash> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { rate, burst, .. } = *lock(&self.setting);
        f.debug_struct("KeyedLimiter")
            .field("rate", &format_args!("{rate}"))
            .field("burst", &burst)
            .field("keys", &self.limiters.len())
            .finish()
    }
}
