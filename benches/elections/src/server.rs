//! The API server that all contend on.

use std::{hint::black_box, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use relent_apiserver::{ApiServer, Verb};
use serde_json::json;
use tokio::runtime::Builder;

use crate::{ELECTIONS, cpu};

#[derive(Clone)]
pub struct Server(pub ApiServer);

#[derive(Clone, Copy, Default)]
pub struct Calls {
    pub reads: u64,
    pub writes: u64,
}

impl Server {
    pub fn new() -> Self {
        Self(ApiServer::new())
    }

    pub fn client(&self) -> Client {
        self.0.client()
    }

    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client(), "default")
    }

    /// A Lease for each election, without a holder.
    pub async fn lay_down_leases(&self) {
        for index in 0..ELECTIONS {
            let lease = serde_json::from_value(json!({
                "metadata": {"name": name(index)},
                "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0},
            }));
            self.leases().create(&PostParams::default(), &lease.expect("a Lease")).await.expect("created");
        }
    }

    /// What was asked since the last time that it was forgotten; watches apart.
    pub fn calls(&self) -> Calls {
        let mut calls = Calls::default();
        for entry in self.0.journal() {
            match entry.verb {
                Verb::Get | Verb::List => calls.reads += 1,
                Verb::Create | Verb::Update | Verb::Patch => calls.writes += 1,
                _ => {}
            }
        }
        calls
    }

    /// Keeps the Leases and nothing of their past.
    pub fn forget(&self) {
        self.0.compact();
        self.0.clear_journal();
    }
}

pub fn name(index: u32) -> String {
    format!("election-{index}")
}

/// CPU time of a GET, a PUT and a merge PATCH of a Lease, in microseconds.
pub fn bare_requests(server: &Server) -> (f64, f64, f64) {
    const TIMES: u32 = 5000;
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        server.lay_down_leases().await;
        let (leases, name) = (server.leases(), name(0));
        let each = |taken: Duration| taken.as_secs_f64() * 1e6 / f64::from(TIMES);
        let start = cpu();
        for _ in 0..TIMES {
            black_box(leases.get(&name).await.expect("a Lease"));
        }
        let get = cpu();
        for transitions in 0..TIMES as i32 {
            let mut lease = leases.get(&name).await.expect("a Lease");
            lease.spec.as_mut().expect("a spec").lease_transitions = Some(transitions + 1);
            black_box(leases.replace(&name, &PostParams::default(), &lease).await.expect("written"));
        }
        let put = cpu();
        for transitions in 0..TIMES {
            let patch = json!({"spec": {"leaseTransitions": transitions}});
            black_box(leases.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("written"));
        }
        let (get_took, put_took) = (get - start, put - get);
        (each(get_took), each(put_took.saturating_sub(get_took)), each(cpu() - put))
    })
}
