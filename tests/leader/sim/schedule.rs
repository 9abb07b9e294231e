//! One schedule: what happens in it, in order, and what must never happen.

use relent::{leader::Timing, policy::lease::Lease};

use super::{
    Fault, MS, Report, S, SPAN,
    world::{Event, Node, Server, identity},
};
use crate::simulated::{Agenda, Random};

pub(super) struct Sim {
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) agenda: Agenda<Event>,
    pub(super) nodes: Vec<Node>,
    pub(super) server: Server,
    pub(super) timing: Timing,
    pub(super) fault: Fault,
    pub(super) calls: u64,
    pub(super) last_fence: u128,
    pub(super) last_leader: Option<(usize, u64)>,
    pub(super) leaderless_since: Option<u64>,
    pub(super) quiet: bool,
    pub(super) settled: bool,
    pub(super) watched: bool,
    /// Two processes have the same identity.
    pub(super) doubled: bool,
    /// The lock keeps a number for each write.
    pub(super) numbered: bool,
    pub(super) losses: u64,
    pub(super) chaos: u64,
    pub(super) trace: bool,
    pub(super) report: Report,
}

impl Sim {
    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.agenda.push(time, event);
    }

    pub(super) fn run(mut self) -> Report {
        while self.report.violation.is_none() {
            let Some((time, event)) = self.agenda.pop_until(SPAN) else { break };
            self.now = self.now.max(time);
            self.report.events += 1;
            self.happen(event);
        }
        self.report
    }

    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3}ms {}", self.now as f64 / 1e6, text());
        }
    }

    pub(super) fn violate(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.report.violation.get_or_insert(what);
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives { node, life, call, what } => return self.arrives(node, life, call, what),
            Event::Pause { node } => self.nodes[node].frozen = true,
            Event::Suspend { node } => {
                self.nodes[node].frozen = true;
                self.nodes[node].asleep_since.get_or_insert(self.now);
            }
            Event::Rouse { node } => self.rouse(node),
            Event::Refuse { until } => self.server.refuses_until = self.server.refuses_until.max(until),
            Event::Part { node, until } => self.nodes[node].parted_until = until.max(self.nodes[node].parted_until),
            Event::Outage { until } => self.server.up_from = self.server.up_from.max(until),
            Event::Jump { node } => {
                let jump = self.random.below(7200 * S) as i64 - 3600 * S as i64;
                // Back by exactly the time since the last renewal: the same wall time is written twice.
                self.nodes[node].wall += if self.random.chance(300) { -(500 * MS as i64) } else { jump };
            }
            Event::Delete if self.server.stored.is_some() => {
                self.report.deletions += 1;
                self.server.revision += 1;
                self.server.stored = None;
                self.changed();
            }
            Event::Touch => {
                if let Some(stored) = &mut self.server.stored {
                    self.server.revision += 1;
                    stored.version = self.server.revision;
                    self.changed();
                }
            }
            Event::Quiet => {
                self.quiet = true;
                // Whatever is still on its way has arrived by then.
                self.at(self.now + 22 * S, Event::Settled);
            }
            Event::Settled => {
                self.settled = true;
                // One last crash of the leader, to time the takeover.
                if let Some(node) = self.leading() {
                    self.crash(node);
                    self.leaderless_since = Some(self.now);
                }
            }
            Event::Crash { node } => self.crash(node),
            Event::Restart { node } => self.restart(node),
            Event::Resume { node } => {
                self.nodes[node].frozen = false;
                let waiting: Vec<_> = self.nodes[node].frozen_events.drain(..).collect();
                for event in waiting {
                    self.happen(event);
                }
            }
            Event::Wake { node, life, .. }
            | Event::Answers { node, life, .. }
            | Event::Reported { node, life, .. }
            | Event::WorkEnds { node, life, .. } => {
                if self.nodes[node].frozen {
                    self.nodes[node].frozen_events.push_back(event);
                } else if self.nodes[node].life == life
                    && self.nodes[node].alive
                    && self.now >= self.nodes[node].clock.start
                {
                    self.inside(node, event);
                }
            }
            Event::Delete => {}
        }
        self.say(|| format!("{event:?}"));
    }

    pub(super) fn leading(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.term.is_some())
    }

    pub(super) fn crash(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.alive = false;
        node.life += 1;
        node.call = None;
        // Its work is dead with it.
        node.term = None;
        node.frozen_events.clear();
    }

    pub(super) fn restart(&mut self, index: usize) {
        if self.nodes[index].alive {
            return;
        }
        let (now, timing, seed) = (self.now, self.timing, self.random.next());
        let node = &mut self.nodes[index];
        node.alive = true;
        node.frozen = false;
        node.asleep_since = None;
        node.identity = identity(index, node.life, self.doubled);
        node.releasing = false;
        node.clock.start = now;
        node.lease = Lease::new(timing, Some(seed));
        (node.seen, node.wrote) = (None, None);
        let life = node.life;
        let token = node.token;
        self.at(now, Event::Wake { node: index, life, token });
    }

    /// It goes on after a suspension. What was due meanwhile by a timer rings late by so much.
    fn rouse(&mut self, index: usize) {
        let Some(since) = self.nodes[index].asleep_since.take() else { return };
        let slept = self.now - since;
        self.report.suspensions += 1;
        let node = &mut self.nodes[index];
        node.frozen = false;
        if self.fault == Fault::MonotonicClock {
            // Its clock has stood still, and so it believes in its term for longer.
            node.clock.start += slept;
            if node.term.is_some() {
                self.renewed(index);
            }
        }
        let waiting: Vec<_> = self.nodes[index].frozen_events.drain(..).collect();
        for event in waiting {
            match event {
                Event::Wake { .. } => self.at(self.now + slept, event),
                event => self.happen(event),
            }
        }
    }
}
