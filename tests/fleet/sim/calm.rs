//! Figures of fleets that nothing befalls but what is measured: load, use of the rate, convergence.

use std::time::Duration;

use relent::{
    fleet::{Fleet, MemoryLedger},
    policy::fleet::{Record, Share},
};

use super::{
    Fault, MS, S, number,
    plan::timing,
    world::{Event, Sim},
};
use crate::simulated::{Clock, Random};

const R: u64 = 100_000_000_000;
const MAX_TTL: Duration = Duration::from_secs(400);

/// So many members of this ttl, on a settled record, and a store that answers in 1 to 16 ms.
fn fleet(members: u64, ttl: Duration, seed: u64) -> Sim {
    let mut sim = Sim::empty(Random(seed), Fault::None, Share { rate: R, burst: 2_000 }, false);
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

/// So many members that all start within a second, and whether what `explain` says of them is true.
fn large(members: u64, seed: u64) {
    let ttl = Duration::from_secs(10);
    let mut sim = fleet(members, ttl, seed);
    for node in &mut sim.nodes {
        node.timing = timing(ttl, Some(MAX_TTL));
    }
    let said = Fleet::new(MemoryLedger::new(), "host-1000").max_ttl(MAX_TTL).unwrap();
    let said = said.explain(members as u32, Duration::from_micros(8_500));
    let ids = |sim: &Sim| sim.store.record.as_ref().map_or(0, |(_, record)| record.members.len() as u64);
    let mut busiest = 0;
    while ids(&sim) < members {
        let (end, before) = (sim.now + S, sim.report.refreshes + sim.report.conflicts);
        sim.run_until(end);
        sim.hungry();
        busiest = busiest.max(sim.report.refreshes + sim.report.conflicts - before);
        assert!(sim.now < 120 * S, "{} of {members} are in after two minutes", ids(&sim));
    }
    let all_in = sim.now / S;
    let start = sim.load();
    let even = sim.converges(600 * S) / 1000;
    sim.load();
    let span = 2 * said.period().as_nanos() as u64;
    sim.run_until(sim.now + span);
    let (done, met) = sim.load();
    let bytes = sim.store.record.as_ref().map_or(0, |(_, record)| record.to_string().len());
    let writes = (done + met) * S / span;
    println!(
        "{members} members: all in within {all_in} s, by {} writes and {} conflicts, {busiest} in the worst second; even after \
         {even} s more; then {writes} writes a second of {bytes} bytes, {} of a hundred in vain\n{said}",
        start.0,
        start.1,
        met * 100 / (done + met),
    );
    assert_eq!(sim.report.violation, None);
    assert!(!said.is_crowded() && even <= (said.after_join() + said.period()).as_secs(), "even after {even} s");
    let expected = u64::from(said.writes_per_second());
    assert!(writes <= expected + expected / 3 + 1, "{writes} writes a second");
    let expected = said.record_bytes() as usize;
    assert!((expected / 2..=expected).contains(&bytes), "{bytes} bytes, and not {expected}");
    assert!(sim.in_use() > R / 1000 * 999);
    sim.happen(Event::Crash { node: 1 });
    let crash = sim.converges(1_000 * S) / 1000;
    println!("after a crash: even after {crash} s");
    assert!(crash <= said.after_crash().as_secs(), "even {crash} s after a crash");
    // One that takes the place of that one.
    let start = sim.now;
    sim.add(Clock { start, rate: 1000 }, 0, timing(ttl, Some(MAX_TTL)));
    sim.run_until(start + 1);
    sim.hungry();
    let join = sim.converges(1_000 * S) / 1000;
    println!("after one has joined: even after {join} s");
    assert!(join <= said.after_join().as_secs(), "even {join} s after a join");
}

#[test]
fn large_fleets_are_what_is_said() {
    // A thousand take half a minute without optimizations.
    let of = |members| (1..=if members > 100 { 1 } else { 4 }).for_each(|seed| large(members, seed));
    number("RELENT_FLEET_MEMBERS").map_or_else(|| [10, 30, 100, 300].into_iter().for_each(of), of);
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
    let lowered = measured(|sim| {
        sim.edit(Some(R / 2), None);
        let begun = sim.now;
        while sim.in_use() > R / 2 {
            sim.run_until(sim.now + 50 * MS);
        }
        // Members that live give up what is too much within a period.
        assert!(sim.now - begun <= 3_100 * MS, "{} ms", (sim.now - begun) / MS);
        sim.edit(Some(R), None);
    });
    println!("halved and restored: even after {lowered:?}");
    assert!(lowered.1 <= 10_000);
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
