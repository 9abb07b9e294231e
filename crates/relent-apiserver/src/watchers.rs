//! Open watches, by what they watch: a change wakes those that it concerns, and no other.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::Notify;

use super::store::Change;

/// What a watch is about. An empty namespace or name stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) resource: Arc<str>,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The server's end of one open watch: what has happened and is not yet told.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    changes: VecDeque<Arc<Change>>,
    cut: bool,
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next change that was not told yet.
    pub(super) fn take(&self) -> Option<Arc<Change>> {
        self.lock().changes.pop_front()
    }

    /// Whether everything that has happened is told.
    pub(super) fn is_level(&self) -> bool {
        self.lock().changes.is_empty()
    }

    /// Whether the connection was broken from the server's side.
    pub(super) fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// Until something has happened since the last time.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn tell(&self, change: &Arc<Change>) {
        self.lock().changes.push_back(change.clone());
        self.wake.notify_one();
    }

    fn cut(&self) {
        self.lock().cut = true;
        self.wake.notify_one();
    }
}

/// So few are never swept.
const FEW: usize = 32;

/// All open watches.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    places: HashMap<Place, Vec<Weak<Watcher>>>,
    /// How many there are, those that ended since the last sweep among them; at how many is the next one.
    held: usize,
    limit: usize,
    /// How often one was woken by a change.
    pub(super) wakes: u64,
}

impl Watchers {
    /// A new watch; `past` is what it is to be told first.
    pub(super) fn open(&mut self, place: Place, past: impl Iterator<Item = Arc<Change>>) -> Arc<Watcher> {
        // Those that ended are swept out as often as there are as many new ones as were left.
        self.held += 1;
        if self.held > self.limit {
            self.places.retain(|_, all| {
                all.retain(|watcher| watcher.strong_count() > 0);
                !all.is_empty()
            });
            self.held = 1 + self.places.values().map(Vec::len).sum::<usize>();
            self.limit = 2 * self.held.max(FEW);
        }
        let watcher = Arc::new(Watcher::default());
        watcher.lock().changes.extend(past.filter(|change| place.concerns(change)));
        self.places.entry(place).or_default().push(Arc::downgrade(&watcher));
        watcher
    }

    pub(super) fn tell(&mut self, change: &Arc<Change>) {
        let key = &change.key;
        let mut names = vec![("", ""), ("", key.name.as_str())];
        if !key.namespace.is_empty() {
            names.extend([(key.namespace.as_str(), ""), (key.namespace.as_str(), key.name.as_str())]);
        }
        for (namespace, name) in names {
            let place =
                Place { resource: key.resource.clone(), namespace: namespace.to_owned(), name: name.to_owned() };
            let Some(all) = self.places.get_mut(&place) else { continue };
            all.retain(|watcher| {
                let Some(watcher) = watcher.upgrade() else { return false };
                watcher.tell(change);
                self.wakes += 1;
                true
            });
        }
    }

    /// Breaks the connections of all. How many that were.
    pub(super) fn cut(&mut self) -> usize {
        let open = self.places.drain().flat_map(|(_, all)| all);
        open.filter_map(|watcher| watcher.upgrade()).inspect(|watcher| watcher.cut()).count()
    }
}

impl Place {
    fn concerns(&self, change: &Change) -> bool {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        self.resource == change.key.resource
            && fits(&self.namespace, &change.key.namespace)
            && fits(&self.name, &change.key.name)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use kube::{
        Api,
        api::{Patch, PatchParams, PostParams, WatchParams},
    };
    use serde_json::json;

    use super::super::ApiServer;

    const MANY: usize = 1000;

    fn map(name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map
    }

    /// A thousand watches of one object each, one of all, one of another kind; each object is written once, all at one
    /// instant.
    #[tokio::test(start_paused = true)]
    async fn a_watch_is_woken_only_by_what_it_watches() {
        let server = ApiServer::new();
        let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
        let secrets: Api<Secret> = Api::namespaced(server.client(), "default");
        let mut watches = Vec::new();
        for number in 0..MANY {
            let name = format!("m{number}");
            maps.create(&PostParams::default(), &map(&name)).await.unwrap();
            let one = WatchParams::default().fields(&format!("metadata.name={name}")).disable_bookmarks();
            watches.push(maps.watch(&one, &server.revision().to_string()).await.unwrap().boxed());
        }
        let from = server.revision().to_string();
        let all = maps.watch(&WatchParams::default().disable_bookmarks(), &from).await.unwrap();
        let _other = secrets.watch(&WatchParams::default(), &from).await.unwrap();
        let before = server.shared().lock().watchers.wakes;
        for number in 0..MANY {
            let patch = Patch::Merge(json!({ "data": { "a": "1" } }));
            maps.patch(&format!("m{number}"), &PatchParams::default(), &patch).await.unwrap();
        }
        let woken = server.shared().lock().watchers.wakes - before;
        assert_eq!(woken, 2 * MANY as u64, "each its own, and one all of them");
        for watch in &mut watches {
            assert!(watch.next().await.unwrap().is_ok());
        }
        assert_eq!(all.take(MANY).count().await, MANY);
    }

    /// What has ended is swept out; it costs later writes nothing.
    #[tokio::test(start_paused = true)]
    async fn ended_watches_are_forgotten() {
        let server = ApiServer::new();
        let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
        for number in 0..MANY {
            let one = WatchParams::default().fields(&format!("metadata.name=m{number}"));
            drop(maps.watch(&one, "0").await.unwrap());
        }
        let held = server.shared().lock().watchers.places.len();
        assert!(held <= 200, "{held} places have no watcher");
    }
}
