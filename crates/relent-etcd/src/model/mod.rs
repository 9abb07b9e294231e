//! A model of how etcd changes its membership, for tests without etcd.
//!
//! It follows the rules of etcd 3.4 to 3.6: which member may be added, promoted and removed when, what the answers say,
//! that a list may be stale, that ids are never used again, that a change may be made although its answer is lost. It
//! runs on tokio's clock, paused or not.
//!
//! ```
//! use relent_etcd::{Members, model::{ModelCall, CallFault, Model}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::new(3);
//! model.fault(ModelCall::Add, [CallFault::LostAfter]);
//!
//! let members = Members::new(model.client())?;
//! let added = members.ensure_learner(["http://etcd-4:2380"])?.await?;
//! assert!(added.value.learner);
//! assert_eq!(model.calls(ModelCall::Add), 1, "the answer was lost, and the add not repeated");
//! # Ok(())
//! # }
//! ```

mod calls;
mod client;
mod membership;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use self::membership::Membership;
pub use self::membership::Release;
use crate::{
    Code, Member,
    time::{self, Instant},
};

/// The calls that can be disturbed, and are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelCall {
    /// The read before a list.
    Barrier,
    /// The list.
    List,
    /// Adding a member.
    Add,
    /// Making a voter of a learner.
    Promote,
    /// Removing a member.
    Remove,
    /// How a member sees itself.
    Status,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallFault {
    /// Nothing: it goes through.
    Fine,
    /// Nothing listens.
    Refused,
    /// The connection breaks before the request has arrived.
    LostBefore,
    /// The connection breaks after the request was carried out.
    LostAfter,
    /// The connection breaks, and the request is carried out so much later.
    Late(Duration),
    /// No answer ever comes, and the request does not arrive.
    Hang,
    /// No answer ever comes, and the request was carried out.
    HangAfter,
    /// It is not carried out, and this is what etcd answers.
    Answer(Code, &'static str),
}

/// A cluster of etcd, modelled. Clones are the same cluster.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    begin: Instant,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    membership: Membership,
    faults: HashMap<ModelCall, VecDeque<CallFault>>,
    calls: HashMap<ModelCall, u32>,
    latency: Duration,
    history: Vec<(Duration, String)>,
}

/// A client of a [`Model`]: knows the endpoints it was given.
#[derive(Clone, Debug)]
pub struct ModelClient {
    model: Model,
    endpoints: Vec<String>,
}

// ===== impl Model =====

impl Model {
    /// A healthy cluster of so many voters: `http://etcd-1:2380` and so on, with clients served at port 2379.
    #[must_use]
    pub fn new(voters: usize) -> Self {
        let urls: Vec<_> = (1..=voters).map(|number| format!("http://etcd-{number}:2380")).collect();
        let state = State {
            membership: Membership::new(&urls),
            faults: HashMap::new(),
            calls: HashMap::new(),
            latency: Duration::from_millis(1),
            history: Vec::new(),
        };
        let shared = Shared { begin: time::now(), state: Mutex::new(state), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// A client that knows all the members there are now.
    #[must_use]
    pub fn client(&self) -> ModelClient {
        self.client_of(self.members().iter().flat_map(|member| member.client_urls.clone()))
    }

    /// A client that knows these endpoints.
    #[must_use]
    pub fn client_of<U: Into<String>>(&self, endpoints: impl IntoIterator<Item = U>) -> ModelClient {
        ModelClient { model: self.clone(), endpoints: endpoints.into_iter().map(Into::into).collect() }
    }

    /// What happens to the next calls of this kind, one after the other; those that follow are fine.
    pub fn fault(&self, call: ModelCall, faults: impl IntoIterator<Item = CallFault>) {
        self.state().faults.entry(call).or_default().extend(faults);
    }

    /// How long each way of a call takes, 1 ms by default.
    pub fn latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// The members as the cluster has agreed upon them.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.now().membership.members().to_vec()
    }

    /// How many calls of this kind were begun.
    #[must_use]
    pub fn calls(&self, call: ModelCall) -> u32 {
        self.state().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many changes were made.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.now().membership.changes
    }

    /// How often a change by a call took the quorum from a cluster that had it.
    #[must_use]
    pub fn quorum_losses(&self) -> u32 {
        self.now().membership.quorum_losses
    }

    /// Whether more than half of the voters run and see each other.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        self.now().membership.voters().have_quorum()
    }

    /// What was called when, and what came of it.
    #[must_use]
    pub fn history(&self) -> Vec<(Duration, String)> {
        self.state().history.clone()
    }

    /// From now on, the process of a member that is added starts by itself so long after; `None`: it does not.
    pub fn start_joined_after(&self, after: Option<Duration>) {
        self.disturb(|membership| membership.start_joined_after(after.map(nanos)));
    }

    /// Starts the process of this member, or starts it again.
    pub fn start(&self, peer_url: &str) {
        self.disturb_one(peer_url, Membership::start);
    }

    /// Kills the process of this member.
    pub fn stop(&self, peer_url: &str) {
        self.disturb_one(peer_url, Membership::stop);
    }

    /// Its process stands still: it accepts connections and answers nothing.
    pub fn freeze(&self, peer_url: &str) {
        self.disturb_one(peer_url, |membership, id| membership.freeze(id, true));
    }

    /// Its process goes on.
    pub fn thaw(&self, peer_url: &str) {
        self.disturb_one(peer_url, |membership, id| membership.freeze(id, false));
    }

    /// It is cut off from the other members, and not from its clients: it answers with what it knew.
    pub fn isolate(&self, peer_url: &str) {
        self.disturb_one(peer_url, |membership, id| membership.isolate(id, true));
    }

    /// It sees the other members again.
    pub fn rejoin(&self, peer_url: &str) {
        self.disturb_one(peer_url, |membership, id| membership.isolate(id, false));
    }

    /// It is a cluster of this release from now on; of 3.4 by default.
    pub fn release(&self, release: Release) {
        self.disturb(|membership| membership.release = release);
    }

    /// So many learners are allowed at a time (`--max-learners`); 1 by default.
    pub fn max_learners(&self, most: usize) {
        self.disturb(|membership| membership.max_learners = most);
    }

    /// From now on all members advertise this one client URL, as behind a Service or a virtual address: those that run
    /// answer there, in turn. Each is also served at its own.
    pub fn share_client_url(&self, url: &str) {
        self.disturb(|membership| membership.share(url));
    }

    /// All members have only just connected to each other: for five seconds etcd adds no member.
    pub fn unsettle(&self) {
        self.disturb(Membership::unsettle);
    }

    fn disturb_one(&self, peer_url: &str, how: impl FnOnce(&mut Membership, u64)) {
        self.disturb(|membership| {
            if let Some(id) = membership.id_of(peer_url) {
                how(membership, id);
            }
        });
    }

    fn disturb(&self, how: impl FnOnce(&mut Membership)) {
        how(&mut self.now().membership);
        self.shared.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, brought to now.
    fn now(&self) -> MutexGuard<'_, State> {
        let now = self.elapsed();
        let mut state = self.state();
        state.membership.advance(now);
        state
    }

    fn elapsed(&self) -> u64 {
        nanos(self.passed()).saturating_add(Membership::BEGIN)
    }

    fn record(&self, text: impl fmt::Display) {
        let at = self.passed();
        self.state().history.push((at, text.to_string()));
    }

    fn passed(&self) -> Duration {
        time::now().saturating_duration_since(self.shared.begin)
    }

    /// `None` is never.
    async fn wait_until(&self, at: Option<u64>) {
        let since = at.map(|at| Duration::from_nanos(at.saturating_sub(Membership::BEGIN)));
        time::wait_until(since.and_then(|since| self.shared.begin.checked_add(since))).await;
    }
}

/// The model's time is whole nanoseconds.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("members", &self.members()).finish_non_exhaustive()
    }
}
