//! Visits every reachable state of small elections that run on the very `src/policy/lease`.
//!
//! Time is discrete. Any candidate may act late or never again (a pause, a crash), any message may arrive at any later
//! time, in any order, twice, or not at all (a loss is a message that stays on its way); work may end at any time; the
//! lock may be deleted. In no state may two terms be valid, and fences only grow.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use relent::{
    Ratio,
    leader::Timing,
    policy::lease::{Holder, Lease, Record, Step, Write, Wrote},
};
use stateright::{Checker, HasDiscoveries, Model, Property};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    ValidFromResponse,
    UnconditionalTakeover,
    ReleaseByCachedHolder,
    LeadOnCreate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Election {
    name: &'static str,
    candidates: usize,
    /// The last moment.
    horizon: u64,
    /// So many calls are under way at most, lost ones included.
    messages: usize,
    /// How many terms' work may end by itself.
    ends: u8,
    /// How often a process may freeze; one that never thaws has crashed.
    pauses: u8,
    duplicates: u8,
    deletions: u8,
    /// Whether there is a record, released, at the start.
    vacant: bool,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Stored {
    version: u128,
    beat: u128,
    holder: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Look,
    Write(Write),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Look(Option<Record>),
    Write(Wrote),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    Request { call: Call, sent: u64 },
    Answer { call: Call, answer: Answer, sent: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    lease: Lease,
    call: Option<(Call, u64)>,
    works: bool,
    releasing: bool,
    paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u64,
    candidates: Vec<Candidate>,
    stored: Option<Stored>,
    revision: u128,
    messages: Vec<(usize, Message)>,
    fence: u128,
    fences_grow: bool,
    ends: u8,
    pauses: u8,
    duplicates: u8,
    deletions: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Tick,
    Run(usize),
    Deliver { message: usize, keep: bool },
    End { candidate: usize, release: bool },
    Lose(usize),
    Pause(usize),
    Resume(usize),
    Delete,
}

/// One step of the clock, in nanoseconds; every time is a multiple of it.
const TICK: u64 = 10;
const LEASE: u64 = 4 * TICK;
/// An answer is taken for as long as one step.
const CALL: u64 = 15;

fn timing() -> Timing {
    let ns = Duration::from_nanos;
    let timing = Timing::new(ns(LEASE), ns(3 * TICK), ns(TICK)).and_then(|timing| timing.clock_drift(Ratio::ZERO));
    timing.and_then(|timing| timing.call_timeout(ns(CALL))).expect("a valid timing")
}

impl Election {
    fn acts(&self, state: &State, index: usize) -> bool {
        let mut after = state.clone();
        self.run(&mut after, index);
        after != *state
    }

    fn run(&self, state: &mut State, index: usize) {
        let now = state.now;
        let candidate = &mut state.candidates[index];
        if let Some((call, sent)) = candidate.call
            && now >= sent + CALL
        {
            candidate.call = None;
            match call {
                Call::Look => candidate.lease.looked(now, None),
                Call::Write(write) => candidate.lease.wrote(write, sent, now, Wrote::Unknown),
            }
        }
        let step = candidate.lease.next(now);
        if candidate.works && candidate.lease.lost().is_some_and(|(_, drop_at)| now >= drop_at) {
            return self.end(state, index, false);
        }
        if candidate.lease.exit().is_some() {
            candidate.releasing = false;
            return candidate.lease.campaign(now);
        }
        let call = match step {
            Step::Look => Call::Look,
            Step::Write(write) => Call::Write(write),
            _ => return,
        };
        candidate.call = Some((call, now));
        state.messages.push((index, Message::Request { call, sent: now }));
    }

    fn end(&self, state: &mut State, index: usize, release: bool) {
        let now = state.now;
        let candidate = &mut state.candidates[index];
        if let Some((call, sent)) = candidate.call.take() {
            match call {
                Call::Look => candidate.lease.looked(now, None),
                Call::Write(write) => candidate.lease.wrote(write, sent, now, Wrote::Unknown),
            }
        }
        candidate.lease.ended(now, release);
        candidate.works = false;
        candidate.releasing = candidate.lease.exit().is_none();
    }

    fn serve(&self, state: &mut State, index: usize, call: Call) -> Answer {
        let Call::Write(write) = call else { return Answer::Look(state.stored.map(|stored| stored.record(index))) };
        let unconditional = self.fault == Fault::UnconditionalTakeover && matches!(write, Write::Acquire { .. });
        if !unconditional && state.stored.map(|stored| stored.version) != write.over() {
            return Answer::Write(Wrote::Refused);
        }
        let holder = (!matches!(write, Write::Release { .. })).then_some(index);
        state.revision += 1;
        state.stored = Some(Stored { version: state.revision, beat: state.revision, holder });
        Answer::Write(Wrote::Done { version: state.revision })
    }

    fn answered(&self, state: &mut State, index: usize, call: Call, answer: Answer, sent: u64) {
        let now = state.now;
        let candidate = &mut state.candidates[index];
        if !candidate.awaits(call, sent, now) {
            return;
        }
        candidate.call = None;
        match (call, answer) {
            (Call::Look, Answer::Look(mut record)) => {
                if let (Fault::ReleaseByCachedHolder, true, Some(record)) = (self.fault, candidate.releasing, &mut record) {
                    record.holder = Holder::Me;
                }
                candidate.lease.looked(now, Some(record));
            }
            (Call::Write(write), Answer::Write(wrote)) => {
                let counted = if self.fault == Fault::ValidFromResponse { now } else { sent };
                let led = candidate.lease.tenure().is_some();
                candidate.lease.wrote(write, counted, now, wrote);
                if let (false, Some(tenure)) = (led, candidate.lease.tenure()) {
                    candidate.works = true;
                    state.fences_grow &= tenure.fence > state.fence;
                    state.fence = tenure.fence;
                }
            }
            _ => unreachable!("an answer of the other kind"),
        }
    }
}

impl Model for Election {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lease = Lease::new(timing(), None).lead_on_create(self.fault == Fault::LeadOnCreate);
        let candidate = Candidate { lease, call: None, works: false, releasing: false, paused: false };
        vec![State {
            now: 0,
            candidates: vec![candidate; self.candidates],
            stored: self.vacant.then_some(Stored { version: 1, beat: 0, holder: None }),
            revision: 1,
            messages: Vec::new(),
            fence: 0,
            fences_grow: true,
            ends: self.ends,
            pauses: self.pauses,
            duplicates: self.duplicates,
            deletions: self.deletions,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // A process that is not paused acts before anything else happens: what it does touches only itself.
        let awake = (0..self.candidates).filter(|index| !state.candidates[*index].paused);
        if let Some(index) = awake.clone().find(|index| self.acts(state, *index)) {
            return actions.push(Action::Run(index));
        }
        if state.now < self.horizon * TICK {
            actions.push(Action::Tick);
        }
        for (index, candidate) in state.candidates.iter().enumerate() {
            if candidate.paused {
                actions.push(Action::Resume(index));
            } else if state.pauses > 0 {
                actions.push(Action::Pause(index));
            }
            if candidate.works && state.ends > 0 && !candidate.paused {
                actions.push(Action::End { candidate: index, release: true });
                actions.push(Action::End { candidate: index, release: false });
            }
        }
        for (index, (owner, message)) in state.messages.iter().enumerate() {
            // A frozen process takes no answer.
            if matches!(message, Message::Request { .. }) || !state.candidates[*owner].paused {
                actions.push(Action::Deliver { message: index, keep: false });
            }
            actions.push(Action::Lose(index));
            if state.duplicates > 0 && matches!(message, Message::Request { call: Call::Write(_), .. }) {
                actions.push(Action::Deliver { message: index, keep: true });
            }
        }
        if state.deletions > 0 && state.stored.is_some() {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += TICK,
            Action::Run(index) => self.run(&mut state, index),
            Action::End { candidate, release } => {
                state.ends -= 1;
                self.end(&mut state, candidate, release);
            }
            Action::Lose(message) => drop(state.messages.remove(message)),
            Action::Pause(index) => {
                state.pauses -= 1;
                state.candidates[index].paused = true;
            }
            Action::Resume(index) => state.candidates[index].paused = false,
            Action::Delete => {
                state.deletions -= 1;
                state.revision += 1;
                state.stored = None;
            }
            Action::Deliver { message, keep } => {
                let (index, found) = state.messages[message];
                if keep {
                    state.duplicates -= 1;
                } else {
                    state.messages.remove(message);
                }
                match found {
                    Message::Request { call, sent } => {
                        let answer = self.serve(&mut state, index, call);
                        // An answer that nobody waits for any more is no event.
                        let answer = (index, Message::Answer { call, answer, sent });
                        if state.candidates[index].awaits(call, sent, state.now) && !state.messages.contains(&answer) {
                            state.messages.push(answer);
                        }
                    }
                    Message::Answer { call, answer, sent } => self.answered(&mut state, index, call, answer, sent),
                }
            }
        }
        // What can have no effect any more is forgotten: reads and answers whose caller has given up.
        let candidates = &state.candidates;
        let now = state.now;
        state.messages.retain(|(index, message)| {
            match *message {
                Message::Request { call: Call::Write(_), .. } => true,
                Message::Request { call, sent } | Message::Answer { call, sent, .. } => {
                    candidates[*index].awaits(call, sent, now)
                }
            }
        });
        // So is a write whose version is gone, unless it is a fault that it would land all the same.
        let version = state.stored.map(|stored| stored.version);
        state.messages.retain(|(index, message)| match *message {
            Message::Request { call: Call::Write(write), sent } => {
                let unconditional = self.fault == Fault::UnconditionalTakeover && matches!(write, Write::Acquire { .. });
                let awaited = state.candidates[*index].awaits(Call::Write(write), sent, now);
                unconditional || awaited || write.over().is_none() || write.over() == version
            }
            _ => true,
        });
        if state == *before || state.messages.len() > self.messages {
            return None;
        }
        state.in_order();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one valid term", |_, state: &State| {
                let valid = state.candidates.iter().filter(|candidate| {
                    candidate.works && candidate.lease.valid_until().is_some_and(|until| state.now < until)
                });
                valid.count() <= 1
            }),
            Property::always("fences grow", |_, state: &State| state.fences_grow),
            Property::sometimes("somebody leads", |_, state: &State| state.fence > 0),
        ]
    }
}

impl Stored {
    /// As `index` reads it.
    fn record(self, index: usize) -> Record {
        let holder = match self.holder {
            None => Holder::Nobody,
            Some(holder) if holder == index => Holder::Me,
            Some(_) => Holder::Other,
        };
        Record::new(self.version, self.beat, holder, LEASE)
    }
}

impl State {
    /// Candidates differ by number only, so one order of them stands for all.
    fn in_order(&mut self) {
        let mut order: Vec<(u64, usize)> = (0..self.candidates.len())
            .map(|index| {
                let mut hasher = DefaultHasher::new();
                self.candidates[index].hash(&mut hasher);
                (self.stored.and_then(|stored| stored.holder) == Some(index)).hash(&mut hasher);
                self.messages.iter().filter(|(at, _)| *at == index).for_each(|(_, message)| message.hash(&mut hasher));
                (hasher.finish(), index)
            })
            .collect();
        order.sort_unstable();
        let place = |index: usize| order.iter().position(|(_, at)| *at == index).expect("a candidate");
        self.candidates = order.iter().map(|(_, index)| self.candidates[*index].clone()).collect();
        if let Some(holder) = self.stored.as_mut().and_then(|stored| stored.holder.as_mut()) {
            *holder = place(*holder);
        }
        self.messages.iter_mut().for_each(|(index, _)| *index = place(*index));
        self.messages.sort_by_key(|(index, message)| match *message {
            Message::Request { sent, call } => (*index, 0, sent, call == Call::Look),
            Message::Answer { sent, call, .. } => (*index, 1, sent, call == Call::Look),
        });
    }
}

impl Candidate {
    fn awaits(&self, call: Call, sent: u64, now: u64) -> bool {
        self.call == Some((call, sent)) && now < sent + CALL
    }
}

fn check(election: Election) -> u64 {
    let began = Instant::now();
    let safety = HasDiscoveries::AnyOf(["one valid term", "fences grow"].into());
    let until = if election.fault == Fault::None { HasDiscoveries::All } else { safety };
    let checker = election.checker().threads(2).finish_when(until).spawn_bfs().join();
    let (states, took) = (checker.unique_state_count() as u64, began.elapsed());
    let bad = ["one valid term", "fences grow"].into_iter().find_map(|name| checker.discovery(name).map(|path| (name, path)));
    match (election.fault, bad) {
        (Fault::None, None) => {
            checker.assert_any_discovery("somebody leads");
            println!("{}: {states} states, every one visited, none bad ({:.1}s)", election.name, took.as_secs_f64());
        }
        (Fault::None, Some((name, path))) => panic!("{}: not `{name}`:\n{path}", election.name),
        (fault, Some((name, path))) => {
            let steps = path.into_actions().len();
            println!("{}: {fault:?} found after {states} states: not `{name}`, in {steps} steps ({:.1}s)", election.name, took.as_secs_f64());
        }
        (fault, None) => panic!("{}: {fault:?} was not found in {states} states", election.name),
    }
    states
}

fn main() {
    let base = Election {
        name: "two candidates",
        candidates: 2,
        horizon: 6,
        messages: 2,
        ends: 0,
        pauses: 0,
        duplicates: 0,
        deletions: 0,
        vacant: true,
        fault: Fault::None,
    };
    let mut models = vec![
        base,
        Election { name: "two, one freezes", horizon: 5, pauses: 1, ..base },
        Election { name: "two, work ends", horizon: 4, ends: 1, ..base },
        Election { name: "two, a doubled write", horizon: 4, messages: 3, duplicates: 1, ..base },
        Election { name: "two, the lock is deleted", horizon: 5, deletions: 1, ..base },
        Election { name: "two, no lock at first", vacant: false, ..base },
        Election { name: "three candidates", candidates: 3, horizon: 3, messages: 3, ..base },
    ];
    if std::env::args().any(|argument| argument == "--long") {
        models.extend([
            Election { name: "two, longer", horizon: 8, ..base },
            Election { name: "two, one freezes, longer", horizon: 6, pauses: 1, ..base },
            Election { name: "two, work ends, longer", horizon: 5, ends: 1, ..base },
            Election { name: "two, the lock is deleted, longer", horizon: 6, deletions: 1, ..base },
            Election { name: "three candidates, longer", candidates: 3, horizon: 4, messages: 3, ..base },
        ]);
    }
    // The known faults must be found, or the search has no teeth.
    let faulty = [
        Election { name: "two", fault: Fault::ValidFromResponse, ..base },
        Election { name: "two", fault: Fault::UnconditionalTakeover, ..base },
        Election { name: "two, work ends", horizon: 5, ends: 1, fault: Fault::ReleaseByCachedHolder, ..base },
        Election { name: "two, the lock is deleted", deletions: 1, vacant: false, fault: Fault::LeadOnCreate, ..base },
    ];
    if std::env::args().any(|argument| argument == "--faults") {
        models.clear();
    }
    let states: u64 = models.into_iter().map(check).sum();
    faulty.into_iter().for_each(|election| drop(check(election)));
    println!("model of the lease: {states} states in all, none bad; 4 of 4 faults found");
}
