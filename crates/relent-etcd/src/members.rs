//! Changing the members, and knowing that it was done.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use relent::{
    Attempt, ConfigError, Decision, Observed, Operation, Policy, Progress,
    builder::{Ensure, Settle},
    operation::{Reconciler, ReconcilerTypes},
};

use crate::{
    Cluster, ClusterHealth, Member, MemberChange, MemberError, PeerUrls, Which,
    intent::{Goal, Intent, View},
    rotation::Rotation,
};

/// The members of an etcd cluster: each operation says how it should be, looks, changes what is not so, and looks
/// again.
///
/// Success comes only from a list of members that is known to be current: one that all have agreed upon. (Etcd before
/// 3.5 lists what one member happens to know, whatever it is asked: there, a read through the leader comes before the
/// list, from the same endpoint, and with user accounts it takes the right to read the key `relent/barrier`.) What
/// cannot answer is rotated away from: endpoints that are down or hang, learners, members without a quorum.
///
/// - A member is identified by its id, and found by any of its peer URLs, written as etcd writes them ([`PeerUrls`]).
/// - Its kind is checked: a learner is not taken for a voter, nor a voter for a learner.
/// - "Already exists", "not found" and "no learner" are questions, which the list answers; "too many learners",
///   "unhealthy", "not in sync" and the like are worth another try; permissions, wrong URLs and wrong certificates are
///   not ([`classify`](crate::classify)).
/// - A change that would leave too few voters that can vote is not sent, unless
///   [`may_lose_quorum`](Self::may_lose_quorum); and no learner is promoted that does not answer. Which can vote is
///   asked of the members themselves, at the client URLs they advertise: a process that cannot reach those cannot tell,
///   and needs `may_lose_quorum`. An answer counts for the member that it comes from, if it calls itself what the list
///   calls it. Where several members advertise one URL (a Service, a virtual address), it is asked until each has
///   answered.
///
/// Each operation is an [`Ensure`]: it tries every 500 ms, every call has 5 s, all of it 2 minutes, and every word of
/// `ensure` changes that. The time of one call, or half of `finish_within` where that is less, is kept for the closing
/// look: an act is cut by then and none starts later, so that of `finish_within(4 s)` alone the last act ends at 2 s.
/// Operations of several processes at once do no harm to each other: etcd agrees upon one change at a time, and the
/// second one looks first.
///
/// ```
/// use std::time::Duration;
/// use relent::Change;
/// use relent_etcd::Members;
/// use relent_etcd::model::Model;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::new(3);
/// model.start_joined_after(Some(Duration::from_secs(3)));
/// let members = Members::new(model.client())?;
///
/// // As a learner, until it has started and caught up; then as a voter.
/// let voter = members.ensure_joined(["http://etcd-4:2380"])?.finish_within(Duration::from_secs(60)).await?;
/// assert_eq!((voter.change, voter.value.learner), (Change::Applied, false));
/// members.wait_healthy().await?;
///
/// let gone = members.ensure_removed("http://etcd-1:2380")?.await?;
/// assert_eq!(gone.value.removed.unwrap().name, "etcd-1");
/// # Ok(())
/// # }
/// ```
pub struct Members<C> {
    shared: Arc<Rotation<C>>,
    policy: Policy,
    may_lose_quorum: bool,
}

/// A member that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gone {
    /// The member it was; `None` if it was not there when it was first looked for. (Etcd does not tell an id that was
    /// removed from one that never was.)
    pub removed: Option<Member>,
    /// Another member that has one of its URLs by now: it was added again, and is left alone.
    pub again: Option<Member>,
}

// ===== impl Members =====

impl<C: Cluster> Members<C> {
    /// Does not connect yet.
    ///
    /// # Errors
    /// The cluster names no endpoint.
    pub fn new(cluster: C) -> Result<Self, ConfigError> {
        if cluster.endpoints().is_empty() {
            return Err(ConfigError::new("endpoints", "[]", "there must be at least one"));
        }
        let policy = Policy::new()
            .every(Duration::from_millis(500))
            .attempt_timeout(Duration::from_secs(5))
            .finish_within(Duration::from_secs(120));
        Ok(Self { shared: Arc::new(Rotation::new(cluster)), policy, may_lose_quorum: false })
    }

    /// The settings that each operation begins with. Cadence, `attempt_timeout`, `on_cut` and `max_retry_after` stay as
    /// they are where this one sets none; the bounds are replaced as one set.
    #[must_use]
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.policy = policy.clone().guarded_by(&self.policy);
        self
    }

    /// Changes are sent even if too few voters may be left that can vote, and learners promoted that do not answer. For
    /// operators that know better, as when a second member is added to a cluster of one without passing through a
    /// learner.
    #[must_use]
    pub fn may_lose_quorum(mut self) -> Self {
        self.may_lose_quorum = true;
        self
    }

    /// The members, as of a moment after this was called: a single try at each endpoint, until one answers. Each has
    /// the policy's `attempt_timeout`: 5 s.
    ///
    /// Before etcd 3.5 that it is current also holds where the process behind an endpoint was started anew between the
    /// read and the list: one that was serves no request before it has caught up. A list that comes 4 s or more after
    /// its read is not believed.
    ///
    /// # Errors
    /// What the last endpoint answered; at once, if it is an error that no endpoint can mend.
    ///
    /// # Cancel safety
    /// Nothing is changed. The next call asks another endpoint first.
    pub async fn list(&self) -> Result<Vec<Member>, MemberError> {
        self.shared.list(Attempt::new(1).with_policy(&self.policy).limit()).await
    }

    /// A member with these peer URLs has joined, and votes: it is added as a learner, and promoted once it has started,
    /// answers and has caught up. The safe way to add a voter: at no moment does the quorum hang on a member that does
    /// not run.
    ///
    /// What runs the member's process (an operator, a controller) starts it when the member is listed (etcd wants
    /// `--initial-cluster-state=existing`). Etcd allows one learner at a time unless told otherwise: while there is
    /// another, this waits its turn.
    ///
    /// # Errors
    /// `ConfigError` for URLs that etcd would not take; [`MemberError::NotStarted`] and [`MemberError::NotAnswering`] say what was
    /// waited for in vain: the learner is left as it is then, and counts for no quorum.
    pub fn ensure_joined<U: AsRef<str>>(
        &self,
        peer_urls: impl IntoIterator<Item = U>,
    ) -> Result<EnsureMember<C, Member>, ConfigError> {
        Ok(self.ensure(Intent::Joined(PeerUrls::new(peer_urls)?), there))
    }

    /// There is a learner with these peer URLs; it is added if there is none.
    ///
    /// Etcd allows one learner at a time unless told otherwise: while there is another, this waits its turn.
    ///
    /// # Errors
    /// `ConfigError` for URLs that etcd would not take; [`MemberError::IsVoter`] when the member is there as a voter.
    pub fn ensure_learner<U: AsRef<str>>(
        &self,
        peer_urls: impl IntoIterator<Item = U>,
    ) -> Result<EnsureMember<C, Member>, ConfigError> {
        Ok(self.ensure(Intent::Learner(PeerUrls::new(peer_urls)?), there))
    }

    /// There is a voter with these peer URLs. It is added as a voter if there is no such member, and promoted if it is
    /// a learner. Until its process runs it counts for quorum and cannot vote: [`ensure_joined`](Self::ensure_joined)
    /// is the safe way.
    ///
    /// # Errors
    /// `ConfigError` for URLs that etcd would not take; [`MemberError::WouldLoseQuorum`] at once where its coming would cost the
    /// quorum until it runs, as the second of two would.
    pub fn ensure_voter<U: AsRef<str>>(
        &self,
        peer_urls: impl IntoIterator<Item = U>,
    ) -> Result<EnsureMember<C, Member>, ConfigError> {
        Ok(self.ensure(Intent::Voter(PeerUrls::new(peer_urls)?), there))
    }

    /// This member is a voter: a learner is promoted once it has started, answers and has caught up.
    ///
    /// # Errors
    /// `ConfigError` for an id of 0 or a wrong URL; [`MemberError::NotFound`] at once if there is no such member;
    /// [`MemberError::Replaced`] if it was removed meanwhile and added again.
    pub fn ensure_promoted<I: TryInto<Which, Error = ConfigError>>(
        &self,
        which: I,
    ) -> Result<EnsureMember<C, Member>, ConfigError> {
        Ok(self.ensure(Intent::Promoted(which.try_into()?), there))
    }

    /// This member is gone. A member that comes under the same URL meanwhile is another, and is left alone.
    ///
    /// # Errors
    /// `ConfigError` for an id of 0 or a wrong URL; [`MemberError::WouldLoseQuorum`] where its going would cost the quorum.
    pub fn ensure_removed<I: TryInto<Which, Error = ConfigError>>(
        &self,
        which: I,
    ) -> Result<EnsureMember<C, Gone>, ConfigError> {
        Ok(self.ensure(Intent::Removed(which.try_into()?), |view| match view {
            View::Gone(removed, again) => Ok(Gone { removed, again }),
            other => Err(Box::new(other)),
        }))
    }

    /// Waits until every member has started and answers, and all follow one leader without complaint.
    ///
    /// # Errors
    /// [`GaveUp`](relent::GaveUp), whose detail says which members are not well.
    pub fn wait_healthy(&self) -> WaitHealthy<C> {
        let check = HealthCheck { shared: Arc::clone(&self.shared) };
        Settle::new(check).when(MemberError::decision as Rule).policy(&self.policy)
    }

    fn ensure<T: Send + 'static>(&self, intent: Intent, read: fn(View) -> Result<T, Box<View>>) -> EnsureMember<C, T> {
        let goal = Arc::new(Mutex::new(Goal::new(intent, self.may_lose_quorum)));
        let shared = Arc::clone(&self.shared);
        let work = MemberWork { shared, goal, may_lose_quorum: self.may_lose_quorum, read };
        Ensure::new(work).when(MemberError::decision as Rule).policy(&self.policy)
    }
}

/// An operation of [`Members`]: an [`Ensure`] with all its words.
pub type EnsureMember<C, T> = Ensure<MemberWork<C, T>, Rule>;

/// What follows an error of [`Members`].
type Rule = fn(&MemberError) -> Decision;

/// The looks and acts of an operation of [`Members`].
pub struct MemberWork<C, T> {
    shared: Arc<Rotation<C>>,
    /// It remembers which member was meant, from one look to the next.
    goal: Arc<Mutex<Goal>>,
    may_lose_quorum: bool,
    read: fn(View) -> Result<T, Box<View>>,
}

/// The wait of [`Members::wait_healthy`]: a [`Settle`] with all its words.
pub type WaitHealthy<C> = Settle<HealthCheck<C>, Rule>;

/// The observations of [`Members::wait_healthy`].
pub struct HealthCheck<C> {
    shared: Arc<Rotation<C>>,
}

impl<C: Cluster> Operation for HealthCheck<C> {
    type Output = Result<Progress<ClusterHealth, MemberError>, MemberError>;
    type Future = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        // So that one that hangs is named, and does not cost the whole look; not by what is left, or at the end of the
        // run all of them would seem to hang.
        let each = attempt.limit().map_or(Duration::from_secs(2), |limit| limit / 2);
        Box::pin(async move { shared.health(each).await })
    }
}

impl<C> fmt::Debug for HealthCheck<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck").finish_non_exhaustive()
    }
}

/// What a look answers.
type Looked<T> = Result<Observed<T, MemberChange, MemberError>, MemberError>;

impl<C, T> ReconcilerTypes for MemberWork<C, T> {
    type Value = T;
    type State = MemberChange;
    type Error = MemberError;
    type Observe = Pin<Box<dyn Future<Output = Looked<T>> + Send>>;
    type Act = Pin<Box<dyn Future<Output = Result<(), MemberError>> + Send>>;
}

impl<C: Cluster, T: Send + 'static> Reconciler for MemberWork<C, T> {
    fn observe(&mut self, attempt: Attempt) -> Self::Observe {
        // So that one that hangs is named, and does not cost the whole call; not by what is left, or at the end of the
        // run all of them would seem to hang.
        let each = attempt.limit().map_or(Duration::from_secs(1), |limit| limit / 3);
        let (shared, goal) = (Arc::clone(&self.shared), Arc::clone(&self.goal));
        let (read, may_lose_quorum) = (self.read, self.may_lose_quorum);
        Box::pin(async move {
            let members = shared.list(None).await?;
            let view = goal.lock().unwrap_or_else(PoisonError::into_inner).view(&members);
            let view = match read(view) {
                Ok(value) => return Ok(Observed::AsWanted(value)),
                Err(view) => *view,
            };
            Ok(match view {
                View::Needs(step) if may_lose_quorum => Observed::Differs(step),
                View::Needs(step) => match shared.guard(&step, &members, each).await {
                    Ok(()) => Observed::Differs(step),
                    Err(error) => Observed::NotYetBecause(error),
                },
                View::Not(error) if error.decision() == Decision::Fatal => Observed::Fatal(error),
                View::Not(error) => Observed::NotYetBecause(error),
                // Neither of these is what any other operation asks for.
                View::There(_) | View::Gone(..) => Observed::NotYet,
            })
        })
    }

    fn act(&mut self, step: MemberChange) -> Self::Act {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.change(&step).await })
    }
}

impl<C, T> fmt::Debug for MemberWork<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberWork").field("goal", &self.goal).finish_non_exhaustive()
    }
}

fn there(view: View) -> Result<Member, Box<View>> {
    match view {
        View::There(member) => Ok(member),
        other => Err(Box::new(other)),
    }
}

impl<C> Clone for Members<C> {
    fn clone(&self) -> Self {
        let Self { shared, policy, may_lose_quorum } = self;
        Self { shared: Arc::clone(shared), policy: policy.clone(), may_lose_quorum: *may_lose_quorum }
    }
}

impl<C: fmt::Debug> fmt::Debug for Members<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, policy, may_lose_quorum } = self;
        f.debug_struct("Members")
            .field("cluster", &shared.cluster)
            .field("policy", policy)
            .field("may_lose_quorum", may_lose_quorum)
            .finish()
    }
}
