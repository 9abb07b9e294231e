//! What lies between a member and the store, and the store.

use relent::policy::fleet::{Record, Written};

use super::{
    Fault, MS, S,
    world::{Answer, Call, Event, Pending, Sim},
};

impl Sim {
    pub(super) fn send(&mut self, index: usize, call: Call) {
        self.calls += 1;
        let id = self.calls;
        let node = &mut self.nodes[index];
        let local = node.clock.local(self.now);
        let (life, mut deadline) = (node.life, node.member.give_up_at(local));
        if self.fault == Fault::ValidFromAnswer {
            deadline = local + node.timing.ttl_nanos() / 4 * 3;
        }
        node.call = Some(Pending { id, call: call.clone(), deadline });
        let until = node.clock.truth(deadline);
        node.token += 1;
        let token = node.token;
        self.at(until, Event::Wake { node: index, life, token });
        self.say(|| format!("{index} sends {}", shown(&call)));
        if self.lost(index) {
            return;
        }
        let delay = self.delay();
        self.at(self.now + delay, Event::Arrives { node: index, life, call: id, what: call.clone() });
        if self.random.chance(self.losses / 4) {
            let delay = self.random.below(20 * S);
            self.at(self.now + delay, Event::Arrives { node: index, life, call: id, what: call });
        }
    }

    fn lost(&mut self, index: usize) -> bool {
        self.now < self.nodes[index].parted_until || self.random.chance(self.losses)
    }

    fn delay(&mut self) -> u64 {
        if !self.random.chance(self.slow) {
            self.random.between(MS / 2, self.near)
        } else if self.random.chance(500) {
            self.random.below(10 * S)
        } else {
            self.random.below(400 * MS)
        }
    }

    pub(super) fn arrives(&mut self, index: usize, life: u64, call: u64, what: Call) {
        if self.now < self.store.out_until {
            return;
        }
        let answer = match what {
            Call::Read if self.random.chance(self.stale) && self.store.before.is_some() => {
                Answer::Read(self.store.before.clone())
            }
            Call::Read => Answer::Read(self.store.record.clone()),
            Call::Write { over, record, stamp } => {
                let version = self.store.record.as_ref().map(|(version, _)| *version);
                if version == over || (self.fault == Fault::BlindWrites && over.is_some()) {
                    self.wrote(record.clone(), stamp);
                    let member = record.members.iter().find(|member| member.id == *self.nodes[index].member.id());
                    self.say(|| format!("store: {} of {index}, its {:?}", self.store.version, member.map(|m| m.share)));
                    // A proxy has tried it twice.
                    if self.random.chance(20) {
                        Answer::Written(Written::Conflict)
                    } else {
                        Answer::Written(Written::Done(self.store.version))
                    }
                } else {
                    Answer::Written(Written::Conflict)
                }
            }
        };
        if !self.lost(index) {
            let delay = self.delay();
            self.at(self.now + delay, Event::Answers { node: index, life, call, answer });
        }
    }

    fn wrote(&mut self, record: Record, stamp: i64) {
        if let Some((_, before)) = &self.store.record {
            let mut kept = 0;
            self.report.settled += u64::from(record.settled && !before.settled);
            for (at, member) in record.members.iter().enumerate() {
                // They mostly are where they were.
                let before = before
                    .members
                    .get(at)
                    .filter(|before| before.id == member.id)
                    .or_else(|| before.member(&member.id));
                let had = before.map_or(0, |member| member.share.rate);
                kept += u64::from(before.is_some());
                self.report.raised += u64::from(member.share.rate > had);
                self.report.lowered += u64::from(member.share.rate < had);
                let beats = before.is_none_or(|before| before.beat != member.beat);
                if beats && self.fault == Fault::WallClocks {
                    self.store.stamps.retain(|(id, _)| **id != *member.id);
                    self.store.stamps.push((member.id.to_string(), stamp));
                }
            }
            self.report.removed += before.members.len() as u64 - kept;
        }
        if !record.members.is_empty() {
            self.limited(record.limit());
        }
        self.store.version += 1;
        self.store.before = self.store.record.replace((self.store.version, record));
        for node in 0..self.nodes.len() {
            let Some((version, record)) = self.store.record.clone().filter(|_| self.watched) else { return };
            if !self.lost(node) {
                let (life, delay) = (self.nodes[node].life, self.delay());
                self.at(self.now + delay, Event::Reported { node, life, version, record });
            }
        }
    }

    /// By hand, over the version that was read.
    pub(super) fn edit(&mut self, rate: Option<u64>, burst: Option<u32>) {
        if let Some((_, record)) = self.store.record.clone() {
            self.say(|| format!("the record is edited: rate {rate:?}, burst {burst:?}"));
            self.wrote(Record { rate, burst, ..record }, 0);
        }
    }

    pub(super) fn delete(&mut self) {
        if self.store.record.is_some() {
            self.report.deleted += 1;
            self.store.version += 1;
            self.store.record = None;
            self.store.before = None;
            self.say(|| "the record is deleted".to_owned());
        }
    }
}

fn shown(call: &Call) -> String {
    match call {
        Call::Read => "a read".to_owned(),
        Call::Write { over, record, .. } => format!("a write over {over:?}: {record:?}"),
    }
}
