//! A thousand elections in one process and on one thread, each with a lock of its own, renewed once a second: relent on a
//! lock in memory and on Leases, kube-leader-election and kubert on Leases. The Leases are on the API server of
//! `relent_apiserver`, in the same thread; what it takes itself is shown by bare requests.
#![allow(clippy::disallowed_methods)]

mod contenders;
mod server;

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Builder;

use contenders::Contender;
use server::Server;

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

fn main() {
    let server = Server::new();
    let leases = bytes(|| bare(&server));
    println!();
    println!("{ELECTIONS} elections in one process, on one thread, for {} s:", WINDOW.as_secs());
    println!();
    println!("| an election with a renewal a second | writes | reads | CPU | heap |");
    println!("|---|---|---|---|---|");
    for contender in Contender::ALL {
        let taken = run(contender);
        let bytes = taken.bytes - if contender.on_server() { leases } else { 0 };
        println!(
            "| {} | {:.2} | {:.2} | {:.1} us | {} B |",
            contender.name(),
            each(taken.writes as f64),
            each(taken.reads as f64),
            each(taken.cpu.as_secs_f64() * 1e6),
            bytes / i64::from(ELECTIONS),
        );
    }
    let server = Server::new();
    let (get, put, patch) = server::bare_requests(&server);
    println!();
    println!(
        "of that CPU a bare request takes, with the server's part: GET {get:.1} us, PUT {put:.1} us, PATCH {patch:.1} us"
    );
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
