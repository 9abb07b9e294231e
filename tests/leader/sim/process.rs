//! What a process does: it drives its state machine, as the future of an election does.

use relent::policy::lease::{Holder, Loss, ReadResult, RecordView, Step, WriteResult, WriteStep};

use super::{
    Fault, MS, S, Sim,
    world::{Answer, Call, Event, Pending, Stored, Term, record},
};

impl Sim {
    /// Something happens inside a process that runs.
    pub(super) fn inside(&mut self, index: usize, event: Event) {
        let local = self.nodes[index].clock.local(self.now);
        let node = &mut self.nodes[index];
        match event {
            Event::Wake { token, .. } if token != node.token => return,
            Event::Answers { call, answer, .. } => match node.call.take_if(|pending| pending.id == call) {
                Some(pending) if local < pending.deadline => self.answered(index, &pending, answer, local),
                Some(pending) => self.cut(index, &pending, local),
                None => {}
            },
            Event::Reported { stored, .. } => {
                let record = stored.map(|stored| record(stored, node.identity));
                node.lease.on_report(local, record);
                if node.seen.map(|seen| seen.version) < stored.map(|stored| stored.version) {
                    node.seen = stored;
                }
            }
            Event::WorkEnds { term, .. } if node.term.as_ref().is_some_and(|held| held.id == term) => {
                self.work_ended(index, local);
            }
            _ => {}
        }
        self.drive(index);
    }

    pub(super) fn work_ended(&mut self, index: usize, local: u64) {
        let release = self.random.chance(700);
        if let Some(pending) = self.nodes[index].call.take() {
            self.cut(index, &pending, local);
        }
        self.nodes[index].lease.on_work_ended(local, release);
        self.nodes[index].term = None;
        self.nodes[index].releasing = self.nodes[index].lease.exit().is_none();
        if self.leaderless_since.is_none() && self.settled {
            // The bound for a crash holds for every other end as well.
            self.leaderless_since = Some(self.now);
        }
    }

    pub(super) fn cut(&mut self, index: usize, pending: &Pending, local: u64) {
        let lease = &mut self.nodes[index].lease;
        match pending.call {
            Call::Read => lease.on_read(local, ReadResult::Failed),
            Call::Write { write, .. } => lease.on_written(write, pending.sent, local, WriteResult::Unknown),
        }
    }

    pub(super) fn answered(&mut self, index: usize, pending: &Pending, answer: Answer, local: u64) {
        let fault = self.fault;
        let node = &mut self.nodes[index];
        match (pending.call, answer) {
            (_, Answer::Refusal) => {
                self.report.refusals += 1;
                self.cut(index, pending, local);
            }
            (Call::Read, Answer::Read(stored)) => {
                let mut found = stored.map(|stored| record(stored, node.identity));
                if let (Fault::ReleaseByCachedHolder, true, Some(found)) = (fault, node.releasing, &mut found) {
                    *found =
                        RecordView::new(found.version, found.heartbeat, Holder::Own, found.lease).marked(node.wrote);
                }
                if let (Fault::IdentityIsEnough, Some(found)) = (fault, &mut found)
                    && found.holder == Holder::Own
                {
                    found.mark = node.wrote;
                }
                node.seen = stored;
                node.lease.on_read(local, found.into());
            }
            (Call::Write { write, heartbeat, mark }, Answer::Write(wrote)) => {
                let sent = if fault == Fault::ValidFromResponse { local } else { pending.sent };
                let led = node.lease.held_term().is_some();
                node.lease.on_written(write, sent, local, wrote);
                if let WriteResult::Done { version } = wrote {
                    let holder = (!matches!(write, WriteStep::Release { .. })).then_some(node.identity);
                    node.seen = Some(Stored { version, heartbeat, born: 0, holder, lease: 0, mark: Some(mark) });
                    match write {
                        WriteStep::Acquire { .. } if !led => self.begun(index),
                        WriteStep::Renew { .. } => self.renewed(index),
                        WriteStep::Release { .. } => self.report.releases += 1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn begun(&mut self, index: usize) {
        let Some(term) = self.nodes[index].lease.held_term() else { return };
        self.calls += 1;
        let id = self.calls;
        self.nodes[index].term = Some(Term { id, fence: term.fence, valid: 0 });
        self.report.terms += 1;
        let (identity, leader) = (self.nodes[index].identity, (index, self.nodes[index].life));
        self.say(|| format!("{identity} (node {index}) LEADS fence {}", term.fence));
        if self.last_leader != Some(leader) {
            self.report.takeovers += 1;
        }
        self.last_leader = Some(leader);
        if term.fence <= self.last_fence {
            self.violate(format!("fence {} after {}", term.fence, self.last_fence));
        }
        self.last_fence = term.fence;
        if let Some(since) = self.leaderless_since.take()
            && self.settled
        {
            let took = self.now - since;
            let bound = self.timing.explain().after_crash().as_nanos() as u64;
            self.report.timed_takeovers += 1;
            self.report.slowest_takeover = self.report.slowest_takeover.max(took * 1000 / bound);
            if took > bound {
                self.violate(format!("takeover after {}ms, bound {}ms", took / MS, bound / MS));
            }
        }
        if self.random.chance(600) {
            let life = self.nodes[index].life;
            let end = self.now + self.random.below(20 * S);
            self.at(end, Event::WorkEnds { node: index, life, term: id });
        }
        self.renewed(index);
    }

    /// A term begins or goes on: no other may be valid.
    pub(super) fn renewed(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (Some(until), Some(term)) = (node.lease.valid_until(), node.term.as_mut()) else { return };
        term.valid = node.clock.truth(until);
        self.report.renewals += 1;
        let (mine, now) = (term.fence, self.now);
        if self.trace {
            println!("{:>10.3}ms {} valid to {:.3}ms", now as f64 / 1e6, node.identity, term.valid as f64 / 1e6);
        }
        for other in 0..self.nodes.len() {
            let Some(term) = &self.nodes[other].term else { continue };
            if other != index && now < term.valid {
                let (one, two) = (self.nodes[index].identity, self.nodes[other].identity);
                let text = format!("two valid terms: {one} (fence {mine}) and {two} (fence {})", term.fence);
                self.violate(text);
                return;
            }
        }
    }

    /// Does what the machine asks for until it waits.
    pub(super) fn drive(&mut self, index: usize) {
        loop {
            let local = self.nodes[index].clock.local(self.now);
            if let Some(pending) = self.nodes[index].call.take_if(|pending| local >= pending.deadline) {
                self.cut(index, &pending, local);
            }
            let step = self.nodes[index].lease.next_step(local);
            if let Some((why, drop_at)) = self.nodes[index].lease.lost()
                && self.nodes[index].term.is_some()
            {
                // Some work heeds the news, some has to be dropped.
                let heeds = self.random.chance(500) || why != Loss::Deadline && self.random.chance(500);
                if local >= drop_at || heeds {
                    self.report.losses += 1;
                    self.work_ended(index, local);
                    continue;
                }
            }
            if self.nodes[index].lease.exit().is_some() {
                self.nodes[index].releasing = false;
                self.nodes[index].lease.campaign(local);
                continue;
            }
            match step {
                Step::Read => self.send(index, local, Call::Read),
                Step::Write(write) => {
                    let heartbeat = self.heartbeat(index, local);
                    // A number for each write, or no more than the time in it.
                    let mark = if self.numbered { self.calls } else { heartbeat as u64 };
                    self.nodes[index].lease.set_write_mark(mark);
                    self.nodes[index].wrote = Some(mark);
                    self.send(index, local, Call::Write { write, heartbeat, mark });
                }
                Step::Wait(until) => {
                    let deadline = self.nodes[index].call.as_ref().map_or(u64::MAX, |pending| pending.deadline);
                    let until = until.min(deadline);
                    if until <= local {
                        return self.violate(format!("waits for {until} at {local}"));
                    }
                    if until < u64::MAX {
                        let late = self.random.below(MS);
                        let node = &mut self.nodes[index];
                        // A timer that is set again replaces the former one.
                        node.token += 1;
                        let (life, token) = (node.life, node.token);
                        let wake = node.clock.truth(until).saturating_add(late);
                        self.at(wake, Event::Wake { node: index, life, token });
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// The wall time of the write, never the one that is in the record already.
    pub(super) fn heartbeat(&self, index: usize, local: u64) -> u128 {
        let node = &self.nodes[index];
        let wall = (i128::from(local) + i128::from(node.wall)) / 1000;
        let heartbeat = (wall + (1 << 60)) as u128;
        match node.seen {
            Some(seen) if seen.heartbeat == heartbeat => heartbeat + 1,
            _ => heartbeat,
        }
    }
}
