//! All that can happen from one moment to the next.

use relent::policy::lease::{Lease, WriteStep};
use stateright::{Model, Property};

use crate::{
    election::{Election, Fault, TICK, timing},
    state::{Action, Call, Candidate, Message, State, Stored},
};

impl Model for Election {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lease = Lease::new(timing(), None).lead_on_create(self.fault == Fault::LeadOnCreate);
        let candidate = Candidate { lease, call: None, wrote: None, works: false, releasing: false, paused: false };
        vec![State {
            now: 0,
            candidates: vec![candidate; self.candidates],
            stored: self.vacant.then_some(Stored { version: 1, heartbeat: 0, holder: None, mark: None }),
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
                        let answer = self.serve(&mut state, index, call, sent);
                        // An answer that no caller waits for any more is no event.
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
        state.messages.retain(|(index, message)| match *message {
            Message::Request { call: Call::Write(_), .. } => true,
            Message::Request { call, sent } | Message::Answer { call, sent, .. } => {
                candidates[*index].awaits(call, sent, now)
            }
        });
        // So is a write whose version is gone, unless it is a fault that it would land all the same.
        let version = state.stored.map(|stored| stored.version);
        state.messages.retain(|(index, message)| match *message {
            Message::Request { call: Call::Write(write), sent } => {
                let unconditional =
                    self.fault == Fault::UnconditionalTakeover && matches!(write, WriteStep::Acquire { .. });
                let awaited = state.candidates[*index].awaits(Call::Write(write), sent, now);
                unconditional || awaited || write.over().is_none() || write.over() == version
            }
            _ => true,
        });
        if state == *before || state.messages.len() > self.messages {
            return None;
        }
        if self.one_identity {
            state.messages_in_order()
        } else {
            state.in_order()
        }
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
            Property::sometimes("a candidate leads", |_, state: &State| state.fence > 0),
        ]
    }
}
