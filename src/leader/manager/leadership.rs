//! The election of a manager, and its leader tasks.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{
    error::Cause,
    task::{LeaderTask, RepeatedTask},
    tasks::{Registry, Tasks},
};
use crate::leader::{elect::Elect, error::Ended, lock::Lock, term::Term};

pub(super) struct Leadership {
    pub(super) stop: CancellationToken,
    pub(super) grace: u64,
    /// Campaign again after a loss.
    pub(super) again: bool,
    pub(super) tasks: Vec<LeaderTask>,
    /// Tasks that are added later.
    pub(super) added: UnboundedReceiver<LeaderTask>,
    pub(super) registry: Registry,
}

/// The leader tasks that wait for a term. Under their lock they are spawned, but no code of theirs runs. Whenever it is
/// free, each task that was added is in one place: still in the channel, among those that wait, begun in its one term,
/// or among those of each term.
struct LeaderTasks {
    /// For the next term, or the first.
    waiting: Vec<LeaderTask>,
    each_term: Vec<RepeatedTask>,
    added: UnboundedReceiver<LeaderTask>,
}

impl Leadership {
    /// Campaigns, and runs the leader tasks in the term, or in one term after the other.
    pub(super) async fn lead<L: Lock>(self, elect: Elect<L>) -> Result<(), Cause> {
        let Self { stop, grace, again, tasks: waiting, added, registry } = self;
        let stopped = registry.clone();
        let tasks = Arc::new(Mutex::new(LeaderTasks { waiting, each_term: Vec::new(), added }));
        let elect = elect.cancel_on(stop.clone()).in_tasks(grace);
        let work = move |term| in_term(Arc::clone(&tasks), registry.clone(), term);
        let ended = if again { elect.again().run(work).await } else { elect.run(work).await };
        match ended.map_err(Cause::Elect)? {
            // By a token of its own: without it, leader tasks would wait for ever.
            Ended::Cancelled { .. } if !stop.is_cancelled() => {
                stopped.stop();
                Ok(())
            }
            // Tasks that had to be dropped are named by the manager.
            Ended::Finished(()) | Ended::Cancelled { .. } => Ok(()),
            Ended::Lost { why, .. } => Err(Cause::Lost(why)),
            Ended::Held { by } => Err(Cause::Held(by)),
            Ended::Unreleased { error, .. } => Err(Cause::Unreleased(error)),
        }
    }
}

/// Runs the tasks until the term is to end and all of them have ended. A failure is the manager's, which stops
/// everything; until then the other tasks go on.
async fn in_term(tasks: Arc<Mutex<LeaderTasks>>, registry: Registry, term: Term) {
    let mut running = Tasks::new(&registry);
    let _in_term = InTerm { tasks: Arc::clone(&tasks), registry: registry.clone() };
    lock(&tasks).begin(&mut running, &term);
    registry.set_term(Some(term.clone()));
    let (mut lost, mut ending) = (pin!(term.lost()), false);
    poll_fn(|cx| {
        loop {
            ending = ending || lost.as_mut().poll(cx).is_ready();
            let mut tasks = lock(&tasks);
            // One that comes when the term is to end waits for the next one.
            while !ending && let Poll::Ready(Some(task)) = tasks.added.poll_recv(cx) {
                tasks.begin_one(&mut running, &term, task);
            }
            drop(tasks);
            match running.poll_join(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) if ending => return Poll::Ready(()),
                Poll::Ready(false) | Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

impl LeaderTasks {
    fn begin(&mut self, running: &mut Tasks, term: &Term) {
        for task in &self.each_term {
            running.spawn_in(term, task.task());
        }
        for task in std::mem::take(&mut self.waiting) {
            self.begin_one(running, term, task);
        }
    }

    fn begin_one(&mut self, running: &mut Tasks, term: &Term, task: LeaderTask) {
        match task {
            LeaderTask::OneTerm(task) => running.spawn_in(term, task),
            LeaderTask::EachTerm(task) => {
                running.spawn_in(term, task.task());
                self.each_term.push(task);
            }
        }
    }
}

/// When a term ends, in whatever way, the tasks that run in each wait for the next one.
struct InTerm {
    tasks: Arc<Mutex<LeaderTasks>>,
    registry: Registry,
}

impl Drop for InTerm {
    fn drop(&mut self) {
        self.registry.add_waiting(lock(&self.tasks).each_term.len());
        self.registry.set_term(None);
    }
}

fn lock(tasks: &Mutex<LeaderTasks>) -> MutexGuard<'_, LeaderTasks> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}
