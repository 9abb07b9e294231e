//! Elections on locks in memory, which no peer has.

use std::{
    future::pending,
    hint::black_box,
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use relent::leader::{MemoryLock, Timing, elect};
use tokio::{task::JoinSet, time::sleep};

use crate::measure::{Figure, Row, Unit, Work, runtime};

const ELECTIONS: u32 = 1000;
/// A renewal each; far from any deadline, however slow the machine.
const PERIOD: Duration = Duration::from_millis(200);

pub fn works() -> Vec<Work> {
    vec![Work {
        name: "election, acquire, work, release",
        bare: None,
        relent: |rt, n| {
            rt.block_on(async {
                for _ in 0..n {
                    _ = black_box(elect(MemoryLock::new(), "a").run(|term| async move { term.fence() }).await);
                }
            });
        },
        hand: None,
        peers: vec![],
        rows: &[Row::SeededInstructions, Row::Nanoseconds, Row::Allocations],
    }]
}

pub fn figures() -> Vec<Figure> {
    let figure = |name, unit, relent| Figure { name, unit, relent, hand: None, peers: vec![] };
    vec![
        figure("1,000 elections: writes per renewal", Unit::VaryingCount, || held().writes),
        figure("1,000 elections: reads per renewal", Unit::VaryingCount, || held().reads),
        figure("1,000 elections: heap of each", Unit::Bytes, || held().bytes),
        figure("1,000 elections: CPU per renewal", Unit::Nanoseconds, || held().cpu),
    ]
}

/// What elections take while they are held.
#[derive(Clone, Copy)]
struct Held {
    /// For each that was due.
    writes: f64,
    reads: f64,
    bytes: f64,
    cpu: f64,
}

fn held() -> Held {
    static HELD: OnceLock<Held> = OnceLock::new();
    *HELD.get_or_init(hold)
}

fn hold() -> Held {
    let runtime = runtime();
    let timing = Timing::new(PERIOD * 300, PERIOD * 200, PERIOD).expect("a timing");
    let locks: Vec<_> = (0..ELECTIONS).map(|_| MemoryLock::new()).collect();
    let calls = || locks.iter().map(MemoryLock::calls).fold((0, 0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1));
    let mut elections = JoinSet::new();
    let mut begin = || {
        runtime.block_on(async {
            for lock in &locks {
                elections.spawn(elect(lock.clone(), "a").timing(timing).run(|_| pending::<()>()));
            }
            sleep(PERIOD / 2).await;
        });
    };
    let bytes = allocation_counter::measure(&mut begin).bytes_current as f64 / f64::from(ELECTIONS);
    let (reads, writes) = calls();
    let (start, before) = (Instant::now(), cpu());
    // It begins and ends half a period after a renewal.
    runtime.block_on(async { sleep(PERIOD * 5).await });
    let (cpu, periods) = (cpu() - before, (start.elapsed().as_secs_f64() / PERIOD.as_secs_f64() + 0.1).round());
    let renewals = f64::from(ELECTIONS) * periods;
    let (reads_after, writes_after) = calls();
    assert!(locks.iter().all(|lock| lock.holder().as_deref() == Some("a")), "a term was lost");
    Held {
        writes: (writes_after - writes) as f64 / renewals,
        reads: (reads_after - reads) as f64 / renewals,
        bytes,
        cpu: cpu.as_nanos() as f64 / renewals,
    }
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    let [user, system] = [usage.user_time(), usage.system_time()]
        .map(|time| Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64));
    user + system
}
