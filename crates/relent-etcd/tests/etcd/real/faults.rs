//! The connection is cut at every point of an exchange, on the first k tries, for every k, for each operation: the full product.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Instant,
};

use relent::{
    Change, Ensured, GaveUp, Stop,
    error::Detail,
    testing::proxy::{Proxy, Wire},
};
use relent_etcd::{Member, MemberError, Members};

use super::{
    around::{Around, Between, Call},
    server::{Lane, Server, Settings, Version, abreast, eventually, lane, ms, with_url},
};

/// Acts that the policy allows.
const TRIES: u32 = 3;

/// Where an exchange breaks.
#[derive(Clone, Copy, Debug)]
struct Point {
    name: &'static str,
    wire: Wire,
    /// Over a new connection, or over the one that the look before was made with.
    fresh: bool,
    /// What is certain: a request that was not sent whole is not applied; one that was answered is.
    applied: Option<bool>,
    /// Nothing is heard of it: it ends by the call's own deadline.
    hangs: bool,
}

const fn point(name: &'static str, wire: Wire, applied: Option<bool>) -> Point {
    Point { name, wire, fresh: false, applied, hangs: false }
}

/// On a connection that stands a request is more than 60 bytes, in three frames or less. The server's windows and pings, which it
/// sends when it has read the request, are less than 50; an answer that says that it was done is more than 200.
const POINTS: [Point; 11] = [
    Point { fresh: true, ..point("before sending: nothing listens", Wire::Refuse, Some(false)) },
    Point { fresh: true, ..point("before sending: at the greeting", Wire::CutRequest { after: 24 }, Some(false)) },
    point("before sending", Wire::CutRequest { after: 0 }, Some(false)),
    point("in the request", Wire::CutRequest { after: 30 }, Some(false)),
    point("after sending", Wire::CutAnswer { after: 1 }, None),
    point("after it was applied", Wire::CutAnswer { after: 120 }, Some(true)),
    point("in the answer: at its beginning", Wire::CutInAnswer { after: 60 }, Some(true)),
    point("in the answer: in its midst", Wire::CutInAnswer { after: 120 }, Some(true)),
    Point { hangs: true, ..point("nothing passes", Wire::Blackhole, Some(false)) },
    Point { hangs: true, ..point("no answer passes", Wire::CutAnswer { after: u64::MAX }, Some(true)) },
    Point { fresh: true, ..point("after sending, on a new connection", Wire::CutAnswer { after: 80 }, None) },
];

/// Which calls are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The first k acts.
    Acts(u32),
    /// And the look that follows each.
    ActsAndLooks(u32),
    /// From the first act on, everything for good.
    All,
}

const CUTS: [Cut; 7] = [
    Cut::Acts(1),
    Cut::ActsAndLooks(1),
    Cut::Acts(2),
    Cut::ActsAndLooks(2),
    Cut::Acts(TRIES),
    Cut::ActsAndLooks(TRIES),
    Cut::All,
];

struct Plan {
    point: Point,
    cut: Cut,
    /// Acts that were troubled, and looks that still are to be.
    acts: u32,
    looks: u32,
}

/// One proxy before each endpoint, and what is to be troubled.
#[derive(Clone)]
struct Faulty {
    proxies: Arc<HashMap<String, Arc<Proxy>>>,
    plan: Arc<Mutex<Option<Plan>>>,
}

/// The wire of a troubled call. It is set back when the call has ended or was dropped.
struct Troubled(Arc<Proxy>, bool);

impl Drop for Troubled {
    fn drop(&mut self) {
        self.0.set(Wire::Pass);
    }
}

impl Faulty {
    async fn before(server: &Server) -> (Self, Vec<String>) {
        let (mut urls, mut proxies) = (Vec::new(), HashMap::new());
        for node in &server.nodes[..3] {
            let proxy = Proxy::start(node.client).await.unwrap();
            let url = format!("http://{}", proxy.address());
            urls.push(url.clone());
            proxies.insert(url, Arc::new(proxy));
        }
        (Self { proxies: Arc::new(proxies), plan: Arc::default() }, urls)
    }

    fn wire(&self, call: Call) -> Option<(Wire, bool)> {
        let mut plan = self.plan.lock().unwrap();
        let Plan { point, cut, acts, looks } = plan.as_mut()?;
        if call == Call::Change {
            let (times, with_looks) = match *cut {
                Cut::Acts(times) => (times, false),
                Cut::ActsAndLooks(times) => (times, true),
                Cut::All => (u32::MAX, false),
            };
            if *acts == times {
                return None;
            }
            *acts += 1;
            // A look that fails at one endpoint goes on to the next; one that hangs is cut.
            *looks = if with_looks && !point.hangs { 3 } else { u32::from(with_looks) };
            return Some((point.wire, point.fresh));
        }
        let all = *cut == Cut::All && *acts > 0;
        if call != Call::Barrier || (*looks == 0 && !all) {
            return None;
        }
        *looks = looks.saturating_sub(1);
        Some(match point.wire {
            // An answer to a look is shorter than one to a change.
            Wire::CutAnswer { .. } | Wire::CutInAnswer { .. } if !point.hangs => (Wire::CutAnswer { after: 1 }, true),
            wire => (wire, point.fresh),
        })
    }
}

impl Between for Faulty {
    type Held = Option<Troubled>;

    async fn before(&self, call: Call, endpoint: &str) -> Option<Troubled> {
        let (wire, fresh) = self.wire(call)?;
        let proxy = Arc::clone(&self.proxies[endpoint]);
        proxy.set(wire);
        Some(Troubled(proxy, fresh))
    }

    fn fresh(held: &Self::Held) -> bool {
        held.as_ref().is_some_and(|troubled| troubled.1)
    }
}

/// What a round does, and to which member.
#[derive(Clone, Debug)]
enum Operation {
    Add { url: String, learner: bool },
    Promote { url: String, id: u64 },
    Remove { url: String, id: u64 },
}

impl Operation {
    fn url(&self) -> &str {
        let (Self::Add { url, .. } | Self::Promote { url, .. } | Self::Remove { url, .. }) = self;
        url
    }

    /// How it should be in the end: `None`, or a learner, or a voter.
    fn wanted(&self) -> Option<bool> {
        match self {
            Self::Add { learner, .. } => Some(*learner),
            Self::Promote { .. } => Some(false),
            Self::Remove { .. } => None,
        }
    }

    async fn run<B: Between>(&self, members: &Members<Around<B>>) -> Result<Change, GaveUp<MemberError>> {
        fn change<T>(Ensured { change, .. }: Ensured<T>) -> Change {
            change
        }
        match self {
            Self::Add { url, learner: true } => members.ensure_learner([url]).unwrap().await.map(change),
            Self::Add { url, .. } => members.ensure_voter([url]).unwrap().await.map(change),
            Self::Promote { id, .. } => members.ensure_promoted(*id).unwrap().await.map(change),
            Self::Remove { id, .. } => members.ensure_removed(*id).unwrap().await.map(change),
        }
    }
}

/// Counted over all rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rounds: u32,
    despite: u32,
    errors: u32,
    unknown: u32,
    /// Rounds that were repeated, as calls without a fault were too slow.
    slow: u32,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.despite += other.despite;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.slow += other.slow;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, despite, errors, unknown, slow } = self;
        write!(
            f,
            "{rounds} fault rounds: {despite} applied despite an error, {errors} errors, {unknown} of them with an unknown outcome; \
             {slow} repeated"
        )
    }
}

struct Rounds {
    server: Server,
    faulty: Faulty,
    urls: Vec<String>,
    direct: Members<Around>,
    tally: Tally,
}

impl Rounds {
    async fn new(server: Server) -> Self {
        let (faulty, urls) = Faulty::before(&server).await;
        let policy = relent::Policy::new().every(ms(20)).attempt_timeout(ms(2000)).finish_within(ms(60_000));
        let direct = server.members().policy(&policy);
        Self { server, faulty, urls, direct, tally: Tally::default() }
    }

    /// Its kind, as the member that is asked says, with one entry for its URL at most.
    async fn kind(&self, url: &str, told: &str) -> Option<Member> {
        let members = self.direct.list().await.unwrap_or_else(|error| panic!("{told}: {error}"));
        let (count, member) = with_url(&members, url);
        assert!(count <= 1, "{told}: {members:?}");
        member.cloned()
    }

    /// One operation under one fault; afterwards it is as wanted. Which member has the URL then.
    async fn round(&mut self, operation: &Operation, point: Point, cut: Cut) -> Option<Member> {
        self.tally.rounds += 1;
        let mut patience = 1;
        while !self.run(operation, point, cut, patience).await {
            // A call without a fault was too slow: the machine has other things to do.
            self.tally.slow += 1;
            assert!(patience < 8, "{operation:?}, cut {}, {cut:?}: too slow", point.name);
            patience *= 2;
        }
        let told = format!("{operation:?}, cut {}, {cut:?}", point.name);
        // The caller that comes next, and has a connection, ends as wanted, or finds it so.
        operation.run(&self.direct).await.unwrap_or_else(|gave_up| panic!("{told}, again: {gave_up}"));
        let there = self.kind(operation.url(), &told).await;
        assert_eq!(there.as_ref().map(|member| member.learner), operation.wanted(), "{told}, again");
        there
    }

    /// Whether it went as the fault wanted it. What it tells is true in any case.
    async fn run(&mut self, operation: &Operation, point: Point, cut: Cut, patience: u64) -> bool {
        let told = format!("{operation:?}, cut {}, {cut:?}", point.name);
        let (every, each, within) = match (cut, point.hangs) {
            (Cut::All, _) => (100, 250, 750),
            (_, true) => (20, 300, 40_000),
            (_, false) => (20, 1000, 40_000),
        };
        let policy = relent::Policy::new().every(ms(every)).max_attempts(TRIES);
        let policy = policy.attempt_timeout(ms(each * patience)).finish_within(ms(within * patience));
        // New connections in each round: what a request weighs hangs on what went before it.
        let members = self.server.members_of(self.urls.clone(), self.faulty.clone()).policy(&policy);
        *self.faulty.plan.lock().unwrap() = Some(Plan { point, cut, acts: 0, looks: 0 });
        let ended = operation.run(&members).await;
        let troubled = self.faulty.plan.lock().unwrap().take().unwrap().acts;

        let there = self.kind(operation.url(), &told).await;
        let as_wanted = there.as_ref().map(|member| member.learner) == operation.wanted();
        let told = format!("{told}: {ended:?}, {there:?}");
        match &ended {
            Ok(change) => {
                assert!(as_wanted, "{told}");
                assert!(*change != Change::AlreadySo && troubled > 0, "{told}");
                assert!(cut != Cut::All, "{told}: it could not be observed");
                if point.applied == Some(false) {
                    let (Cut::Acts(times) | Cut::ActsAndLooks(times)) = cut else { panic!("{told}") };
                    assert_eq!(troubled, times, "{told}: none of these could be applied");
                    assert!(times < TRIES, "{told}: no act was left");
                }
                self.tally.despite += u32::from(*change == Change::AppliedDespiteError);
            }
            Err(gave_up) => {
                let told = format!("{told}: {gave_up}");
                let Some(&Detail::Ensure { acts, outcome_unknown, .. }) = gave_up.detail() else { panic!("{told}") };
                let says_so = gave_up.to_string().contains("whether it was applied is unknown");
                assert_eq!(says_so, outcome_unknown, "{told}");
                // It was looked at after the last act: only what was still on its way then can have come since.
                assert!(outcome_unknown || !as_wanted || point.applied.is_none(), "{told}");
                let all_tries = matches!(cut, Cut::Acts(TRIES) | Cut::ActsAndLooks(TRIES) | Cut::All);
                if troubled == 0 || !all_tries || (cut != Cut::All && acts > troubled) {
                    return as_wanted;
                }
                assert_eq!(outcome_unknown, cut == Cut::All, "{told}");
                if cut == Cut::All {
                    assert!(gave_up.is_deadline() && acts == troubled, "{told}");
                } else {
                    assert_eq!((gave_up.stop(), acts), (&Stop::Attempts, TRIES), "{told}");
                }
                assert!(point.applied != Some(false) || !as_wanted, "{told}");
                if point.applied == Some(true) && !as_wanted {
                    // Etcd was too slow to answer before the call was cut by its own deadline.
                    return false;
                }
                self.tally.errors += 1;
                self.tally.unknown += u32::from(outcome_unknown);
            }
        }
        true
    }
}

/// Adds and removes learners, or voters that never started.
async fn adds_and_removes(version: Version, learner: bool) -> Tally {
    let mut rounds = Rounds::new(Server::start(version, 3).await).await;
    let first = "http://127.0.0.1:9";
    eventually("settled", async || rounds.direct.ensure_learner([first]).unwrap().max_attempts(1).await.ok()).await;
    rounds.direct.ensure_removed(first).unwrap().await.unwrap();
    let mut port = 100;
    for point in POINTS {
        for cut in CUTS {
            port += 1;
            let url = format!("http://127.0.0.1:{port}");
            let added = rounds.round(&Operation::Add { url: url.clone(), learner }, point, cut).await.unwrap();
            let gone = rounds.round(&Operation::Remove { url, id: added.id }, point, cut).await;
            assert_eq!(gone, None);
        }
    }
    rounds.tally
}

/// A promotion needs a learner that runs. Etcd's own check, that all have been connected for five seconds, is switched off
/// in these clusters: it is about adds, and would hold up each round.
async fn promotions(version: Version, half: usize) -> Tally {
    let flags = vec!["--strict-reconfig-check=false".to_owned()];
    let mut rounds = Rounds::new(Server::start_with(version, 3, Settings { flags, ..Settings::default() }).await).await;
    let at = rounds.server.new_node();
    let url = rounds.server.nodes[at].peer_url();
    for point in POINTS.into_iter().skip(half).step_by(2) {
        for cut in CUTS {
            let added = rounds.direct.ensure_learner([&url]).unwrap().await;
            let added = added.unwrap_or_else(|gave_up| panic!("{gave_up}\n{}", rounds.server.logs())).value;
            rounds.server.join(at).await;
            rounds.server.caught_up(at).await;
            let promoted = rounds.round(&Operation::Promote { url: url.clone(), id: added.id }, point, cut).await;
            assert_eq!(promoted.map(|member| member.id), Some(added.id));
            rounds.direct.ensure_removed(added.id).unwrap().await.unwrap();
            rounds.server.wipe(at);
        }
    }
    rounds.tally
}

fn product(what: &str, lanes: Vec<Lane<Tally>>, expected: usize) {
    let (start, mut all) = (Instant::now(), Tally::default());
    for tally in abreast(lanes) {
        all += tally;
    }
    println!("{what}: {all}, {} s", start.elapsed().as_secs());
    assert_eq!(all.rounds as usize, expected);
    assert!(all.despite > 0 && all.unknown > 0 && all.errors > all.unknown && all.slow * 10 < all.rounds);
}

#[test]
fn adds_and_removes_at_every_point() {
    let lanes = [(Version::V34, true), (Version::V34, false), (Version::V35, true), (Version::V35, false)];
    let lanes = lanes.map(|(version, learner)| lane(move || adds_and_removes(version, learner)));
    product("adds and removes", lanes.into(), 4 * 2 * POINTS.len() * CUTS.len());
}

#[test]
fn promotions_at_every_point() {
    let lanes = [(Version::V34, 0), (Version::V34, 1), (Version::V35, 0), (Version::V35, 1)];
    let lanes = lanes.map(|(version, half)| lane(move || promotions(version, half)));
    product("promotions", lanes.into(), 2 * POINTS.len() * CUTS.len());
}
