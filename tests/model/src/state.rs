//! A moment of an election: the clock, the lock, the candidates, and what is on its way between them.

use std::hash::{DefaultHasher, Hash, Hasher};

use relent::policy::lease::{Holder, Lease, RecordView, WriteStep, WriteResult};

use crate::election::{CALL, LEASE};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stored {
    pub version: u128,
    pub heartbeat: u128,
    pub holder: Option<usize>,
    pub mark: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Read,
    Write(WriteStep),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Read(Option<RecordView>),
    Write(WriteResult),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    Request { call: Call, sent: u64 },
    Answer { call: Call, answer: Answer, sent: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    pub lease: Lease,
    pub call: Option<(Call, u64)>,
    /// The mark of its last write, where a fault wants to know it.
    pub wrote: Option<u64>,
    pub works: bool,
    pub releasing: bool,
    pub paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub now: u64,
    pub candidates: Vec<Candidate>,
    pub stored: Option<Stored>,
    pub revision: u128,
    pub messages: Vec<(usize, Message)>,
    pub fence: u128,
    pub fences_grow: bool,
    pub ends: u8,
    pub pauses: u8,
    pub duplicates: u8,
    pub deletions: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    Run(usize),
    Deliver { message: usize, keep: bool },
    End { candidate: usize, release: bool },
    Lose(usize),
    Pause(usize),
    Resume(usize),
    Delete,
}

impl Stored {
    /// As `index` reads it; where all have one identity, each reads its own.
    pub fn record(self, index: usize, one_identity: bool) -> RecordView {
        let holder = match self.holder {
            None => Holder::Released,
            Some(holder) if holder == index || one_identity => Holder::Own,
            Some(_) => Holder::Other,
        };
        RecordView::new(self.version, self.heartbeat, holder, LEASE).marked(self.mark)
    }
}

impl State {
    /// Candidates differ by number only, so one order of them stands for all.
    pub fn in_order(&mut self) {
        self.candidates_in_order();
        self.messages_in_order();
    }

    fn candidates_in_order(&mut self) {
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
    }

    pub fn messages_in_order(&mut self) {
        self.messages.sort_by_key(|(index, message)| match *message {
            Message::Request { sent, call } => (*index, 0, sent, call == Call::Read),
            Message::Answer { sent, call, .. } => (*index, 1, sent, call == Call::Read),
        });
    }
}

impl Candidate {
    pub fn awaits(&self, call: Call, sent: u64, now: u64) -> bool {
        self.call == Some((call, sent)) && now < sent + CALL
    }
}
