//! One candidate's part in an election, as a state machine without input and output: what was observed and what time it
//! is goes in, what to do next comes out.
//!
//! # Structure
//! - [`Lease`]: the state, and its inputs `on_read`, `on_written`, `on_report`, `on_work_ended`, `on_tick`; `next_step`
//!   answers.
//! - `observe`: what an input changes. `next`: what to do then. `protocol`: the words of both.
//! - `in_doubt`: writes whose answer was lost. `refusals`: when a refusal is the last word. `timing`: the times and
//!   their rules.
//!
//! ```text
//!            took the lock, in time                deadline passed, or the lock is another's
//! Follower ------------------------> Leader --------------------------------------------------> Lost
//!    ^                                 | the work has ended                                       | the work has ended,
//!    | campaign                        v                                                          | or was dropped
//!    '------------------ Over <---- Releasing                                                     |
//!                         ^-----------------------------------------------------------------------'
//! ```
//!
//! # The times of a term
//! They count from `sent`, when the last confirmed renewal was sent, on this machine's clock:
//!
//! | at | what |
//! |---|---|
//! | `sent + retry_period` | the next renewal |
//! | `sent + renew_deadline` | lost, if none was confirmed: the work is told |
//! | the earlier of lost + `stop_grace` and `sent + lease * (1 - 2 * drift)` | the work is dropped |
//! | another saw the renewal, + `lease` | another may take the lock |
//!
//! # What keeps two terms apart
//! - Every write is conditional on the version that was read. Versions never come back, even when the lock is deleted.
//! - A term is valid for `lease * (1 - 2 * drift)` from the moment at which its last confirmed renewal was sent.
//! - A record is left alone for a full lease from the moment at which this candidate observed its change.
//! - A lock that is missing may have been deleted under a leader that still is one. So creating the record only starts
//!   that same wait; the term begins with a conditional write over it.
//! - A record is this candidate's own only if it is the one that it wrote: by the version that was confirmed, or by the
//!   mark of a write whose outcome is unknown. That it bears this identity proves nothing: another process may have the
//!   same one.
//! - What was released may be taken at once. What was emptied by hand is left alone for a lease, as what was deleted
//!   is.

mod in_doubt;
mod next;
mod observe;
mod protocol;
mod refusals;
pub mod timing;

use self::in_doubt::InDoubt;
pub use self::{
    protocol::{Exit, HeldTerm, Holder, Loss, ReadResult, RecordView, Step, WriteResult, WriteStep},
    refusals::Refusals,
    timing::{Explained, Timing},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// A candidate among others.
    Follower,
    /// The work may run.
    Leader(HeldTerm),
    /// The work was told that the term is over; it is dropped at `drop_at`.
    Lost { term: HeldTerm, why: Loss, drop_at: u64 },
    /// The work has ended; the lock is given back, if it is still this candidate's.
    Releasing { term: HeldTerm, until: u64, tries: u32 },
    /// Nothing more to do.
    Over(Exit),
}

/// What the lock was like when it was last observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Observed {
    record: Option<RecordView>,
    /// Since when its holder and its heartbeat have been the same. Of a lock that is missing: when it may be created.
    since: u64,
    /// This candidate wrote it, and no other can have led since.
    written_by_us: bool,
}

/// How often a release is tried.
const RELEASES: u32 = 5;

/// The state of one candidate.
///
/// Ask [`next_step`](Self::next_step) after everything that happens and whenever the time comes that it named. At most
/// one call of the lock is under way at a time; a call that is given up has the answer [`WriteResult::Unknown`], or
/// [`ReadResult::Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Lease {
    timing: Timing,
    phase: Phase,
    observed: Option<Observed>,
    /// Writes of this candidate that may take effect yet, or took effect unobserved.
    in_doubt: InDoubt,
    /// This candidate once created the lock: that write is bound to no version, and may be delayed for ever.
    created: bool,
    lead_on_create: bool,
    /// The lock has to be read before the next write.
    must_read: bool,
    /// When the call that is under way began.
    call_began: Option<u64>,
    /// The mark of the write that is under way.
    call_mark: Option<u64>,
    /// A report came while the call that is under way, or was last, had no answer.
    overtaken: bool,
    /// Failures in a row: the first is followed up at once, later ones after a retry period.
    failures: u32,
    /// No call before this time, after a failure.
    retry_at: u64,
    /// What was observed counts until then; then a candidate reads again.
    reread_at: u64,
    /// Another process was observed to take or to renew the lock.
    held_by_other: bool,
    /// The state of the random numbers that spread the reads of candidates.
    jitter: Option<u64>,
}

impl Lease {
    /// A candidate that has observed nothing yet. `seed` chooses the jitter; without one there is none.
    #[must_use]
    pub fn new(timing: Timing, seed: Option<u64>) -> Self {
        Self {
            timing,
            phase: Phase::Follower,
            observed: None,
            in_doubt: InDoubt::default(),
            created: false,
            lead_on_create: false,
            must_read: true,
            call_began: None,
            call_mark: None,
            overtaken: false,
            failures: 0,
            retry_at: 0,
            reread_at: 0,
            held_by_other: false,
            jitter: seed,
        }
    }

    /// A candidate that creates the missing lock leads at once. Safe only where it is never deleted.
    #[must_use]
    pub fn lead_on_create(mut self, at_once: bool) -> Self {
        self.lead_on_create = at_once;
        self
    }

    /// What to do now. While a call is under way it is always to wait.
    pub fn next_step(&mut self, now: u64) -> Step {
        self.apply_clock(now);
        let step = match self.phase {
            Phase::Follower => self.next_as_follower(now),
            Phase::Leader(term) => self.next_as_leader(term, now),
            Phase::Lost { drop_at, .. } => return Step::Wait(drop_at),
            Phase::Releasing { term, .. } => self.next_release(term, now),
            Phase::Over(_) => return Step::Wait(u64::MAX),
        };
        match (step, self.phase) {
            (step, _) if self.call_began.is_none() => {
                if !matches!(step, Step::Wait(_)) {
                    self.call_began = Some(now);
                    self.overtaken = false;
                }
                step
            }
            (_, Phase::Leader(term)) => Step::Wait(self.lost_at(term)),
            (_, Phase::Releasing { until, .. }) => Step::Wait(until.max(now.saturating_add(1))),
            _ => Step::Wait(u64::MAX),
        }
    }

    /// The write that [`next_step`](Self::next_step) has just asked for can be told from all others by this mark: if
    /// its answer is lost, a later read still shows whose record it is. Without a mark such a record counts as
    /// another's.
    pub fn set_write_mark(&mut self, mark: u64) {
        self.call_mark = Some(mark);
    }

    /// When a call that begins now is to be given up: after the call timeout, and soon enough for a last try before the
    /// renew deadline.
    #[must_use]
    pub fn give_up_at(&self, began: u64) -> u64 {
        let timeout = began.saturating_add(self.timing.call_nanos());
        match self.phase {
            Phase::Leader(term) if began.saturating_add(self.timing.retry_nanos()) <= self.last_try_at(term) => {
                timeout.min(self.last_try_at(term))
            }
            _ => timeout,
        }
    }

    /// Takes note of the time: a term whose renew deadline has passed is lost.
    pub fn on_tick(&mut self, now: u64) {
        self.apply_clock(now);
    }

    /// A read has ended.
    pub fn on_read(&mut self, now: u64, answer: ReadResult) {
        self.apply_clock(now);
        let began = self.call_began.take().unwrap_or(now);
        let record = match answer {
            ReadResult::Failed => return self.on_failed(began, now),
            ReadResult::Missing => None,
            ReadResult::Found(record) => Some(record),
        };
        self.must_read = false;
        let observed = self.observed.and_then(|observed| observed.record);
        if self.overtaken && record.map(|record| record.version) < observed.map(|observed| observed.version) {
            // What was reported meanwhile is newer.
            self.reread_at = now.saturating_add(self.timing.longest_pause());
        } else {
            self.observe(record, now);
        }
    }

    /// A write has ended. `sent` is when it was begun: the time at which [`next_step`](Self::next_step) asked for it.
    pub fn on_written(&mut self, write: WriteStep, sent: u64, now: u64, answer: WriteResult) {
        self.apply_clock(now);
        let began = self.call_began.take().unwrap_or(sent);
        let mark = self.call_mark.take();
        self.created |= matches!(write, WriteStep::Create | WriteStep::Renew { over: None });
        match answer {
            // A write that changed nothing renewed nothing.
            WriteResult::Done { version } if Some(version) != write.over() => {
                self.on_confirmed(write, (version, mark), sent, now);
            }
            WriteResult::Done { .. } | WriteResult::Refused => self.on_failed(began, now),
            WriteResult::Unknown => {
                if let (WriteStep::Acquire { .. } | WriteStep::Renew { .. }, Some(mark)) = (write, mark) {
                    self.in_doubt.add(write.over(), mark);
                }
                self.on_failed(began, now);
            }
        }
        if let (Phase::Releasing { term, until, tries }, WriteStep::Release { .. }) = (self.phase, write) {
            let tries = tries.saturating_sub(1);
            self.phase =
                if tries == 0 { Phase::Over(Exit::Unreleased) } else { Phase::Releasing { term, until, tries } };
        }
    }

    /// The lock reports the record, unasked: perhaps an old state of it. It counts while this candidate waits for the
    /// lock.
    pub fn on_report(&mut self, now: u64, record: Option<RecordView>) {
        self.apply_clock(now);
        match (self.phase, record) {
            (Phase::Follower, Some(record)) => {
                let latest = self.observed.and_then(|observed| observed.record).map_or(0, |observed| observed.version);
                if record.version > latest {
                    // What failed before is of no matter: one call for each change is not too many.
                    self.must_read = false;
                    self.retry_at = now;
                    self.overtaken |= self.call_began.is_some();
                    self.observe(Some(record), now);
                    // Where reports come, each renewal of a living leader is one: a read is due only where one is
                    // missing.
                    self.reread_at = now.saturating_add(self.timing.longest_pause());
                }
            }
            (Phase::Follower, None) => self.must_read = true,
            _ => {}
        }
    }

    /// The work of the term has ended, or was dropped. A lock that is still held is given back if `release` is set.
    pub fn on_work_ended(&mut self, now: u64, release: bool) {
        self.apply_clock(now);
        let (term, held) = match self.phase {
            Phase::Leader(term) => (term, true),
            Phase::Lost { term, .. } => (term, false),
            _ => return,
        };
        self.observed = Some(Observed {
            record: Some(RecordView {
                version: term.version,
                heartbeat: 0,
                holder: Holder::Own,
                lease: self.timing.lease_nanos(),
                mark: term.mark,
            }),
            since: now,
            written_by_us: true,
        });
        self.must_read = true;
        self.failures = 0;
        self.retry_at = now;
        self.phase = if held && release {
            let until = now.saturating_add(self.timing.deadline_nanos());
            Phase::Releasing { term, until, tries: RELEASES }
        } else {
            Phase::Over(Exit::NotHeld)
        };
    }

    /// Be a candidate again, after a term has ended.
    pub fn campaign(&mut self, now: u64) {
        if let Phase::Over(_) = self.phase {
            self.phase = Phase::Follower;
            // A creation is bound to no version: it may land at any time, also under another leader.
            self.in_doubt.forget_creations();
            self.held_by_other = false;
            self.must_read = true;
            self.reread_at = now;
            self.retry_at = self.retry_at.max(now);
        }
    }

    /// The term that is held, until it is lost or its work has ended.
    #[must_use]
    pub fn held_term(&self) -> Option<HeldTerm> {
        match self.phase {
            Phase::Leader(term) => Some(term),
            _ => None,
        }
    }

    /// Whether another process was observed to take or to renew the lock, and has not released it since. A record that
    /// only lies there may be a dead one's.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.phase == Phase::Follower && self.held_by_other
    }

    /// Why the term was lost, and when its work must be dropped.
    #[must_use]
    pub fn lost(&self) -> Option<(Loss, u64)> {
        match self.phase {
            Phase::Lost { why, drop_at, .. } => Some((why, drop_at)),
            _ => None,
        }
    }

    /// How the candidacy ended.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self.phase {
            Phase::Over(exit) => Some(exit),
            _ => None,
        }
    }

    /// Until when no other candidate can lead; the work is not polled from then on.
    #[must_use]
    pub fn valid_until(&self) -> Option<u64> {
        match self.phase {
            Phase::Leader(term) | Phase::Lost { term, .. } => Some(self.end_of(term)),
            _ => None,
        }
    }

    fn lost_at(&self, term: HeldTerm) -> u64 {
        term.sent.saturating_add(self.timing.deadline_nanos())
    }

    /// When a renewal is tried at the latest that comes after a failure: well before the deadline, and then each time
    /// half of what is left, as long as that may be enough for an answer.
    fn one_more_try_at(&self, term: HeldTerm, now: u64) -> u64 {
        let last_try_at = self.last_try_at(term);
        let half = self.lost_at(term).saturating_sub(now) / 2;
        match now < last_try_at {
            true => last_try_at,
            false if half >= self.timing.retry_nanos() / 64 => now.saturating_add(half),
            false => u64::MAX,
        }
    }

    /// Until then a call that hangs is given up, so that there is time for another try.
    fn last_try_at(&self, term: HeldTerm) -> u64 {
        self.lost_at(term).saturating_sub(self.timing.retry_nanos().div_ceil(4))
    }

    fn end_of(&self, term: HeldTerm) -> u64 {
        term.sent.saturating_add(self.timing.valid_nanos())
    }

    /// What the clock alone decides.
    fn apply_clock(&mut self, now: u64) {
        match self.phase {
            Phase::Leader(term) if now >= self.lost_at(term) => {
                self.lose(term, Loss::Deadline, self.lost_at(term));
            }
            Phase::Releasing { until, .. } if now >= until => self.phase = Phase::Over(Exit::Unreleased),
            _ => {}
        }
    }

    fn lose(&mut self, term: HeldTerm, why: Loss, at: u64) {
        let drop_at = at.saturating_add(self.timing.grace_nanos()).min(self.end_of(term));
        self.phase = Phase::Lost { term, why, drop_at };
    }
}
