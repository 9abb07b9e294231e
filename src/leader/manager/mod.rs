//! `Manager`: named tasks, some of them only while this process leads, and the first failure comes out.

mod error;
mod leadership;
mod plan;
mod running;

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub use self::error::{Failure, ManagerError};
use self::{
    error::{AnyError, Cause},
    leadership::Leadership,
    plan::{Begun, Plan, Task},
    running::{Registry, Tasks},
};
use super::{elect::Elect, lock::Lock, term::Term};
use crate::policy::nanos::{duration, nanos};

/// Runs named tasks until it is told to stop, or until one of them fails.
///
/// Plain tasks run from the start; leader tasks run while this process leads, if there is an
/// [election](Self::elect). The first failure is what [`run`](Self::run) returns; everything else is stopped then, joined
/// within the [`grace`](Self::grace), and whatever did not stop is named. Clones stand for the same manager.
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
    shared: Arc<Shared>,
    grace: u64,
    #[cfg(feature = "signal")]
    signals: bool,
}

struct Shared {
    plan: Mutex<Plan>,
    registry: Registry,
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("phase", &self.plan().phase).finish_non_exhaustive()
    }
}

impl Manager {
    /// A manager without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared { plan: Mutex::default(), registry: Registry::default() }),
            grace: 30_000_000_000,
            #[cfg(feature = "signal")]
            signals: false,
        }
    }

    /// How long tasks may take to end once they were told. Default: 30 s. Zero does not wait; `Duration::MAX` waits for ever.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = nanos(grace);
        self
    }

    /// Stop on ctrl-c and SIGTERM, too.
    #[cfg(feature = "signal")]
    #[must_use]
    pub fn stop_on_signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// Adds a task, before or while the manager runs. It should end when its token is cancelled. One that is added at the
    /// instant of the stop may never begin.
    ///
    /// # Errors
    /// The manager has been stopped.
    pub fn add<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        self.plan().add(Task::new(name, task))
    }

    /// Adds a task that runs only while this process leads: from the beginning of the term, or from now on if it has
    /// begun. It should end when its term is [lost](Term::lost), and is not polled after the term's validity. The term
    /// ends when none of its tasks is left.
    ///
    /// # Errors
    /// The manager has been stopped, or its term is over. It runs without an election.
    pub fn add_leader<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnOnce(Term) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        self.plan().add_leader(Task::new(name, task))
    }

    /// The election that decides when the leader tasks run. Its lock is given back after they have ended; where one does
    /// not end within the grace, the lock lapses instead.
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
        self.plan().elect(Box::new(move |leadership: Leadership| {
            Box::pin(async move {
                let stop = leadership.stop.clone();
                let Some(elect) = stop.run_until_cancelled(build).await else { return Ok(()) };
                leadership.lead(elect.map_err(|error| Cause::Error(error.into()))?).await
            })
        }))
    }

    /// Runs the tasks until `token` is cancelled, a task fails, the leadership is lost, or all tasks have ended.
    ///
    /// # Errors
    /// The first failure with all that followed it: a task that failed or panicked, an election that could not be built
    /// or was lost, a lock that could not be given back. The tasks that did not stop within the grace. A second start.
    /// Leader tasks without an election.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks without grace.
    pub async fn run(&self, token: CancellationToken) -> Result<(), ManagerError> {
        let stop = CancellationToken::new();
        let Begun { tasks, mut newcomers, leader_tasks, leader_newcomers, election } = self.plan().begin()?;
        // However the run ends, also when it is dropped: nothing can be added any more, everyone is told.
        let _closing = Closing { manager: self, stop: stop.clone() };
        let mut running = Tasks::new(&self.shared.registry);
        match (election, leader_tasks.first()) {
            (Some(election), _) => {
                let grace = self.grace;
                let registry = self.shared.registry.clone();
                let (tasks, newcomers) = (leader_tasks, leader_newcomers);
                let leadership = Leadership { stop: stop.clone(), grace, tasks, newcomers, registry };
                running.spawn_election(election(leadership));
            }
            (None, Some(task)) => return Err(task.without_election()),
            (None, None) => {}
        }
        for task in tasks {
            running.spawn(task, stop.clone());
        }
        let mut told = pin!(self.told(&token));
        let registry = &self.shared.registry;
        let over = poll_fn(|cx| {
            loop {
                while let Poll::Ready(Some(task)) = newcomers.poll_recv(cx) {
                    running.spawn(task, stop.clone());
                }
                // A failure goes before a wish to stop.
                if registry.poll_failed(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match running.poll_join(cx) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Ok(())),
                    Poll::Pending => return told.as_mut().poll(cx),
                }
            }
        });
        if let Err(failure) = over.await {
            registry.fail(failure);
        }
        self.close(&stop);
        let not_stopped = running.join(self.grace).await;
        let mut failures = registry.take_failures().into_iter();
        match (failures.next(), not_stopped.is_empty()) {
            (None, true) => Ok(()),
            (None, false) => Err(ManagerError::NotStopped { tasks: not_stopped, grace: duration(self.grace) }),
            (Some(first), _) => Err(ManagerError::Failed { first, others: failures.collect(), not_stopped }),
        }
    }

    fn close(&self, stop: &CancellationToken) {
        self.plan().close();
        stop.cancel();
    }

    #[cfg(not(feature = "signal"))]
    async fn told(&self, token: &CancellationToken) -> Result<(), Failure> {
        token.cancelled().await;
        Ok(())
    }

    #[cfg(feature = "signal")]
    async fn told(&self, token: &CancellationToken) -> Result<(), Failure> {
        let mut told = pin!(token.cancelled());
        if !self.signals {
            told.await;
            return Ok(());
        }
        let signal = |error: std::io::Error| Failure::new("signals", Cause::Error(error.into()));
        let mut ctrl_c = pin!(tokio::signal::ctrl_c());
        #[cfg(unix)]
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(signal)?;
        poll_fn(|cx| {
            #[cfg(unix)]
            if terminate.poll_recv(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(pressed) = ctrl_c.as_mut().poll(cx) {
                return Poll::Ready(pressed.map_err(signal));
            }
            told.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Closing<'a> {
    manager: &'a Manager,
    stop: CancellationToken,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.manager.close(&self.stop);
    }
}
