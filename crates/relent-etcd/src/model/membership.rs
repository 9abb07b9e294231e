//! The rules by which etcd changes its membership, as a state machine over time given as data.

mod checks;

use crate::{Code, Member, quorum::Voters};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
/// Etcd counts a peer as active when it has been connected for so long.
const HEALTH_INTERVAL: u64 = 5 * SECOND;
/// How long etcd itself waits for a change to be agreed upon.
const REQUEST_TIMEOUT: u64 = 7 * SECOND;
/// How long a learner takes to catch up once it has started.
const CATCH_UP: u64 = 250 * MILLI;
/// How far a follower lags behind.
const LAG: u64 = 2 * MILLI;

pub(crate) type Answer = Result<u64, (Code, &'static str)>;

/// A release of etcd, where they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Release {
    /// A list is what one member happens to know; a read before it makes it current.
    #[default]
    V3_4,
    /// A list is agreed upon, if that is asked for.
    V3_5,
    /// Members are added as long as a quorum is connected that would do for one more; before, all had to be.
    V3_6,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Add { peer_urls: Vec<String>, learner: bool },
    Promote(u64),
    Remove(u64),
}

/// A change on its way: it is decided when it is due, whether or not a caller still waits for the answer.
#[derive(Debug)]
struct Request {
    number: u64,
    due: u64,
    node: u64,
    change: Change,
    /// The process that it came to has let it pass; it waits for being agreed upon.
    checked: bool,
}

/// One etcd process.
#[derive(Clone, Debug)]
struct Node {
    member: Member,
    running: bool,
    frozen: bool,
    isolated: bool,
    /// Since when it is, or was last, connected to the others.
    connected: u64,
    /// What it knew when it was last connected: a position in the log.
    knows: usize,
}

impl Node {
    fn able(&self) -> bool {
        self.running && !self.frozen && !self.isolated
    }
}

#[derive(Debug, Default)]
pub(crate) struct Membership {
    now: u64,
    nodes: Vec<Node>,
    /// Every list of members that was agreed upon, and when.
    log: Vec<(u64, Vec<Member>)>,
    removed: Vec<u64>,
    requests: Vec<Request>,
    answers: Vec<(u64, Answer)>,
    numbers: u64,
    starts: Vec<(u64, u64)>,
    joined_start_after: Option<u64>,
    /// Since when every connection stands undisturbed by a join.
    settled: u64,
    pub(crate) release: Release,
    pub(crate) max_learners: usize,
    /// A client URL that every member advertises, and whose turn it is to answer there.
    shared_url: Option<(String, usize)>,
    pub(crate) changes: u32,
    pub(crate) quorum_losses: u32,
}

impl Membership {
    /// Voters that have been running for long.
    pub(crate) fn new(peer_urls: &[String]) -> Self {
        let mut new = Self { now: HEALTH_INTERVAL, max_learners: 1, ..Self::default() };
        let members: Vec<_> =
            (1..).zip(peer_urls).map(|(id, url)| running(Member::new(id, vec![url.clone()], false))).collect();
        new.nodes = members.iter().map(|member| Node::new(member.clone(), 0)).collect();
        new.log.push((0, members));
        new
    }

    /// The time at which a new model begins: its voters have been connected for long enough.
    pub(crate) const BEGIN: u64 = HEALTH_INTERVAL;

    pub(crate) fn members(&self) -> &[Member] {
        self.log.last().map_or(&[], |(_, members)| members)
    }

    pub(crate) fn start_joined_after(&mut self, nanos: Option<u64>) {
        self.joined_start_after = nanos;
    }

    /// All connections begin anew, as when every process has just started.
    pub(crate) fn unsettle(&mut self) {
        self.settled = self.now;
    }

    /// Brings the model to `now`: what was due until then happens, in order.
    pub(crate) fn advance(&mut self, now: u64) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            if let Some(at) = self.starts.iter().position(|(at, _)| *at <= self.now) {
                let (_, id) = self.starts.swap_remove(at);
                self.start(id);
            } else if let Some(at) = self.requests.iter().position(|request| self.happens_at(request) <= self.now) {
                let mut request = self.requests.remove(at);
                match self.step(&mut request) {
                    Some(answer) => self.answers.push((request.number, answer)),
                    None => self.requests.insert(at, request),
                }
            }
        }
        self.now = self.now.max(now);
    }

    /// When something happens next by itself.
    pub(crate) fn next_event(&self) -> Option<u64> {
        let starts = self.starts.iter().map(|(at, _)| *at);
        let requests = self.requests.iter().map(|request| self.happens_at(request));
        starts.chain(requests).filter(|at| *at != u64::MAX).min()
    }

    /// When something happens to a change on its way, as things are.
    fn happens_at(&self, request: &Request) -> u64 {
        match request {
            Request { checked: false, due, .. } => *due,
            Request { node, .. } if self.leads(*node) => self.now,
            Request { change: Change::Promote(_), due, .. } => due.saturating_add(REQUEST_TIMEOUT),
            // No member leads: it is not answered. It may be carried out yet.
            _ => u64::MAX,
        }
    }

    /// Sends a change through a node; the number under which its answer will be found.
    pub(crate) fn request(&mut self, node: u64, change: Change, due: u64) -> u64 {
        self.numbers = self.numbers.saturating_add(1);
        self.requests.push(Request { number: self.numbers, due: due.max(self.now), node, change, checked: false });
        self.requests.sort_by_key(|request| (request.due, request.number));
        self.numbers
    }

    pub(crate) fn answer(&mut self, number: u64) -> Option<Answer> {
        let at = self.answers.iter().position(|(answered, _)| *answered == number)?;
        Some(self.answers.swap_remove(at).1)
    }

    // ----- processes

    /// From now on every member advertises this client URL, as behind a Service; those that run answer there in turn.
    pub(crate) fn share(&mut self, client_url: &str) {
        self.shared_url = Some((client_url.to_owned(), 0));
        self.agree(|members| {
            for member in members.iter_mut().filter(|member| member.started()) {
                member.client_urls = vec![client_url.to_owned()];
            }
        });
    }

    /// The process that serves this client URL, if it runs: its id, and whether it is frozen.
    pub(crate) fn serving(&mut self, client_url: &str) -> Option<(u64, bool)> {
        if let Some((_, turn)) = self.shared_url.as_mut().filter(|(shared, _)| shared == client_url) {
            *turn = turn.wrapping_add(1);
            let running: Vec<_> = self.nodes.iter().filter(|node| node.running).collect();
            let node = running.get(turn.checked_rem(running.len())?)?;
            return Some((node.member.id, node.frozen));
        }
        let serves = |node: &&Node| node.running && node.member.client_urls.iter().any(|url| url == client_url);
        self.nodes.iter().rev().find(serves).map(|node| (node.member.id, node.frozen))
    }

    pub(crate) fn id_of(&self, peer_url: &str) -> Option<u64> {
        let is = |member: &&Member| member.peer_urls.iter().any(|url| url == peer_url);
        self.members().iter().find(is).map(|member| member.id)
    }

    pub(crate) fn start(&mut self, id: u64) {
        let now = self.now;
        let Some(node) = self.nodes.iter_mut().find(|node| node.member.id == id) else { return };
        let first = !node.member.started();
        (node.running, node.frozen, node.isolated, node.connected) = (true, false, false, now);
        if first {
            node.member = running(node.member.clone());
            let mut started = node.member.clone();
            if let Some((shared, _)) = &self.shared_url {
                started.client_urls = vec![shared.clone()];
            }
            self.settled = now;
            self.agree(|members| {
                for member in members.iter_mut().filter(|member| member.id == id) {
                    *member = started.clone();
                }
            });
        }
    }

    pub(crate) fn stop(&mut self, id: u64) {
        self.disturb(id, |node| node.running = false);
    }

    pub(crate) fn freeze(&mut self, id: u64, frozen: bool) {
        self.disturb(id, |node| node.frozen = frozen);
    }

    pub(crate) fn isolate(&mut self, id: u64, isolated: bool) {
        self.disturb(id, |node| node.isolated = isolated);
    }

    fn disturb(&mut self, id: u64, how: impl FnOnce(&mut Node)) {
        let (now, known) = (self.now, self.log.len().saturating_sub(1));
        let Some(node) = self.nodes.iter_mut().find(|node| node.member.id == id) else { return };
        let before = node.able();
        how(node);
        match (before, node.able()) {
            (true, false) => node.knows = known,
            (false, true) => node.connected = now,
            _ => {}
        }
    }

    // ----- agreement

    fn able(&self, id: u64) -> bool {
        self.nodes.iter().any(|node| node.member.id == id && node.able())
    }

    pub(crate) fn voters(&self) -> Voters {
        let voters = self.members().iter().filter(|member| !member.learner);
        let able = voters.clone().filter(|member| self.able(member.id)).count();
        Voters::new(u32::try_from(voters.count()).unwrap_or(u32::MAX), u32::try_from(able).unwrap_or(u32::MAX))
    }

    /// Whether this node can get something agreed upon.
    pub(crate) fn leads(&self, id: u64) -> bool {
        self.able(id) && self.members().iter().any(|member| member.id == id) && self.voters().have_quorum()
    }

    pub(crate) fn leader(&self) -> u64 {
        let able = self.members().iter().find(|member| !member.learner && self.able(member.id));
        able.filter(|_| self.voters().have_quorum()).map_or(0, |member| member.id)
    }

    pub(crate) fn is_learner(&self, id: u64) -> bool {
        self.members().iter().any(|member| member.id == id && member.learner)
    }

    /// The list as one node has it: a follower lags, and one without the others knows what it knew.
    pub(crate) fn local(&self, id: u64) -> Vec<Member> {
        let Some(node) = self.nodes.iter().find(|node| node.member.id == id) else { return Vec::new() };
        let leader = self.leader() == id;
        let sees = |at: u64| leader || at.saturating_add(LAG) <= self.now || at == 0;
        let upto = if node.able() { usize::MAX } else { node.knows };
        let known = self.log.iter().enumerate().take_while(|(at, (agreed, _))| *at <= upto && sees(*agreed)).last();
        known.map(|(_, (_, members))| members.clone()).unwrap_or_default()
    }

    /// When a node that is connected has applied all there is.
    pub(crate) fn applied_at(&self) -> u64 {
        self.log.last().map_or(0, |(at, _)| at.saturating_add(LAG))
    }

    fn agree(&mut self, change: impl FnOnce(&mut Vec<Member>)) {
        let mut members = self.members().to_vec();
        change(&mut members);
        self.log.push((self.now, members));
    }
}

impl Node {
    fn new(member: Member, connected: u64) -> Self {
        Self { member, running: true, frozen: false, isolated: false, connected, knows: 0 }
    }
}

/// A member that has started: named after its first peer URL, clients are served one port below.
fn running(mut member: Member) -> Member {
    let url = member.peer_urls.first().cloned().unwrap_or_default();
    let (scheme_and_host, port) = url.rsplit_once(':').unwrap_or((&url, "2380"));
    let client_port = port.parse::<u16>().map_or(2379, |port| port.saturating_sub(1));
    scheme_and_host.rsplit('/').next().unwrap_or_default().clone_into(&mut member.name);
    member.client_urls = vec![format!("{scheme_and_host}:{client_port}")];
    member
}
