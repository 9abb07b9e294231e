//! A key of a real etcd as the ledger of a fleet: the rules of a ledger, and ten processes that are frozen and killed while etcd is
//! killed and started again.
#![cfg(all(feature = "client", unix))]
#![allow(clippy::pedantic, clippy::disallowed_methods, clippy::async_yields_async, missing_docs)]

#[path = "../etcd/real/around.rs"]
#[allow(dead_code, reason = "tests/etcd uses the rest")]
mod around;
#[path = "../../../../tests/leader/child.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod child;
#[path = "../../../../tests/fleet/processes.rs"]
mod processes;
#[path = "../etcd/real/server.rs"]
#[allow(dead_code, reason = "tests/etcd uses the rest")]
mod server;

use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use futures_util::StreamExt;
use relent::{Rate, fleet::Ledger};
use relent_etcd::EtcdLedger;
use tokio::time::{Instant, sleep, timeout};

use self::{
    child::settings,
    processes::{RATE, SETTLED, Store, join, take_all, ten_processes},
    server::{Node, Server, Version},
};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn ledger<'u>(urls: impl IntoIterator<Item = &'u str>) -> EtcdLedger {
    EtcdLedger::new(urls, ConnectOptions::new(), "limit").unwrap()
}

fn urls(server: &Server) -> Vec<String> {
    server.nodes.iter().map(Node::client_url).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_the_rules_of_a_ledger() {
    let server = Server::start(Version::V35, 1).await;
    let urls = urls(&server);
    let ledger = ledger(urls.iter().map(String::as_str));
    let mut client = Client::connect(&urls, None).await.unwrap();
    assert_eq!(ledger.read().await.unwrap(), None);
    assert!(ledger.compare_and_swap(Some(1), "x".into()).await.unwrap_err().is_conflict());
    let first = ledger.compare_and_swap(None, "one".into()).await.unwrap();
    assert!(ledger.compare_and_swap(None, "x".into()).await.unwrap_err().is_conflict());
    let mut reports = ledger.watch();
    let second = {
        // The watch begins when it is first polled.
        let write = async {
            sleep(MS(500)).await;
            ledger.compare_and_swap(Some(first), "two".into()).await.unwrap()
        };
        let (report, second) = timeout(S(5), futures_util::future::join(reports.next(), write)).await.unwrap();
        let report = report.unwrap();
        assert_eq!((report.version, report.text.as_str()), (second, "two"));
        second
    };
    assert!(ledger.compare_and_swap(Some(first), "x".into()).await.unwrap_err().is_conflict());
    client.delete("limit", None).await.unwrap();
    assert!(ledger.compare_and_swap(Some(second), "x".into()).await.unwrap_err().is_conflict());
    assert!(ledger.compare_and_swap(None, SETTLED.into()).await.unwrap() > second);

    // By hand, while the fleet runs.
    let member = join(ledger.clone());
    timeout(S(5), member.ready()).await.unwrap();
    assert_eq!(member.share().rate, Rate::per_second(RATE));
    let found = client.get("limit", None).await.unwrap();
    let text = String::from_utf8(found.kvs()[0].value().to_vec()).unwrap();
    assert!(text.contains("member process_") && text.contains("share 200/s burst 40"), "{text}");
    client.put("limit", text.replace("relent fleet 1", "relent fleet 1\nrate 50/s"), None).await.unwrap();
    let begun = Instant::now();
    while member.share().rate != Rate::per_second(50) {
        assert!(begun.elapsed() < S(5), "{:?}", member.share());
        sleep(MS(20)).await;
    }
    member.leave().await.unwrap();
    let found = client.get("limit", None).await.unwrap();
    assert!(!found.kvs()[0].value_str().unwrap().contains("member"));
}

#[tokio::main(flavor = "current_thread")]
async fn process(urls: &str) {
    take_all(ledger(urls.split(','))).await;
}

impl Store for Server {
    fn kill(&mut self) {
        Server::kill(self, 0);
    }

    async fn start(&mut self) {
        self.run(0);
        self.healthy().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_keep_one_rate() {
    if let Some(settings) = settings() {
        return std::thread::spawn(move || process(&settings)).join().unwrap();
    }
    let mut server = Server::start(Version::V35, 1).await;
    let urls = urls(&server);
    ledger(urls.iter().map(String::as_str)).compare_and_swap(None, SETTLED.into()).await.unwrap();
    ten_processes(&mut server, "etcd", "ten_processes_keep_one_rate", &urls.join(",")).await;
}
