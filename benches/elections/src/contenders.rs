//! What contends, each as its own documentation has it.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Uri, header::CONTENT_TYPE};
use kube_leader_election::{LeaseLock as PeerLock, LeaseLockParams, LeaseLockResult};
use kube_lease_manager::LeaseManagerBuilder;
use kubert::lease::{ClaimParams, LeaseManager};
use relent::leader::{Lock, MemoryLock, Timing, elect};
use relent_k8s::LeaseLock;
use tokio::{task::JoinSet, time::sleep};
use tower::ServiceExt;

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
    KubeLeaseManager,
}

/// A thousand of them, under way.
pub struct Elections {
    leading: Arc<AtomicU32>,
    locks: Vec<MemoryLock>,
    server: Option<Server>,
    tasks: JoinSet<String>,
}

impl Contender {
    pub const ALL: [Self; 5] =
        [Self::RelentInMemory, Self::RelentOnLeases, Self::KubeLeaderElection, Self::Kubert, Self::KubeLeaseManager];

    pub fn name(self) -> &'static str {
        match self {
            Self::RelentInMemory => "relent, MemoryLock",
            Self::RelentOnLeases => "relent, LeaseLock",
            Self::KubeLeaderElection => "kube-leader-election",
            Self::Kubert => "kubert",
            Self::KubeLeaseManager => "kube-lease-manager",
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
                let client = server.client();
                for index in 0..ELECTIONS {
                    let lock = LeaseLock::new(client.clone(), "default", name(index)).expect("a name");
                    elections.relent(lock);
                    one_by_one().await;
                }
            }
            // It cannot take a Lease that it finds released by others: it makes its own.
            (Self::KubeLeaderElection, Some(server)) => {
                let client = kube_4::Client::new(server.0, "default");
                for index in 0..ELECTIONS {
                    elections.kube_leader_election(client.clone(), index);
                    one_by_one().await;
                }
            }
            (Self::Kubert, Some(server)) => {
                server.lay_down_leases().await;
                let client = kube_client_1::Client::new(server.0.map_request(merge_patch), "default");
                for index in 0..ELECTIONS {
                    elections.kubert(client.clone(), index);
                    one_by_one().await;
                }
            }
            // It takes a Lease without a holder to be held by one unknown, and first waits: it makes its own.
            (Self::KubeLeaseManager, Some(server)) => {
                let client = kube::Client::new(server.0.map_request(merge_patch), "default");
                for index in 0..ELECTIONS {
                    elections.kube_lease_manager(client.clone(), index);
                    one_by_one().await;
                }
            }
            _ => {
                for _ in 0..ELECTIONS {
                    let lock = MemoryLock::new();
                    elections.locks.push(lock.clone());
                    elections.relent(lock);
                    one_by_one().await;
                }
            }
        }
        elections
    }
}

/// They begin, and so renew, spread over a period.
async fn one_by_one() {
    sleep(PERIOD / ELECTIONS).await;
}

/// Two write by server-side apply and strategic merge patches, which this server does not have: here those are merge
/// patches, of the same content, which cost the server less.
fn merge_patch<B>(mut request: http::Request<B>) -> http::Request<B> {
    const OTHERS: [&str; 2] = ["application/apply-patch+yaml", "application/strategic-merge-patch+json"];
    if request.headers().get(CONTENT_TYPE).is_some_and(|value| OTHERS.iter().any(|other| value == other)) {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
        *request.uri_mut() = Uri::try_from(request.uri().path()).expect("the path was one");
    }
    request
}

impl Elections {
    fn relent(&mut self, lock: impl Lock) {
        let timing = Timing::new(LEASE, PERIOD * 5 / 2, PERIOD).expect("a timing");
        let leading = Arc::clone(&self.leading);
        let run = elect(lock, "a").timing(timing).run(move |_| async move {
            leading.fetch_add(1, Ordering::Relaxed);
            pending::<()>().await;
        });
        self.tasks.spawn(async move { format!("{:?}", run.await) });
    }

    /// The loop of its README.
    fn kube_leader_election(&mut self, client: kube_4::Client, index: u32) {
        let params = LeaseLockParams { holder_id: "a".into(), lease_name: name(index), lease_ttl: LEASE };
        let lock = PeerLock::new(client, "default", params);
        let leading = Arc::clone(&self.leading);
        self.tasks.spawn(async move {
            let mut led = false;
            loop {
                let leads = match lock.try_acquire_or_renew().await {
                    Ok(LeaseLockResult::Acquired(_)) => true,
                    Ok(_) => false,
                    Err(error) => return error.to_string(),
                };
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
            let spawned = match LeaseManager::init(api, name(index)).await {
                Ok(manager) => manager.spawn("a", params).await,
                Err(error) => return error.to_string(),
            };
            let (mut claims, task) = match spawned {
                Ok(spawned) => spawned,
                Err(error) => return error.to_string(),
            };
            if claims.borrow_and_update().is_current_for("a") {
                leading.fetch_add(1, Ordering::Relaxed);
            }
            format!("{:?}", task.await)
        });
    }

    fn kube_lease_manager(&mut self, client: kube::Client, index: u32) {
        let leading = Arc::clone(&self.leading);
        // It renews so many seconds before the end.
        let (lease, grace) = (LEASE.as_secs(), (LEASE - PERIOD).as_secs());
        self.tasks.spawn(async move {
            let builder = LeaseManagerBuilder::new(client, name(index)).with_namespace("default").with_identity("a");
            let manager = match builder.with_duration(lease).with_grace(grace).build().await {
                Ok(manager) => manager,
                Err(error) => return error.to_string(),
            };
            let (mut leads, task) = manager.watch().await;
            while leads.changed().await.is_ok() {
                if *leads.borrow_and_update() {
                    leading.fetch_add(1, Ordering::Relaxed);
                }
            }
            format!("{:?}", task.await.map(|manager| manager.is_ok()))
        });
    }

    /// Lets them go on so long. No election may end.
    pub async fn go_on(&mut self, duration: Duration) {
        tokio::select! {
            () = sleep(duration) => {}
            ended = self.tasks.join_next() => panic!("an election has ended: {ended:?}"),
        }
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
