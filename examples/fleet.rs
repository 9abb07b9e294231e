//! Ten processes' worth of members keep one rate of 100 a second, in virtual time: they join, one crashes, one leaves and comes
//! back, the store is gone for a while. Each column is a member's share of the rate; `sum` is never above 100.
//!
//! `cargo run --example fleet --release`
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use relent::{
    Rate,
    fleet::{Fleet, FleetMember, MemoryLedger},
};
use tokio::time::sleep;

fn join(ledger: &MemoryLedger, granted: &Arc<AtomicU64>) -> FleetMember {
    let fleet = Fleet::new(ledger.clone(), "process").rate(Rate::per_second(100)).burst(50);
    let member = fleet.join().expect("valid settings");
    let (limiter, granted) = (member.limiter().clone(), Arc::clone(granted));
    tokio::spawn(async move {
        loop {
            limiter.ready().await;
            granted.fetch_add(1, Ordering::Relaxed);
        }
    });
    member
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.permits()) / rate.per().as_secs_f64()
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let (ledger, granted) = (MemoryLedger::new(), Arc::default());
    let mut members: Vec<Option<FleetMember>> = (0..10).map(|_| None).collect();
    println!("{}\n", Fleet::new(ledger.clone(), "process").explain(10, Duration::from_millis(5)));
    println!("   s  {}   sum  permits a second", (0..10).map(|member| format!("{member:>6}")).collect::<String>());
    let mut before = 0;
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
            90 => {
                ledger.heal();
                "it is there again"
            }
            _ => "",
        };
        sleep(Duration::from_secs(2)).await;
        let shares: Vec<_> =
            members.iter().map(|member| member.as_ref().map_or(0.0, |m| per_second(m.share().rate))).collect();
        let columns: String =
            shares.iter().map(|share| if *share > 0.0 { format!("{share:>6.1}") } else { "     .".into() }).collect();
        let all = granted.load(Ordering::Relaxed);
        let rate = (all - before) / 2;
        before = all;
        println!(
            "{second:>4}  {columns}{:>6.1}  {rate:>4} {:<40}  {what}",
            shares.iter().sum::<f64>(),
            "#".repeat(rate as usize * 2 / 5)
        );
    }
    let (reads, writes) = ledger.calls();
    println!("\n{before} permits in 102 s; the ledger had {reads} reads and {writes} writes");
}
