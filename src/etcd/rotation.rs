//! One call at a time, to one endpoint at a time; and what several calls say together.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
    time::Duration,
};

use crate::{
    Decision, Progress,
    etcd::{CallError, Class, Cluster, Member, MemberError, Status, Step},
    policy::{
        nanos::duration,
        quorum::{Change, Voters},
    },
    time,
};

/// How long after a read the list must have come. Below the 5 s after which a process of etcd's that was started anew may serve
/// clients although it has not caught up (`wait-cluster-ready-timeout`).
const APART: Duration = Duration::from_secs(4);

/// The state of a cluster all of whose members are well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The id of the leader.
    pub leader: u64,
    /// The members.
    pub members: Vec<Member>,
}

/// The endpoints, and which of them to ask next.
pub(super) struct Rotation<C> {
    pub(super) cluster: C,
    next: AtomicUsize,
}

// ===== impl Rotation =====

impl<C: Cluster> Rotation<C> {
    pub(super) fn new(cluster: C) -> Self {
        Self { cluster, next: AtomicUsize::new(0) }
    }

    /// The endpoint to ask now. Unless [`keep`](Self::keep) is told that it has answered, the next one is asked next: also where
    /// the call is dropped before it could answer.
    fn turn(&self) -> (usize, &str) {
        let endpoints = self.cluster.endpoints();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(endpoints.len()).unwrap_or(0);
        (turn, endpoints.get(at).map_or("", String::as_str))
    }

    fn keep(&self, turn: usize) {
        self.next.store(turn, Ordering::Relaxed);
    }

    pub(super) async fn list(&self) -> Result<Vec<Member>, MemberError> {
        let mut tried = 0_usize;
        loop {
            let (turn, endpoint) = self.turn();
            tried = tried.saturating_add(1);
            let error = match self.list_at(endpoint).await {
                Ok(members) => {
                    self.keep(turn);
                    return Ok(members);
                }
                Err(error) => error,
            };
            if error.decision() == Decision::Fatal || tried >= self.cluster.endpoints().len() {
                return Err(error);
            }
        }
    }

    /// What this endpoint lists after it has caught up: each part proves nothing without the other.
    ///
    /// The process may end between the two, and the list may come from the one that was started in its place. Until that one has
    /// got its own name agreed upon, and so has applied all that was agreed upon before it was started, it serves no client;
    /// unless, in newer versions, 5 s have passed. So it is by the time between the two that the list is known to be current.
    async fn list_at(&self, endpoint: &str) -> Result<Vec<Member>, MemberError> {
        self.cluster.barrier(endpoint).await.map_err(failed("read before the member list", endpoint))?;
        let caught_up = time::now();
        let members = self.cluster.local_members(endpoint).await.map_err(failed("member list", endpoint))?;
        let apart = duration(time::between(caught_up, time::now()));
        if apart < APART {
            return Ok(members);
        }
        let late =
            CallError::NoAnswer(format!("the list came {apart:?} after the read that it belongs to, and may be old"));
        Err(failed("member list", endpoint)(late))
    }

    pub(super) async fn change(&self, step: &Step) -> Result<(), MemberError> {
        let (turn, endpoint) = self.turn();
        let changed = match step {
            Step::Add { peer_urls, learner } => self
                .cluster
                .add(endpoint, peer_urls.as_slice(), *learner)
                .await
                .map(drop)
                .map_err(failed("member add", endpoint)),
            Step::Promote(member) => {
                self.cluster.promote(endpoint, member.id).await.map_err(failed("member promote", endpoint))
            }
            Step::Remove(member) => {
                self.cluster.remove(endpoint, member.id).await.map_err(failed("member remove", endpoint))
            }
        };
        match &changed {
            Err(MemberError::Call { error, .. }) if error.class() == Class::Elsewhere => {}
            _ => self.keep(turn),
        }
        changed
    }

    /// What the list cannot tell: who runs. Etcd's own check comes late where a process has only just died, and it promotes a
    /// learner that has caught up and died since.
    pub(super) async fn guard(&self, step: &Step, members: &[Member], each: Duration) -> Result<(), MemberError> {
        let change = match step {
            Step::Add { learner: true, .. } => return Ok(()),
            Step::Remove(member) if member.learner => return Ok(()),
            Step::Promote(member) => {
                return match self.ask(member, each).await {
                    Err(error) if error.means_down() => {
                        Err(MemberError::NotAnswering { member: Box::new(member.clone()), error: error.0 })
                    }
                    _ => Ok(()),
                };
            }
            Step::Add { .. } => Change::AddVoter,
            Step::Remove(_) => Change::RemoveVoter { able: false },
        };
        let leaves = |member: &Member| matches!(step, Step::Remove(gone) if gone.id == member.id);
        let voters: Vec<_> = members.iter().filter(|member| !member.learner && !leaves(member)).collect();
        let all = voters.len().saturating_add(usize::from(matches!(step, Step::Remove(_))));
        let answers = join(voters.iter().filter(|voter| voter.started()).map(|voter| self.ask(voter, each))).await;
        let able = answers.iter().filter(|answer| !matches!(answer, Err(error) if error.means_down())).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let after = Voters::new(count(all), count(able)).after(change);
        if after.have_quorum() {
            return Ok(());
        }
        Err(MemberError::WouldLoseQuorum {
            change: step.to_string(),
            voters: after.all,
            able: after.able,
            quorum: after.quorum(),
            advice: "those that do not answer must run first",
            later: true,
        })
    }

    /// Asks a member itself, at its own client URLs.
    async fn ask(&self, member: &Member, each: Duration) -> Result<Status, Silence> {
        let mut last = Silence(CallError::NotSent("it names no client url".to_owned()));
        for url in &member.client_urls {
            match crate::retry(|_| self.cluster.status(url)).max_attempts(1).attempt_timeout(each).await {
                Ok(status) => return Ok(status),
                Err(gave_up) => {
                    let nothing = || CallError::NoAnswer(format!("nothing within {each:?}"));
                    last = Silence(gave_up.into_error().unwrap_or_else(nothing));
                }
            }
        }
        Err(last)
    }

    pub(super) async fn health(&self, each: Duration) -> Result<Progress<Health, MemberError>, MemberError> {
        let members = self.list().await?;
        let answers = join(members.iter().map(|member| self.well(member, each))).await;
        let mut leader = 0;
        let mut ill = Vec::new();
        for (member, answer) in members.iter().zip(answers) {
            match answer {
                Err(why) => ill.push(format!("{member}: {why}")),
                Ok(status) if !status.errors.is_empty() => ill.push(format!("{member}: {}", status.errors.join(", "))),
                Ok(status) if status.leader == 0 => ill.push(format!("{member}: it follows no leader")),
                Ok(status) if leader != 0 && status.leader != leader => {
                    ill.push(format!("{member}: it follows {:x}, others follow {leader:x}", status.leader));
                }
                Ok(status) => leader = status.leader,
            }
        }
        Ok(if ill.is_empty() {
            Progress::Done(Health { leader, members })
        } else {
            let well = members.len().saturating_sub(ill.len());
            Progress::Moving(format!("{well} of {} members are well; {}", members.len(), ill.join("; ")))
        })
    }

    async fn well(&self, member: &Member, each: Duration) -> Result<Status, String> {
        if !member.started() {
            return Err("it has not started yet".to_owned());
        }
        self.ask(member, each).await.map_err(|Silence(error)| error.to_string())
    }
}

/// Why a member could not be asked.
struct Silence(CallError);

impl Silence {
    /// Whether it looks as if it did not run: nobody listens, or nobody answers. What answers anything runs; and where the way to it
    /// is not known to this process, nothing is known about it.
    fn means_down(&self) -> bool {
        matches!(&self.0, CallError::NotSent(_) | CallError::NoAnswer(_))
    }
}

/// All of them at once.
async fn join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<_> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(cx) {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

fn failed(call: &'static str, endpoint: &str) -> impl FnOnce(CallError) -> MemberError {
    let endpoint = endpoint.to_owned();
    move |error| MemberError::Call { call, endpoint, error }
}
