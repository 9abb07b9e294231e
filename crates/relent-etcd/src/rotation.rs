//! One call at a time, to one endpoint at a time; and what several calls say together.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use relent::{Decision, Progress};

use crate::{
    CallError, CallErrorClass, Cluster, Member, MemberChange, MemberError,
    asking::{Silence, ask},
    quorum::{Change, Voters},
    time::{self, Instant},
};

/// How long after a read the list must have come. Below the 5 s after which a process of etcd's that was started anew
/// may serve clients although it has not caught up (`wait-cluster-ready-timeout`).
const APART: Duration = Duration::from_secs(4);

/// The state of a cluster all of whose members are well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterHealth {
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

    /// The endpoint to ask now. Unless [`keep`](Self::keep) is told that it has answered, the next one is asked next:
    /// also where the call is dropped before it could answer.
    fn turn(&self) -> (usize, &str) {
        let endpoints = self.cluster.endpoints();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(endpoints.len()).unwrap_or(0);
        (turn, endpoints.get(at).map_or("", String::as_str))
    }

    fn keep(&self, turn: usize) {
        self.next.store(turn, Ordering::Relaxed);
    }

    /// The members, from the first endpoint that answers; each call has so long, where that is not left to the caller.
    pub(super) async fn list(&self, each: Option<Duration>) -> Result<Vec<Member>, MemberError> {
        let mut tried = 0_usize;
        loop {
            let (turn, endpoint) = self.turn();
            tried = tried.saturating_add(1);
            // On the heap: a client of etcd may need many KB for a call.
            let error = match Box::pin(self.list_at(endpoint, each)).await {
                Ok(members) => {
                    self.keep(turn);
                    return Ok(members);
                }
                Err(error) => error,
            };
            // Another endpoint may have another certificate.
            let everywhere = error.decision() == Decision::Fatal && !is_untrusted(&error);
            if everywhere || tried >= self.cluster.endpoints().len() {
                return Err(error);
            }
        }
    }

    /// What all had agreed upon. Where this etcd cannot tell, what this endpoint lists after it has caught up: each
    /// part proves nothing without the other.
    ///
    /// The process may end between the two, and the list may come from the one that was started in its place. Until
    /// that one has got its own name agreed upon, and so has applied all that was agreed upon before it was started, it
    /// serves no client; unless, in newer versions, 5 s have passed. So it is by the time between the two that the list
    /// is known to be current.
    async fn list_at(&self, endpoint: &str, each: Option<Duration>) -> Result<Vec<Member>, MemberError> {
        let cluster = &self.cluster;
        let agreed = limited(each, cluster.agreed_members(endpoint)).await.map_err(failed("member list", endpoint))?;
        if let Some(members) = agreed {
            return Ok(members);
        }
        let barrier = limited(each, cluster.barrier(endpoint)).await;
        barrier.map_err(failed("read before the member list", endpoint))?;
        let caught_up = time::now();
        let members = limited(each, cluster.local_members(endpoint)).await;
        members.and_then(|members| not_late(caught_up).map(|()| members)).map_err(failed("member list", endpoint))
    }

    pub(super) async fn change(&self, step: &MemberChange) -> Result<(), MemberError> {
        let (turn, endpoint) = self.turn();
        let changed = match step {
            MemberChange::Add { peer_urls, learner } => self
                .cluster
                .add(endpoint, peer_urls.as_slice(), *learner)
                .await
                .map(drop)
                .map_err(failed("member add", endpoint)),
            MemberChange::Promote(member) => {
                self.cluster.promote(endpoint, member.id).await.map_err(failed("member promote", endpoint))
            }
            MemberChange::Remove(member) => {
                self.cluster.remove(endpoint, member.id).await.map_err(failed("member remove", endpoint))
            }
        };
        match &changed {
            Err(MemberError::Call { error, .. }) if error.class() == CallErrorClass::Elsewhere => {}
            _ => self.keep(turn),
        }
        changed
    }

    /// What the list cannot tell: which members run. Etcd's own check comes late where a process has only just died,
    /// and it promotes a learner that has caught up and died since.
    pub(super) async fn guard(
        &self,
        step: &MemberChange,
        members: &[Member],
        each: Duration,
    ) -> Result<(), MemberError> {
        let change = match step {
            MemberChange::Add { learner: true, .. } => return Ok(()),
            MemberChange::Remove(member) if member.learner => return Ok(()),
            MemberChange::Promote(member) => {
                return match ask(&self.cluster, &[member], members.len(), each).await.pop() {
                    Some(Err(error)) if error.means_down() => {
                        Err(MemberError::NotAnswering { member: Box::new(member.clone()), error: error.0 })
                    }
                    _ => Ok(()),
                };
            }
            MemberChange::Add { .. } => Change::AddVoter,
            MemberChange::Remove(_) => Change::RemoveVoter { able: false },
        };
        let leaves = |member: &Member| matches!(step, MemberChange::Remove(gone) if gone.id == member.id);
        let voters: Vec<_> = members.iter().filter(|member| !member.learner && !leaves(member)).collect();
        let all = voters.len().saturating_add(usize::from(matches!(step, MemberChange::Remove(_))));
        let started: Vec<_> = voters.into_iter().filter(|voter| voter.started()).collect();
        let answers = ask(&self.cluster, &started, members.len(), each).await;
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

    pub(super) async fn health(&self, each: Duration) -> Result<Progress<ClusterHealth, MemberError>, MemberError> {
        let members = self.list(None).await?;
        let (started, others): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.started());
        let answers = ask(&self.cluster, &started, members.len(), each).await;
        let mut leader = 0;
        let mut ill: Vec<_> = others.iter().map(|member| format!("{member}: it has not started yet")).collect();
        for (member, answer) in started.iter().zip(answers) {
            match answer {
                Err(Silence(error)) => ill.push(format!("{member}: {error}")),
                Ok(status) if !status.errors.is_empty() => ill.push(format!("{member}: {}", status.errors.join(", "))),
                Ok(status) if status.leader == 0 => ill.push(format!("{member}: it follows no leader")),
                Ok(status) if leader != 0 && status.leader != leader => {
                    ill.push(format!("{member}: it follows {:x}, others follow {leader:x}", status.leader));
                }
                Ok(status) => leader = status.leader,
            }
        }
        Ok(if ill.is_empty() {
            Progress::Done(ClusterHealth { leader, members })
        } else {
            let well = members.len().saturating_sub(ill.len());
            Progress::Moving(format!("{well} of {} members are well; {}", members.len(), ill.join("; ")))
        })
    }
}

fn is_untrusted(error: &MemberError) -> bool {
    matches!(error, MemberError::Call { error: CallError::Untrusted(_), .. })
}

fn failed(call: &'static str, endpoint: &str) -> impl FnOnce(CallError) -> MemberError {
    let endpoint = endpoint.to_owned();
    move |error| MemberError::Call { call, endpoint, error }
}

/// Whether a list that comes now belongs to a read that ended then.
pub(super) fn not_late(caught_up: Instant) -> Result<(), CallError> {
    let apart = time::now().saturating_duration_since(caught_up);
    if apart < APART {
        return Ok(());
    }
    Err(CallError::NoAnswer(format!("the list came {apart:?} after the read that it belongs to, and may be old")))
}

/// A call, with its own deadline.
async fn limited<T>(each: Option<Duration>, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let Some(each) = each else { return call.await };
    let nothing = || Err(CallError::NoAnswer(format!("nothing within {each:?}")));
    time::within(each, call).await.unwrap_or_else(nothing)
}
