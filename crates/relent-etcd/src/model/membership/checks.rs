//! Which member may be added, promoted and removed when: first by the process that is asked, then by all of them.

use super::{
    Answer, CATCH_UP, Change, Code, HEALTH_INTERVAL, Member, Membership, Node, Release, Request, SECOND, Voters,
};

type Refusal = (Code, &'static str);

// Etcd sends this one without a code of its own.
const NOT_ENOUGH: Refusal = (Code::Unknown, "etcdserver: re-configuration failed due to not enough started members");
const UNHEALTHY: Refusal = (Code::Unavailable, "etcdserver: unhealthy cluster");
const NOT_FOUND: Refusal = (Code::NotFound, "etcdserver: member not found");
const NO_LEADER: Refusal = (Code::Unavailable, "etcdserver: no leader");

impl Membership {
    /// Something happens to a change that is due; its answer, if that ends it.
    pub(super) fn step(&mut self, request: &mut Request) -> Option<Answer> {
        if !request.checked {
            let refused = match &request.change {
                Change::Add { learner, .. } => self.may_add(request.node, *learner),
                Change::Remove(id) => self.may_remove(request.node, *id),
                Change::Promote(_) => Ok(()),
            };
            request.checked = true;
            return refused.err().map(Err);
        }
        if !self.leads(request.node) {
            return Some(Err(NO_LEADER));
        }
        let before = self.voters();
        let answer = match &request.change {
            Change::Add { peer_urls, learner } => self.add(peer_urls, *learner),
            Change::Promote(id) => self.promote(*id),
            Change::Remove(id) => self.remove(*id),
        };
        if answer.is_ok() {
            self.changes = self.changes.saturating_add(1);
            let lost = before.have_quorum() && !self.voters().have_quorum();
            self.quorum_losses = self.quorum_losses.saturating_add(lost.into());
        }
        Some(answer)
    }

    /// `mayAddMember`, as this process sees the others.
    fn may_add(&self, node: u64, learner: bool) -> Result<(), Refusal> {
        let (all, started) = self.started_voters(None);
        let one_to_two = all == 1 && started == 1;
        if !learner && !one_to_two && !Voters::new(all.saturating_add(1), started).have_quorum() {
            return Err(NOT_ENOUGH);
        }
        let connected = self.connected_voters(node);
        let enough = match self.release {
            // As if the new one were there, and down; but a second one may always come.
            Release::V3_6 => all == 1 || Voters::new(all.saturating_add(1), connected).have_quorum(),
            _ => connected == all,
        };
        let since = self.now.saturating_sub(HEALTH_INTERVAL);
        let settled = self.settled <= since || self.release == Release::V3_6 && all == 1;
        if enough && settled { Ok(()) } else { Err(UNHEALTHY) }
    }

    /// `mayRemoveMember`, as this process sees the others.
    fn may_remove(&self, node: u64, id: u64) -> Result<(), Refusal> {
        if self.is_learner(id) {
            return Ok(());
        }
        let (all, started) = self.started_voters(Some(id));
        if !Voters::new(all, started).have_quorum() || all == 0 {
            return Err(NOT_ENOUGH);
        }
        // One that is down is no part of the quorum.
        if node != id && (self.is_cut_off(node) || !self.able(id)) {
            return Ok(());
        }
        let needed = self.voters().all.saturating_add(1) / 2;
        if self.connected_voters(node).saturating_sub(1) < needed { Err(UNHEALTHY) } else { Ok(()) }
    }

    fn add(&mut self, peer_urls: &[String], learner: bool) -> Answer {
        let id = id_for(peer_urls, self.now);
        if self.removed.contains(&id) {
            return Err(NOT_FOUND);
        }
        if self.members().iter().any(|member| member.id == id) {
            return Err((Code::FailedPrecondition, "etcdserver: member ID already exist"));
        }
        if self.members().iter().any(|member| member.peer_urls.iter().any(|url| peer_urls.contains(url))) {
            return Err((Code::FailedPrecondition, "etcdserver: Peer URLs already exists"));
        }
        if learner && self.members().iter().filter(|member| member.learner).count() >= self.max_learners {
            return Err((Code::FailedPrecondition, "etcdserver: too many learner members in cluster"));
        }
        let member = Member::new(id, peer_urls.to_vec(), learner);
        self.nodes.push(Node { running: false, ..Node::new(member.clone(), self.now) });
        self.agree(|members| members.push(member));
        if let Some(after) = self.joined_start_after {
            self.starts.push((self.now.saturating_add(after), id));
        }
        Ok(id)
    }

    fn promote(&mut self, id: u64) -> Answer {
        let Some(member) = self.members().iter().find(|member| member.id == id) else {
            return Err(NOT_FOUND);
        };
        let node = self.nodes.iter().find(|node| node.member.id == id);
        let (learner, started) = (member.learner, member.started());
        // A learner that has caught up and died since still counts as caught up.
        let ready = started && node.is_some_and(|node| self.now >= node.connected.saturating_add(CATCH_UP));
        if !learner {
            return Err((Code::FailedPrecondition, "etcdserver: can only promote a learner member"));
        }
        if !ready {
            let text = "etcdserver: can only promote a learner member which is in sync with leader";
            return Err((Code::FailedPrecondition, text));
        }
        let (all, started) = self.started_voters(None);
        if !Voters::new(all.saturating_add(1), started.saturating_add(1)).have_quorum() {
            return Err(NOT_ENOUGH);
        }
        self.settled = self.now;
        self.agree(|members| {
            for member in members.iter_mut().filter(|member| member.id == id) {
                member.learner = false;
            }
        });
        Ok(id)
    }

    fn remove(&mut self, id: u64) -> Answer {
        if !self.members().iter().any(|member| member.id == id) {
            return Err(NOT_FOUND);
        }
        self.removed.push(id);
        self.agree(|members| members.retain(|member| member.id != id));
        self.stop(id);
        Ok(id)
    }

    /// The voters but one, and how many of them have ever started.
    fn started_voters(&self, but: Option<u64>) -> (u32, u32) {
        let voters = self.members().iter().filter(|member| !member.learner && Some(member.id) != but);
        let started = voters.clone().filter(|member| member.started()).count();
        (u32::try_from(voters.count()).unwrap_or(u32::MAX), u32::try_from(started).unwrap_or(u32::MAX))
    }

    /// How many voters this process has been connected to for long enough, itself among them.
    fn connected_voters(&self, node: u64) -> u32 {
        let since = self.now.saturating_sub(HEALTH_INTERVAL);
        let cut_off = self.is_cut_off(node);
        let connected = |member: &&Member| {
            let other = self.nodes.iter().find(|other| other.member.id == member.id);
            member.id == node || !cut_off && other.is_some_and(|other| other.able() && other.connected <= since)
        };
        let voters = self.members().iter().filter(|member| !member.learner);
        u32::try_from(voters.filter(connected).count()).unwrap_or(u32::MAX)
    }

    fn is_cut_off(&self, id: u64) -> bool {
        self.nodes.iter().any(|node| node.member.id == id && node.isolated)
    }
}

/// As etcd does it: from the URLs and the second.
fn id_for(peer_urls: &[String], now: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in peer_urls.concat().bytes().chain((now / SECOND).to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
