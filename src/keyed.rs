//! One limiter per key.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
};

use crate::{
    limiter::Limiter,
    policy::rate::Rate,
    sync::{Mutex, lock},
};

/// Keys are spread over so many maps, so that look-ups rarely meet and a sweep holds up few of them.
const MAPS: usize = 16;
/// A map with fewer keys is not swept.
const FEW: usize = 16;

/// A [`Limiter`] for each key: per tenant, per host, per object.
///
/// All have the same rate and burst and know nothing of each other. A key that is full again, with nobody waiting and no
/// clone of its limiter about, is as good as one that was never seen, and is forgotten in passing: the memory is bounded
/// by about twice the number of keys in use. The maps are locked for the look-up only, never while somebody waits.
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
    hasher: RandomState,
    maps: Box<[Mutex<Map<K>>]>,
    setting: Mutex<(Rate, u32)>,
}

struct Map<K> {
    limiters: HashMap<K, Limiter, RandomState>,
    /// Look-ups until the next sweep.
    until_sweep: usize,
}

impl<K: Eq + Hash> KeyedLimiter<K> {
    /// Each key fills at `rate` and holds `burst` permits.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let hasher = RandomState::new();
        let map = || Map { limiters: HashMap::with_hasher(hasher.clone()), until_sweep: FEW };
        let maps = (0..MAPS).map(|_| Mutex::new(map())).collect();
        Self { hasher, maps, setting: Mutex::new((rate, burst)) }
    }

    /// The limiter of this key: a new and full one, if the key is not known. Hold on to it as long as you like, it
    /// stays the limiter of this key.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Limiter
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut map = lock(self.map(key));
        map.until_sweep = map.until_sweep.saturating_sub(1);
        if map.until_sweep == 0 {
            map.sweep();
        }
        if let Some(limiter) = map.limiters.get(key) {
            return limiter.clone();
        }
        let (rate, burst) = *lock(&self.setting);
        let limiter = Limiter::new(rate, burst);
        map.limiters.insert(key.to_owned(), limiter.clone());
        limiter
    }

    /// From now on every key fills at `rate`, known ones too; see [`Limiter::set_rate`].
    pub fn set_rate(&self, rate: Rate) {
        lock(&self.setting).0 = rate;
        self.each(|limiter| limiter.set_rate(rate));
    }

    /// From now on every key holds `burst` permits, known ones too; see [`Limiter::set_burst`].
    pub fn set_burst(&self, burst: u32) {
        lock(&self.setting).1 = burst;
        self.each(|limiter| limiter.set_burst(burst));
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.iter().map(|map| lock(map).limiters.len()).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every idle key now. It happens in passing too, once per as many look-ups as there are keys.
    pub fn forget_idle(&self) {
        self.maps.iter().for_each(|map| lock(map).sweep());
    }

    fn map<Q: Hash + ?Sized>(&self, key: &Q) -> &Mutex<Map<K>> {
        // The top bits: the map itself goes by the others.
        let index = (self.hasher.hash_one(key) >> 57) as usize % self.maps.len();
        &self.maps[index]
    }

    /// Outside the locks: what changes a limiter wakes those who wait for it.
    fn each(&self, change: impl Fn(&Limiter)) {
        for map in &self.maps {
            let limiters: Vec<Limiter> = lock(map).limiters.values().cloned().collect();
            limiters.iter().for_each(&change);
        }
    }
}

impl<K: Eq + Hash> Map<K> {
    fn sweep(&mut self) {
        self.limiters.retain(|_, limiter| !limiter.is_idle());
        if self.limiters.capacity() > self.limiters.len().saturating_mul(4) {
            self.limiters.shrink_to(self.limiters.len().saturating_mul(2));
        }
        self.until_sweep = self.limiters.len().max(FEW);
    }
}

impl<K: Eq + Hash> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, burst) = *lock(&self.setting);
        f.debug_struct("KeyedLimiter")
            .field("rate", &format_args!("{rate}"))
            .field("burst", &burst)
            .field("keys", &self.len())
            .finish()
    }
}
