//! What there is in the simulated world: clocks, the store, members, their buckets, and what may happen to them.

use relent::policy::fleet::{Member, Record, Share, Timing, Written};

use super::{Fault, LONGEST_USE, Report, SPAN};
use crate::simulated::{Agenda, Clock, Random};

/// Tokens: a permit is 10^18 of them, so that a billionth of a permit per second is one in a nanosecond.
pub(super) const PERMIT: u128 = 1_000_000_000_000_000_000;

/// What may be used, until when in true time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InUse {
    pub(super) share: Share,
    pub(super) until: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Read,
    Write { over: Option<u128>, record: Record, stamp: i64 },
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Read(Option<(u128, Record)>),
    Written(Written),
}

#[derive(Clone, Debug)]
pub(super) enum Event {
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
        version: u128,
        record: Record,
    },
    Take {
        node: usize,
    },
    Want {
        node: usize,
        want: u64,
    },
    Freeze {
        node: usize,
    },
    Thaw {
        node: usize,
    },
    Part {
        node: usize,
        until: u64,
    },
    Crash {
        node: usize,
    },
    Leave {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Outage {
        until: u64,
    },
    Delete,
    /// From now on it states another limit.
    States {
        node: usize,
        states: Share,
    },
    /// An operator writes rate and burst into the record, or takes them out.
    Edit {
        rate: Option<u64>,
        burst: Option<u32>,
    },
    /// A limit that was in force may be in use no more.
    Outdated,
}

pub(super) struct Node {
    pub(super) life: u64,
    pub(super) token: u64,
    pub(super) alive: bool,
    pub(super) frozen: bool,
    pub(super) parted_until: u64,
    pub(super) clock: Clock,
    /// How far its wall clock is off.
    pub(super) wall: i64,
    pub(super) timing: Timing,
    pub(super) states: Share,
    pub(super) member: Member,
    pub(super) call: Option<Pending>,
    pub(super) missed: Vec<Event>,
    pub(super) in_use: InUse,
    pub(super) bucket: Bucket,
    pub(super) is_new: bool,
    /// What faults go by: share and beat of the last confirmed write, the share of one that is under way, when the last
    /// confirmation came in, whether the last write met a conflict, and when the timer of the share fires.
    pub(super) confirmed: Share,
    pub(super) beat: Option<u64>,
    pub(super) sent: Share,
    pub(super) answered_at: Option<u64>,
    pub(super) conflicted: bool,
    pub(super) timer: u64,
    pub(super) believed: (Share, u64),
    pub(super) lapses: u64,
    /// The record as it was read, for the fault of the own limit.
    pub(super) seen: Option<Record>,
}

pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) call: Call,
    pub(super) deadline: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Bucket {
    pub(super) tokens: u128,
    pub(super) at: u64,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) record: Option<(u128, Record)>,
    /// What it was before the last writes: stale reads show it.
    pub(super) before: Option<(u128, Record)>,
    pub(super) version: u128,
    pub(super) out_until: u64,
    /// The stamps of the members' last refreshes, for the fault of the wall clocks.
    pub(super) stamps: Vec<(String, i64)>,
}

pub(super) struct Sim {
    pub(super) now: u64,
    agenda: Agenda<Event>,
    pub(super) nodes: Vec<Node>,
    pub(super) store: Store,
    /// What all members state at first.
    pub(super) limit: Share,
    /// The limit that the record says, and those before it that may still be in use, with the time until then.
    limits: Vec<(Share, u64)>,
    /// The highest rate and burst of those.
    pub(super) peak: Share,
    pub(super) fault: Fault,
    pub(super) calls: u64,
    pub(super) losses: u64,
    pub(super) stale: u64,
    pub(super) slow: u64,
    /// How long a message takes that is not slow, at most.
    pub(super) near: u64,
    /// Changes of the record are reported.
    pub(super) watched: bool,
    /// How many permits of the whole could come out now.
    pub(super) law: Bucket,
    pub(super) trace: bool,
    /// Ids by host, twice the same.
    pub(super) doubled: bool,
    pub(super) random: Random,
    pub(super) report: Report,
}

impl Sim {
    pub(super) fn empty(random: Random, fault: Fault, limit: Share, trace: bool) -> Self {
        Self {
            now: 0,
            agenda: Agenda::default(),
            nodes: Vec::new(),
            store: Store::default(),
            limit,
            limits: vec![(limit, u64::MAX)],
            peak: limit,
            fault,
            calls: 0,
            losses: 0,
            stale: 0,
            slow: 50,
            near: 30_000_000,
            watched: false,
            law: Bucket { tokens: u128::from(limit.burst) * PERMIT, at: 0 },
            trace,
            doubled: false,
            random,
            report: Report::default(),
        }
    }

    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.agenda.push(time, event);
    }

    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} ms  {}", self.now as f64 / 1e6, text());
        }
    }

    pub(super) fn run(mut self) -> Report {
        self.run_until(SPAN);
        self.report
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while self.report.violation.is_none() {
            let Some((time, event)) = self.agenda.pop_until(end) else { break };
            self.now = time;
            self.happen(event);
            self.check();
        }
        self.now = self.now.max(end);
    }

    fn check(&mut self) {
        let (mut rate, mut burst) = (0_u64, 0_u64);
        for node in self.nodes.iter().filter(|node| node.alive && self.now < node.in_use.until) {
            rate += node.in_use.share.rate;
            burst += u64::from(node.in_use.share.burst);
        }
        self.report.worst = self.report.worst.max(rate.saturating_mul(1000) / self.peak.rate);
        if rate > self.peak.rate || burst > self.peak.burst.into() {
            self.violate(format!("rate {rate}, burst {burst} in use of {:?}", self.peak));
        }
    }

    /// The record says another limit. Shares of the one before may be in use until they lapse on the slowest clock.
    pub(super) fn limited(&mut self, limit: Share) {
        let Some(before) = self.limits.last_mut().filter(|(before, _)| *before != limit) else { return };
        before.1 = self.now + LONGEST_USE;
        self.limits.push((limit, u64::MAX));
        self.report.limits += 1;
        self.say(|| format!("the limit is {limit:?}"));
        self.at(self.now + LONGEST_USE, Event::Outdated);
        self.measure_peak();
    }

    /// What came out until now was by the peak so far.
    pub(super) fn measure_peak(&mut self) {
        self.fill_law();
        let now = self.now;
        self.limits.retain(|(_, until)| *until > now);
        self.peak = self.limits.iter().fold(Share::NONE, |peak, (limit, _)| greater(peak, *limit));
        self.law.tokens = self.law.tokens.min(u128::from(self.peak.burst) * PERMIT);
    }

    pub(super) fn fill_law(&mut self) {
        self.law.fill(self.now, InUse { share: self.peak, until: u64::MAX });
    }

    pub(super) fn violate(&mut self, text: String) {
        let text = format!("{text} after {} ms", self.now / 1_000_000);
        self.say(|| format!("VIOLATION: {text}"));
        self.report.violation.get_or_insert(text);
    }
}

pub(super) fn greater(a: Share, b: Share) -> Share {
    Share { rate: a.rate.max(b.rate), burst: a.burst.max(b.burst) }
}

impl Bucket {
    /// Fills it for as long as its share is valid.
    pub(super) fn fill(&mut self, now: u64, in_use: InUse) {
        let to = now.min(in_use.until).max(self.at);
        self.tokens += u128::from(to - self.at) * u128::from(in_use.share.rate);
        self.tokens = self.tokens.min(u128::from(in_use.share.burst) * PERMIT);
        self.at = self.at.max(now);
    }
}
