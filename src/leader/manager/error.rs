//! How a manager fails.

use std::{error::Error, fmt, time::Duration};

use crate::{
    error::ConfigError,
    leader::{ElectError, LockError, Loss},
    policy::nanos::Written,
};

/// Why a [`Manager`](super::Manager) did not run, or did not run to a good end. Its text tells the whole chain of
/// causes, so it has no source; what a task failed with can be had by [`failures`](Self::failures) and
/// [`TaskFailure::error`].
#[non_exhaustive]
pub enum ManagerError {
    /// A task failed, or the election; everything else was stopped.
    #[non_exhaustive]
    Failed {
        /// What failed first.
        first: TaskFailure,
        /// What failed after it, in order.
        others: Vec<TaskFailure>,
        /// The tasks that did not end within the grace.
        not_stopped: Vec<String>,
    },
    /// It was told to stop, and some tasks did not end in time.
    #[non_exhaustive]
    NotStopped {
        /// Their names.
        tasks: Vec<String>,
        /// How long they had: the grace, or until a second signal ended it.
        grace: Duration,
    },
    /// It was started before.
    AlreadyStarted,
    /// A task was added after the stop.
    #[non_exhaustive]
    Stopped {
        /// The task.
        task: String,
    },
    /// It has an election already.
    TwoElections,
    /// A setting that cannot be.
    Config(ConfigError),
}

impl From<ConfigError> for ManagerError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl ManagerError {
    /// Everything that failed, the first one first.
    pub fn failures(&self) -> impl Iterator<Item = &TaskFailure> {
        let (first, others) = match self {
            Self::Failed { first, others, .. } => (Some(first), others.as_slice()),
            _ => (None, [].as_slice()),
        };
        first.into_iter().chain(others)
    }

    /// The tasks that did not end within the grace.
    #[must_use]
    pub fn not_stopped(&self) -> &[String] {
        match self {
            Self::Failed { not_stopped, .. } => not_stopped,
            Self::NotStopped { tasks, .. } => tasks,
            _ => &[],
        }
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { first, others, not_stopped } => {
                write!(f, "{first}")?;
                for other in others {
                    write!(f, "; then {other}")?;
                }
                if not_stopped.is_empty() { Ok(()) } else { write!(f, "; did not stop: {}", not_stopped.join(", ")) }
            }
            Self::NotStopped { tasks, grace } => {
                write!(f, "did not stop within {}: {}", Written(*grace), tasks.join(", "))
            }
            Self::AlreadyStarted => f.write_str("the manager was started already"),
            Self::Stopped { task } => write!(f, "cannot add {task}: the manager has been stopped"),
            Self::TwoElections => f.write_str("the manager has an election already"),
            Self::Config(error) => error.fmt(f),
        }
    }
}

/// The text: `unwrap()` and `fn main() -> Result` show it.
impl fmt::Debug for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ManagerError {}

/// The failure of one task. Its text tells the whole chain of causes, so it has no source.
pub struct TaskFailure {
    task: String,
    cause: Box<Cause>,
}

pub(super) type AnyError = Box<dyn Error + Send + Sync>;

pub(super) enum Cause {
    Error(AnyError),
    Panic(String),
    Elect(ElectError),
    Lost(Loss),
    Held(String),
    Unreleased(LockError),
}

impl TaskFailure {
    pub(super) fn new(task: impl Into<String>, cause: Cause) -> Self {
        Self { task: task.into(), cause: Box::new(cause) }
    }

    /// The name of the task; `election` for the election.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(*self.cause, Cause::Panic(_))
    }

    /// What the task failed with, or the election; `None` for a panic, and for a loss that no failure of the lock has
    /// led to.
    ///
    /// ```
    /// use relent::leader::Manager;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::new();
    /// manager.add("metrics", |_| async { Err::<(), _>(std::io::Error::from(std::io::ErrorKind::AddrInUse)) })?;
    /// let error = manager.run(Default::default()).await.unwrap_err();
    /// let failed_with = error.failures().next().and_then(|failure| failure.error()).unwrap();
    /// assert!(failed_with.is::<std::io::Error>());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match &*self.cause {
            Cause::Error(error) => Some(&**error),
            Cause::Elect(error) => Some(error),
            Cause::Lost(Loss::Deadline { last: Some(error), .. }) | Cause::Unreleased(error) => Some(error),
            Cause::Panic(_) | Cause::Lost(_) | Cause::Held(_) => None,
        }
    }

    /// Why the leadership was lost, if it was.
    #[must_use]
    pub fn loss(&self) -> Option<&Loss> {
        match &*self.cause {
            Cause::Lost(loss) => Some(loss),
            _ => None,
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = &self.task;
        match &*self.cause {
            Cause::Error(error) => write!(f, "{task} failed: {}", crate::error::chain(&**error)),
            Cause::Panic(text) => write!(f, "{task} panicked: {text}"),
            Cause::Elect(error) => write!(f, "{task} failed: {error}"),
            Cause::Held(by) => write!(f, "{task} failed: {by} leads, and this process was not to wait"),
            Cause::Lost(loss) => write!(f, "leadership lost: {loss}"),
            Cause::Unreleased(error) => write!(f, "the lock was not given back: {error}"),
        }
    }
}

/// The text: `unwrap()` and `fn main() -> Result` show it.
impl fmt::Debug for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for TaskFailure {}
