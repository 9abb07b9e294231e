//! Every reachable state of small fleets, over the very `src/policy/fleet`.
//!
//! A tick is a refresh period. In each, every member that is not paused reads and writes; a write arrives at once or at
//! any later time, is answered or not, or is lost (it stays on its way). A paused member acts late, or never again (a
//! crash); one may leave; the record may be deleted. In no state may the shares that are valid be more than the limit.
//! All want all there is.

use std::time::{Duration, Instant};

use relent::{
    Ratio,
    policy::fleet::{Member, ReadResult, Record, Share, Step, Timing, Written},
};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// A refresh period, in nanoseconds; a share lives for 3.3.
const TICK: u64 = 100_000_000;
const LIMIT: Share = Share { rate: 12, burst: 12 };
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    IncreaseFirst,
    DecreaseLast,
    NoLearning,
    BlindWrites,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    pub name: &'static str,
    pub members: usize,
    /// The last moment, in ticks.
    pub horizon: u64,
    /// So many writes are on their way at most, lost ones included.
    pub messages: usize,
    pub pauses: u8,
    pub leaves: u8,
    pub deletions: u8,
    /// Whether there is a settled record at the start.
    pub settled: bool,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct One {
    member: Member,
    /// What it may use as a fault has it, until the write that is under way is answered.
    believed: Share,
    /// The write that is under way was sent at this tick.
    sent: Option<u64>,
    paused: bool,
    gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u64,
    members: Vec<One>,
    stored: Option<(u128, Record)>,
    version: u128,
    /// Whose, when it was sent, over which version.
    writes: Vec<(usize, u64, Option<u128>, Record)>,
    pauses: u8,
    leaves: u8,
    deletions: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    Refresh(usize),
    /// The write arrives, and its answer does or does not.
    Arrive {
        write: usize,
        answered: bool,
    },
    Pause(usize),
    Resume(usize),
    Leave(usize),
    Delete,
}

fn timing() -> Timing {
    let ttl = Duration::from_nanos(TICK / 10 * 33);
    let timing = Timing::default().ttl(ttl).and_then(|timing| timing.max_ttl(ttl));
    timing.and_then(|timing| timing.clock_drift(Ratio::ZERO)).expect("a valid timing")
}

impl Fleet {
    /// A call that was not answered within its tick is given up.
    fn give_up(&self, one: &mut One, now: u64) {
        if one.sent.is_some_and(|sent| sent < now) {
            one.sent = None;
            one.member.on_written(now, Written::Unknown);
        }
    }

    /// Reads, which takes no time, and sends a write.
    fn refresh(&self, state: &mut State, index: usize) {
        let (now, stored) = (state.now, state.stored.clone());
        let one = &mut state.members[index];
        self.give_up(one, now);
        if one.member.next(now) == Step::Read {
            let found = stored.map_or(ReadResult::Missing, |(version, record)| ReadResult::Found(version, record));
            one.member.on_read(now, found);
            let before = one.member.share(now).0;
            if let Step::Write { over, mut record } = one.member.next(now) {
                one.sent = Some(now);
                record.settled |= self.fault == Fault::NoLearning;
                let asked = record.member(one.member.id()).map_or(Share::NONE, |member| member.share);
                one.believed = match self.fault {
                    Fault::IncreaseFirst => asked,
                    Fault::DecreaseLast => before,
                    _ => Share::NONE,
                };
                state.writes.push((index, now, over, record));
            }
        }
        let one = &mut state.members[index];
        one.gone |= one.member.is_gone();
    }

    fn arrive(&self, state: &mut State, write: usize, answered: bool) {
        let (index, sent, over, record) = state.writes.remove(write);
        let blind = self.fault == Fault::BlindWrites && over.is_some();
        let done = blind || state.stored.as_ref().map(|(version, _)| *version) == over;
        if done {
            state.version += 1;
            state.stored = Some((state.version, record));
        }
        let now = state.now;
        let one = &mut state.members[index];
        if answered && one.sent == Some(sent) && sent == now {
            one.sent = None;
            one.believed = Share::NONE;
            one.member.on_written(now, if done { Written::Done(state.version) } else { Written::Conflict });
            one.gone |= one.member.is_gone();
        }
    }
}

impl State {
    fn in_use(&self) -> (u64, u64) {
        let shares = self.members.iter().map(|one| {
            let share = one.member.share(self.now).0;
            let believed = if share.is_none() { Share::NONE } else { one.believed };
            (share.rate.max(believed.rate), u64::from(share.burst.max(believed.burst)))
        });
        shares.fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1))
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let one = |name: &&str| {
            let mut member = Member::new(timing(), name, LIMIT, 0).with_id(name).without_chance();
            member.set_want(LIMIT.rate);
            One { member, believed: Share::NONE, sent: None, paused: false, gone: false }
        };
        vec![State {
            now: TICK,
            members: NAMES.iter().take(self.members).map(one).collect(),
            stored: self.settled.then(|| (1, Record::settled())),
            version: 1,
            writes: Vec::new(),
            pauses: self.pauses,
            leaves: self.leaves,
            deletions: self.deletions,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.horizon * TICK {
            actions.push(Action::Tick);
        }
        for (index, one) in state.members.iter().enumerate().filter(|(_, one)| !one.gone) {
            if one.paused {
                actions.push(Action::Resume(index));
                continue;
            }
            actions.push(Action::Refresh(index));
            if state.pauses > 0 {
                actions.push(Action::Pause(index));
            }
            if state.leaves > 0 {
                actions.push(Action::Leave(index));
            }
        }
        for (write, (index, sent, ..)) in state.writes.iter().enumerate() {
            actions.push(Action::Arrive { write, answered: false });
            if *sent == state.now && !state.members[*index].paused {
                actions.push(Action::Arrive { write, answered: true });
            }
        }
        if state.deletions > 0 && state.stored.is_some() {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => {
                // Each that is not paused has acted: what is left out is a pause.
                let due = |one: &One| {
                    let mut member = one.clone();
                    self.give_up(&mut member, state.now);
                    !one.paused && !one.gone && one.sent.is_none() && member.member.next(state.now) == Step::Read
                };
                if state.members.iter().any(due) {
                    return None;
                }
                state.now += TICK;
                for one in state.members.iter_mut().filter(|one| !one.paused) {
                    self.give_up(one, state.now);
                }
            }
            Action::Refresh(index) => self.refresh(&mut state, index),
            Action::Arrive { write, answered } => self.arrive(&mut state, write, answered),
            Action::Pause(index) => {
                state.pauses -= 1;
                state.members[index].paused = true;
            }
            Action::Resume(index) => {
                state.members[index].paused = false;
                let now = state.now;
                self.give_up(&mut state.members[index], now);
            }
            Action::Leave(index) => {
                state.leaves -= 1;
                let now = state.now;
                state.members[index].member.leave(now);
                state.members[index].gone = state.members[index].member.is_gone();
            }
            Action::Delete => {
                state.deletions -= 1;
                state.version += 1;
                state.stored = None;
            }
        }
        // A write whose version is gone will not be done, unless it is a fault that it would all the same.
        let (version, now) = (state.stored.as_ref().map(|(version, _)| *version), state.now);
        let members = &state.members;
        let deletions = state.deletions > 0;
        state.writes.retain(|(index, sent, over, _)| {
            let awaited = members[*index].sent == Some(*sent) && *sent == now;
            let lands = *over == version || (over.is_none() && deletions) || self.fault == Fault::BlindWrites;
            awaited || lands
        });
        (state != *before && state.writes.len() <= self.messages).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("within the limit", |_, state: &State| {
                let (rate, burst) = state.in_use();
                rate <= LIMIT.rate && burst <= LIMIT.burst.into()
            }),
            Property::sometimes("all of it is shared", |fleet: &Fleet, state: &State| {
                let shares = state.members.iter().map(|one| one.member.share(state.now).0.rate);
                state.in_use().0 == LIMIT.rate && shares.filter(|rate| *rate > 0).count() == fleet.members
            }),
        ]
    }
}

fn check(fleet: Fleet) -> u64 {
    let began = Instant::now();
    let safety = HasDiscoveries::AnyOf(["within the limit"].into());
    let until = if fleet.fault == Fault::None { HasDiscoveries::All } else { safety };
    let checker = fleet.checker().threads(2).finish_when(until);
    let checker: Box<dyn Checker<Fleet>> = match fleet.fault {
        Fault::None => Box::new(checker.spawn_bfs().join()),
        _ => Box::new(checker.spawn_dfs().join()),
    };
    let (states, took) = (checker.unique_state_count() as u64, began.elapsed().as_secs_f64());
    match (fleet.fault, checker.discovery("within the limit")) {
        (Fault::None, None) => {
            checker.assert_any_discovery("all of it is shared");
            println!("{}: {states} states, every one visited, none bad ({took:.1}s)", fleet.name);
        }
        (Fault::None, Some(path)) => panic!("{}: beyond the limit:\n{path}", fleet.name),
        (fault, Some(path)) => {
            let steps = path.into_actions().len();
            println!("{}: {fault:?} found after {states} states, in {steps} steps ({took:.1}s)", fleet.name);
        }
        (fault, None) => panic!("{}: {fault:?} was not found in {states} states", fleet.name),
    }
    states
}

pub fn main(long: bool, faults_only: bool) {
    let base = Fleet {
        name: "two members",
        members: 2,
        horizon: 6,
        messages: 2,
        pauses: 0,
        leaves: 0,
        deletions: 0,
        settled: true,
        fault: Fault::None,
    };
    let further = u64::from(long) * 2;
    let models = [
        Fleet { horizon: 6 + further, ..base },
        Fleet { name: "two members, one pauses", horizon: 6 + further, pauses: 1, ..base },
        Fleet { name: "two members, one leaves", leaves: 1, ..base },
        Fleet { name: "two members, no record at first", settled: false, horizon: 7 + further, ..base },
        Fleet { name: "two members, the record is deleted", deletions: 1, horizon: 6 + further, messages: 1, ..base },
        Fleet { name: "three members", members: 3, horizon: 3, messages: 1 + usize::from(long), ..base },
    ];
    let states: u64 = if faults_only { 0 } else { models.into_iter().map(check).sum() };
    let faulty = [
        Fleet { fault: Fault::IncreaseFirst, ..base },
        Fleet { fault: Fault::DecreaseLast, ..base },
        Fleet { fault: Fault::BlindWrites, ..base },
        Fleet { name: "two members, the record is deleted", deletions: 1, fault: Fault::NoLearning, ..base },
    ];
    let faults = faulty.len();
    faulty.into_iter().for_each(|fleet| drop(check(fleet)));
    println!("model of the fleet: {states} states in all, none bad; {faults} of {faults} faults found");
}
