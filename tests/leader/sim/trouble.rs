//! The plan of a schedule: which candidates take part, and what befalls them when.

use std::{collections::VecDeque, time::Duration};

use relent::{Ratio, leader::Timing, policy::lease::Lease};

use super::{
    Fault, MS, Report, S, SPAN, Sim,
    world::{Event, Node, Server, Stored, identity},
};
use crate::simulated::{Agenda, Clock, Random};

impl Sim {
    pub(super) fn new(seed: u64, fault: Fault, trace: bool) -> Self {
        let mut random = Random(seed);
        let drift = [0, 10, 50][random.below(3) as usize];
        let timing = match random.below(4) {
            0 => Timing::new(Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(2)),
            1 => Timing::new(Duration::from_secs(4), Duration::from_millis(3_300), Duration::from_millis(500)),
            2 => Timing::new(Duration::from_secs(8), Duration::from_secs(4), Duration::from_secs(1)),
            _ => Timing::new(Duration::from_secs(6), Duration::from_secs(5), Duration::from_millis(1_500)),
        };
        let timing = timing.and_then(|timing| timing.clock_drift(Ratio::per_mille(50))).expect("a valid timing");
        let timing = match random.below(3) {
            0 => timing.stop_grace(Duration::from_millis(random.between(1, 200))).unwrap_or(timing),
            _ => timing,
        };
        let mut sim = Self {
            now: 0,
            agenda: Agenda::default(),
            nodes: Vec::new(),
            server: Server::default(),
            timing,
            fault,
            calls: 0,
            last_fence: 0,
            last_leader: None,
            leaderless_since: None,
            quiet: false,
            settled: false,
            watched: random.chance(400),
            doubled: random.chance(300),
            numbered: random.chance(500),
            losses: [0, 20, 100, 300][random.below(4) as usize],
            chaos: random.below(4),
            trace,
            report: Report::default(),
            random,
        };
        if sim.random.chance(500) {
            sim.server.revision = 1;
            sim.server.stored = Some(Stored { version: 1, heartbeat: 0, born: 1, holder: None, lease: S, mark: None });
        }
        for index in 0..sim.random.between(2, 5) as usize {
            let rate = 1000 - drift + sim.random.below(2 * drift + 1);
            let start = sim.random.below(3 * S);
            let seed = sim.random.next();
            sim.nodes.push(Node {
                identity: identity(index, 0, sim.doubled),
                releasing: false,
                token: 0,
                life: 0,
                alive: true,
                frozen: false,
                asleep_since: None,
                clock: Clock { start, rate },
                wall: sim.random.below(20 * S) as i64 - 10 * S as i64,
                lease: Lease::new(timing, Some(seed)),
                call: None,
                term: None,
                seen: None,
                wrote: None,
                parted_until: 0,
                frozen_events: VecDeque::new(),
            });
            sim.at(start, Event::Wake { node: index, life: 0, token: 0 });
        }
        sim.plan_trouble();
        sim
    }

    /// Half of the schedules have a quiet end, in which the takeover bound must hold.
    pub(super) fn plan_trouble(&mut self) {
        let quiet_from = if self.random.chance(500) { 45 * S } else { SPAN };
        for _ in 0..self.chaos * 3 {
            let at = self.random.below(quiet_from);
            let node = self.random.below(self.nodes.len() as u64) as usize;
            let length = self.random.between(100 * MS, 25 * S);
            let end = (at + length).min(quiet_from);
            match self.random.below(12) {
                0 | 1 => {
                    self.at(at, Event::Pause { node });
                    self.at(end, Event::Resume { node });
                }
                2 | 3 => self.at(at, Event::Part { node, until: end }),
                4 => {
                    self.at(at, Event::Crash { node });
                    self.at(end, Event::Restart { node });
                }
                5 => self.at(at, Event::Jump { node }),
                6 => self.at(at, Event::Outage { until: at + length / 4 }),
                7 => self.at(at, Event::Touch),
                8 | 9 => {
                    self.at(at, Event::Suspend { node });
                    self.at(end, Event::Rouse { node });
                }
                10 => {
                    // A restart: nothing for a while, and refusals after it.
                    let up = at + length / 8;
                    self.at(at, Event::Outage { until: up });
                    let until = up + self.random.below(2 * S);
                    self.at(at, Event::Refuse { until });
                }
                _ => {
                    self.at(at, Event::Delete);
                    if self.random.chance(500) {
                        let again = at + self.random.below(2 * S);
                        self.at(again, Event::Delete);
                    }
                }
            }
        }
        self.at(quiet_from, Event::Quiet);
    }
}
