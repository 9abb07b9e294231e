//! Tasks that run, by name.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    error::{Cause, TaskFailure},
    task::{Task, TaskFuture},
};
use crate::{
    leader::term::Term,
    time::{self, Sleeper, Timer},
};

/// What is known of all tasks of a manager, leader tasks included: which of their futures still exist, which had to be
/// dropped, which have failed. Each task has a number, in the order of their start.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    /// Whenever the lock is free, each task that has begun and whose future exists is among the running ones, and no
    /// other. No foreign code runs under it: the waker is called once it is free.
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of the last task.
    last: u64,
    running: BTreeMap<u64, RunningTask>,
    dropped: BTreeMap<u64, String>,
    election: Option<u64>,
    /// A task other than the election has begun.
    begun: bool,
    /// How many leader tasks wait for a term.
    waiting: usize,
    /// The term that the leader tasks run in.
    term: Option<Term>,
    /// In the order in which they became known.
    failures: Vec<TaskFailure>,
    /// The election was ended by a token of its own.
    stopped: bool,
    /// Of the manager's run, while that waits.
    waker: Option<Waker>,
}

#[derive(Debug)]
struct RunningTask {
    name: String,
    /// It is the election, or runs in its term.
    leads: bool,
}

/// The entry of a task for as long as its future lives.
struct RunningEntry {
    registry: Registry,
    number: u64,
}

impl Registry {
    fn insert(&self, name: String, leads: bool) -> RunningEntry {
        let mut inner = self.lock();
        inner.last = inner.last.wrapping_add(1);
        let number = inner.last;
        inner.running.insert(number, RunningTask { name, leads });
        RunningEntry { registry: self.clone(), number }
    }

    fn note_dropped(&self, number: u64, name: String) {
        self.lock().dropped.insert(number, name);
    }

    pub(super) fn fail(&self, failure: TaskFailure) {
        let mut inner = self.lock();
        inner.failures.push(failure);
        wake(inner);
    }

    /// The manager is to stop.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        wake(inner);
    }

    /// So many more leader tasks wait for a term.
    pub(super) fn add_waiting(&self, tasks: usize) {
        let mut inner = self.lock();
        inner.waiting = inner.waiting.saturating_add(tasks);
    }

    /// Leader tasks run in this term now; `None`: in none.
    pub(super) fn set_term(&self, term: Option<Term>) {
        let mut inner = self.lock();
        inner.term = term;
        wake(inner);
    }

    /// Ready when every task has ended, and none is left that waits for a term, while the election goes on.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(cx, |inner| {
            let leads = inner.term.as_ref().is_some_and(|term| !term.is_lost());
            let left = inner.running.keys().any(|number| Some(*number) != inner.election);
            leads && inner.begun && inner.waiting == 0 && !left
        })
    }

    /// Ready when the election and all its tasks are gone.
    fn poll_leading_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(cx, |inner| !inner.running.values().any(|task| task.leads))
    }

    /// Ready when a task has failed, or the election was stopped.
    pub(super) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(cx, |inner| inner.stopped || !inner.failures.is_empty())
    }

    /// Ready when the future of every task has been dropped.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(cx, |inner| inner.running.is_empty())
    }

    fn poll_until(&self, cx: &mut Context<'_>, is_so: impl FnOnce(&Inner) -> bool) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut inner = self.lock();
        if is_so(&inner) {
            return Poll::Ready(());
        }
        let former = inner.waker.replace(waker);
        drop(inner);
        drop(former);
        Poll::Pending
    }

    pub(super) fn take_failures(&self) -> Vec<TaskFailure> {
        std::mem::take(&mut self.lock().failures)
    }

    /// The names of those that run, and of those that had to be dropped.
    fn not_stopped(&self) -> Vec<String> {
        let inner = self.lock();
        let mut names = inner.dropped.clone();
        names.extend(inner.running.iter().map(|(number, task)| (*number, task.name.clone())));
        // The election is there only for its tasks: named beside others it would say nothing.
        if let Some(election) = inner.election.filter(|_| names.len() > 1) {
            names.remove(&election);
        }
        names.into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Drop for RunningEntry {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.running.remove(&self.number);
        wake(inner);
    }
}

/// Some of the tasks. Those that still run when it is dropped are dropped, too, and noted as such.
pub(super) struct Tasks {
    set: JoinSet<Result<(), Cause>>,
    by_id: HashMap<Id, (u64, String)>,
    registry: Registry,
}

impl Tasks {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { set: JoinSet::new(), by_id: HashMap::new(), registry: registry.clone() }
    }

    pub(super) fn spawn(&mut self, task: Task<CancellationToken>, stop: CancellationToken) {
        let entry = self.registry.insert(task.name.clone(), false);
        self.registry.lock().begun = true;
        self.start(entry, task.name.clone(), task.run(stop));
    }

    /// A task that is not polled once the term is over.
    pub(super) fn spawn_in(&mut self, term: &Term, task: Task<Term>) {
        let (name, registry) = (task.name.clone(), self.registry.clone());
        let entry = self.registry.insert(name.clone(), true);
        {
            let mut inner = self.registry.lock();
            (inner.begun, inner.waiting) = (true, inner.waiting.saturating_sub(1));
        }
        let number = entry.number;
        let guarded = term.guard(task.run(term.clone()));
        self.start(entry, name.clone(), async move {
            guarded.await.unwrap_or_else(|| {
                registry.note_dropped(number, name);
                Ok(())
            })
        });
    }

    pub(super) fn spawn_election(&mut self, election: TaskFuture) {
        let name = "election".to_owned();
        let entry = self.registry.insert(name.clone(), true);
        self.registry.lock().election = Some(entry.number);
        self.start(entry, name, election);
    }

    fn start(
        &mut self,
        entry: RunningEntry,
        name: String,
        task: impl Future<Output = Result<(), Cause>> + Send + 'static,
    ) {
        let number = entry.number;
        let handle = self.set.spawn(async move {
            let _entry = entry;
            task.await
        });
        self.by_id.insert(handle.id(), (number, name));
    }

    /// Joins the next one that ends, and notes its failure. False: there is none left.
    pub(super) fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let joined = ready!(self.set.poll_join_next_with_id(cx));
        Poll::Ready(joined.map(|joined| self.note(joined)).is_some())
    }

    fn note(&mut self, joined: Result<(Id, Result<(), Cause>), JoinError>) {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(Cause::Panic(panic_text(error)))),
        };
        let name = self.by_id.remove(&id).map(|(_, name)| name).unwrap_or_default();
        if let Err(cause) = result {
            self.registry.fail(TaskFailure::new(name, cause));
        }
    }

    /// Joins all tasks. The election and its tasks have been told; `tell_others` is called once they are gone, or after
    /// half of the grace. What runs at the end of the grace, or when `hurry` is ready, is aborted. Answers the names of
    /// those that did not stop, and how long they had.
    pub(super) async fn join(
        &mut self,
        grace: u64,
        tell_others: impl Fn(),
        mut hurry: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> (Vec<String>, u64) {
        let began = time::now();
        let (mut timer, mut others_told) = (pin!(Timer::default()), false);
        poll_fn(|cx| {
            loop {
                while let Poll::Ready(true) = self.poll_join(cx) {}
                if self.set.is_empty() && self.registry.poll_gone(cx).is_ready() || hurry(cx).is_ready() {
                    return Poll::Ready(());
                }
                if others_told {
                    return timer.as_mut().poll_at(cx, time::after(began, grace));
                }
                if self.registry.poll_leading_over(cx).is_pending() {
                    ready!(timer.as_mut().poll_at(cx, time::after(began, grace.div_ceil(2))));
                }
                others_told = true;
                tell_others();
            }
        })
        .await;
        self.note_ended();
        let names = self.registry.not_stopped();
        self.set.abort_all();
        (names, time::between(began, time::now()).min(grace))
    }

    /// What has ended, but was not joined, has not been dropped: its failure counts.
    fn note_ended(&mut self) {
        while let Some(joined) = self.set.try_join_next_with_id() {
            self.note(joined);
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.note_ended();
        for (number, name) in self.by_id.drain().map(|(_, entry)| entry) {
            self.registry.note_dropped(number, name);
        }
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
