//! What the tests of members have in common.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use relent::{
    Limiter, Rate,
    fleet::{Fleet, FleetMember, Ledger, MemoryLedger},
};
use tokio::time::{Instant, advance, timeout};

pub(crate) const TTL: Duration = Duration::from_secs(10);
/// How long a share is valid.
pub(crate) const VALID: Duration = Duration::from_secs(9);
pub(crate) const RATE: u32 = 100;
pub(crate) const BURST: u32 = 50;

pub(crate) fn fleet<L: Ledger>(ledger: L) -> Fleet<L> {
    Fleet::new(ledger, "host").rate(Rate::per_second(RATE)).burst(BURST).ttl(TTL).unwrap()
}

pub(crate) async fn joined(ledger: &MemoryLedger) -> FleetMember {
    let member = fleet(ledger.clone()).join().unwrap();
    timeout(TTL, member.ready()).await.expect("a share");
    member
}

/// Takes permits one after the other for ever, and notes when it got them.
pub(crate) fn hungry(limiter: &Limiter, granted: &Arc<Mutex<Vec<Instant>>>) -> tokio::task::JoinHandle<()> {
    let (limiter, granted) = (limiter.clone(), Arc::clone(granted));
    tokio::spawn(async move {
        loop {
            limiter.ready().await;
            granted.lock().unwrap().push(Instant::now());
        }
    })
}

/// In every window at most `burst + rate * (w + catch-up)` came out: a bucket that fills at the rate never runs dry.
pub(crate) fn keeps_the_law(granted: &[Instant], rate: u32, burst: u32) {
    let catch_up = u128::from(rate) * 10_000_000;
    let full = u128::from(burst) * 1_000_000_000 + catch_up;
    let (mut level, mut before) = (full, granted.first().copied());
    for instant in granted {
        let passed = instant.duration_since(before.unwrap()).as_nanos();
        level = full.min(level + passed * u128::from(rate));
        level = level.checked_sub(1_000_000_000).expect("within burst + rate * window");
        before = Some(*instant);
    }
}

/// What happens to a process that is stopped: time passes, and no task runs.
pub(crate) fn stopped_for(duration: Duration) {
    let advance = pin!(advance(duration));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}
