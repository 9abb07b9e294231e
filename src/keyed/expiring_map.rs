//! A map of keys that forgets in passing.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

use crate::sync::{Mutex, lock};

/// Keys are spread over so many maps, so that look-ups rarely meet and a sweep holds up few of them.
const MAPS: usize = 16;
/// A map with fewer keys is not swept.
const FEW: usize = 16;

/// Keys and values, in several maps with a lock each. Every so many look-ups as a map has keys, it is swept: so a look-up
/// costs the same on average whatever the number of keys, and what is idle is gone after about as many look-ups.
#[derive(Debug)]
pub(super) struct ExpiringMap<K, V> {
    hasher: RandomState,
    maps: Box<[Mutex<Map<K, V>>]>,
}

#[derive(Debug)]
struct Map<K, V> {
    values: HashMap<K, V, RandomState>,
    /// Look-ups until the next sweep.
    until_sweep: usize,
}

impl<K: Eq + Hash, V> ExpiringMap<K, V> {
    pub(super) fn new() -> Self {
        let hasher = RandomState::new();
        let map = || Map { values: HashMap::with_hasher(hasher.clone()), until_sweep: FEW };
        let maps = (0..MAPS).map(|_| Mutex::new(map())).collect();
        Self { hasher, maps }
    }

    /// Does something with the value of this key, which is made if there is none.
    pub(super) fn with<Q, R>(
        &self,
        key: &Q,
        idle: impl Fn(&V) -> bool,
        make: impl FnOnce() -> V,
        act: impl FnOnce(&mut V) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut map = lock(self.map(key));
        map.until_sweep = map.until_sweep.saturating_sub(1);
        if map.until_sweep == 0 {
            map.sweep(idle);
        }
        if let Some(value) = map.values.get_mut(key) {
            return act(value);
        }
        act(map.values.entry(key.to_owned()).or_insert_with(make))
    }

    /// Looks at the value of this key, if there is one.
    pub(super) fn get<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        lock(self.map(key)).values.get(key).map(look)
    }

    pub(super) fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        lock(self.map(key)).values.remove(key)
    }

    pub(super) fn len(&self) -> usize {
        self.maps.iter().map(|map| lock(map).values.len()).sum()
    }

    pub(super) fn sweep(&self, idle: impl Fn(&V) -> bool) {
        self.maps.iter().for_each(|map| lock(map).sweep(&idle));
    }

    /// Does something with every value, outside the locks.
    pub(super) fn each(&self, act: impl Fn(&V))
    where
        V: Clone,
    {
        for map in &self.maps {
            let values: Vec<V> = lock(map).values.values().cloned().collect();
            values.iter().for_each(&act);
        }
    }

    fn map<Q: Hash + ?Sized>(&self, key: &Q) -> &Mutex<Map<K, V>> {
        // The maps themselves go by the bits at both ends.
        let index = (self.hasher.hash_one(key) >> 32) as usize % MAPS;
        &self.maps[index]
    }
}

impl<K: Eq + Hash, V> Map<K, V> {
    fn sweep(&mut self, idle: impl Fn(&V) -> bool) {
        self.values.retain(|_, value| !idle(value));
        if self.values.capacity() > self.values.len().saturating_mul(4) {
            self.values.shrink_to(self.values.len().saturating_mul(2));
        }
        self.until_sweep = self.values.len().max(FEW);
    }
}
