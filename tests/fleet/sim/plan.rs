//! The plan of a run: what takes part, and what befalls it when.

use std::time::Duration;

use relent::{
    Ratio,
    policy::fleet::{Member, Record, Share, Timing},
};

use super::{
    Fault, MS, S, SPAN,
    world::{Bucket, Event, InUse, Node, Sim},
};
use crate::simulated::{Clock, Random};

/// The longest ttl of a fleet.
const MAX_TTL: Duration = Duration::from_secs(12);

impl Sim {
    pub(super) fn new(seed: u64, fault: Fault, trace: bool) -> Self {
        let mut random = Random(seed);
        let limit = Share { rate: 1_000_000_000 * random.between(1, 100), burst: random.between(6, 60) as u32 };
        let mut sim = Self::empty(random, fault, limit, trace);
        let drift = [0, 10, 50][sim.random.below(3) as usize];
        sim.losses = [0, 20, 100, 300][sim.random.below(4) as usize];
        sim.stale = [0, 0, 200, 500][sim.random.below(4) as usize];
        sim.slow = [0, 50, 200][sim.random.below(3) as usize];
        sim.watched = sim.random.chance(500);
        sim.doubled = sim.random.chance(300);
        if sim.random.chance(500) {
            sim.store.version = 1;
            sim.store.record = Some((1, Record::settled()));
        }
        let same = sim.random.chance(300);
        for _ in 0..sim.random.between(2, 6) {
            let rate = 1000 - drift
                + if sim.random.chance(500) {
                    sim.random.below(2) * 2 * drift
                } else {
                    sim.random.below(2 * drift + 1)
                };
            let ttl = [1_000, 3_300, 9_900, 12_000][sim.random.below(4) as usize];
            let ttl = if same { 1_000 } else { ttl };
            let timing =
                timing(Duration::from_millis(ttl), if fault == Fault::OwnTtlOnly { None } else { Some(MAX_TTL) });
            let start = sim.random.below(3 * S);
            let wall = sim.random.below(4 * S) as i64 - 2 * S as i64;
            sim.add(Clock { start, rate }, wall, timing);
        }
        sim.plan_trouble();
        sim
    }

    pub(super) fn add(&mut self, clock: Clock, wall: i64, timing: Timing) {
        let index = self.nodes.len();
        self.nodes.push(Node {
            life: 0,
            token: 0,
            alive: false,
            frozen: false,
            parted_until: 0,
            clock,
            wall,
            timing,
            states: self.limit,
            member: Member::new(timing, "", self.limit, 0),
            call: None,
            missed: Vec::new(),
            in_use: InUse::default(),
            bucket: Bucket::default(),
            is_new: true,
            confirmed: Share::NONE,
            beat: None,
            sent: Share::NONE,
            answered_at: None,
            conflicted: false,
            timer: 0,
            believed: (Share::NONE, 0),
            lapses: 0,
            seen: None,
        });
        self.at(clock.start, Event::Restart { node: index });
    }

    /// A process is started, for the first time or again.
    pub(super) fn start(&mut self, index: usize) {
        let (seed, now, doubled) = (self.random.next(), self.now, self.doubled);
        let want = self.want();
        let node = &mut self.nodes[index];
        (node.alive, node.frozen, node.is_new) = (true, false, true);
        node.life += 1;
        node.clock.start = now;
        node.member = Member::new(node.timing, &format!("host-{index}"), node.states, seed);
        if doubled && index < 2 {
            node.member = node.member.clone().with_id("host");
        }
        node.member.set_want(want);
        (node.call, node.in_use, node.bucket) = (None, InUse::default(), Bucket { tokens: 0, at: now });
        (node.confirmed, node.beat, node.sent) = (Share::NONE, None, Share::NONE);
        (node.answered_at, node.conflicted, node.timer) = (None, false, 0);
        (node.believed, node.lapses, node.seen) = ((Share::NONE, 0), 0, None);
        self.drive(index);
    }

    fn want(&mut self) -> u64 {
        match self.random.below(4) {
            0 => 0,
            1 => self.random.below(self.limit.rate),
            _ => self.limit.rate,
        }
    }

    fn plan_trouble(&mut self) {
        let chaos = self.random.below(5);
        for node in 0..self.nodes.len() {
            let first = self.random.below(S);
            self.at(first, Event::Take { node });
            for _ in 0..self.random.below(12) {
                let (at, want) = (self.random.below(SPAN), self.want());
                self.at(at, Event::Want { node, want });
            }
        }
        if self.random.chance(500) {
            self.plan_limits();
        }
        for _ in 0..chaos * 4 {
            let at = self.random.below(SPAN);
            let node = self.random.below(self.nodes.len() as u64) as usize;
            let end = at + self.random.between(100 * MS, 25 * S);
            match self.random.below(10) {
                0..=2 => {
                    self.at(at, Event::Freeze { node });
                    self.at(end, Event::Thaw { node });
                }
                3 | 4 => self.at(at, Event::Part { node, until: end }),
                5 | 6 => {
                    self.at(at, Event::Crash { node });
                    self.at(end, Event::Restart { node });
                }
                7 => {
                    self.at(at, Event::Leave { node });
                    self.at(end, Event::Restart { node });
                }
                8 => self.at(at, Event::Outage { until: at + (end - at) / 2 }),
                _ => self.at(at, Event::Delete),
            }
        }
    }

    /// Other limits: a rollout, or an operator.
    fn plan_limits(&mut self) {
        for _ in 0..self.random.between(1, 8) {
            let at = self.random.below(SPAN);
            let (rate, burst) = (1_000_000_000 * self.random.between(1, 100), self.random.between(1, 60) as u32);
            if self.random.chance(600) {
                let node = self.random.below(self.nodes.len() as u64) as usize;
                self.at(at, Event::States { node, states: Share { rate, burst } });
            } else {
                let (rate, burst) = (self.random.chance(600).then_some(rate), self.random.chance(400).then_some(burst));
                self.at(at, Event::Edit { rate, burst });
            }
        }
    }
}

pub(super) fn timing(ttl: Duration, max_ttl: Option<Duration>) -> Timing {
    let timing = Timing::default().max_ttl(MAX_TTL.max(max_ttl.unwrap_or(ttl))).and_then(|timing| timing.ttl(ttl));
    let timing = timing.and_then(|timing| timing.clock_drift(Ratio::per_mille(50)));
    timing.and_then(|timing| timing.max_ttl(max_ttl.unwrap_or(ttl))).expect("a valid timing")
}
