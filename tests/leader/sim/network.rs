//! What lies between a process and the lock.

use super::{
    MS, S, Sim,
    world::{Answer, Call, Event, Pending, identity},
};

impl Sim {
    pub(super) fn send(&mut self, index: usize, local: u64, call: Call) {
        self.calls += 1;
        let id = self.calls;
        let deadline = self.nodes[index].lease.give_up_at(local);
        let life = self.nodes[index].life;
        self.nodes[index].call = Some(Pending { id, call, sent: local, deadline });
        let identity = self.nodes[index].identity;
        self.say(|| format!("{identity} sends {call:?}"));
        if self.lost(index) {
            return;
        }
        let delay = self.delay();
        self.at(self.now + delay, Event::Arrives { node: index, life, call: id, what: call });
        if !self.quiet && self.random.chance(self.losses / 4) {
            let delay = self.random.below(20 * S);
            self.at(self.now + delay, Event::Arrives { node: index, life, call: id, what: call });
        }
    }

    pub(super) fn lost(&mut self, index: usize) -> bool {
        if self.now < self.nodes[index].parted_until {
            return true;
        }
        !self.quiet && self.random.chance(self.losses)
    }

    pub(super) fn delay(&mut self) -> u64 {
        if self.quiet {
            return self.random.below(50 * MS);
        }
        match self.random.below(20) {
            0 => self.random.below(20 * S),
            1..=3 => self.random.below(self.timing.call_nanos()),
            _ => self.random.below(50 * MS),
        }
    }

    pub(super) fn arrives(&mut self, index: usize, life: u64, call: u64, what: Call) {
        if self.now < self.server.up_from {
            return;
        }
        let identity = identity(index, life, self.doubled);
        let before = self.server.revision;
        let answer = match what {
            _ if self.now < self.server.refuses_until => Answer::Refusal,
            Call::Read => Answer::Read(self.server.stored),
            Call::Write { write, heartbeat, mark } => {
                let lease = self.timing.lease().as_nanos() as u64;
                Answer::Write(self.server.write(write, identity, (heartbeat, mark), lease, self.fault))
            }
        };
        self.say(|| format!("server: {what:?} of {identity} -> {answer:?}"));
        if self.server.revision != before {
            self.changed();
        }
        if !self.lost(index) {
            let delay = self.delay();
            self.at(self.now + delay, Event::Answers { node: index, life, call, answer });
        }
    }

    /// Tells the watchers, late or never.
    pub(super) fn changed(&mut self) {
        if !self.watched {
            return;
        }
        for index in 0..self.nodes.len() {
            if !self.lost(index) {
                let (life, stored, delay) = (self.nodes[index].life, self.server.stored, self.delay());
                self.at(self.now + delay, Event::Reported { node: index, life, stored });
            }
        }
    }
}
