//! One look: read, then watch from there.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_util::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, ObjectList, WatchEvent, WatchParams},
    core::Status,
};
use relent::{Attempt, Check};
use serde::de::DeserializeOwned;

use super::{
    super::{
        call::{Calls, Failed, TIMEOUT},
        class::NO_STATUS,
        condition::Verdict,
        error::said,
        target::Target,
    },
    WaitError,
    error::{Last, Sighting},
};
use crate::time::{self, Instant};

/// How long one watch is relied upon before everything is read again.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(30);

/// What one look gives: the objects for which the condition holds.
pub(super) type Looked<K> = Result<Check<Vec<K>, WaitError>, WaitError>;

/// What is waited for, of all objects together.
type Judge<'c, K> = dyn Fn(&[K]) -> Verdict + Send + Sync + 'c;

/// The looks of one run.
#[derive(Clone)]
pub(super) struct Looks<'c, K> {
    api: Api<K>,
    calls: Calls,
    last: Arc<Mutex<Option<Last>>>,
    condition: Arc<Judge<'c, K>>,
}

/// How a watch goes on.
enum Watched {
    Holds,
    Never(String),
    /// It has ended; with what ended it, if that was not its time.
    Over(Option<String>),
    /// What it began from is too old.
    Expired,
}

impl<'c, K> Looks<'c, K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    pub(super) fn new(api: Api<K>, target: Target, condition: impl Fn(&[K]) -> Verdict + Send + Sync + 'c) -> Self {
        Self { api, calls: Calls::new(target), last: Arc::default(), condition: Arc::new(condition) }
    }

    /// The same, of another run, if this is its first attempt.
    pub(super) fn at(&mut self, attempt: &Attempt) -> Self {
        if attempt.number() == 1 {
            (self.calls, self.last) = (self.calls.anew(), Arc::default());
        }
        self.clone()
    }

    pub(super) async fn look(self, attempt: Attempt) -> Looked<K> {
        // The end comes before the attempt is cut, so that the run is left to say what was seen.
        let end = attempt.timeout().map(just_before).and_then(|limit| time::now().checked_add(limit));
        // Once in a look it is read anew without a pause: what goes wrong again is waited for.
        let mut again = false;
        loop {
            let Some((mut objects, version)) = self.read(end).await? else {
                if again {
                    let why = "it is there for a list and not for a get".to_owned();
                    return Ok(Check::NotYetBecause(self.not_yet(Some(why))));
                }
                again = true;
                continue;
            };
            if let Some(over) = self.judge(&objects, &version) {
                return over.map(|()| Check::Ready(objects)).or_else(|never| Ok(Check::Fatal(never)));
            }
            let why = match self.watch(&mut objects, &version, end).await? {
                Watched::Holds => return Ok(Check::Ready(objects)),
                Watched::Never(why) => return Ok(Check::Fatal(WaitError::Never { of: self.sighting(), why })),
                // What there is now has to be read, and nothing else is wrong.
                Watched::Expired if !again => {
                    again = true;
                    continue;
                }
                Watched::Expired => Some("watch: what it began from is too old".to_owned()),
                Watched::Over(why) => why,
            };
            return Ok(Check::NotYetBecause(self.not_yet(why)));
        }
    }

    /// What there is, and the version to watch from; `None`: it changed under our eyes.
    async fn read(&self, end: Option<Instant>) -> Result<Option<(Vec<K>, String)>, WaitError> {
        let Target { name, by_label, .. } = &*self.calls.target;
        if !by_label {
            let got = async { self.api.get(name).await.and_then(|object| self.calls.target.checked(object)) };
            match self.calls.within("get", left(end), got).await {
                Ok(object) => {
                    let version = object.resource_version().unwrap_or_default();
                    return Ok(Some((vec![object], version)));
                }
                Err(Failed::Call(error)) if error.is_not_found() => {}
                Err(failed) => return Err(self.failed("get", failed)),
            }
        }
        // Where there is no object only a list has a version to watch from. Version 0 would be what the server has in
        // its cache, which may be objects that are gone.
        let params = ListParams::default();
        let params = if *by_label { params.labels(name) } else { params.fields(&by_name(name)) };
        let list = async { self.api.list(&params).await.and_then(checked) };
        let list = self.calls.within("list", left(end), list).await;
        let list = list.map_err(|failed| self.failed("list", failed))?;
        let appeared = !by_label && !list.items.is_empty();
        Ok((!appeared).then(|| (list.items, list.metadata.resource_version.unwrap_or_default())))
    }

    /// Remembers what is seen; what the condition says of it, if it says more than "not yet".
    fn judge(&self, objects: &[K], version: &str) -> Option<Result<(), WaitError>> {
        self.remember(objects, Some(version.to_owned()));
        match (self.condition)(objects) {
            Verdict::Holds => Some(Ok(())),
            Verdict::NotYet => None,
            Verdict::Never(why) => Some(Err(WaitError::Never { of: self.sighting(), why })),
        }
    }

    async fn watch(&self, objects: &mut Vec<K>, version: &str, end: Option<Instant>) -> Result<Watched, WaitError> {
        let Target { name, by_label, .. } = &*self.calls.target;
        let params = WatchParams::default().timeout(290);
        let params = if *by_label { params.labels(name) } else { params.fields(&by_name(name)) };
        let events = self.calls.within("watch", left(end), self.api.watch(&params, version)).await;
        let mut events = pin!(events.map_err(|failed| self.failed("watch", failed))?);
        let read_again = time::now().checked_add(READ_AGAIN);
        let until = end.min(read_again).or(read_again);
        let mut over = pin!(time::wait_until(until));
        loop {
            // One whose events are always ready lets others run.
            time::breathe().await;
            let event = poll_fn(|cx| match events.poll_next_unpin(cx) {
                Poll::Ready(event) => Poll::Ready(Some(event)),
                Poll::Pending => over.as_mut().poll(cx).map(|()| None),
            });
            match event.await {
                None => return Ok(Watched::Over(None)),
                Some(None) => return Ok(Watched::Over(Some("the watch was closed".to_owned()))),
                Some(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                    let version = object.resource_version();
                    match objects.iter_mut().find(|known| is_same(&**known, &object)) {
                        Some(known) => *known = object,
                        None => objects.push(object),
                    }
                    self.remember(objects, version);
                }
                Some(Some(Ok(WatchEvent::Deleted(object)))) => {
                    objects.retain(|known| !is_same(known, &object));
                    self.remember(objects, object.resource_version());
                }
                // Nothing has changed.
                Some(Some(Ok(WatchEvent::Bookmark(_)))) => {}
                Some(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => return Ok(Watched::Expired),
                Some(Some(Ok(WatchEvent::Error(status)))) => {
                    return Ok(Watched::Over(Some(format!("watch: {}", said(&status)))));
                }
                Some(Some(Err(error))) => {
                    return Ok(Watched::Over(Some(format!("watch: {}", crate::ApiError::from(error)))));
                }
            }
            match (self.condition)(objects) {
                Verdict::Holds => return Ok(Watched::Holds),
                Verdict::Never(why) => return Ok(Watched::Never(why)),
                Verdict::NotYet if until.is_some_and(|until| time::now() > until) => return Ok(Watched::Over(None)),
                Verdict::NotYet => {}
            }
        }
    }

    fn remember(&self, objects: &[K], version: Option<String>) {
        let one = (objects.len() == 1).then(|| &objects[0]);
        let last = Last {
            objects: objects.len(),
            version: if objects.is_empty() { None } else { version.or_else(|| one?.resource_version()) },
            deleting: one.is_some_and(|object| object.meta().deletion_timestamp.is_some()),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    fn sighting(&self) -> Sighting {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Sighting { target: Arc::clone(&self.calls.target), last }
    }

    fn not_yet(&self, watch: Option<String>) -> WaitError {
        let of = self.sighting();
        WaitError::NotYet { seen: of.version().map(str::to_owned), of, watch }
    }

    fn failed(&self, call: &'static str, failed: Failed) -> WaitError {
        let of = self.sighting();
        match failed {
            Failed::Call(error) => WaitError::Api { call, of, error },
            Failed::NoAnswer(after) => WaitError::NoAnswer { call, of, after },
        }
    }
}

/// A list that is one: to `kube` any JSON object that has `items` is, and one that is empty would prove an absence.
fn checked<K: Clone>(list: ObjectList<K>) -> Result<ObjectList<K>, kube::Error> {
    if list.metadata.resource_version.as_ref().is_some_and(|version| !version.is_empty()) {
        return Ok(list);
    }
    Err(kube::Error::Api(Status::failure("the answer is no list", NO_STATUS).with_code(200).boxed()))
}

fn by_name(name: &str) -> String {
    // In a field selector these end a value.
    let escaped = name.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    format!("metadata.name={escaped}")
}

/// How long a call may take that has to have ended by then.
fn left(end: Option<Instant>) -> Duration {
    end.map_or(TIMEOUT, |end| end.saturating_duration_since(time::now()).min(TIMEOUT))
}

fn is_same<K: Resource>(one: &K, other: &K) -> bool {
    one.meta().name == other.meta().name && one.meta().namespace == other.meta().namespace
}

/// When something should end of itself that is cut after `limit`: a tenth of it before, 100 ms at most.
fn just_before(limit: Duration) -> Duration {
    const ENOUGH: Duration = Duration::from_millis(100);
    limit.saturating_sub((limit / 10).min(ENOUGH))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_ends_of_itself_has_nearly_all_its_time(limit: u64) {
            let limit = Duration::from_nanos(limit);
            let end = just_before(limit);
            let before = limit.saturating_sub(end);
            prop_assert!(end <= limit && before <= Duration::from_millis(100) && before <= limit / 10);
            prop_assert!(limit < Duration::from_nanos(10) || end < limit);
        }
    }
}
