//! Ten processes that share one rate while they are frozen and killed, and their store is killed and started again: for
//! the tests of ledgers on real stores. All of them tell when they were granted a permit, by the clock that the
//! processes of one machine share.
//!
//! What is slept for is what is played: how long a process is frozen, the store gone, the fleet left to itself. When
//! its shares have come to rest is no event that any process could tell.

use std::time::Duration;

use relent::{
    Rate,
    fleet::{Fleet, FleetEvent, FleetMember, Ledger},
};
use rustix::process::Signal;
use tokio::time::sleep;

use super::child::{Process, monotonic, settings, tell, wait_for_close};

const MS: fn(u64) -> Duration = Duration::from_millis;
pub(crate) const SETTLED: &str = "relent fleet 1\nsettled\n";
const TTL: Duration = Duration::from_millis(2_000);
pub(crate) const RATE: u32 = 200;
pub(crate) const BURST: u32 = 40;
/// How often a process is frozen.
const FREEZES: u128 = 5;

/// A store that can be gone.
pub(crate) trait Store {
    /// From now on no call is answered.
    fn kill(&mut self);
    /// Starts it, and waits until it answers.
    async fn start(&mut self);
}

pub(crate) fn join(ledger: impl Ledger) -> FleetMember {
    let fleet = Fleet::new(ledger, "process").rate(Rate::per_second(RATE)).burst(BURST);
    let fleet = fleet.ttl(TTL).and_then(|fleet| fleet.max_ttl(TTL * 2)).unwrap();
    let told = |event: &FleetEvent| tell(format_args!("says {event:?}"));
    if settings().is_some() { fleet.on_event(told).join().unwrap() } else { fleet.join().unwrap() }
}

/// In a child, for ever: a thread takes whatever is there, which is also the first thing that it does after it was
/// frozen.
pub(crate) async fn take_all(ledger: impl Ledger) {
    let member = join(ledger);
    let limiter = member.limiter().clone();
    std::thread::spawn(move || {
        loop {
            if limiter.try_acquire(1).is_ok() {
                tell(monotonic().as_nanos());
            } else {
                // Not `acquire`, which has a timer to be late by: what has woken sees to what is there at once.
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

/// How many permits came out above `burst + rate * window` in the worst window.
fn most_above(granted: &[u128]) -> u128 {
    let full = i128::from(BURST) * 1_000_000_000 + i128::from(RATE) * 10_000_000;
    let (mut level, mut above, mut before) = (full, 0, granted[0]);
    for at in granted {
        level = full.min(level + ((at - before) * u128::from(RATE)) as i128) - 1_000_000_000;
        above = above.max(-level);
        before = *at;
    }
    above as u128 / 1_000_000_000
}

/// A span on the clock of all, and how many permits fell into it.
struct Span(u128, u128);

impl Span {
    async fn of(length: Duration) -> Self {
        let from = monotonic().as_nanos();
        sleep(length).await;
        Self(from, monotonic().as_nanos())
    }

    fn permits(&self, granted: &[u128]) -> u128 {
        granted.iter().filter(|at| (self.0..self.1).contains(*at)).count() as u128
    }

    /// In hundredths of what the rate allows.
    fn used(&self, granted: &[u128]) -> u128 {
        self.permits(granted) * 100_000_000_000 / ((self.1 - self.0) * u128::from(RATE))
    }
}

/// The record is there and settled; `test` with these settings is [`take_all`].
pub(crate) async fn ten_processes(store: &mut impl Store, on: &str, test: &str, settings: &str) {
    let start = || Process::start(test, settings);
    let mut processes: Vec<_> = (0..10).map(|_| start()).collect();
    sleep(MS(6_000)).await;
    let calm = Span::of(MS(3_000)).await;
    // Four are frozen: for half a ttl, for what a share is valid, for longer.
    let lengths = [1_000, 1_800, 1_900, 3_000].map(MS);
    processes[..4].iter().for_each(|process| process.signal(Signal::STOP));
    for (at, length) in lengths.iter().enumerate() {
        sleep(*length - at.checked_sub(1).map_or(Duration::ZERO, |before| lengths[before])).await;
        processes[at].signal(Signal::CONT);
    }
    // Two are killed, and two come instead.
    let mut told = Vec::new();
    for at in [4, 5] {
        processes[at].signal(Signal::KILL);
        told.extend(processes[at].told());
        processes[at] = start();
    }
    sleep(MS(3_000)).await;
    // The store is gone for longer than any share is valid, and one is frozen meanwhile.
    processes[6].signal(Signal::STOP);
    store.kill();
    // On a slow store shares live for up to the longest ttl.
    sleep(TTL * 2).await;
    let gone = Span::of(MS(1_000)).await;
    processes[6].signal(Signal::CONT);
    store.start().await;
    sleep(MS(5_000)).await;
    let after = Span::of(MS(3_000)).await;
    for process in &processes {
        told.extend(process.told());
    }
    drop(processes);
    let mut granted: Vec<u128> = told.iter().filter_map(|line| line.parse().ok()).collect();
    granted.sort_unstable();
    let above = most_above(&granted);
    println!(
        "ten processes on {on}: {} permits; {} % of the rate used in calm, {} % after all trouble; {} in a second without the store; \
         {above} above burst + rate * window",
        granted.len(),
        calm.used(&granted),
        after.used(&granted),
        gone.permits(&granted),
    );
    // One that was frozen between its grant and telling tells late: one permit for each.
    assert!(above <= FREEZES, "{above}");
    assert_eq!(gone.permits(&granted), 0);
    assert!(
        calm.used(&granted) >= 50 && after.used(&granted) >= 50,
        "used: {} {}",
        calm.used(&granted),
        after.used(&granted)
    );
}
