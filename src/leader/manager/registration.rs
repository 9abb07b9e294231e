//! What a manager is to run.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::{
    error::ManagerError,
    leadership::Leadership,
    task::{LeaderTask, Task, TaskFuture},
};

/// Builds the election and runs it.
type BuildElection = Box<dyn FnOnce(Leadership) -> TaskFuture + Send>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    New,
    Running,
    Stopped,
}

#[derive(Default)]
pub(super) struct Registration {
    pub(super) phase: Phase,
    tasks: Vec<Task<CancellationToken>>,
    leader_tasks: Vec<LeaderTask>,
    election: Option<BuildElection>,
    /// Where a task goes that is added while the manager runs.
    added_tx: Option<UnboundedSender<Task<CancellationToken>>>,
    added_leader_tx: Option<UnboundedSender<LeaderTask>>,
}

/// What a run begins with, and where tasks come from that are added later.
pub(super) struct Started {
    pub(super) tasks: Vec<Task<CancellationToken>>,
    pub(super) added: UnboundedReceiver<Task<CancellationToken>>,
    pub(super) leader_tasks: Vec<LeaderTask>,
    pub(super) added_leader: UnboundedReceiver<LeaderTask>,
    pub(super) election: Option<BuildElection>,
}

impl Registration {
    pub(super) fn add(&mut self, task: Task<CancellationToken>) -> Result<(), ManagerError> {
        let refused = match (self.phase, &self.added_tx) {
            (Phase::New, _) => {
                self.tasks.push(task);
                return Ok(());
            }
            (Phase::Running, Some(added_tx)) => added_tx.send(task).err().map(|unsent| unsent.0),
            _ => Some(task),
        };
        refused.map_or(Ok(()), |task| Err(ManagerError::Stopped { task: task.name }))
    }

    /// Where the manager runs, `waits` is called before the task may begin.
    pub(super) fn add_leader(&mut self, task: LeaderTask, waits: impl FnOnce()) -> Result<(), ManagerError> {
        match (self.phase, &self.added_leader_tx) {
            (Phase::New, _) => {
                self.leader_tasks.push(task);
                Ok(())
            }
            (Phase::Running, Some(added_tx)) => {
                waits();
                // Where the election has ended the manager is about to stop.
                added_tx.send(task).map_err(|unsent| ManagerError::Stopped { task: unsent.0.name().to_owned() })
            }
            (Phase::Running, None) => Err(task.without_election()),
            (Phase::Stopped, _) => Err(ManagerError::Stopped { task: task.name().to_owned() }),
        }
    }

    pub(super) fn elect(&mut self, election: BuildElection) -> Result<(), ManagerError> {
        if self.phase != Phase::New {
            return Err(ManagerError::AlreadyStarted);
        }
        if self.election.is_some() {
            return Err(ManagerError::TwoElections);
        }
        self.election = Some(election);
        Ok(())
    }

    /// Begins the run: everything that was added, once.
    pub(super) fn begin(&mut self) -> Result<Started, ManagerError> {
        if self.phase != Phase::New {
            return Err(ManagerError::AlreadyStarted);
        }
        self.phase = Phase::Running;
        let (added_tx, added) = unbounded_channel();
        let (added_leader_tx, added_leader) = unbounded_channel();
        let election = self.election.take();
        self.added_tx = Some(added_tx);
        self.added_leader_tx = election.is_some().then_some(added_leader_tx);
        let (tasks, leader_tasks) = (std::mem::take(&mut self.tasks), std::mem::take(&mut self.leader_tasks));
        Ok(Started { tasks, added, leader_tasks, added_leader, election })
    }

    /// From here on nothing can be added.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Stopped;
        (self.added_tx, self.added_leader_tx) = (None, None);
    }
}
