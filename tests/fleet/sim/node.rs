//! What a member does: it drives its state machine, as the task of a fleet does, and takes what its bucket holds.

use relent::policy::fleet::{ReadResult, Record, Share, Step, Written};

use super::{
    Fault, MS,
    world::{Answer, Call, Event, InUse, PERMIT, Sim, greater},
};

impl Sim {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives { node, life, call, what } => self.arrives(node, life, call, what),
            Event::Wake { node, life, .. } | Event::Answers { node, life, .. } | Event::Reported { node, life, .. } => {
                if self.nodes[node].life != life || !self.nodes[node].alive {
                } else if self.nodes[node].frozen {
                    self.nodes[node].missed.push(event);
                } else {
                    self.inside(node, event);
                }
            }
            Event::Take { node } => {
                if self.nodes[node].alive && !self.nodes[node].frozen {
                    self.take(node);
                }
                let pause = self.random.between(20 * MS, 900 * MS);
                self.at(self.now + pause, Event::Take { node });
            }
            Event::Want { node, want } => self.nodes[node].member.set_want(want),
            Event::Freeze { node } => self.nodes[node].frozen = true,
            Event::Thaw { node } => self.thaw(node),
            Event::Part { node, until } => self.nodes[node].parted_until = until,
            Event::Crash { node } => {
                let node = &mut self.nodes[node];
                node.alive = false;
                node.frozen = false;
                node.life += 1;
                node.call = None;
                node.missed.clear();
                node.in_use = InUse::default();
            }
            Event::Leave { node } => {
                if self.nodes[node].alive && !self.nodes[node].frozen {
                    self.report.left += 1;
                    let local = self.nodes[node].clock.local(self.now);
                    self.nodes[node].member.leave(local);
                    self.drive(node);
                }
            }
            Event::Restart { node } => {
                if !self.nodes[node].alive || self.nodes[node].member.is_gone() {
                    self.start(node);
                }
            }
            Event::Outage { until } => self.store.out_until = self.store.out_until.max(until),
            Event::Delete => self.delete(),
            Event::States { node, states } => {
                self.nodes[node].states = states;
                if self.nodes[node].alive && !self.nodes[node].frozen {
                    let local = self.nodes[node].clock.local(self.now);
                    self.nodes[node].member.set_states(local, states);
                    self.drive(node);
                }
            }
            Event::Edit { rate, burst } => self.edit(rate, burst),
            Event::Outdated => self.measure_peak(),
        }
    }

    /// The first thing that it does is to take what it believes to have; timers fire a moment later.
    fn thaw(&mut self, index: usize) {
        self.nodes[index].frozen = false;
        if self.nodes[index].alive {
            self.take(index);
        }
        for event in std::mem::take(&mut self.nodes[index].missed) {
            let delay = self.random.below(40 * MS);
            self.at(self.now + delay, event);
        }
    }

    fn inside(&mut self, index: usize, event: Event) {
        let local = self.nodes[index].clock.local(self.now);
        if self.fault == Fault::TimerOnly && self.nodes[index].timer <= local {
            self.nodes[index].in_use = InUse::default();
        }
        match event {
            Event::Answers { call, answer, .. } => match self.nodes[index].call.take_if(|pending| pending.id == call) {
                Some(pending) if local < pending.deadline => self.answered(index, pending.call, answer),
                Some(pending) => self.give_up(index, &pending.call),
                None => return,
            },
            Event::Reported { version, mut record, .. } => {
                self.falsify(index, &mut record);
                self.nodes[index].member.on_report(local, version, &record);
            }
            Event::Wake { token, .. } if token == self.nodes[index].token => {
                if let Some(pending) = self.nodes[index].call.take_if(|pending| pending.deadline <= local) {
                    self.give_up(index, &pending.call);
                }
            }
            _ => return,
        }
        self.drive(index);
    }

    fn give_up(&mut self, index: usize, call: &Call) {
        self.report.unknown += 1;
        let local = self.nodes[index].clock.local(self.now);
        match call {
            Call::Read => self.nodes[index].member.on_read(local, ReadResult::Failed),
            Call::Write { .. } => self.nodes[index].member.on_written(local, Written::Unknown),
        }
    }

    /// What the member is made to see, with a fault.
    fn falsify(&mut self, index: usize, record: &mut Record) {
        let node = &mut self.nodes[index];
        let own = node.member.id().clone();
        match self.fault {
            Fault::ReadersTtl => record.members.iter_mut().for_each(|member| member.ttl = node.timing.ttl_nanos()),
            Fault::WallClocks => {
                let wall = self.now as i64 + node.wall;
                let stamps = &self.store.stamps;
                let fresh = |id: &str, ttl: u64| stamps.iter().any(|(known, at)| known == id && wall - at < ttl as i64);
                record.members.retain(|member| member.id == own || fresh(&member.id, member.ttl));
            }
            Fault::IdIsEnough => match (node.beat, record.members.iter_mut().find(|member| member.id == own)) {
                (Some(beat), Some(member)) => member.beat = beat,
                _ => record.members.retain(|member| member.id != own),
            },
            Fault::OwnLimit => {
                node.seen = Some(record.clone());
                (record.rate, record.burst) = (None, None);
                record.members.iter_mut().for_each(|member| member.states = node.states);
            }
            _ => {}
        }
    }

    /// What others state is left as it was.
    fn restore_limits(&self, index: usize, record: &mut Record) {
        let Some(seen) = &self.nodes[index].seen else { return };
        (record.rate, record.burst) = (seen.rate, seen.burst);
        let own = self.nodes[index].member.id();
        for member in record.members.iter_mut().filter(|member| member.id != *own) {
            member.states = seen.member(&member.id).map_or(member.states, |seen| seen.states);
        }
    }

    fn answered(&mut self, index: usize, call: Call, answer: Answer) {
        let local = self.nodes[index].clock.local(self.now);
        let node = &mut self.nodes[index];
        match (call, answer) {
            (Call::Read, Answer::Read(mut found)) => {
                if let Some((_, record)) = &mut found {
                    self.falsify(index, record);
                }
                self.nodes[index].member.on_read(
                    local,
                    found.map_or(ReadResult::Missing, |(version, record)| ReadResult::Found(version, record)),
                );
            }
            (Call::Write { record, .. }, Answer::Written(written)) => {
                let own = record.member(node.member.id()).map(|member| (member.share, member.beat));
                node.member.on_written(local, written);
                match written {
                    Written::Done(_) => {
                        self.report.refreshes += 1;
                        if let Some((share, beat)) = own {
                            node.confirmed = share;
                            node.beat = Some(beat);
                        }
                    }
                    Written::Conflict => self.report.conflicts += 1,
                    Written::Unknown => {}
                }
                if matches!(written, Written::Done(_)) {
                    node.answered_at = Some(local);
                }
                node.conflicted = written == Written::Conflict;
            }
            _ => {}
        }
    }

    pub(super) fn drive(&mut self, index: usize) {
        let local = self.nodes[index].clock.local(self.now);
        let step = self.nodes[index].member.next(local);
        let mut sent = None;
        match step {
            Step::Wait(until) => {
                let until = self.nodes[index].member.changes_at(local).map_or(until, |at| at.min(until));
                self.wake_at(index, until);
            }
            Step::Read => self.send(index, Call::Read),
            Step::Write { over, mut record } => {
                if self.fault == Fault::NoLearning {
                    record.settled = true;
                }
                self.restore_limits(index, &mut record);
                sent = record.member(self.nodes[index].member.id()).map(|member| member.share);
                let stamp = self.now as i64 + self.nodes[index].wall;
                self.send(index, Call::Write { over, record, stamp });
            }
        }
        self.follow(index, local, sent);
    }

    fn wake_at(&mut self, index: usize, local: u64) {
        let node = &mut self.nodes[index];
        node.token += 1;
        // A call that is under way is given up all the same.
        let local = node.call.as_ref().map_or(local, |pending| pending.deadline.min(local));
        let (life, token, at) = (node.life, node.token, node.clock.truth(local));
        if local < u64::MAX / 2 {
            self.at(at.max(self.now), Event::Wake { node: index, life, token });
        }
    }

    /// The bucket follows the share.
    fn follow(&mut self, index: usize, local: u64, sent: Option<Share>) {
        let fault = self.fault;
        let (mut share, mut until) = self.nodes[index].member.share(local);
        let node = &mut self.nodes[index];
        let valid = local < until;
        match fault {
            Fault::ValidFromAnswer | Fault::NoMargin => {
                let (ttl, timing) = (node.timing.ttl_nanos(), node.timing);
                if valid && fault == Fault::NoMargin {
                    node.believed = (share, until + ttl - timing.valid(ttl));
                } else if valid {
                    node.believed = (share, until.max(node.answered_at.map_or(0, |at| at + timing.valid(ttl))));
                }
                // It lapses later; but one that is lost before is lost.
                let lost = !valid && local < node.lapses;
                node.lapses = until;
                node.believed = if lost { (Share::NONE, 0) } else { node.believed };
                (share, until) = node.believed;
            }
            Fault::IncreaseFirst if valid => share = greater(share, sent.unwrap_or(node.sent)),
            // Until the write is answered.
            Fault::DecreaseLast if valid && node.call.is_some() => share = greater(share, node.confirmed),
            Fault::ConflictIsNotApplied if valid && node.conflicted => share = greater(share, node.confirmed),
            _ => {}
        }
        node.sent = sent.unwrap_or(if node.call.is_some() { node.sent } else { Share::NONE });
        let truth = if until == u64::MAX { u64::MAX } else { node.clock.truth(until) };
        let next = InUse { share, until: if local < until { truth } else { 0 } };
        let newcomer = node.is_new && !next.share.is_none();
        if fault == Fault::TimerOnly {
            node.timer = until;
            if next.share.is_none() && node.timer == 0 && node.member.is_gone() {
                node.in_use = InUse::default();
            } else if !next.share.is_none() {
                // Valid until the timer fires.
                self.fill(index);
                self.nodes[index].in_use = InUse { share, until: u64::MAX };
                self.cut(index);
                self.wake_late(index, until);
                return;
            }
        }
        let lapsed = !node.in_use.share.is_none() && node.in_use.until <= self.now;
        self.fill(index);
        let node = &mut self.nodes[index];
        self.report.lapsed += u64::from(lapsed);
        if lapsed {
            // What was saved up lapses with the share.
            node.bucket.tokens = 0;
        }
        node.in_use = next;
        if fault == Fault::FullStart && newcomer {
            node.bucket.tokens = u128::from(next.share.burst) * PERMIT;
        }
        if newcomer {
            node.is_new = false;
        }
        self.cut(index);
    }

    /// Another wake-up for the timer of the share, beside that of the state machine.
    fn wake_late(&mut self, index: usize, local: u64) {
        let node = &self.nodes[index];
        let (life, token, at) = (node.life, node.token, node.clock.truth(local));
        if node.call.is_none() {
            self.at(at.max(self.now), Event::Wake { node: index, life, token });
        }
    }

    fn cut(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let most = u128::from(node.in_use.share.burst) * PERMIT;
        if self.fault != Fault::TokensKept {
            node.bucket.tokens = node.bucket.tokens.min(most);
        }
    }

    fn fill(&mut self, index: usize) {
        let (now, node) = (self.now, &mut self.nodes[index]);
        let tokens = node.bucket.tokens;
        node.bucket.fill(now, node.in_use);
        if self.fault == Fault::TokensKept {
            node.bucket.tokens = node.bucket.tokens.max(tokens);
        }
    }

    /// Takes all that is there, in permits and parts of them.
    pub(super) fn take(&mut self, index: usize) {
        self.fill(index);
        let node = &mut self.nodes[index];
        if self.now >= node.in_use.until {
            return;
        }
        let taken = std::mem::take(&mut node.bucket.tokens);
        self.fill_law();
        self.report.permits += (taken * 1000 / PERMIT) as u64;
        match self.law.tokens.checked_sub(taken) {
            Some(rest) => self.law.tokens = rest,
            None => {
                self.law.tokens = 0;
                self.violate(format!("node {index}: permits beyond B + R * w"));
            }
        }
    }
}
