//! Two candidates and one lock: `cargo run --example leader`. With a Kubernetes Lease it is `relent_k8s::LeaseLock`,
//! with etcd `relent_etcd::EtcdLock`.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use relent::leader::{ElectError, Ended, MemoryLock, elect};

#[tokio::main]
async fn main() -> Result<(), ElectError> {
    let lock = MemoryLock::new();
    let campaign = async |name: &'static str| {
        let work = async |term: relent::leader::Term| {
            println!("{name} leads; whatever it writes bears the fence {}", term.fence());
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        let ended = elect(lock.clone(), name).run(work).await?;
        println!("{name} is done: {}", matches!(ended, Ended::Finished(())));
        Ok::<_, ElectError>(())
    };
    // The second begins as soon as the first has given the lock back.
    tokio::try_join!(campaign("one"), campaign("two")).map(drop)
}
