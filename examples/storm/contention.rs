//! Clients that all write to one row, each by compare and swap: of those that have read the same version one succeeds.
//! The experiment with which AWS made the case for jitter in 2015 ("Exponential Backoff And Jitter", Architecture
//! Blog): a network of 10 ms and 2 ms around it, pauses from 5 ms to 2 s.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt::{self, Write},
    time::Duration,
};

use fastrand::Rng;
use relent::{Backoff, Jitter};

const MS: Duration = Duration::from_millis(1);

fn exponential() -> Backoff {
    // Their first pause is twice the base.
    Backoff::exponential(10 * MS, 2_000 * MS).jitter(Jitter::None)
}

/// A name, and what each of its clients does.
type Rival = (&'static str, fn() -> Backoff);

pub(crate) const RIVALS: [Rival; 5] = [
    ("no pause", || Backoff::fixed(Duration::ZERO)),
    ("exponential", exponential),
    ("equal jitter", || exponential().jitter(Jitter::Equal)),
    ("full jitter", || exponential().jitter(Jitter::Full)),
    ("decorrelated", || Backoff::decorrelated(5 * MS, 2_000 * MS)),
];

/// Calls (writes that were tried) and the time until all have written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) calls: u64,
    pub(crate) time: u64,
}

/// A delay of the network, in nanoseconds: normal, 10 ms and a standard deviation of 2 ms (by Box and Muller).
fn network(rng: &mut Rng) -> u64 {
    let (a, b) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    ((10.0 + 2.0 * normal).abs() * 1e6) as u64
}

/// One round of so many clients.
pub(crate) fn play(clients: usize, backoff: fn() -> Backoff, rng: &mut Rng) -> Work {
    let mut pauses: Vec<_> = (0..clients).map(|_| backoff().seed(rng.u64(..)).iter()).collect();
    // When a read or (with the version that was read) a write arrives at the row.
    let mut arrivals: BinaryHeap<_> = (0..clients).map(|client| Reverse((network(rng), client, None))).collect();
    let (mut version, mut work) = (0_u32, Work::default());
    while let Some(Reverse((now, client, read))) = arrivals.pop() {
        let answered = now + network(rng);
        match read {
            None => arrivals.push(Reverse((answered + network(rng), client, Some(version)))),
            Some(read) => {
                work.calls += 1;
                if read == version {
                    version += 1;
                    work.time = answered;
                } else if let Some(pause) = pauses[client].next() {
                    arrivals.push(Reverse((answered + pause.as_nanos() as u64 + network(rng), client, None)));
                }
            }
        }
    }
    work
}

/// The mean of so many rounds.
pub(crate) fn mean(rounds: u64, clients: usize, backoff: fn() -> Backoff, seed: u64) -> Work {
    let mut rng = Rng::with_seed(seed);
    let mut total = Work::default();
    for _ in 0..rounds {
        let Work { calls, time } = play(clients, backoff, &mut rng);
        total = Work { calls: total.calls + calls, time: total.time + time };
    }
    Work { calls: total.calls / rounds, time: total.time / rounds }
}

/// Calls and seconds for each of the rivals.
pub(crate) fn table(seed: u64) -> Result<String, fmt::Error> {
    let mut text = "calls, and the seconds until all have written (mean of 20)\n\nclients".to_owned();
    for (name, _) in RIVALS {
        write!(text, " {name:>20}")?;
    }
    for clients in [10, 50, 100, 200] {
        write!(text, "\n{clients:>7}")?;
        for (_, backoff) in RIVALS {
            let work = mean(20, clients, backoff, seed);
            write!(text, " {:>12} {:>5.1} s", work.calls, work.time as f64 / 1e9)?;
        }
    }
    let calls = |rival: usize| mean(20, 100, RIVALS[rival].1, seed).calls as f64;
    let ratio = calls(3) / calls(1);
    write!(text, "\n\nof the calls of plain exponential, full jitter makes {ratio:.2} at 100 clients\n")?;
    Ok(text)
}
