//! A key of a real etcd as the ledger of a fleet: the rules of a ledger, and ten processes that are frozen and killed while etcd is
//! killed and started again. All of them tell when they were granted a permit, by the clock that the processes of one machine share.
#![cfg(all(feature = "client", unix))]
#![allow(clippy::pedantic, clippy::disallowed_methods, clippy::async_yields_async, missing_docs)]

#[path = "../etcd/real/around.rs"]
#[allow(dead_code, reason = "tests/etcd uses the rest")]
mod around;
#[path = "../../../../tests/leader/child.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod child;
#[path = "../etcd/real/server.rs"]
#[allow(dead_code, reason = "tests/etcd uses the rest")]
mod server;

use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use futures_util::StreamExt;
use relent::{
    Rate,
    fleet::{Fleet, FleetEvent, FleetMember, Ledger},
};
use relent_etcd::EtcdLedger;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use self::{
    child::{Process, monotonic, settings, tell, wait_for_close},
    server::{Node, Server, Version},
};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
const SETTLED: &str = "relent fleet 1\nsettled\n";
const TTL: Duration = Duration::from_millis(2_000);
const RATE: u32 = 200;
const BURST: u32 = 40;

fn ledger<'u>(urls: impl IntoIterator<Item = &'u str>) -> EtcdLedger {
    EtcdLedger::new(urls, ConnectOptions::new(), "limit").unwrap()
}

fn urls(server: &Server) -> Vec<String> {
    server.nodes.iter().map(Node::client_url).collect()
}

fn join(ledger: EtcdLedger) -> FleetMember {
    let fleet = Fleet::new(ledger, "process").rate(Rate::per_second(RATE)).burst(BURST);
    let fleet = fleet.ttl(TTL).and_then(|fleet| fleet.max_ttl(TTL * 2)).unwrap();
    let told = |event: &FleetEvent| tell(format_args!("says {event:?}"));
    if settings().is_some() { fleet.on_event(told).join().unwrap() } else { fleet.join().unwrap() }
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

/// A process of the fleet: a thread takes whatever is there, which is also the first thing that it does after it was frozen.
#[tokio::main(flavor = "current_thread")]
async fn process(urls: &str) {
    let member = join(ledger(urls.split(',')));
    let limiter = member.limiter().clone();
    std::thread::spawn(move || {
        loop {
            if limiter.try_acquire(1).is_ok() {
                tell(monotonic().as_nanos());
            } else {
                std::thread::sleep(MS(2));
            }
        }
    });
    std::thread::spawn(|| {
        wait_for_close();
        std::process::exit(0);
    });
    std::future::pending::<()>().await;
}

/// How far the permits that came out are above `burst + rate * window` in the worst window.
fn most_above(granted: &[u128]) -> u128 {
    let catch_up = u128::from(RATE) * 10_000_000;
    let full = u128::from(BURST) * 1_000_000_000 + catch_up;
    let (mut level, mut above, mut before) = (full as i128, 0_i128, granted[0]);
    for at in granted {
        level = (full as i128).min(level + ((at - before) * u128::from(RATE)) as i128) - 1_000_000_000;
        above = above.max(-level);
        before = *at;
    }
    above as u128 / 1_000_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_keep_one_rate() {
    if let Some(settings) = settings() {
        return std::thread::spawn(move || process(&settings)).join().unwrap();
    }
    let mut server = Server::start(Version::V35, 1).await;
    let urls = urls(&server);
    ledger(urls.iter().map(String::as_str)).compare_and_swap(None, SETTLED.into()).await.unwrap();
    let joined = urls.join(",");
    let start = || Process::start("ten_processes_keep_one_rate", &joined);
    let mut processes: Vec<_> = (0..10).map(|_| start()).collect();
    sleep(S(8)).await;
    let calm = (monotonic().as_nanos(), { sleep(S(5)).await }, monotonic().as_nanos());
    let mut told = Vec::new();
    let mut freezes = 0;
    for (length, at) in [(MS(1_000), 0), (MS(1_900), 1), (MS(3_000), 2), (MS(3_000), 3)] {
        freezes += 1;
        processes[at].signal(Signal::STOP);
        sleep(length).await;
        processes[at].signal(Signal::CONT);
        sleep(MS(200)).await;
    }
    // Two are killed, and two come instead.
    for at in [4, 5] {
        processes[at].signal(Signal::KILL);
        told.extend(processes[at].told());
        processes[at] = start();
    }
    sleep(S(4)).await;
    // The store is killed while one is frozen, and is gone for longer than a ttl.
    processes[6].signal(Signal::STOP);
    freezes += 1;
    server.kill(0);
    sleep(S(4)).await;
    let gone = (monotonic().as_nanos(), { sleep(S(1)).await }, monotonic().as_nanos());
    server.run(0);
    processes[6].signal(Signal::CONT);
    server.healthy().await;
    sleep(S(6)).await;
    let after = (monotonic().as_nanos(), { sleep(S(5)).await }, monotonic().as_nanos());
    for process in &processes {
        told.extend(process.told());
    }
    drop(processes);
    let mut granted: Vec<u128> = told.iter().filter_map(|line| line.parse().ok()).collect();
    granted.sort_unstable();
    let between = |(from, (), to): (u128, (), u128)| granted.iter().filter(|at| (from..to).contains(*at)).count();
    let used =
        |span: (u128, (), u128)| between(span) as u128 * 100_000_000_000 / ((span.2 - span.0) * u128::from(RATE));
    println!(
        "ten processes on etcd: {} permits; {} % of the rate used in calm, {} % after all trouble; {} in a second without the \
         store; {} above burst + rate * window",
        granted.len(),
        used(calm),
        used(after),
        between(gone),
        most_above(&granted),
    );
    // One that was frozen between its grant and telling tells late: one permit for each.
    assert!(most_above(&granted) <= freezes, "{}", most_above(&granted));
    assert_eq!(between(gone), 0);
    assert!(between(calm) > 500 && between(after) > 500, "{} {}", between(calm), between(after));
}
