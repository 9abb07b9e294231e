//! The objects, and every change to them under one revision that is never used twice.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use serde_json::Value;

use super::object;

/// Where an object lies. They are listed in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The qualified name of the resource.
    pub(super) resource: Arc<str>,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// One write: what was there before, and after it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// Everything that is stored. A clone is a snapshot: the objects are shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Arc<Change>>,
    revision: u64,
    /// What happened up to this revision is forgotten.
    floor: u64,
}

impl Store {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Stores an object under the next revision.
    pub(super) fn put(&mut self, key: Key, object: &Value) -> Arc<Value> {
        self.revision += 1;
        let stored = Arc::new(object::at_revision(object, self.revision));
        let before = self.objects.insert(key.clone(), stored.clone());
        self.log.push_back(Arc::new(Change { revision: self.revision, key, before, after: Some(stored.clone()) }));
        stored
    }

    /// Takes an object away; that, too, is a revision.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let (revision, key) = (self.revision, key.clone());
        self.log.push_back(Arc::new(Change { revision, key, before: Some(before.clone()), after: None }));
        Some(before)
    }

    /// The objects of a resource, of one namespace or of all, in order.
    pub(super) fn list<'a>(
        &'a self,
        resource: &Arc<str>,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        within(&self.objects, resource.clone(), namespace)
    }

    /// What was stored when `revision` was the latest; `None` once that is forgotten.
    pub(super) fn at(&self, revision: u64) -> Option<Self> {
        if revision < self.floor {
            return None;
        }
        let mut then = Self { objects: self.objects.clone(), revision, floor: self.floor, ..Self::default() };
        for change in self.log.iter().rev().take_while(|change| change.revision > revision) {
            match &change.before {
                Some(before) => then.objects.insert(change.key.clone(), before.clone()),
                None => then.objects.remove(&change.key),
            };
        }
        Some(then)
    }

    /// What has happened since `revision`, oldest first.
    pub(super) fn since(&self, revision: u64) -> impl Iterator<Item = &Arc<Change>> {
        let first = self.log.partition_point(|change| change.revision <= revision);
        self.log.range(first..)
    }

    /// Forgets what happened up to now. Open watches hold for themselves what they are still to be told.
    pub(super) fn compact(&mut self) {
        self.floor = self.revision;
        self.log.clear();
    }

    /// Whether a namespace holds anything.
    pub(super) fn occupied(&self, namespace: &str) -> bool {
        self.objects.keys().any(|key| key.namespace == namespace)
    }

    pub(super) fn everything(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// The keys of all objects of a resource.
    pub(super) fn of(&self, resource: &str) -> Vec<Key> {
        self.list(&resource.into(), None).map(|(key, _)| key.clone()).collect()
    }

    /// The keys of everything in a namespace.
    pub(super) fn inside(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }
}

fn within<'a>(
    objects: &'a BTreeMap<Key, Arc<Value>>,
    resource: Arc<str>,
    namespace: Option<&'a str>,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
    let first = Key { resource: resource.clone(), namespace: namespace.unwrap_or("").to_owned(), name: String::new() };
    objects
        .range((Bound::Included(first), Bound::Unbounded))
        .take_while(move |(key, _)| key.resource == resource && namespace.is_none_or(|wanted| key.namespace == wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(resource: u8, name: u8) -> Key {
        Key { resource: format!("r{resource}").into(), namespace: format!("n{}", name % 2), name: format!("o{name}") }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8, u32),
        Remove(u8, u8),
        Compact,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..2_u8, 0..6_u8, any::<u32>()).prop_map(|(resource, name, value)| Step::Put(resource, name, value)),
            3 => (0..2_u8, 0..6_u8).prop_map(|(resource, name)| Step::Remove(resource, name)),
            1 => Just(Step::Compact),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against copies of everything, one for each revision.
        #[test]
        fn every_revision_can_be_seen_until_it_is_forgotten(steps in steps()) {
            let mut store = Store::default();
            let mut copies = vec![BTreeMap::new()];
            for step in steps {
                let before = store.revision();
                match step {
                    Step::Put(resource, name, value) => {
                        let stored = store.put(key(resource, name), &json!({ "value": value }));
                        prop_assert_eq!(object::meta(&stored, "resourceVersion"), store.revision().to_string());
                    }
                    Step::Remove(resource, name) => {
                        let there = store.get(&key(resource, name)).cloned();
                        prop_assert_eq!(store.remove(&key(resource, name)), there);
                    }
                    Step::Compact => store.compact(),
                }
                prop_assert!(store.revision() <= before + 1);
                if store.revision() > before {
                    copies.push(store.objects.clone());
                }
                for (revision, copy) in (0_u64..).zip(&copies) {
                    match store.at(revision) {
                        Some(then) => prop_assert_eq!(&then.objects, copy),
                        None => prop_assert!(revision < store.floor()),
                    }
                }
            }
            let told: Vec<u64> = store.since(store.floor()).map(|change| change.revision).collect();
            prop_assert_eq!(told, (store.floor() + 1..=store.revision()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn lists_are_in_order_and_of_their_resource() {
        let mut store = Store::default();
        for (resource, name) in [(1, 3), (0, 4), (0, 1), (0, 2)] {
            store.put(key(resource, name), &json!({}));
        }
        let names = |resource: &str, namespace: Option<&str>| {
            store.list(&resource.into(), namespace).map(|(key, _)| key.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names("r0", None), ["o2", "o4", "o1"]);
        assert_eq!(names("r0", Some("n0")), ["o2", "o4"]);
        assert_eq!(names("r1", None), ["o3"]);
    }
}
