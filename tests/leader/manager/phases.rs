//! Every kind of failure in every phase of a manager: it comes out, soon.

use std::time::Duration;

use relent::leader::{Elect, Manager, ManagerError, MemoryLock, elect};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Any, S, idle};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The election is still being built.
    Building,
    /// Another leads.
    Campaigning,
    Election,
    /// It was told to stop; the leader task takes its time.
    Stopping,
    /// The leadership was lost; the leader task takes its time.
    Losing,
    /// It was told to stop, and the leader task has ended; the lock does not answer.
    GivingBack,
}

const PHASES: [Phase; 6] =
    [Phase::Building, Phase::Campaigning, Phase::Election, Phase::Stopping, Phase::Losing, Phase::GivingBack];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskFailure {
    Error,
    Panic,
    /// A panic before there is a future.
    PanicAtStart,
}

const FAILURES: [TaskFailure; 3] = [TaskFailure::Error, TaskFailure::Panic, TaskFailure::PanicAtStart];

impl TaskFailure {
    /// Fails in its way, now.
    fn strike(self) -> Result<(), Any> {
        match self {
            Self::Error => Err("the port is in use".into()),
            Self::Panic | Self::PanicAtStart => panic!("the port is in use"),
        }
    }

    fn said(self, task: &str) -> String {
        let verb = if self == Self::Error { "failed" } else { "panicked" };
        format!("{task} {verb}: the port is in use")
    }
}

/// A manager with its election.
struct Stage {
    manager: Manager,
    lock: MemoryLock,
    stop: CancellationToken,
    phase: Phase,
    began: Instant,
}

impl Stage {
    fn new(phase: Phase) -> Self {
        let (manager, lock, stop) = (Manager::new(), MemoryLock::new(), CancellationToken::new());
        idle(&manager, "webhook");
        manager
            .add_leader("controller", move |term| async move {
                if phase == Phase::GivingBack {
                    sleep(S(5)).await;
                } else {
                    term.lost().await;
                    sleep(S(3)).await;
                }
                Ok::<(), Any>(())
            })
            .unwrap();
        if phase == Phase::Building {
            manager.elect_by(std::future::pending::<Result<Elect<MemoryLock>, Any>>()).unwrap();
        } else {
            manager.elect(elect(lock.clone(), "a")).unwrap();
        }
        if phase == Phase::Campaigning {
            lock.give("other", S(3600));
        }
        Self { manager, lock, stop, phase, began: Instant::now() }
    }

    /// A moment well within the phase.
    fn moment(&self) -> Instant {
        // A leader whose lock fails from 5 s on was renewed at 4 s, and is told at 14 s.
        self.began + S(if self.phase == Phase::Losing { 15 } else { 7 })
    }

    /// Plays the phase, and `and` at its moment.
    async fn play(&self, and: impl AsyncFnOnce(&Self)) -> ManagerError {
        let driver = async {
            sleep(S(5) - Duration::from_millis(1)).await;
            match self.phase {
                Phase::Stopping => self.stop.cancel(),
                Phase::Losing => self.lock.fail(1_000_000),
                Phase::GivingBack => {
                    self.lock.hang(1_000_000);
                    self.stop.cancel();
                }
                Phase::Building | Phase::Campaigning | Phase::Election => {}
            }
            sleep_until(self.moment()).await;
            and(self).await;
        };
        let run = timeout(S(60), self.manager.run(self.stop.clone()));
        let (run, ()) = tokio::join!(run, driver);
        run.expect("the manager hangs").expect_err("the failure was swallowed")
    }

    /// The failure is among what came out, first of all where it was the first.
    fn check(&self, error: &ManagerError, said: &str) {
        let failures: Vec<_> = error.failures().map(ToString::to_string).collect();
        let at = failures.iter().position(|failure| failure == said);
        let at = at.unwrap_or_else(|| panic!("{:?}: {said} is not in: {error}", self.phase));
        assert!(at == 0 || self.phase == Phase::Losing, "{:?}: {error}", self.phase);
        assert!(error.to_string().contains(said));
        assert!(self.began.elapsed() <= S(40), "{:?}: {:?}", self.phase, self.began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails() {
    for phase in PHASES {
        for failure in FAILURES {
            if failure == TaskFailure::PanicAtStart {
                continue;
            }
            let stage = Stage::new(phase);
            let moment = stage.moment();
            let task = move |_| async move {
                sleep_until(moment).await;
                failure.strike()
            };
            stage.manager.add("metrics", task).unwrap();
            let error = stage.play(async |_| {}).await;
            stage.check(&error, &failure.said("metrics"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_added_and_fails_at_once() {
    for phase in PHASES.into_iter().filter(|phase| !matches!(phase, Phase::Stopping | Phase::GivingBack)) {
        for failure in FAILURES {
            let stage = Stage::new(phase);
            let error = stage
                .play(async |stage| {
                    let task = move |_| {
                        if failure == TaskFailure::PanicAtStart {
                            failure.strike().unwrap();
                        }
                        async move { failure.strike() }
                    };
                    stage.manager.add("metrics", task).unwrap();
                })
                .await;
            stage.check(&error, &failure.said("metrics"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_task_that_fails() {
    for phase in [Phase::Election, Phase::Stopping, Phase::Losing] {
        for failure in [TaskFailure::Error, TaskFailure::Panic] {
            let stage = Stage::new(phase);
            let moment = stage.moment();
            let task = move |_| async move {
                sleep_until(moment).await;
                failure.strike()
            };
            stage.manager.add_leader("syncer", task).unwrap();
            let error = stage.play(async |_| {}).await;
            stage.check(&error, &failure.said("syncer"));
        }
    }
}

/// The election itself.
#[tokio::test(start_paused = true)]
async fn an_election_that_fails() {
    for (phase, said) in [
        (Phase::Election, "leadership lost: no renewal was confirmed within 10s: no right to use the lock"),
        (Phase::Stopping, "the lock was not given back: no right to use the lock"),
        (Phase::Losing, "leadership lost: no renewal was confirmed within 10s: the lock is down"),
        (Phase::GivingBack, "the lock was not given back: no answer within 4s"),
    ] {
        let stage = Stage::new(phase);
        let error = stage
            .play(async |stage| {
                if phase != Phase::Losing && phase != Phase::GivingBack {
                    stage.lock.forbid(1_000_000);
                }
            })
            .await;
        stage.check(&error, said);
    }
}

/// Told to stop, and the leadership is lost while the leader task still takes its time.
#[tokio::test(start_paused = true)]
async fn a_loss_while_stopping() {
    let (manager, lock, stop) = (Manager::new(), MemoryLock::new(), CancellationToken::new());
    manager
        .add_leader("controller", |term| async move {
            term.lost().await;
            sleep(S(20)).await;
            Ok::<(), Any>(())
        })
        .unwrap();
    manager.elect(elect(lock.clone(), "a")).unwrap();
    let began = Instant::now();
    let (error, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(5)).await;
        lock.fail(1_000_000);
        stop.cancel();
    });
    // Renewed at 4 s, lost at 14 s, dropped at 17.5 s: not at 25 s.
    let said = "leadership lost: no renewal was confirmed within 10s: the lock is down; did not stop: controller";
    assert_eq!(error.unwrap_err().to_string(), said);
    assert_eq!(began.elapsed(), Duration::from_millis(17_500));
}

/// Both what a task failed with and what the stop failed with can be had as what they are.
#[tokio::test(start_paused = true)]
async fn the_first_failure_and_one_of_the_stop_keep_their_types() {
    let manager = Manager::new();
    let closed = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    manager.add("metrics", |_| async { Err::<(), Any>("the port is in use".into()) }).unwrap();
    manager
        .add("flusher", move |stop: CancellationToken| async move {
            stop.cancelled().await;
            Err::<(), _>(closed())
        })
        .unwrap();
    let error = manager.run(CancellationToken::new()).await.unwrap_err();
    let flusher = error.failures().find(|failure| failure.task() == "flusher").unwrap();
    let io = flusher.error().and_then(|error| error.downcast_ref::<std::io::Error>());
    assert_eq!(io.unwrap().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(error.failures().next().unwrap().task(), "metrics");
}
