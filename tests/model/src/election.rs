//! The bounds of an election, and what each of its candidates and its lock does.

use std::time::Duration;

use relent::{
    Ratio,
    leader::Timing,
    policy::lease::{Holder, ReadResult, RecordView, Step, WriteStep, WriteResult},
};

use crate::state::{Answer, Call, Message, State, Stored};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    ValidFromResponse,
    UnconditionalTakeover,
    ReleaseByCachedHolder,
    LeadOnCreate,
    /// A record that bears this identity is taken for this candidate's own, whichever wrote it.
    IdentityIsEnough,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Election {
    pub name: &'static str,
    pub candidates: usize,
    /// The last moment.
    pub horizon: u64,
    /// So many calls are under way at most, lost ones included.
    pub messages: usize,
    /// How many terms' work may end by itself.
    pub ends: u8,
    /// How often a process may freeze; one that never thaws has crashed.
    pub pauses: u8,
    pub duplicates: u8,
    pub deletions: u8,
    /// All candidates have the same identity, by mistake.
    pub one_identity: bool,
    /// Whether there is a record, released, at the start.
    pub vacant: bool,
    pub fault: Fault,
}

/// One step of the clock, in nanoseconds; every time is a multiple of it.
pub const TICK: u64 = 10;
pub const LEASE: u64 = 4 * TICK;
/// An answer is taken for as long as one step.
pub const CALL: u64 = 15;

pub fn timing() -> Timing {
    let ns = Duration::from_nanos;
    let timing = Timing::new(ns(LEASE), ns(3 * TICK), ns(TICK)).and_then(|timing| timing.clock_drift(Ratio::ZERO));
    timing.and_then(|timing| timing.call_timeout(ns(CALL))).expect("a valid timing")
}

impl Election {
    pub fn acts(&self, state: &State, index: usize) -> bool {
        let mut after = state.clone();
        self.run(&mut after, index);
        after != *state
    }

    pub fn run(&self, state: &mut State, index: usize) {
        let now = state.now;
        let candidate = &mut state.candidates[index];
        if let Some((call, sent)) = candidate.call
            && now >= sent + CALL
        {
            candidate.call = None;
            match call {
                Call::Read => candidate.lease.on_read(now, ReadResult::Failed),
                Call::Write(write) => candidate.lease.on_written(write, sent, now, WriteResult::Unknown),
            }
        }
        let step = candidate.lease.next_step(now);
        if candidate.works && candidate.lease.lost().is_some_and(|(_, drop_at)| now >= drop_at) {
            return self.end(state, index, false);
        }
        if candidate.lease.exit().is_some() {
            candidate.releasing = false;
            return candidate.lease.campaign(now);
        }
        let call = match step {
            Step::Read => Call::Read,
            Step::Write(write) => Call::Write(write),
            _ => return,
        };
        candidate.call = Some((call, now));
        if let Call::Write(_) = call {
            let mark = self.mark(index, now);
            candidate.lease.set_write_mark(mark);
            if matches!(self.fault, Fault::IdentityIsEnough | Fault::ReleaseByCachedHolder) {
                candidate.wrote = Some(mark);
            }
        }
        state.messages.push((index, Message::Request { call, sent: now }));
    }

    pub fn end(&self, state: &mut State, index: usize, release: bool) {
        let now = state.now;
        let candidate = &mut state.candidates[index];
        if let Some((call, sent)) = candidate.call.take() {
            match call {
                Call::Read => candidate.lease.on_read(now, ReadResult::Failed),
                Call::Write(write) => candidate.lease.on_written(write, sent, now, WriteResult::Unknown),
            }
        }
        candidate.lease.on_work_ended(now, release);
        candidate.works = false;
        candidate.releasing = candidate.lease.exit().is_none();
    }

    /// Tells the writes of one identity apart. Where identities differ it may leave out whose write it is, so that one
    /// order of the candidates stands for all.
    fn mark(&self, index: usize, sent: u64) -> u64 {
        let whose = if self.one_identity { index as u64 } else { 0 };
        sent * 8 + whose
    }

    pub fn serve(&self, state: &mut State, index: usize, call: Call, sent: u64) -> Answer {
        let Call::Write(write) = call else {
            return Answer::Read(state.stored.map(|stored| stored.record(index, self.one_identity)));
        };
        let unconditional = self.fault == Fault::UnconditionalTakeover && matches!(write, WriteStep::Acquire { .. });
        if !unconditional && state.stored.map(|stored| stored.version) != write.over() {
            return Answer::Write(WriteResult::Refused);
        }
        let holder = (!matches!(write, WriteStep::Release { .. })).then_some(index);
        state.revision += 1;
        let mark = Some(self.mark(index, sent));
        state.stored = Some(Stored { version: state.revision, heartbeat: state.revision, holder, mark });
        Answer::Write(WriteResult::Done { version: state.revision })
    }

    pub fn answered(&self, state: &mut State, index: usize, call: Call, answer: Answer, sent: u64) {
        let now = state.now;
        let candidate = &mut state.candidates[index];
        if !candidate.awaits(call, sent, now) {
            return;
        }
        candidate.call = None;
        match (call, answer) {
            (Call::Read, Answer::Read(mut record)) => {
                if let (Fault::ReleaseByCachedHolder, true, Some(record)) =
                    (self.fault, candidate.releasing, &mut record)
                {
                    *record = RecordView::new(record.version, record.heartbeat, Holder::Own, LEASE).marked(candidate.wrote);
                }
                if let (Fault::IdentityIsEnough, Some(record)) = (self.fault, &mut record)
                    && record.holder == Holder::Own
                {
                    record.mark = candidate.wrote;
                }
                candidate.lease.on_read(now, record.into());
            }
            (Call::Write(write), Answer::Write(wrote)) => {
                let counted = if self.fault == Fault::ValidFromResponse { now } else { sent };
                let led = candidate.lease.held_term().is_some();
                candidate.lease.on_written(write, counted, now, wrote);
                if let (false, Some(term)) = (led, candidate.lease.held_term()) {
                    candidate.works = true;
                    state.fences_grow &= term.fence > state.fence;
                    state.fence = term.fence;
                }
            }
            _ => unreachable!("an answer of the other kind"),
        }
    }
}
