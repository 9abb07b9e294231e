//! What there is in the simulated world: clocks, the lock, processes, and what may happen to them.

use std::collections::VecDeque;

use relent::policy::lease::{Holder, Lease, RecordView, WriteResult, WriteStep};

use super::{Fault, S};
use crate::simulated::Clock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) version: u128,
    pub(super) heartbeat: u128,
    /// The version by which the lock was created.
    pub(super) born: u128,
    pub(super) holder: Option<u64>,
    pub(super) lease: u64,
    pub(super) mark: Option<u64>,
}

/// The real lock: a register with compare and swap.
#[derive(Default)]
pub(super) struct Server {
    pub(super) stored: Option<Stored>,
    pub(super) revision: u128,
    pub(super) up_from: u64,
    /// Until then it refuses all that it is asked, as one that has just started does.
    pub(super) refuses_until: u64,
}

impl Server {
    pub(super) fn write(
        &mut self,
        write: WriteStep,
        identity: u64,
        (heartbeat, mark): (u128, u64),
        lease: u64,
        fault: Fault,
    ) -> WriteResult {
        let unconditional = fault == Fault::UnconditionalTakeover && matches!(write, WriteStep::Acquire { .. });
        if !unconditional && self.stored.map(|stored| stored.version) != write.over() {
            return WriteResult::Refused;
        }
        let (holder, lease) = match write {
            WriteStep::Release { .. } => (None, S),
            _ => (Some(identity), lease),
        };
        // Writing what is there already is not a change.
        match self.stored {
            Some(stored) if (stored.heartbeat, stored.holder, stored.lease) == (heartbeat, holder, lease) => {}
            _ => {
                self.revision += 1;
                let born = self.stored.map_or(self.revision, |stored| stored.born);
                self.stored = Some(Stored { version: self.revision, heartbeat, born, holder, lease, mark: Some(mark) });
            }
        }
        WriteResult::Done { version: self.stored.map_or(0, |stored| stored.version) }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Read,
    Write { write: WriteStep, heartbeat: u128, mark: u64 },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Read(Option<Stored>),
    Write(WriteResult),
    /// 401, 403, 404: nothing was done.
    Refusal,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
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
    /// The machine is suspended: as a pause, and its timers stand still meanwhile.
    Suspend {
        node: usize,
    },
    Rouse {
        node: usize,
    },
    Refuse {
        until: u64,
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

pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) call: Call,
    pub(super) sent: u64,
    pub(super) deadline: u64,
}

pub(super) struct Term {
    pub(super) id: u64,
    pub(super) fence: u128,
    /// In true time: no other term may begin before.
    pub(super) valid: u64,
}

pub(super) struct Node {
    pub(super) identity: u64,
    pub(super) life: u64,
    pub(super) token: u64,
    pub(super) releasing: bool,
    pub(super) alive: bool,
    pub(super) frozen: bool,
    pub(super) asleep_since: Option<u64>,
    pub(super) clock: Clock,
    pub(super) wall: i64,
    pub(super) lease: Lease,
    pub(super) call: Option<Pending>,
    pub(super) term: Option<Term>,
    pub(super) seen: Option<Stored>,
    /// The mark of its last write.
    pub(super) wrote: Option<u64>,
    pub(super) parted_until: u64,
    pub(super) frozen_events: VecDeque<Event>,
}

/// Every life of a process has an identity of its own; unless the first two, in all their lives, have the same by
/// mistake.
pub(super) fn identity(index: usize, life: u64, doubled: bool) -> u64 {
    if doubled && index < 2 { 1 } else { index as u64 + 1 + 100 * life }
}

pub(super) fn record(stored: Stored, identity: u64) -> RecordView {
    let holder = match stored.holder {
        None => Holder::Released,
        Some(holder) if holder == identity => Holder::Own,
        Some(_) => Holder::Other,
    };
    // A creation that lands again after a deletion brings back the same heartbeat, but not the same lock.
    RecordView::new(stored.version, stored.heartbeat << 40 | stored.born, holder, stored.lease).marked(stored.mark)
}
