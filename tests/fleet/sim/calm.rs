//! Figures of fleets that nothing befalls but what is measured: load, use of the rate, convergence.

use std::time::Duration;

use relent::policy::fleet::{Record, Share};

use super::{
    Fault, MS, S,
    plan::timing,
    world::{Clock, Event, Random, Sim},
};

const R: u64 = 100_000_000_000;

/// So many members of this ttl, on a settled record, and a store that answers in 1 to 16 ms.
fn fleet(members: u64, ttl: Duration, seed: u64) -> Sim {
    let mut sim = Sim::empty(Random(seed), Fault::None, Share { rate: R, burst: 1_000 }, false);
    (sim.losses, sim.stale, sim.slow, sim.near) = (0, 0, 0, 8 * MS);
    sim.store.version = 1;
    sim.store.record = Some((1, Record::settled()));
    for _ in 0..members {
        let start = sim.random.below(S);
        sim.add(Clock { start, rate: 1000 }, 0, timing(ttl, Some(ttl.max(Duration::from_secs(200)))));
    }
    sim
}

impl Sim {
    fn in_use(&self) -> u64 {
        let valid = self.nodes.iter().filter(|node| node.alive && self.now < node.in_use.until);
        valid.map(|node| node.in_use.share.rate).sum()
    }

    /// All want all there is.
    fn hungry(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].member.set_want(R);
        }
    }

    /// How long, in milliseconds, until the members that live have all there is, in even parts.
    fn converges(&mut self, within: u64) -> u64 {
        let begun = self.now;
        loop {
            self.run_until(self.now + 50 * MS);
            let living: Vec<_> = self.nodes.iter().filter(|node| node.alive && !node.member.is_gone()).collect();
            let even = R / living.len() as u64;
            if living.iter().all(|node| node.in_use.share.rate + 10 > even && self.now < node.in_use.until) {
                return (self.now - begun) / MS;
            }
            assert!(self.now < begun + within, "no even parts after {} s", within / S);
        }
    }

    /// Writes that were done and conflicts, since the last time.
    fn load(&mut self) -> (u64, u64) {
        let load = (self.report.refreshes, self.report.conflicts);
        (self.report.refreshes, self.report.conflicts) = (0, 0);
        load
    }
}

/// What a fleet of so many, which all start within a second on a settled record, does to the store and to itself.
fn large(members: u64, max_ttl: Duration) {
    let mut sim = fleet(members, Duration::from_secs(10), 1);
    for node in 0..members as usize {
        sim.nodes[node].timing = timing(Duration::from_secs(10), Some(max_ttl));
    }
    let mut calls = Vec::new();
    let mut joined = 0;
    sim.run_until(2 * S);
    sim.hungry();
    while joined < members && sim.now < 600 * S {
        let (now, before) = (sim.now, (sim.report.refreshes + sim.report.conflicts, sim.report.conflicts));
        sim.run_until(now + S);
        sim.hungry();
        joined = sim.store.record.as_ref().map_or(0, |(_, record)| record.members.len() as u64);
        calls.push((sim.report.refreshes + sim.report.conflicts - before.0, sim.report.conflicts - before.1, joined));
    }
    let all_in = sim.now;
    let first = sim.load();
    let even = sim.converges(3_000 * S);
    let second = sim.load();
    let span = 300 * S;
    sim.run_until(sim.now + span);
    let (done, met) = sim.load();
    let bytes = sim.store.record.as_ref().map_or(0, |(_, record)| record.to_string().len());
    println!(
        "{members} members: all in after {} s ({} writes, {} conflicts; worst second {:?}), even after {} s more ({second:?}); then {} writes in 10 s, {} conflicts for \
         100, {bytes} bytes, in use {}",
        all_in / S, first.0, first.1, calls.iter().map(|call| call.0).max(), even / 1000, done * 10 * S / span, met * 100 / done.max(1), sim.in_use()
    );
    println!("{:?}", calls.iter().take(20).collect::<Vec<_>>());
    assert_eq!(sim.report.violation, None);
}

#[test]
fn a_thousand_members() {
    for members in [10, 100, 300, 1_000] {
        large(members, Duration::from_secs(300));
    }
}

/// The middle and the worst of many runs.
fn spread(mut times: Vec<u64>) -> (u64, u64) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

#[test]
fn ten_members_converge() {
    let ttl = Duration::from_millis(9_900);
    let measured = |trouble: fn(&mut Sim)| {
        spread(
            (1..=30)
                .map(|seed| {
                    let mut sim = fleet(10, ttl, seed);
                    sim.run_until(2 * S);
                    sim.hungry();
                    sim.converges(60 * S);
                    let pause = sim.random.below(10 * S);
                    sim.run_until(sim.now + pause);
                    assert_eq!(sim.in_use(), R, "all of the rate is in use");
                    trouble(&mut sim);
                    let took = sim.converges(60 * S);
                    assert_eq!(sim.report.violation, None);
                    took
                })
                .collect(),
        )
    };
    let join = measured(|sim| {
        let start = sim.now;
        sim.add(Clock { start, rate: 1000 }, 0, timing(Duration::from_millis(9_900), Some(Duration::from_secs(200))));
        sim.run_until(start + 1);
        sim.hungry();
    });
    let leave = measured(|sim| sim.happen(Event::Leave { node: 3 }));
    let crash = measured(|sim| sim.happen(Event::Crash { node: 3 }));
    println!("ten members, ttl 9.9 s, ms (median, worst): join {join:?}, leave {leave:?}, crash {crash:?}");
    // What `explain` says.
    assert!(join.1 <= 7_000 && leave.1 <= 5_000 && crash.1 <= 17_000);
}

#[test]
fn load_and_use() {
    for (members, ttl) in [(10, 9_900), (100, 33_000), (300, 99_000)] {
        let mut sim = fleet(members, Duration::from_millis(ttl), 1);
        sim.run_until(2 * S);
        sim.hungry();
        let (writes, conflicts) = sim.load();
        let settled = sim.converges(1_000 * S);
        let first = sim.load();
        let (begun, permits) = (sim.now, sim.report.permits);
        for node in 0..sim.nodes.len() {
            sim.at(begun, Event::Take { node });
        }
        let span = 200 * S;
        sim.run_until(begun + span);
        let (done, met) = sim.load();
        let granted = (sim.report.permits - permits) / 1000;
        println!(
            "{members} members, ttl {ttl} ms: start {writes} writes and {conflicts} conflicts in 2 s, even after {settled} ms \
             ({} and {}); then {}.{} writes a second, {} conflicts for 100 writes, {granted} of {} permits",
            first.0,
            first.1,
            done * S / span,
            done * 10 * S / span % 10,
            met * 100 / done,
            R / S * span / S,
        );
        assert_eq!(sim.report.violation, None);
        assert!(met * 100 / done < 60, "{met} conflicts for {done} writes");
        assert!(sim.in_use() > R / 100 * 99, "{} in use", sim.in_use());
    }
}
