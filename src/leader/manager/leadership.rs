//! The election of a manager, and its leader tasks.

use std::{future::poll_fn, task::Poll};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{
    error::Cause,
    plan::Task,
    running::{Registry, Tasks},
};
use crate::leader::{elect::Elect, error::Ended, lock::Lock, term::Term};

pub(super) struct Leadership {
    pub(super) stop: CancellationToken,
    pub(super) grace: u64,
    pub(super) tasks: Vec<Task<Term>>,
    /// Tasks that are added later.
    pub(super) newcomers: UnboundedReceiver<Task<Term>>,
    pub(super) registry: Registry,
}

impl Leadership {
    /// Campaigns, and runs the leader tasks in the term.
    pub(super) async fn lead<L: Lock>(self, elect: Elect<L>) -> Result<(), Cause> {
        let Self { stop, grace, tasks, mut newcomers, registry } = self;
        let leading = elect.cancel_on(stop).tasks_grace(grace).run(|term| async move {
            let mut running = Tasks::new(&registry);
            for task in tasks {
                running.spawn_in(&term, task);
            }
            // A failure is the manager's, who stops everything; until then the other tasks go on.
            poll_fn(|cx| {
                loop {
                    while let Poll::Ready(Some(task)) = newcomers.poll_recv(cx) {
                        running.spawn_in(&term, task);
                    }
                    match running.poll_join(cx) {
                        Poll::Ready(true) => {}
                        Poll::Ready(false) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
        });
        match leading.await.map_err(Cause::Elect)? {
            // Tasks that had to be dropped are named by the manager.
            Ended::Finished(()) | Ended::Cancelled { .. } => Ok(()),
            Ended::Lost { why, .. } => Err(Cause::Lost(why)),
            Ended::Unreleased { error, .. } => Err(Cause::Unreleased(error)),
        }
    }
}
