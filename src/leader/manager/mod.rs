//! `Manager`: named tasks, some of them only while this process leads, and the first failure comes out.

mod error;
mod leadership;
mod registration;
mod signals;
mod task;
mod tasks;

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub use self::error::{ManagerError, TaskFailure};
use self::{
    error::{AnyError, Cause},
    leadership::Leadership,
    registration::{Registration, Started},
    signals::Signals,
    task::{LeaderTask, RepeatedTask, Task},
    tasks::{Registry, Tasks},
};
use super::{elect::Elect, lock::Lock, term::Term};
use crate::policy::nanos::{duration, nanos};

/// Runs named tasks until it is told to stop, or until one of them fails.
///
/// Plain tasks run from the start; leader tasks run while this process leads, if there is an [election](Self::elect).
/// The first failure is what [`run`](Self::run) returns; everything else is stopped then, joined within the
/// [`grace`](Self::grace), and whatever did not stop is named. Clones stand for the same manager.
///
/// # How it stops
/// In this order: the leader tasks are told, and end while the term is still renewed; the lock is given back; the plain
/// tasks are told, and end. Leader tasks that do not end keep the plain tasks from being told for half of the grace at
/// most. At the end of the grace everything is dropped. The order is the same for a wish to stop, a failure and a loss.
///
/// ```
/// use relent::leader::{Manager, MemoryLock, elect};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::leader::ManagerError> {
/// let manager = Manager::new();
/// manager.add("metrics", |stop: CancellationToken| async move {
///     stop.cancelled().await;
///     Ok::<(), std::io::Error>(())
/// })?;
/// manager.add_leader("controller", |term| async move {
///     term.lost().await;
///     Err("the disk is full")
/// })?;
/// manager.elect(elect(MemoryLock::new(), "one"))?;
/// let token = CancellationToken::new();
/// token.cancel();
/// manager.run(token).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Manager {
    shared: Arc<ManagerState>,
    grace: u64,
    again: bool,
    signals: bool,
}

struct ManagerState {
    /// Held for a few assignments, and while a task is sent to the run; no foreign code runs under it. Whenever it is
    /// free, a task that was accepted is kept here, or is the run's.
    registration: Mutex<Registration>,
    registry: Registry,
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("phase", &self.registration().phase).finish_non_exhaustive()
    }
}

impl Manager {
    /// A manager without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(ManagerState { registration: Mutex::default(), registry: Registry::default() }),
            grace: 30_000_000_000,
            again: false,
            signals: false,
        }
    }

    /// How long tasks may take to end once they were told. Default: 30 s. Zero does not wait; `Duration::MAX` waits for
    /// ever.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = nanos(grace);
        self
    }

    /// Campaign again after a loss, instead of failing with it. Tasks that are added by
    /// [`add_leader_each_term`](Self::add_leader_each_term) begin again with each term; those of
    /// [`add_leader`](Self::add_leader) run in one. The losses can be heard by [`on_event`](Elect::on_event).
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::leader::{Manager, MemoryLock, Term, elect};
    /// use tokio_util::sync::CancellationToken;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::leader::ManagerError> {
    /// let (manager, lock, stop) = (Manager::new().campaign_again(), MemoryLock::new(), CancellationToken::new());
    /// manager.add_leader_each_term("controller", |term: Term| async move {
    ///     term.lost().await;
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// manager.elect(elect(lock.clone(), "one"))?;
    /// # let stopped = stop.clone();
    /// # tokio::spawn(async move { tokio::time::sleep(Duration::from_secs(60)).await; lock.give("thief", Duration::from_secs(5)); tokio::time::sleep(Duration::from_secs(60)).await; assert_eq!(lock.holder().as_deref(), Some("one")); stopped.cancel() });
    /// manager.run(stop).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn campaign_again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Stop on ctrl-c and SIGTERM, too. A second signal ends the grace: what has not stopped by then is dropped, and
    /// named.
    ///
    /// Before and after [`run`](Self::run) these signals have their default effect again: they end the process, also
    /// where other code of it listens to them.
    #[cfg(feature = "signal")]
    #[must_use]
    pub fn stop_on_signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// Adds a task, before or while the manager runs. It should end when its token is cancelled. One that is added at
    /// the instant of the stop may never begin.
    ///
    /// # Errors
    /// The manager has been stopped.
    pub fn add<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        self.registration().add(Task::new(name, task))
    }

    /// Adds a task that runs only while this process leads: from the beginning of the term, or from now on if it has
    /// begun. It should end when its term is [lost](Term::lost), and is not polled after the term's validity. The
    /// process goes on leading while none is left, until the manager stops.
    ///
    /// # Errors
    /// The manager has been stopped. It runs without an election.
    pub fn add_leader<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnOnce(Term) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        self.registration()
            .add_leader(LeaderTask::OneTerm(Task::new(name, task)), || self.shared.registry.add_waiting(1))
    }

    /// As [`add_leader`](Self::add_leader), for a task that begins again with each term, if the manager is to
    /// [campaign again](Self::campaign_again).
    ///
    /// # Errors
    /// The manager has been stopped. It runs without an election.
    pub fn add_leader_each_term<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnMut(Term) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        self.registration()
            .add_leader(LeaderTask::EachTerm(RepeatedTask::new(name, task)), || self.shared.registry.add_waiting(1))
    }

    /// The election that decides when the leader tasks run. Its lock is given back after they have ended; where one
    /// does not end within the grace, the lock lapses instead.
    ///
    /// A token of its own ([`cancel_on`](Elect::cancel_on)) stops the manager as that of [`run`](Self::run) does. How
    /// long the tasks may take to end is the manager's [`grace`](Self::grace), in place of its `cancel_grace`.
    ///
    /// # Errors
    /// There is an election already, or the manager has been started.
    pub fn elect<L: Lock>(&self, elect: Elect<L>) -> Result<(), ManagerError> {
        self.elect_by(async move { Ok::<_, AnyError>(elect) })
    }

    /// As [`elect`](Self::elect), with an election that is still to be built: its failure is the manager's.
    ///
    /// # Errors
    /// There is an election already, or the manager has been started.
    pub fn elect_by<L, E>(
        &self,
        build: impl Future<Output = Result<Elect<L>, E>> + Send + 'static,
    ) -> Result<(), ManagerError>
    where
        L: Lock,
        E: Into<AnyError> + 'static,
    {
        self.registration().elect(Box::new(move |leadership: Leadership| {
            Box::pin(async move {
                let stop = leadership.stop.clone();
                let Some(elect) = stop.run_until_cancelled(build).await else { return Ok(()) };
                leadership.lead(elect.map_err(|error| Cause::Error(error.into()))?).await
            })
        }))
    }

    /// Runs the tasks until `token` is cancelled, a task fails, the leadership is lost, or all tasks that were added
    /// have ended. With an election and without any task it leads until it is told to stop: tasks may be added at any
    /// time.
    ///
    /// # Errors
    /// The first failure with all that followed it: a task that failed or panicked, an election that could not be built
    /// or was lost, a lock that could not be given back. The tasks that did not stop within the grace. A second start.
    /// Leader tasks without an election.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks without grace.
    ///
    /// # Panics
    /// Outside of a tokio runtime, when there is a task; in one without time, when there is something to wait for; with
    /// `stop_on_signals` also in one without IO. A panic of a task does not go through: it is that task's failure.
    pub async fn run(&self, token: CancellationToken) -> Result<(), ManagerError> {
        let (stop, stop_leading) = (CancellationToken::new(), CancellationToken::new());
        let Started { tasks, mut added, leader_tasks, added_leader, election } = self.registration().begin()?;
        // However the run ends, also when it is dropped: nothing can be added any more, every task is told.
        let _closing = Closing { manager: self, tokens: [stop_leading.clone(), stop.clone()] };
        let mut running = Tasks::new(&self.shared.registry);
        match (election, leader_tasks.first()) {
            (Some(election), _) => {
                let (grace, again) = (self.grace, self.again);
                let registry = self.shared.registry.clone();
                registry.add_waiting(leader_tasks.len());
                let (stop, tasks, added) = (stop_leading.clone(), leader_tasks, added_leader);
                let leadership = Leadership { stop, grace, again, tasks, added, registry };
                running.spawn_election(election(leadership));
            }
            (None, Some(task)) => return Err(task.without_election()),
            (None, None) => {}
        }
        for task in tasks {
            running.spawn(task, stop.clone());
        }
        let registry = &self.shared.registry;
        let mut signals = match Signals::listen(self.signals) {
            Ok(signals) => signals,
            Err(error) => {
                registry.fail(TaskFailure::new("signals", Cause::Error(error.into())));
                Signals::default()
            }
        };
        let mut told = pin!(token.cancelled());
        poll_fn(|cx| {
            loop {
                while let Poll::Ready(Some(task)) = added.poll_recv(cx) {
                    running.spawn(task, stop.clone());
                }
                // A failure goes before a wish to stop.
                if registry.poll_stopped(cx).is_ready() {
                    return Poll::Ready(());
                }
                match running.poll_join(cx) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(()),
                    Poll::Pending if registry.poll_idle(cx).is_ready() => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if signals.poll_first(cx).is_ready() { Poll::Ready(()) } else { told.as_mut().poll(cx) }
        })
        .await;
        self.registration().close();
        stop_leading.cancel();
        let (not_stopped, waited) =
            running.join(self.grace, || stop.cancel(), |cx: &mut Context<'_>| signals.poll_second(cx)).await;
        let mut failures = registry.take_failures().into_iter();
        match (failures.next(), not_stopped.is_empty()) {
            (None, true) => Ok(()),
            (None, false) => Err(ManagerError::NotStopped { tasks: not_stopped, grace: duration(waited) }),
            (Some(first), _) => Err(ManagerError::Failed { first, others: failures.collect(), not_stopped }),
        }
    }

    fn registration(&self) -> MutexGuard<'_, Registration> {
        self.shared.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Closing<'a> {
    manager: &'a Manager,
    tokens: [CancellationToken; 2],
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.manager.registration().close();
        self.tokens.iter().for_each(CancellationToken::cancel);
    }
}
