//! Watches: a stream of events. No task runs for one; it moves when it is polled.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tower::BoxError;

use super::{
    broken,
    failure::Failure,
    fault::{Ending, Trouble},
    object, read,
    request::{Call, View},
    selector::Selector,
    shared::Shared,
    state::State,
    watchers::{Place, Watcher},
};
use crate::time::{self, Instant};

/// How often a watch that takes bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The annotation of the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

pub(super) struct Watching {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    call: Call,
    selector: Selector,
    /// Changes up to this revision are not told.
    from: u64,
    /// What is sent before any change: what there is already.
    first: VecDeque<Value>,
    ends: Option<Instant>,
    bookmark: Option<Instant>,
    trouble: Trouble,
    sent: u64,
    over: bool,
}

fn invalid(field: &str, message: &str) -> Failure {
    Failure::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: Forbidden: {message}"))
}

impl Watching {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        state: &mut State,
        call: &Call,
        trouble: Option<Trouble>,
    ) -> Result<Self, Failure> {
        let query = &call.query;
        let fields = if call.name.is_empty() {
            query.get("fieldSelector").to_owned()
        } else {
            format!("metadata.name={}", call.name)
        };
        let selector = Selector::parse(&call.resource, query.get("labelSelector"), &fields)?;
        let asked = query.revision()?;
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial = query.flag("sendInitialEvents");
        match (query.get("sendInitialEvents"), query.get("resourceVersionMatch")) {
            ("", "") => {}
            ("", _) => {
                let message = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return Err(invalid("resourceVersionMatch", message));
            }
            (_, "NotOlderThan") => {}
            _ => {
                let message = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(invalid("resourceVersionMatch", message));
            }
        }
        let now = time::now();
        let seconds = query.integer("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let mut first = VecDeque::new();
        let unsaid = query.get("sendInitialEvents").is_empty();
        // What there is comes first.
        let whole = initial || unsaid && asked.unwrap_or(0) == 0;
        let from = if whole || asked.is_none() { state.store.revision() } else { asked.unwrap_or(0) };
        let ahead = if initial { read::reached(&state.store, asked).err() } else { None };
        if let Some(failure) = ahead {
            first.push_back(event("ERROR", failure.status()));
        } else if whole {
            let resource = call.stored();
            let namespace = Some(call.namespace.as_str()).filter(|namespace| !namespace.is_empty());
            let matching = state.store.list(&resource, namespace).filter(|(_, object)| selector.matches(object));
            first.extend(matching.map(|(_, object)| event("ADDED", call.present(object))));
        } else if from < state.store.floor() {
            let message = format!("too old resource version: {from} ({})", state.store.floor());
            first.push_back(event("ERROR", Failure::expired(message).status()));
        }
        let place = Place {
            resource: call.stored(),
            namespace: call.namespace.clone(),
            name: selector.name().unwrap_or("").to_owned(),
        };
        let past = state.store.since(from).cloned();
        let watcher = state.watchers.open(place, past);
        let mut watching = Self {
            watcher,
            shared: shared.clone(),
            call: call.clone(),
            selector,
            from,
            first,
            ends: seconds.and_then(|seconds| now.checked_add(Duration::from_secs(seconds))),
            bookmark: if bookmarks { now.checked_add(BOOKMARK_EVERY) } else { None },
            trouble: trouble.unwrap_or_default(),
            sent: 0,
            over: false,
        };
        if whole && bookmarks {
            let mut last = watching.bookmark_at(from);
            last["object"]["metadata"]["annotations"] = json!({ INITIAL_END: "true" });
            watching.first.push_back(last);
        }
        Ok(watching)
    }

    /// The next event, as a line of JSON.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if self.over {
                return None;
            }
            if self.watcher.is_cut() {
                self.over = true;
                return Some(Err(broken::reset().into()));
            }
            if let Some((_, ending)) = self.trouble.ends.filter(|(after, _)| *after <= self.sent) {
                return self.end(ending).await;
            }
            if let Some(event) = self.first.pop_front() {
                self.over = event["type"] == "ERROR";
                return Some(self.line(&event).await);
            }
            if let Some(event) = self.change() {
                return Some(self.line(&event).await);
            }
            let now = time::now();
            let ends = self.ends.is_some_and(|at| at <= now);
            if let Some(due) = self.bookmark.filter(|due| !ends && *due <= now) {
                self.bookmark = due.checked_add(BOOKMARK_EVERY);
                if let Some(reached) = self.reached() {
                    let event = self.bookmark_at(reached);
                    return Some(self.line(&event).await);
                }
                continue;
            }
            if ends {
                self.over = true;
                return None;
            }
            let wake = [self.ends, self.bookmark].into_iter().flatten().min();
            tokio::select! {
                () = self.watcher.woken() => {}
                () = time::wait_until(wake) => {}
            }
        }
    }

    /// Up to which revision this watch has been told everything.
    fn reached(&self) -> Option<u64> {
        let state = self.shared.lock();
        let revision = state.store.revision();
        Some(revision).filter(|revision| self.watcher.is_level() && *revision >= self.from)
    }

    /// The next change that concerns this watch.
    fn change(&mut self) -> Option<Value> {
        if matches!(self.call.view, View::Table(_)) {
            self.call.now = self.shared.lock().seconds();
        }
        while let Some(change) = self.watcher.take() {
            if change.revision <= self.from {
                continue;
            }
            let Some(kind) = self.selector.seen(change.before.as_ref(), change.after.as_ref()) else { continue };
            let object = if kind == "DELETED" { change.before.as_ref() } else { change.after.as_ref() };
            let object = object::at_revision(object?, change.revision);
            return Some(event(kind, self.call.present(&object)));
        }
        None
    }

    async fn end(&mut self, ending: Ending) -> Option<Result<Bytes, BoxError>> {
        self.over = true;
        match ending {
            Ending::Closed => None,
            Ending::Reset => Some(Err(broken::reset().into())),
            Ending::Expired => {
                let failure = Failure::expired("The resourceVersion for the provided watch is too old.");
                Some(self.line(&event("ERROR", failure.status())).await)
            }
            Ending::Silent => {
                while !self.watcher.is_cut() {
                    self.watcher.woken().await;
                }
                Some(Err(broken::reset().into()))
            }
        }
    }

    fn bookmark_at(&self, revision: u64) -> Value {
        let mut object = json!({ "metadata": { "resourceVersion": revision.to_string() } });
        if self.call.view == View::Metadata {
            object = self.call.present(&object);
        } else {
            // A table, too, is marked by an object of its kind.
            object = self.call.whole(&object);
        }
        event("BOOKMARK", object)
    }

    async fn line(&mut self, event: &Value) -> Result<Bytes, BoxError> {
        if !self.trouble.lag.is_zero() {
            time::pause(self.trouble.lag).await;
            if self.watcher.is_cut() {
                self.over = true;
                return Err(broken::reset().into());
            }
        }
        if event["type"] == "BOOKMARK" {
            return Ok(Bytes::from(format!("{event}\n")));
        }
        self.sent += 1;
        if self.sent > 1 && event["object"]["kind"] == "Table" {
            // The columns are told once.
            let mut event = event.clone();
            event["object"]["columnDefinitions"] = Value::Null;
            return Ok(Bytes::from(format!("{event}\n")));
        }
        Ok(Bytes::from(format!("{event}\n")))
    }
}

fn event(kind: &str, object: Value) -> Value {
    let mut event = json!({ "type": kind });
    event["object"] = object;
    event
}
