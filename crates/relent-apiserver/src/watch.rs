//! Watches: a stream of events, read from the log of changes. No task runs for it; it moves when it is polled.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tower::BoxError;

use super::{
    broken, failure::Failure, fault::Ending, object, request::Call, selector::Selector, server::Shared, state::State,
    store::Cursor,
};
use crate::time::{self, Instant};

/// How often a watch that takes bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The annotation of the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

pub(super) struct Watching {
    shared: Arc<Shared>,
    changed: Receiver<u64>,
    call: Call,
    selector: Selector,
    cursor: Cursor,
    /// What is sent before any change: what there is already.
    first: VecDeque<Value>,
    ends: Option<Instant>,
    bookmark: Option<Instant>,
    fault: Option<(u64, Ending)>,
    sent: u64,
    over: bool,
}

impl Watching {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        state: &mut State,
        call: &Call,
        fault: Option<(u64, Ending)>,
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
        if !query.get("sendInitialEvents").is_empty() && query.get("resourceVersionMatch") != "NotOlderThan" {
            let message = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(Failure::new(422, "Invalid", message));
        }
        if initial && !bookmarks {
            return Err(Failure::not_implemented("sendInitialEvents without allowWatchBookmarks"));
        }
        let now = time::now();
        let seconds = query.integer("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let mut first = VecDeque::new();
        let from_now = initial || query.get("sendInitialEvents").is_empty() && asked.unwrap_or(0) == 0;
        let from = if from_now || asked.is_none() { state.store.revision() } else { asked.unwrap_or(0) };
        if from_now {
            let resource = call.stored();
            let namespace = Some(call.namespace.as_str()).filter(|namespace| !namespace.is_empty());
            let matching = state.store.list(&resource, namespace).filter(|(_, object)| selector.matches(object));
            first.extend(matching.map(|(_, object)| event("ADDED", call.present(object))));
        } else if from < state.store.floor() {
            let message = format!("too old resource version: {from} ({})", state.store.floor());
            first.push_back(event("ERROR", Failure::expired(message).status()));
        }
        let mut watching = Self {
            changed: shared.changes(),
            shared: shared.clone(),
            call: call.clone(),
            selector,
            cursor: state.store.follow(from),
            first,
            ends: seconds.and_then(|seconds| now.checked_add(Duration::from_secs(seconds))),
            bookmark: if bookmarks { now.checked_add(BOOKMARK_EVERY) } else { None },
            fault,
            sent: 0,
            over: false,
        };
        if initial {
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
            if let Some((_, ending)) = self.fault.filter(|(after, _)| *after <= self.sent) {
                return self.end(ending).await;
            }
            if let Some(event) = self.first.pop_front() {
                self.over = event["type"] == "ERROR";
                return Some(Ok(self.line(&event)));
            }
            // Marked as seen before it is read: a change in between wakes the wait below.
            self.changed.borrow_and_update();
            if let Some(event) = self.change() {
                return Some(Ok(self.line(&event)));
            }
            let now = time::now();
            let ends = self.ends.is_some_and(|at| at <= now);
            if let Some(due) = self.bookmark.filter(|due| !ends && *due <= now) {
                self.bookmark = due.checked_add(BOOKMARK_EVERY);
                let reached = self.cursor.load(Ordering::SeqCst);
                if reached <= self.shared.lock().store.revision() {
                    let event = self.bookmark_at(reached);
                    return Some(Ok(self.line(&event)));
                }
                continue;
            }
            if ends {
                self.over = true;
                return None;
            }
            let wake = [self.ends, self.bookmark].into_iter().flatten().min();
            tokio::select! {
                changed = self.changed.changed() => self.over = changed.is_err(),
                () = time::wait_until(wake) => {}
            }
        }
    }

    /// The next change that concerns this watch.
    fn change(&mut self) -> Option<Value> {
        let state = self.shared.lock();
        let resource = self.call.stored();
        for change in state.store.since(self.cursor.load(Ordering::SeqCst)) {
            self.cursor.store(change.revision, Ordering::SeqCst);
            let here = self.call.namespace.is_empty() || change.key.namespace == self.call.namespace;
            if change.key.resource != resource || !here {
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
                Some(Ok(self.line(&event("ERROR", failure.status()))))
            }
            Ending::Silent => pending().await,
        }
    }

    fn bookmark_at(&self, revision: u64) -> Value {
        event("BOOKMARK", self.call.present(&json!({ "metadata": { "resourceVersion": revision.to_string() } })))
    }

    fn line(&mut self, event: &Value) -> Bytes {
        if event["type"] != "BOOKMARK" {
            self.sent += 1;
        }
        Bytes::from(format!("{event}\n"))
    }
}

fn event(kind: &str, object: Value) -> Value {
    let mut event = json!({ "type": kind });
    event["object"] = object;
    event
}
