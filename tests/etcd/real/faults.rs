//! The connection is cut at every point of an exchange, on the first tries, for each operation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use relent::{
    etcd::{CallError, Cluster, EtcdCluster, Gone, Member, Members, Status},
    testing::proxy::{Proxy, Wire},
};

use super::server::{Server, Version, eventually, ms, with_url};

/// Every place where an exchange can break. On a new connection the first 24 bytes of the client's are its preface, the
/// request follows its settings; the server's own settings, pings and windows are less than 100 bytes.
const WIRES: [Wire; 12] = [
    Wire::Refuse,
    Wire::CutRequest { after: 0 },
    Wire::CutRequest { after: 24 },
    Wire::CutRequest { after: 60 },
    Wire::CutRequest { after: 120 },
    Wire::CutRequest { after: 200 },
    Wire::CutAnswer { after: 1 },
    Wire::CutAnswer { after: 40 },
    Wire::CutAnswer { after: 80 },
    Wire::CutAnswer { after: 120 },
    Wire::CutAnswer { after: 160 },
    Wire::Blackhole,
];

/// Etcd behind one proxy for each endpoint; the first changes go over a wire that is set to fail.
struct Faulty {
    inner: EtcdCluster,
    proxies: HashMap<String, Proxy>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    wire: Wire,
    /// So many changes are troubled.
    changes: u32,
    /// So many looks after the last of them.
    looks: u32,
    hit: u32,
}

struct Set<'a>(&'a Proxy);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.set(Wire::Pass);
    }
}

impl Faulty {
    async fn before(server: &Server) -> (Self, Arc<Mutex<Plan>>) {
        let (mut urls, mut proxies) = (Vec::new(), HashMap::new());
        for node in &server.nodes[..3] {
            let proxy = Proxy::start(node.client).await.unwrap();
            let url = format!("http://{}", proxy.address());
            urls.push(url.clone());
            proxies.insert(url, proxy);
        }
        let plan = Arc::new(Mutex::new(Plan::default()));
        let inner = EtcdCluster::new(urls, etcd_client::ConnectOptions::new()).unwrap();
        (Self { inner, proxies, plan: Arc::clone(&plan) }, plan)
    }

    /// Sets the wire for a change, if the plan says so; it is set back when the call has ended or was dropped.
    fn change(&self, endpoint: &str) -> Option<Set<'_>> {
        let mut plan = self.plan.lock().unwrap();
        if plan.changes == 0 {
            return None;
        }
        plan.changes -= 1;
        self.set(&mut plan, endpoint)
    }

    fn look(&self, endpoint: &str) -> Option<Set<'_>> {
        let mut plan = self.plan.lock().unwrap();
        if plan.changes > 0 || plan.looks == 0 || plan.hit == 0 {
            return None;
        }
        plan.looks -= 1;
        self.set(&mut plan, endpoint)
    }

    fn set(&self, plan: &mut Plan, endpoint: &str) -> Option<Set<'_>> {
        plan.hit += 1;
        let proxy = self.proxies.get(endpoint)?;
        proxy.set(plan.wire);
        Some(Set(proxy))
    }
}

impl Cluster for Faulty {
    fn endpoints(&self) -> &[String] {
        self.inner.endpoints()
    }

    async fn barrier(&self, endpoint: &str) -> Result<(), CallError> {
        let _set = self.look(endpoint);
        self.inner.barrier(endpoint).await
    }

    async fn local_members(&self, endpoint: &str) -> Result<Vec<Member>, CallError> {
        self.inner.local_members(endpoint).await
    }

    async fn add(&self, endpoint: &str, peer_urls: &[String], learner: bool) -> Result<u64, CallError> {
        let _set = self.change(endpoint);
        self.inner.add(endpoint, peer_urls, learner).await
    }

    async fn promote(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        let _set = self.change(endpoint);
        self.inner.promote(endpoint, id).await
    }

    async fn remove(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        let _set = self.change(endpoint);
        self.inner.remove(endpoint, id).await
    }

    async fn status(&self, endpoint: &str) -> Result<Status, CallError> {
        self.inner.status(endpoint).await
    }
}

struct Rounds {
    faulty: Members<Faulty>,
    plan: Arc<Mutex<Plan>>,
    direct: Members<EtcdCluster>,
    made: u32,
    despite: u32,
}

impl Rounds {
    async fn new(server: &Server) -> Self {
        let (faulty, plan) = Faulty::before(server).await;
        let policy = relent::Policy::new().every(ms(20)).attempt_timeout(ms(400)).finish_within(ms(40_000));
        let faulty = Members::new(faulty).unwrap().policy(&policy);
        Self { faulty, plan, direct: server.members().policy(&policy), made: 0, despite: 0 }
    }

    fn arm(&mut self, wire: Wire, changes: u32, looks: u32) {
        *self.plan.lock().unwrap() = Plan { wire, changes, looks, hit: 0 };
        self.made += 1;
    }

    fn hit(&mut self, change: relent::Change, told: &str) {
        assert!(self.plan.lock().unwrap().hit > 0, "{told}: nothing was troubled");
        self.despite += u32::from(change == relent::Change::AppliedDespiteError);
    }

    /// As it is, whoever is asked.
    async fn check(&self, url: &str, expected: Option<bool>, told: &str) {
        let members = self.direct.list().await.unwrap();
        let (count, member) = with_url(&members, url);
        assert_eq!(
            (count, member.map(|member| member.learner)),
            (usize::from(expected.is_some()), expected),
            "{told}: {members:?}"
        );
    }

    async fn add_and_remove(&mut self, wire: Wire, tries: u32, looks: u32, learner: bool, port: u16) {
        let told = format!("{wire:?} on {tries} tries and {looks} looks, learner {learner}");
        let url = format!("http://127.0.0.1:{port}");
        self.arm(wire, tries, looks);
        let added = if learner { self.faulty.ensure_learner([&url]) } else { self.faulty.ensure_voter([&url]) };
        let added = added.unwrap().await.unwrap_or_else(|gave_up| panic!("{told}: {gave_up}"));
        self.hit(added.change, &told);
        self.check(&url, Some(learner), &told).await;

        self.arm(wire, tries, looks);
        let gone = self.faulty.ensure_removed(url.as_str()).unwrap().await;
        let gone = gone.unwrap_or_else(|gave_up| panic!("{told}: {gave_up}"));
        self.hit(gone.change, &told);
        let Gone { removed, again, .. } = gone.value;
        assert_eq!((removed.map(|member| member.id), again), (Some(added.value.id), None), "{told}");
        self.check(&url, None, &told).await;
    }
}

async fn adds_and_removes(version: Version) {
    let server = Server::start(version, 3).await;
    let mut rounds = Rounds::new(&server).await;
    eventually("settled", async || {
        rounds.direct.ensure_learner(["http://127.0.0.1:9"]).unwrap().max_attempts(1).await.ok()
    })
    .await;
    rounds.direct.ensure_removed("http://127.0.0.1:9").unwrap().await.unwrap();
    let mut port = 10;
    for wire in WIRES {
        for (tries, looks, learner) in [(1, 0, true), (2, 0, false), (3, 1, true), (1, 2, false)] {
            port += 1;
            rounds.add_and_remove(wire, tries, looks, learner, port).await;
        }
    }
    println!(
        "{version:?}: {} fault rounds of add and remove, {} applied despite an error",
        rounds.made, rounds.despite
    );
    assert!(rounds.made == 96 && rounds.despite > 20);
}

#[tokio::test]
async fn adds_and_removes_on_3_4() {
    adds_and_removes(Version::V34).await;
}

#[tokio::test]
async fn adds_and_removes_on_3_5() {
    adds_and_removes(Version::V35).await;
}

/// A promotion needs a learner that runs, and etcd takes five seconds before the next: fewer rounds.
async fn promotions(version: Version) {
    let mut server = Server::start(version, 3).await;
    let at = server.new_node();
    let url = server.nodes[at].peer_url();
    let mut rounds = Rounds::new(&server).await;
    for (wire, tries, looks) in [
        (Wire::CutRequest { after: 0 }, 3, 0),
        (Wire::CutRequest { after: 120 }, 1, 1),
        (Wire::CutAnswer { after: 1 }, 1, 1),
        (Wire::CutAnswer { after: 120 }, 1, 0),
        (Wire::CutAnswer { after: 120 }, 2, 2),
        (Wire::Blackhole, 2, 0),
    ] {
        let told = format!("promotion, {wire:?} on {tries} tries and {looks} looks");
        let learner =
            rounds.direct.ensure_learner([&url]).unwrap().await.unwrap_or_else(|gave_up| panic!("{told}: {gave_up}"));
        server.join(at).await;
        eventually("started", async || rounds.direct.list().await.ok()?.iter().all(Member::started).then_some(()))
            .await;
        rounds.arm(wire, tries, looks);
        let promoted = rounds.faulty.ensure_promoted(learner.value.id).unwrap().await;
        let promoted = promoted.unwrap_or_else(|gave_up| panic!("{told}: {gave_up}"));
        rounds.hit(promoted.change, &told);
        rounds.check(&url, Some(false), &told).await;
        rounds.direct.ensure_removed(learner.value.id).unwrap().await.unwrap();
        server.wipe(at);
    }
    println!("{version:?}: {} fault rounds of promotion, {} applied despite an error", rounds.made, rounds.despite);
}

#[tokio::test]
async fn promotions_on_3_4() {
    promotions(Version::V34).await;
}

#[tokio::test]
async fn promotions_on_3_5() {
    promotions(Version::V35).await;
}
