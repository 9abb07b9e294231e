//! A thousand elections in one process and on one thread, each with a lock of its own, renewed once a second: relent on
//! a lock in memory and on Leases, kube-leader-election, kubert and kube-lease-manager on Leases. The Leases are on the
//! API server of `relent_apiserver`, in the same thread; what it takes itself is shown by bare requests.
#![allow(clippy::disallowed_methods)]

mod contenders;
mod server;
#[path = "../../suite/src/standing.rs"]
mod standing;

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Builder;

use contenders::Contender;
use server::Server;
use standing::Standing;

pub const ELECTIONS: u32 = 1000;
const SETTLE: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(10);

/// What all elections took in the window.
struct Taken {
    writes: u64,
    reads: u64,
    cpu: Duration,
    bytes: i64,
}

/// An election's share of it in a second, and its heap.
const MEASURES: [&str; 4] = ["writes", "reads", "CPU", "heap"];

fn main() {
    let server = Server::new();
    let leases = bytes(|| bare(&server));
    let taken = Contender::ALL.map(|contender| {
        let taken = run(contender);
        let bytes = taken.bytes - if contender.on_server() { leases } else { 0 };
        let shares = [
            each(taken.writes as f64),
            each(taken.reads as f64),
            each(taken.cpu.as_secs_f64() * 1e6),
            bytes as f64 / f64::from(ELECTIONS),
        ];
        (contender, shares)
    });
    println!();
    println!("{ELECTIONS} elections on Leases in one process, on one thread, for {} s:", WINDOW.as_secs());
    println!();
    println!(
        "| an election with a renewal a second | relent | by hand | best peer | ratio | relent is | other peers |"
    );
    println!("|---|---|---|---|---|---|---|");
    let standings: Vec<_> = (0..MEASURES.len()).map(|measure| row(&taken, measure)).collect();
    println!();
    println!("{}.", standing::sum_up(&standings, "a peer"));
    let in_memory = taken.iter().find(|(contender, _)| !contender.on_server()).expect("one of relent");
    let all =
        (0..MEASURES.len()).map(|measure| format!("{} {}", MEASURES[measure], shown(measure, in_memory.1[measure])));
    println!("relent on locks in memory: {}.", all.collect::<Vec<_>>().join(", "));
    let server = Server::new();
    let (get, put, patch) = server::bare_requests(&server);
    println!(
        "Of that CPU a bare request takes, with the server's part: GET {get:.1} us, PUT {put:.1} us, PATCH {patch:.1} us."
    );
}

/// What all took on Leases, by one measure.
fn row(taken: &[(Contender, [f64; 4])], measure: usize) -> Standing {
    let mut peers = Vec::new();
    let mut relent = 0.0;
    for (contender, shares) in taken.iter().filter(|(contender, _)| contender.on_server()) {
        match contender {
            Contender::RelentOnLeases => relent = shares[measure],
            peer => peers.push((peer.name(), shares[measure])),
        }
    }
    peers.sort_by(|a, b| a.1.total_cmp(&b.1));
    let named: Vec<_> = peers.iter().map(|(name, share)| format!("{} {name}", shown(measure, *share))).collect();
    let ratio = standing::ratio(relent, peers[0].1);
    let standing = Standing::of(relent, ratio, MEASURES[measure] == "CPU");
    println!(
        "| {} | {} | - | {} | {} | {} | {} |",
        MEASURES[measure],
        shown(measure, relent),
        named[0],
        standing::shown(ratio),
        standing.word(),
        named[1..].join(", "),
    );
    standing
}

fn shown(measure: usize, share: f64) -> String {
    match MEASURES[measure] {
        "CPU" => format!("{share:.1} us"),
        "heap" => format!("{share:.0} B"),
        _ => format!("{share:.2}"),
    }
}

/// Of what all took in the window, an election's share in a second.
fn each(all: f64) -> f64 {
    all / f64::from(ELECTIONS) / WINDOW.as_secs_f64()
}

/// Heap that is still held after `work`, by the counter of this thread.
fn bytes(work: impl FnOnce()) -> i64 {
    allocation_counter::measure(work).bytes_current
}

/// The Leases alone.
fn bare(server: &Server) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(server.lay_down_leases());
    server.forget();
}

fn run(contender: Contender) -> Taken {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut taken = None;
    let bytes = bytes(|| {
        taken = Some(runtime.block_on(async {
            let mut elections = contender.start().await;
            elections.go_on(SETTLE).await;
            let (before, start) = (elections.calls(), cpu());
            elections.go_on(WINDOW).await;
            let (after, end) = (elections.calls(), cpu());
            assert_eq!(elections.leading(), ELECTIONS, "{} leads everywhere", contender.name());
            elections.forget();
            (before, after, end - start, elections)
        }));
    });
    let (before, after, cpu, _elections) = taken.expect("it ran");
    Taken { writes: after.writes - before.writes, reads: after.reads - before.reads, cpu, bytes }
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_secs(value.tv_sec() as u64) + Duration::from_micros(value.tv_usec() as u64)
    };
    time(usage.user_time()) + time(usage.system_time())
}
