//! Ten processes' worth of members keep one rate of 100 a second, in virtual time: they join, one crashes, one leaves
//! and comes back, the store is gone for a while. Each column is a member's share of the rate; `sum` is never above
//! 100.
//!
//! `cargo run --example fleet --release`
#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, reason = "time is tokio's, and virtual")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{
    Rate,
    fleet::{Fleet, FleetMember, MemoryLedger},
};
use tokio::time::{Instant, sleep};

const RATE: u32 = 100;
const BURST: u32 = 50;

/// When permits were granted, by all members.
type Granted = Arc<Mutex<Vec<Instant>>>;

/// A counting server would see these: how many there were above `burst + rate * window` in the worst window. (A bucket
/// that fills at the rate, and 10 ms for timers, never runs dry.)
fn most_above(granted: &[Instant]) -> i128 {
    let full = i128::from(BURST) * 1_000_000_000 + i128::from(RATE) * 10_000_000;
    let (mut level, mut least) = (full, 0);
    for (at, before) in granted.iter().zip(granted.first().into_iter().chain(granted)) {
        let passed = u64::try_from(at.duration_since(*before).as_nanos()).unwrap_or(u64::MAX);
        level = full.min(level + i128::from(passed) * i128::from(RATE)) - 1_000_000_000;
        least = least.min(level);
    }
    -least / 1_000_000_000
}

fn join(ledger: &MemoryLedger, granted: &Granted) -> FleetMember {
    let fleet = Fleet::new(ledger.clone(), "process").rate(Rate::per_second(RATE)).burst(BURST);
    let member = fleet.join().expect("valid settings");
    let (limiter, granted) = (member.limiter().clone(), Arc::clone(granted));
    tokio::spawn(async move {
        loop {
            limiter.ready().await;
            granted.lock().expect("no panic").push(Instant::now());
        }
    });
    member
}

fn row(cells: impl Iterator<Item = String>) -> String {
    cells.fold(String::new(), |row, cell| row + &format!("{cell:>6}"))
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.permits()) / rate.per().as_secs_f64()
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let (ledger, granted) = (MemoryLedger::new(), Granted::default());
    let mut members: Vec<Option<FleetMember>> = (0..10).map(|_| None).collect();
    println!(
        "Ten members keep one rate of {RATE} a second, with a burst of {BURST}; all take what they can get. What is to be expected:\n"
    );
    println!("{}\n", Fleet::new(ledger.clone(), "process").explain(10, Duration::from_millis(5)));
    println!(
        "Each member's share of the rate (`.`: none), their sum, and how many permits came out in a second of all together:\n"
    );
    println!("   s  {}   sum  permits a second", row((0..10).map(|member| member.to_string())));
    let mut before = 0;
    let mut refused = None;
    for second in (0..=100_u64).step_by(2) {
        let what = match second {
            0..=18 => {
                members[second as usize / 2] = Some(join(&ledger, &granted));
                "one joins"
            }
            // It is gone without a word. (A member that is dropped does not leave.)
            30 => {
                drop(members[3].take());
                "3 crashes"
            }
            50 => {
                if let Some(member) = members[7].take() {
                    member.leave().await.expect("the ledger is there");
                }
                "7 leaves"
            }
            60 => {
                members[3] = Some(join(&ledger, &granted));
                members[7] = Some(join(&ledger, &granted));
                "both come back"
            }
            76 => {
                ledger.fail(usize::MAX);
                "the store is gone"
            }
            88 => {
                let limiter = members[0].as_ref().map(FleetMember::limiter);
                refused = limiter.and_then(|limiter| limiter.try_acquire(1).err());
                "0 is refused, see below"
            }
            90 => {
                ledger.heal();
                "it is there again"
            }
            _ => "",
        };
        sleep(Duration::from_secs(2)).await;
        let shares = members.iter().map(|member| member.as_ref().map_or(0.0, |member| per_second(member.share().rate)));
        let shares: Vec<f64> = shares.collect();
        let columns = row(shares.iter().map(|share| if *share > 0.0 { format!("{share:.1}") } else { ".".to_owned() }));
        let all = granted.lock().expect("no panic").len();
        let rate = (all - before) / 2;
        before = all;
        println!(
            "{second:>4}  {columns}{:>6.1}  {rate:>4} {:<40}  {what}",
            shares.iter().sum::<f64>(),
            "#".repeat(rate * 2 / 5)
        );
    }
    let (reads, writes) = ledger.calls();
    let above = most_above(&granted.lock().expect("no panic"));
    println!("\n{before} permits in 102 s, {above} above burst + rate * window in any window");
    println!("the ledger had {reads} reads and {writes} writes, none of them for a permit");
    if let Some(refused) = refused {
        println!("while the store was gone a call was refused in these words: {refused}");
    }
}
