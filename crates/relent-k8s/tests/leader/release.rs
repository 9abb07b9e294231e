//! The promises of a lock, and how soon a release is taken over.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use relent::testing::lock::{conformance, handovers};
use relent_apiserver::ApiServer;
use relent_k8s::LeaseLock;

#[tokio::test(start_paused = true)]
async fn a_lease_keeps_the_rules_of_locks() {
    let server = ApiServer::new();
    let leases: Api<Lease> = Api::namespaced(server.client(), "default");
    let lock = LeaseLock::new(server.client(), "default", "rules").unwrap();
    let delete = async || match leases.delete("rules", &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        deleted => drop(deleted.unwrap()),
    };
    conformance(lock, delete).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_taken_over_at_once() {
    let server = ApiServer::new();
    let took = handovers(LeaseLock::new(server.client(), "default", "handover").unwrap(), 20).await;
    assert!(took[19] < Duration::from_millis(10), "{took:?}");
}
