//! From the end of a leader's work to the begin of the next one's: release, report, takeover, in real time. The retry period
//! is 5 s: whoever found out by looking would take seconds.

use std::time::{Duration, Instant};

use relent::leader::{Lock, MemoryLock, Timing, elect};
use tokio::sync::oneshot;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
const HANDOVERS: usize = 20;

/// Hands the lock over, time after time.
async fn handovers<L: Lock + Clone>(what: &str, lock: L) {
    let timing = Timing::new(S(30), S(20), S(5)).unwrap();
    let stand = |number: usize| {
        let (leads, led) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = elect(lock.clone(), format!("candidate {number}")).timing(timing).lead_on_create();
        let run = tokio::spawn(run.run(move |term| async move {
            let _ = leads.send((Instant::now(), term.fence()));
            let _ = stopped.await;
            Instant::now()
        }));
        (led, stop, run)
    };
    let (led, mut stop, mut run) = stand(0);
    let (_, mut fence) = led.await.unwrap();
    let mut took = Vec::new();
    for number in 1..=HANDOVERS {
        let (led, next_stop, next_run) = stand(number);
        // It has looked, and listens.
        tokio::time::sleep(MS(150)).await;
        drop(stop);
        let ended = run.await.unwrap().unwrap().into_finished().unwrap();
        let (at, next_fence) = tokio::time::timeout(S(60), led).await.expect("nobody takes over").unwrap();
        assert!(next_fence > fence && at >= ended);
        took.push(at - ended);
        (stop, run, fence) = (next_stop, next_run, next_fence);
    }
    drop(stop);
    let _ = run.await.unwrap().unwrap();
    took.sort_unstable();
    println!(
        "{what}: from the end of the work to the next term, {HANDOVERS} handovers: {:?} to {:?}, median {:?}",
        took[0],
        took[HANDOVERS - 1],
        took[HANDOVERS / 2]
    );
    // All of them but one that the machine may have slept through.
    assert!(took[HANDOVERS - 2] < S(1), "{what}: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_taken_over_at_once_in_memory() {
    handovers("MemoryLock", MemoryLock::new()).await;
}

#[cfg(all(feature = "k8s", feature = "test-util"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_taken_over_at_once_with_a_lease() {
    let server = relent::testing::kube::ApiServer::new();
    let lock = relent::k8s::LeaseLock::new(server.client(), "default", "handover").unwrap();
    handovers("LeaseLock on the API server in this process", lock).await;
}

#[cfg(all(feature = "etcd", feature = "test-util"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_taken_over_at_once_with_etcd() {
    use super::server::{Node, Server, Version};
    for (version, members) in [(Version::V34, 1), (Version::V35, 3)] {
        let server = Server::start(version, members).await;
        let urls = server.nodes.iter().map(Node::client_url);
        let lock = relent::etcd::EtcdLock::new(urls, etcd_client::ConnectOptions::new(), "handover").unwrap();
        handovers(&format!("EtcdLock on {members} of real etcd {version:?}"), lock).await;
    }
}
