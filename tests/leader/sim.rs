//! Elections on a simulated network, without a runtime: every call, clock, pause and loss comes from one seed.
//!
//! Two to five candidates, each on a clock of its own rate, contend for one lock. Requests and answers are delayed, lost
//! and doubled; processes freeze, crash and come back; the network parts; wall clocks jump; somebody touches or deletes
//! the lock. At every begin and every renewal of a term no other term may be valid.
//! `RELENT_SIM_SCHEDULES=1000000` runs more of them, `RELENT_SIM_SEED=n` replays one with a trace.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use relent::{
    Ratio,
    leader::Timing,
    policy::lease::{Holder, Lease, Loss, Record, Step, Write, Wrote},
};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// A known fault of other elections, plugged into the driver or the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A term counts from when the answer to a renewal came in.
    ValidFromResponse,
    /// A takeover does not carry the version that was read.
    UnconditionalTakeover,
    /// A release trusts what the process believes, not the holder that it just read.
    ReleaseByCachedHolder,
}

/// What a schedule showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) violation: Option<String>,
    pub(crate) terms: u64,
    pub(crate) takeovers: u64,
    pub(crate) renewals: u64,
    pub(crate) releases: u64,
    pub(crate) losses: u64,
    pub(crate) deletions: u64,
    pub(crate) events: u64,
    pub(crate) crash_bounds: u64,
    pub(crate) worst_crash: u64,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound.max(1))) >> 64) as u64
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// A clock that runs at `rate` thousandths of the true rate.
#[derive(Clone, Copy)]
struct Clock {
    start: u64,
    rate: u64,
}

impl Clock {
    fn local(self, truth: u64) -> u64 {
        (u128::from(truth.saturating_sub(self.start)) * u128::from(self.rate) / 1000) as u64
    }

    /// The first true time at which the clock shows `local` or more.
    fn truth(self, local: u64) -> u64 {
        let truth = (u128::from(local) * 1000).div_ceil(u128::from(self.rate));
        u64::try_from(truth).unwrap_or(u64::MAX).saturating_add(self.start)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    version: u128,
    beat: u128,
    holder: Option<u64>,
    lease: u64,
}

/// The real lock: a register with compare and swap.
#[derive(Default)]
struct Server {
    stored: Option<Stored>,
    revision: u128,
    up_from: u64,
}

impl Server {
    fn write(&mut self, write: Write, identity: u64, beat: u128, lease: u64, fault: Fault) -> Wrote {
        let unconditional = fault == Fault::UnconditionalTakeover && matches!(write, Write::Acquire { .. });
        if !unconditional && self.stored.map(|stored| stored.version) != write.over() {
            return Wrote::Refused;
        }
        let (holder, lease) = match write {
            Write::Release { .. } => (None, S),
            _ => (Some(identity), lease),
        };
        // Writing what is there already is not a change.
        match self.stored {
            Some(stored) if (stored.beat, stored.holder, stored.lease) == (beat, holder, lease) => {}
            _ => {
                self.revision += 1;
                self.stored = Some(Stored { version: self.revision, beat, holder, lease });
            }
        }
        Wrote::Done { version: self.stored.map_or(0, |stored| stored.version) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Look,
    Write { write: Write, beat: u128 },
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Look(Option<Stored>),
    Write(Wrote),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A process wakes up by its timer.
    Wake {
        node: usize,
        life: u64,
        token: u64,
    },
    Arrives {
        node: usize,
        life: u64,
        call: u64,
        what: Call,
    },
    Answers {
        node: usize,
        life: u64,
        call: u64,
        answer: Answer,
    },
    Reported {
        node: usize,
        life: u64,
        stored: Option<Stored>,
    },
    WorkEnds {
        node: usize,
        life: u64,
        term: u64,
    },
    Pause {
        node: usize,
    },
    Resume {
        node: usize,
    },
    Part {
        node: usize,
        until: u64,
    },
    Crash {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Jump {
        node: usize,
    },
    Outage {
        until: u64,
    },
    Delete,
    Touch,
    Quiet,
    Settled,
}

struct Pending {
    id: u64,
    call: Call,
    sent: u64,
    deadline: u64,
}

struct Term {
    id: u64,
    fence: u128,
    /// In true time: nobody else may begin before.
    valid: u64,
}

struct Node {
    identity: u64,
    life: u64,
    token: u64,
    releasing: bool,
    alive: bool,
    frozen: bool,
    clock: Clock,
    wall: i64,
    lease: Lease,
    call: Option<Pending>,
    term: Option<Term>,
    seen: Option<Stored>,
    parted_until: u64,
    frozen_events: VecDeque<Event>,
}

pub(crate) struct Sim {
    random: Random,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Event>,
    nodes: Vec<Node>,
    server: Server,
    timing: Timing,
    fault: Fault,
    calls: u64,
    last_fence: u128,
    last_leader: Option<u64>,
    leaderless_since: Option<u64>,
    quiet: bool,
    settled: bool,
    watched: bool,
    losses: u64,
    chaos: u64,
    trace: bool,
    report: Report,
}

/// How long a schedule goes on, in true time.
const SPAN: u64 = 105 * S;

impl Sim {
    fn new(seed: u64, fault: Fault, trace: bool) -> Self {
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
            order: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
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
            losses: [0, 20, 100, 300][random.below(4) as usize],
            chaos: random.below(4),
            trace,
            report: Report::default(),
            random,
        };
        if sim.random.chance(500) {
            sim.server.revision = 1;
            sim.server.stored = Some(Stored { version: 1, beat: 0, holder: None, lease: S });
        }
        for index in 0..sim.random.between(2, 5) as usize {
            let rate = 1000 - drift + sim.random.below(2 * drift + 1);
            let start = sim.random.below(3 * S);
            let seed = sim.random.next();
            sim.nodes.push(Node {
                identity: identity(index, 0),
                releasing: false,
                token: 0,
                life: 0,
                alive: true,
                frozen: false,
                clock: Clock { start, rate },
                wall: sim.random.below(20 * S) as i64 - 10 * S as i64,
                lease: Lease::new(timing, Some(seed)),
                call: None,
                term: None,
                seen: None,
                parted_until: 0,
                frozen_events: VecDeque::new(),
            });
            sim.at(start, Event::Wake { node: index, life: 0, token: 0 });
        }
        sim.plan_trouble();
        sim
    }

    /// Half of the schedules have a quiet end, in which the takeover bound must hold.
    fn plan_trouble(&mut self) {
        let quiet_from = if self.random.chance(500) { 45 * S } else { SPAN };
        for _ in 0..self.chaos * 3 {
            let at = self.random.below(quiet_from);
            let node = self.random.below(self.nodes.len() as u64) as usize;
            let length = self.random.between(100 * MS, 25 * S);
            let end = (at + length).min(quiet_from);
            match self.random.below(9) {
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

    fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.push(event);
        self.queue.push(Reverse((time, self.order, self.events.len() - 1)));
    }

    fn run(mut self) -> Report {
        while let Some(Reverse((time, _, index))) = self.queue.pop() {
            if time > SPAN || self.report.violation.is_some() {
                break;
            }
            self.now = self.now.max(time);
            self.report.events += 1;
            let event = self.events[index];
            self.happen(event);
        }
        self.report
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3}ms {}", self.now as f64 / 1e6, text());
        }
    }

    fn violate(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.report.violation.get_or_insert(what);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives { node, life, call, what } => return self.arrives(node, life, call, what),
            Event::Pause { node } => self.nodes[node].frozen = true,
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
                // One last crash of whoever leads, to time the takeover.
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

    fn leading(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.term.is_some())
    }

    fn crash(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.alive = false;
        node.life += 1;
        node.call = None;
        // Its work is dead with it.
        node.term = None;
        node.frozen_events.clear();
    }

    fn restart(&mut self, index: usize) {
        if self.nodes[index].alive {
            return;
        }
        let (now, timing, seed) = (self.now, self.timing, self.random.next());
        let node = &mut self.nodes[index];
        node.alive = true;
        node.frozen = false;
        node.identity = identity(index, node.life);
        node.releasing = false;
        node.clock.start = now;
        node.lease = Lease::new(timing, Some(seed));
        node.seen = None;
        let life = node.life;
        let token = node.token;
        self.at(now, Event::Wake { node: index, life, token });
    }

    /// Something happens inside a process that runs.
    fn inside(&mut self, index: usize, event: Event) {
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
                node.lease.seen(local, record);
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

    fn work_ended(&mut self, index: usize, local: u64) {
        let release = self.random.chance(700);
        if let Some(pending) = self.nodes[index].call.take() {
            self.cut(index, &pending, local);
        }
        self.nodes[index].lease.ended(local, release);
        self.nodes[index].term = None;
        self.nodes[index].releasing = self.nodes[index].lease.exit().is_none();
        if self.leaderless_since.is_none() && self.settled {
            // The bound for a crash holds for every other end as well.
            self.leaderless_since = Some(self.now);
        }
    }

    fn cut(&mut self, index: usize, pending: &Pending, local: u64) {
        let lease = &mut self.nodes[index].lease;
        match pending.call {
            Call::Look => lease.looked(local, None),
            Call::Write { write, .. } => lease.wrote(write, pending.sent, local, Wrote::Unknown),
        }
    }

    fn answered(&mut self, index: usize, pending: &Pending, answer: Answer, local: u64) {
        let fault = self.fault;
        let node = &mut self.nodes[index];
        match (pending.call, answer) {
            (Call::Look, Answer::Look(stored)) => {
                let mut found = stored.map(|stored| record(stored, node.identity));
                if let (Fault::ReleaseByCachedHolder, true, Some(found)) = (fault, node.releasing, &mut found) {
                    found.holder = Holder::Me;
                }
                node.seen = stored;
                node.lease.looked(local, Some(found));
            }
            (Call::Write { write, beat }, Answer::Write(wrote)) => {
                let sent = if fault == Fault::ValidFromResponse { local } else { pending.sent };
                let led = node.lease.tenure().is_some();
                node.lease.wrote(write, sent, local, wrote);
                if let Wrote::Done { version } = wrote {
                    let holder = (!matches!(write, Write::Release { .. })).then_some(node.identity);
                    node.seen = Some(Stored { version, beat, holder, lease: 0 });
                    match write {
                        Write::Acquire { .. } if !led => self.begun(index),
                        Write::Renew { .. } => self.renewed(index),
                        Write::Release { .. } => self.report.releases += 1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn begun(&mut self, index: usize) {
        let Some(tenure) = self.nodes[index].lease.tenure() else { return };
        self.calls += 1;
        let id = self.calls;
        self.nodes[index].term = Some(Term { id, fence: tenure.fence, valid: 0 });
        self.report.terms += 1;
        let identity = self.nodes[index].identity;
        self.say(|| format!("{identity} LEADS fence {}", tenure.fence));
        if self.last_leader != Some(identity) {
            self.report.takeovers += 1;
        }
        self.last_leader = Some(identity);
        if tenure.fence <= self.last_fence {
            self.violate(format!("fence {} after {}", tenure.fence, self.last_fence));
        }
        self.last_fence = tenure.fence;
        if let Some(since) = self.leaderless_since.take()
            && self.settled
        {
            let took = self.now - since;
            let bound = self.timing.explain().after_crash().as_nanos() as u64;
            self.report.crash_bounds += 1;
            self.report.worst_crash = self.report.worst_crash.max(took * 1000 / bound);
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
    fn renewed(&mut self, index: usize) {
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
    fn drive(&mut self, index: usize) {
        loop {
            let local = self.nodes[index].clock.local(self.now);
            if let Some(pending) = self.nodes[index].call.take_if(|pending| local >= pending.deadline) {
                self.cut(index, &pending, local);
            }
            let step = self.nodes[index].lease.next(local);
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
                Step::Look => self.send(index, local, Call::Look),
                Step::Write(write) => {
                    let beat = self.beat(index, local);
                    self.send(index, local, Call::Write { write, beat });
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
    fn beat(&self, index: usize, local: u64) -> u128 {
        let node = &self.nodes[index];
        let wall = (i128::from(local) + i128::from(node.wall)) / 1000;
        let beat = (wall + (1 << 60)) as u128;
        match node.seen {
            Some(seen) if seen.beat == beat => beat + 1,
            _ => beat,
        }
    }

    fn send(&mut self, index: usize, local: u64, call: Call) {
        self.calls += 1;
        let id = self.calls;
        let deadline = local + self.timing.call_nanos();
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

    fn lost(&mut self, index: usize) -> bool {
        if self.now < self.nodes[index].parted_until {
            return true;
        }
        !self.quiet && self.random.chance(self.losses)
    }

    fn delay(&mut self) -> u64 {
        if self.quiet {
            return self.random.below(50 * MS);
        }
        match self.random.below(20) {
            0 => self.random.below(20 * S),
            1..=3 => self.random.below(self.timing.call_nanos()),
            _ => self.random.below(50 * MS),
        }
    }

    fn arrives(&mut self, index: usize, life: u64, call: u64, what: Call) {
        if self.now < self.server.up_from {
            return;
        }
        let identity = identity(index, life);
        let before = self.server.revision;
        let answer = match what {
            Call::Look => Answer::Look(self.server.stored),
            Call::Write { write, beat } => {
                let lease = self.timing.lease().as_nanos() as u64;
                Answer::Write(self.server.write(write, identity, beat, lease, self.fault))
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

    /// Tells those who watch, late or never.
    fn changed(&mut self) {
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

/// Every life of a process has an identity of its own.
fn identity(index: usize, life: u64) -> u64 {
    index as u64 + 1 + 100 * life
}

fn record(stored: Stored, identity: u64) -> Record {
    let holder = match stored.holder {
        None => Holder::Nobody,
        Some(holder) if holder == identity => Holder::Me,
        Some(_) => Holder::Other,
    };
    Record::new(stored.version, stored.beat, holder, stored.lease)
}

pub(crate) fn schedule(seed: u64, fault: Fault, trace: bool) -> Report {
    Sim::new(seed, fault, trace).run()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

#[test]
fn no_schedule_has_two_valid_terms() {
    if let Some(seed) = setting("RELENT_SIM_SEED") {
        let report = schedule(seed, Fault::None, true);
        assert_eq!(report.violation, None, "seed {seed}: {report:?}");
        return;
    }
    let count = setting("RELENT_SIM_SCHEDULES").unwrap_or(100_000);
    let first = setting("RELENT_SIM_FIRST").unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let reports = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mut sum = Report::default();
                    for seed in (first..first + count).filter(|seed| seed % threads == part) {
                        let report = schedule(seed, Fault::None, false);
                        assert_eq!(report.violation, None, "replay with RELENT_SIM_SEED={seed}");
                        sum.terms += report.terms;
                        sum.takeovers += report.takeovers;
                        sum.renewals += report.renewals;
                        sum.releases += report.releases;
                        sum.losses += report.losses;
                        sum.deletions += report.deletions;
                        sum.events += report.events;
                        sum.crash_bounds += report.crash_bounds;
                        sum.worst_crash = sum.worst_crash.max(report.worst_crash);
                    }
                    sum
                })
            })
            .collect();
        parts.into_iter().map(|part| part.join().expect("no violation")).collect::<Vec<_>>()
    });
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "leader simulator: {count} schedules (seeds {first}..{}), {} events, {} terms, {} takeovers, {} renewals, {} releases, {} losses, \
         {} deletions, 0 overlaps; {} timed takeovers, the slowest at {} per mille of the bound",
        first + count,
        sum(|report| report.events),
        sum(|report| report.terms),
        sum(|report| report.takeovers),
        sum(|report| report.renewals),
        sum(|report| report.releases),
        sum(|report| report.losses),
        sum(|report| report.deletions),
        sum(|report| report.crash_bounds),
        reports.iter().map(|report| report.worst_crash).max().unwrap_or(0),
    );
    // The schedules must do what they are there for.
    assert!(sum(|report| report.takeovers) > count / 2, "too few takeovers");
    assert!(sum(|report| report.releases) > count / 10 && sum(|report| report.losses) > count / 10);
    assert!(sum(|report| report.deletions) > count / 10 && sum(|report| report.crash_bounds) > count / 10);
}

fn finds(fault: Fault) {
    let caught: Vec<_> = (1..5_000_u64).filter(|&seed| schedule(seed, fault, false).violation.is_some()).collect();
    let first = *caught.first().unwrap_or_else(|| panic!("{fault:?} was not found in 5000 schedules"));
    let report = schedule(first, fault, false);
    println!(
        "{fault:?}: caught in {} of 5000 schedules; seed {first}: {}",
        caught.len(),
        report.violation.as_deref().unwrap_or("")
    );
    assert_eq!(report, schedule(first, fault, false), "a seed replays");
    assert_eq!(schedule(first, Fault::None, false).violation, None);
}

#[test]
fn finds_validity_from_the_response() {
    finds(Fault::ValidFromResponse);
}

#[test]
fn finds_an_unconditional_takeover() {
    finds(Fault::UnconditionalTakeover);
}

#[test]
fn finds_a_release_by_cached_holder() {
    finds(Fault::ReleaseByCachedHolder);
}
