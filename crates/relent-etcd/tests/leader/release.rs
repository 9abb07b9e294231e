//! The promises of a lock, and how soon a release is taken over: in real time, on real etcd.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use relent::testing::lock::{conformance, handovers};
use relent_etcd::EtcdLock;

use super::server::{Node, Server, Version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_keeps_the_rules_of_locks() {
    for version in Version::BOTH {
        let server = Server::start(version, 1).await;
        let url = server.nodes[0].client_url();
        let client = Client::connect([url.clone()], None).await.unwrap();
        let lock = EtcdLock::new([url], ConnectOptions::new(), "rules").unwrap();
        conformance(lock, async || drop(client.kv_client().delete("rules", None).await.unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_taken_over_at_once() {
    for (version, members) in [(Version::V34, 1), (Version::V35, 3)] {
        let server = Server::start(version, members).await;
        let urls = server.nodes.iter().map(Node::client_url);
        let took = handovers(EtcdLock::new(urls, ConnectOptions::new(), "handover").unwrap(), 20).await;
        println!("{members} of etcd {version:?}: {:?} to {:?}, median {:?}", took[0], took[19], took[10]);
        // All of them but one that the machine may have slept through.
        assert!(took[18] < Duration::from_secs(1), "{version:?}: {took:?}");
    }
}
