//! Who contends, each as its own documentation has it.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use kube_leader_election::{LeaseLock as PeerLock, LeaseLockParams, LeaseLockResult};
use kubert::lease::{ClaimParams, LeaseManager};
use relent::{
    k8s::LeaseLock,
    leader::{Lock, MemoryLock, Timing, elect},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    ELECTIONS,
    server::{Calls, Server, name},
};

const LEASE: Duration = Duration::from_secs(4);
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    RelentInMemory,
    RelentOnLeases,
    KubeLeaderElection,
    Kubert,
}

/// A thousand of them, under way.
pub struct Elections {
    leading: Arc<AtomicU32>,
    locks: Vec<MemoryLock>,
    server: Option<Server>,
    tasks: JoinSet<()>,
}

impl Contender {
    pub const ALL: [Self; 4] = [Self::RelentInMemory, Self::RelentOnLeases, Self::KubeLeaderElection, Self::Kubert];

    pub fn name(self) -> &'static str {
        match self {
            Self::RelentInMemory => "relent, MemoryLock",
            Self::RelentOnLeases => "relent, LeaseLock",
            Self::KubeLeaderElection => "kube-leader-election",
            Self::Kubert => "kubert",
        }
    }

    pub fn on_server(self) -> bool {
        self != Self::RelentInMemory
    }

    pub async fn start(self) -> Elections {
        let server = self.on_server().then(Server::new);
        let mut elections =
            Elections { leading: Arc::default(), locks: Vec::new(), server: server.clone(), tasks: JoinSet::new() };
        match (self, server) {
            (Self::RelentOnLeases, Some(server)) => {
                server.lay_down_leases().await;
                for index in 0..ELECTIONS {
                    let lock = LeaseLock::new(server.client(), "default", name(index)).expect("a name");
                    elections.relent(lock);
                }
            }
            // It cannot take a Lease that it finds released by others: it makes its own.
            (Self::KubeLeaderElection, Some(server)) => {
                let client = kube_4::Client::new(server.0, "default");
                (0..ELECTIONS).for_each(|index| elections.kube_leader_election(client.clone(), index));
            }
            (Self::Kubert, Some(server)) => {
                server.lay_down_leases().await;
                let client = kube_client_1::Client::new(server.0, "default");
                (0..ELECTIONS).for_each(|index| elections.kubert(client.clone(), index));
            }
            _ => {
                for _ in 0..ELECTIONS {
                    let lock = MemoryLock::new();
                    elections.locks.push(lock.clone());
                    elections.relent(lock);
                }
            }
        }
        elections
    }
}

impl Elections {
    fn relent(&mut self, lock: impl Lock) {
        let timing = Timing::new(LEASE, PERIOD * 5 / 2, PERIOD).expect("a timing");
        let leading = Arc::clone(&self.leading);
        let run = elect(lock, "a").timing(timing).run(move |_| async move {
            leading.fetch_add(1, Ordering::Relaxed);
            pending::<()>().await;
        });
        self.tasks.spawn(async move { panic!("{:?}", run.await) });
    }

    /// The loop of its README.
    fn kube_leader_election(&mut self, client: kube_4::Client, index: u32) {
        let params = LeaseLockParams { holder_id: "a".into(), lease_name: name(index), lease_ttl: LEASE };
        let lock = PeerLock::new(client, "default", params);
        let leading = Arc::clone(&self.leading);
        self.tasks.spawn(async move {
            let mut led = false;
            loop {
                let leads =
                    matches!(lock.try_acquire_or_renew().await.expect("an answer"), LeaseLockResult::Acquired(_));
                if leads && !std::mem::replace(&mut led, true) {
                    leading.fetch_add(1, Ordering::Relaxed);
                }
                sleep(PERIOD).await;
            }
        });
    }

    fn kubert(&mut self, client: kube_client_1::Client, index: u32) {
        let api = kube_client_1::Api::namespaced(client, "default");
        let params = ClaimParams { lease_duration: LEASE, renew_grace_period: LEASE - PERIOD };
        let leading = Arc::clone(&self.leading);
        self.tasks.spawn(async move {
            let manager = LeaseManager::init(api, name(index)).await.expect("a Lease");
            let (mut claims, task) = manager.spawn("a", params).await.expect("a claim");
            if claims.borrow_and_update().is_current_for("a") {
                leading.fetch_add(1, Ordering::Relaxed);
            }
            task.await.expect("no panic").expect("no error");
        });
    }

    pub fn leading(&self) -> u32 {
        self.leading.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> Calls {
        if let Some(server) = &self.server {
            return server.calls();
        }
        self.locks.iter().fold(Calls::default(), |sum, lock| {
            let (reads, writes) = lock.calls();
            Calls { reads: sum.reads + reads, writes: sum.writes + writes }
        })
    }

    pub fn forget(&self) {
        if let Some(server) = &self.server {
            server.forget();
        }
    }
}
