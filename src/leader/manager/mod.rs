//! `Manager`: named tasks, some of them only while this process leads, and the first failure comes out.

mod error;
mod running;

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::error::{Failure, ManagerError};
use self::{
    error::{AnyError, Cause},
    running::{Names, Tasks},
};
use super::{elect::Elect, error::Ended, lock::Lock, term::Term};
use crate::{
    ConfigError,
    policy::nanos::nanos,
    time::{self, Alarm, Timer},
};

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
    state: Mutex<State>,
    names: Names,
}

#[derive(Default)]
struct State {
    phase: Phase,
    tasks: Vec<Task>,
    leader_tasks: Vec<LeaderTask>,
    election: Option<Election>,
    /// Where a task goes that is added while the manager runs.
    late: Option<mpsc::UnboundedSender<Task>>,
    late_leader: Option<mpsc::UnboundedSender<LeaderTask>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    New,
    Running,
    Stopped,
}

type Work = Pin<Box<dyn Future<Output = Result<(), Cause>> + Send>>;

pub(super) struct Task {
    name: String,
    start: Box<dyn FnOnce(CancellationToken) -> Work + Send>,
}

pub(super) struct LeaderTask {
    name: String,
    start: Box<dyn FnOnce(Term) -> Work + Send>,
}

/// Builds the election and runs it: its leader tasks, and where their failures go.
type Election = Box<dyn FnOnce(Leadership) -> Work + Send>;

/// What a run begins with.
type Taken = (Vec<Task>, Vec<LeaderTask>, Option<Election>);

struct Leadership {
    stop: CancellationToken,
    grace: u64,
    tasks: Vec<LeaderTask>,
    late: mpsc::UnboundedReceiver<LeaderTask>,
    failures: mpsc::UnboundedSender<Failure>,
    names: Names,
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("phase", &self.state().phase).finish_non_exhaustive()
    }
}

impl Manager {
    /// A manager without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared { state: Mutex::default(), names: Names::default() }),
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

    /// Adds a task, before or while the manager runs. It should end when its token is cancelled.
    ///
    /// # Errors
    /// The manager has been stopped.
    pub fn add<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        let start = Box::new(move |stop| boxed(task, stop));
        let task = Task { name: name.into(), start };
        let mut state = self.state();
        let task = match (state.phase, &state.late) {
            (Phase::New, _) => {
                state.tasks.push(task);
                return Ok(());
            }
            (Phase::Running, Some(late)) => late.send(task).err().map(|unsent| unsent.0),
            _ => Some(task),
        };
        task.map_or(Ok(()), |task| Err(ManagerError::Stopped { task: task.name }))
    }

    /// Adds a task that runs only while this process leads: from the beginning of the term, or from now on if it has
    /// begun. It should end when its term is [lost](Term::lost), and is not polled after the term's validity.
    ///
    /// # Errors
    /// The manager has been stopped, or its term is over.
    pub fn add_leader<F, Fut, E>(&self, name: impl Into<String>, task: F) -> Result<(), ManagerError>
    where
        F: FnOnce(Term) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        let start = Box::new(move |term| boxed(task, term));
        let task = LeaderTask { name: name.into(), start };
        let mut state = self.state();
        let task = match (state.phase, &state.late_leader) {
            (Phase::New, _) => {
                state.leader_tasks.push(task);
                return Ok(());
            }
            (Phase::Running, Some(late)) => late.send(task).err().map(|unsent| unsent.0),
            _ => Some(task),
        };
        task.map_or(Ok(()), |task| Err(ManagerError::Stopped { task: task.name }))
    }

    /// The election that decides when the leader tasks run. Its lock is given back after they have ended.
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
        let mut state = self.state();
        if state.phase != Phase::New {
            return Err(ManagerError::AlreadyStarted);
        }
        if state.election.is_some() {
            return Err(ManagerError::TwoElections);
        }
        state.election = Some(Box::new(move |leadership| {
            Box::pin(async move {
                let Some(elect) = until(&leadership.stop, build).await else { return Ok(()) };
                lead(elect.map_err(|error| Cause::Error(error.into()))?, leadership).await
            })
        }));
        Ok(())
    }

    /// Runs the tasks until `token` is cancelled, a task fails, the leadership is lost, or all tasks have ended.
    ///
    /// # Errors
    /// The first failure with all that followed it: a task that failed or panicked, an election that could not be built
    /// or was lost, a lock that could not be given back. The tasks that did not stop within the grace. A second start.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks without grace.
    pub async fn run(&self, token: CancellationToken) -> Result<(), ManagerError> {
        let (late, mut newcomers) = mpsc::unbounded_channel();
        let (late_leader, leader_newcomers) = mpsc::unbounded_channel();
        let (failures, mut failed) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let (tasks, leader_tasks, election) = self.take_over(late, late_leader)?;
        // However the run ends, also when it is dropped: nothing can be added any more, everyone is told.
        let _closing = Closing { manager: self, stop: stop.clone() };
        if let (Some(task), None) = (leader_tasks.first(), &election) {
            let rule = "runs only while this process leads, and there is no election";
            return Err(ConfigError::new("leader task", &task.name, rule).into());
        }
        let mut running = Tasks::new(self.shared.names.clone());
        for task in tasks {
            running.spawn(task.name, start(task.start, stop.clone()));
        }
        if let Some(election) = election {
            let names = self.shared.names.clone();
            let (stop, tasks, late) = (stop.clone(), leader_tasks, leader_newcomers);
            let leadership = Leadership { stop, grace: self.grace, tasks, late, failures, names };
            running.spawn("election".to_owned(), election(leadership));
        } else {
            drop(failures);
        }
        let mut found = Vec::new();
        {
            let mut told = pin!(self.told(&token));
            let next = poll_fn(|cx| {
                // A failure goes before a wish to stop.
                if let Poll::Ready(Some(failure)) = failed.poll_recv(cx) {
                    return Poll::Ready(Err(failure));
                }
                loop {
                    while let Poll::Ready(Some(task)) = newcomers.poll_recv(cx) {
                        running.spawn(task.name, start(task.start, stop.clone()));
                    }
                    match running.poll_join(cx) {
                        Poll::Ready(Some(Ok(()))) => {}
                        Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure)),
                        Poll::Ready(None) => return Poll::Ready(Ok(())),
                        Poll::Pending => break,
                    }
                }
                told.as_mut().poll(cx)
            });
            if let Err(failure) = next.await {
                found.push(failure);
            }
        }
        self.close(&stop);
        let not_stopped = join(&mut running, self.grace, &mut found).await;
        while let Ok(failure) = failed.try_recv() {
            found.push(failure);
        }
        match (found.is_empty(), not_stopped.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => {
                Err(ManagerError::NotStopped { tasks: not_stopped, grace: crate::policy::nanos::duration(self.grace) })
            }
            (false, _) => {
                let first = found.remove(0);
                Err(ManagerError::Failed { first, others: found, not_stopped })
            }
        }
    }

    /// Begins the run: everything that was added, once.
    fn take_over(
        &self,
        late: mpsc::UnboundedSender<Task>,
        late_leader: mpsc::UnboundedSender<LeaderTask>,
    ) -> Result<Taken, ManagerError> {
        let mut guard = self.state();
        if guard.phase != Phase::New {
            return Err(ManagerError::AlreadyStarted);
        }
        guard.phase = Phase::Running;
        guard.late = Some(late);
        let election = guard.election.take();
        guard.late_leader = election.is_some().then_some(late_leader);
        Ok((std::mem::take(&mut guard.tasks), std::mem::take(&mut guard.leader_tasks), election))
    }

    fn close(&self, stop: &CancellationToken) {
        let mut state = self.state();
        state.phase = Phase::Stopped;
        (state.late, state.late_leader) = (None, None);
        drop(state);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
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

fn boxed<A, F, Fut, E>(task: F, argument: A) -> Work
where
    F: FnOnce(A) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<AnyError> + 'static,
{
    let work = task(argument);
    Box::pin(async move { work.await.map_err(|error| Cause::Error(error.into())) })
}

/// Begins the task within its own future, so that a panic there is the task's.
async fn start<A>(start: Box<dyn FnOnce(A) -> Work + Send>, argument: A) -> Result<(), Cause> {
    start(argument).await
}

/// The future's value, unless the token is cancelled first.
async fn until<F: Future>(stop: &CancellationToken, future: F) -> Option<F::Output> {
    stop.run_until_cancelled(future).await
}

/// Joins what still runs, within the grace. Answers the names of those that do not end.
async fn join(running: &mut Tasks, grace: u64, found: &mut Vec<Failure>) -> Vec<String> {
    let began = time::now();
    let mut timer = pin!(Timer::default());
    poll_fn(|cx| {
        loop {
            match running.poll_join(cx) {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(failure))) => found.push(failure),
                // What was aborted with its term is gone a little later.
                Poll::Ready(None) if running.poll_gone(cx).is_ready() => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return timer.as_mut().poll_at(cx, time::after(began, grace)),
            }
        }
    })
    .await;
    running.stop()
}

/// Campaigns, and runs the leader tasks in the term.
async fn lead<L: Lock>(elect: Elect<L>, leadership: Leadership) -> Result<(), Cause> {
    let Leadership { stop, grace, tasks, mut late, failures, names } = leadership;
    let leading = elect.cancel_on(stop).cancel_grace(grace).run(|term| async move {
        let mut running = Tasks::new(names);
        for task in tasks {
            running.spawn_guarded(task.name, start(task.start, term.clone()), &term);
        }
        poll_fn(|cx| {
            loop {
                while let Poll::Ready(Some(task)) = late.poll_recv(cx) {
                    running.spawn_guarded(task.name, start(task.start, term.clone()), &term);
                }
                match running.poll_join(cx) {
                    Poll::Ready(Some(Ok(()))) => {}
                    // The manager stops everything; the others end with the term.
                    Poll::Ready(Some(Err(failure))) => drop(failures.send(failure)),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    });
    match leading.await.map_err(Cause::Elect)? {
        // The names of tasks that had to be dropped are said by the manager.
        Ended::Finished(()) | Ended::Cancelled { .. } => Ok(()),
        Ended::Lost { why, .. } => Err(Cause::Lost(why)),
        Ended::Unreleased { error, .. } => Err(Cause::Unreleased(error)),
    }
}
