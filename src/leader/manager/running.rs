//! Tasks that run, by name.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::task::{Id, JoinError, JoinSet};

use super::error::{Cause, Failure};
use crate::leader::term::Term;

/// The names of all tasks whose futures still exist, in the order of their start.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    shared: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    running: BTreeMap<u64, String>,
    /// Those that had to be dropped.
    dropped: Vec<String>,
    waker: Option<Waker>,
}

/// A name for as long as it lives.
struct Named {
    names: Names,
    number: u64,
}

impl Names {
    fn enter(&self, name: String) -> Named {
        let mut inner = self.lock();
        inner.next = inner.next.wrapping_add(1);
        let number = inner.next;
        inner.running.insert(number, name);
        Named { names: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut inner = self.names.lock();
        inner.running.remove(&self.number);
        let waker = if inner.running.is_empty() { inner.waker.take() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

pub(super) struct Tasks {
    set: JoinSet<Result<(), Cause>>,
    by_id: HashMap<Id, String>,
    names: Names,
}

impl Tasks {
    pub(super) fn new(names: Names) -> Self {
        Self { set: JoinSet::new(), by_id: HashMap::new(), names }
    }

    pub(super) fn spawn(&mut self, name: String, task: impl Future<Output = Result<(), Cause>> + Send + 'static) {
        let named = self.names.enter(name.clone());
        let handle = self.set.spawn(async move {
            let _named = named;
            task.await
        });
        self.by_id.insert(handle.id(), name);
    }

    /// A task that is not polled once the term is over.
    pub(super) fn spawn_guarded(
        &mut self,
        name: String,
        task: impl Future<Output = Result<(), Cause>> + Send + 'static,
        term: &Term,
    ) {
        let guarded = term.guard(task);
        self.spawn(name, async move { guarded.await.unwrap_or(Ok(())) });
    }

    /// The next one that ends; `None` when there is none.
    pub(super) fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), Failure>>> {
        let Some(joined) = ready!(self.set.poll_join_next_with_id(cx)) else { return Poll::Ready(None) };
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(Cause::Panic(panic_text(error)))),
        };
        let name = self.by_id.remove(&id).unwrap_or_default();
        Poll::Ready(Some(result.map_err(|cause| Failure::new(name, cause))))
    }

    /// Ready when the future of every task has been dropped, those of tasks within tasks included.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.names.lock();
        if inner.running.is_empty() {
            return Poll::Ready(());
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Aborts what still runs; answers its names, and those of what had to be dropped before.
    pub(super) fn stop(&mut self) -> Vec<String> {
        self.set.abort_all();
        self.by_id.clear();
        let inner = self.names.lock();
        let mut names = inner.dropped.clone();
        names.extend(inner.running.values().filter(|name| !inner.dropped.contains(name)).cloned());
        // The election is there only for its tasks: named by itself it would say nothing.
        if names.len() > 1 {
            names.retain(|name| name != "election");
        }
        names
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.by_id).into_values();
        self.names.lock().dropped.extend(names);
    }
}

fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => text(&*panic),
        Err(error) => error.to_string(),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}
