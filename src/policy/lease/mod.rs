//! One candidate's part in an election: what it has seen and what time it is goes in, what to do next comes out.
//!
//! What keeps two terms apart:
//! - Every write is conditional on the version that was read. Versions never come back, even when the lock is deleted.
//! - A term is valid for `lease * (1 - 2 * drift)` from the moment at which its last confirmed renewal was sent.
//! - A record is left alone for a full lease from the moment at which this candidate saw it change.
//! - A lock that is missing may have been deleted under a leader that still is one. So creating the record only starts
//!   that same wait; the term begins with a conditional write over it.
//! - The record of another life of this identity is another's record.

mod deciding;
mod learning;
pub mod timing;
mod words;

pub use self::{
    timing::{Explained, Timing},
    words::{Exit, Holder, Loss, Record, Step, Tenure, Write, Wrote},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// A candidate among others.
    Follow,
    /// The work may run.
    Lead(Tenure),
    /// The work was told; it is dropped at `drop_at`.
    Lost { tenure: Tenure, why: Loss, drop_at: u64 },
    /// The work has ended; the lock is given back, if it is still this candidate's.
    Release { tenure: Tenure, until: u64, tries: u32 },
    /// Nothing more to do.
    Over(Exit),
}

/// What the lock was like when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    record: Option<Record>,
    /// Since when its holder and its beat have been the same. Of a lock that is missing: when it may be created.
    since: u64,
    /// This candidate wrote it, and nobody can have led since.
    ours: bool,
}

/// How often a release is tried.
const RELEASES: u32 = 5;

/// The state of one candidate.
///
/// Ask [`next`](Self::next) after everything that happens and whenever the time comes that it named. At most one call of
/// the lock is under way at a time; a call that is given up has the answer [`Wrote::Unknown`], or `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    timing: Timing,
    phase: Phase,
    known: Option<Known>,
    /// A write of this candidate over this version may still land, or has landed unseen.
    claim: Option<u128>,
    /// This candidate once created the lock: that write is bound to no version, and may be delayed for ever.
    created: bool,
    lead_on_create: bool,
    /// The lock has to be read before the next write.
    must_look: bool,
    /// When the call that is under way began.
    call_began: Option<u64>,
    /// Failures in a row: the first is followed up at once, later ones after a retry period.
    failures: u32,
    /// No call before this time, after a failure.
    retry_at: u64,
    /// What is known counts until then; a candidate looks again.
    look_at: u64,
    /// The state of the random numbers that spread the looks of candidates.
    jitter: Option<u64>,
}

impl Lease {
    /// A candidate who has seen nothing yet. `seed` chooses the jitter; without one there is none.
    #[must_use]
    pub fn new(timing: Timing, seed: Option<u64>) -> Self {
        Self {
            timing,
            phase: Phase::Follow,
            known: None,
            claim: None,
            created: false,
            lead_on_create: false,
            must_look: true,
            call_began: None,
            failures: 0,
            retry_at: 0,
            look_at: 0,
            jitter: seed,
        }
    }

    /// Whoever creates the missing lock leads at once. Safe only where nobody deletes it.
    #[must_use]
    pub fn lead_on_create(mut self, at_once: bool) -> Self {
        self.lead_on_create = at_once;
        self
    }

    /// What to do now. While a call is under way it is always to wait.
    pub fn next(&mut self, now: u64) -> Step {
        self.settle(now);
        let step = match self.phase {
            Phase::Follow => self.follow(now),
            Phase::Lead(tenure) => self.lead(tenure, now),
            Phase::Lost { drop_at, .. } => return Step::Wait(drop_at),
            Phase::Release { tenure, .. } => self.release(tenure, now),
            Phase::Over(_) => return Step::Wait(u64::MAX),
        };
        match (step, self.phase) {
            (step, _) if self.call_began.is_none() => {
                if !matches!(step, Step::Wait(_)) {
                    self.call_began = Some(now);
                }
                step
            }
            (_, Phase::Lead(tenure)) => Step::Wait(self.lost_at(tenure)),
            (_, Phase::Release { until, .. }) => Step::Wait(until.max(now.saturating_add(1))),
            _ => Step::Wait(u64::MAX),
        }
    }

    /// Takes note of the time: a term whose renew deadline has passed is lost.
    pub fn tick(&mut self, now: u64) {
        self.settle(now);
    }

    /// A read has ended: the record, if there is one; `None` if the read failed.
    pub fn looked(&mut self, now: u64, answer: Option<Option<Record>>) {
        self.settle(now);
        let began = self.call_began.take().unwrap_or(now);
        match answer {
            None => self.failed(began, now),
            Some(record) => {
                self.must_look = false;
                self.saw(record, now);
            }
        }
    }

    /// A write has ended. `sent` is when it was begun: the time at which [`next`](Self::next) asked for it.
    pub fn wrote(&mut self, write: Write, sent: u64, now: u64, answer: Wrote) {
        self.settle(now);
        let began = self.call_began.take().unwrap_or(sent);
        self.created |= matches!(write, Write::Create | Write::Renew { over: None });
        match answer {
            // A write that changed nothing renewed nothing.
            Wrote::Done { version } if Some(version) != write.over() => self.done(write, version, sent, now),
            Wrote::Done { .. } | Wrote::Refused => self.failed(began, now),
            Wrote::Unknown => {
                if let (Write::Acquire { .. } | Write::Renew { .. }, Some(over)) = (write, write.over()) {
                    self.claim = Some(over);
                }
                self.failed(began, now);
            }
        }
        if let (Phase::Release { tenure, until, tries }, Write::Release { .. }) = (self.phase, write) {
            let tries = tries.saturating_sub(1);
            self.phase =
                if tries == 0 { Phase::Over(Exit::Unreleased) } else { Phase::Release { tenure, until, tries } };
        }
    }

    /// Somebody reports the record, unasked: perhaps an old state of it. It counts while this candidate waits for the lock.
    pub fn seen(&mut self, now: u64, record: Option<Record>) {
        self.settle(now);
        match (self.phase, record) {
            (Phase::Follow, Some(record)) => {
                let latest = self.known.and_then(|known| known.record).map_or(0, |known| known.version);
                if record.version > latest {
                    // What failed before is of no matter: one call for each change is not too many.
                    self.must_look = false;
                    self.retry_at = now;
                    self.saw(Some(record), now);
                }
            }
            (Phase::Follow, None) => self.must_look = true,
            _ => {}
        }
    }

    /// The work of the term has ended, or was dropped. A lock that is still ours is given back if `release` is set.
    pub fn ended(&mut self, now: u64, release: bool) {
        self.settle(now);
        let (tenure, held) = match self.phase {
            Phase::Lead(tenure) => (tenure, true),
            Phase::Lost { tenure, .. } => (tenure, false),
            _ => return,
        };
        self.known = Some(Known {
            record: Some(Record {
                version: tenure.version,
                beat: 0,
                holder: Holder::Me,
                lease: self.timing.lease_nanos(),
            }),
            since: now,
            ours: true,
        });
        self.must_look = true;
        self.failures = 0;
        self.retry_at = now;
        self.phase = if held && release {
            let until = now.saturating_add(self.timing.deadline_nanos());
            Phase::Release { tenure, until, tries: RELEASES }
        } else {
            Phase::Over(Exit::NotHeld)
        };
    }

    /// Be a candidate again, after a term has ended.
    pub fn campaign(&mut self, now: u64) {
        if let Phase::Over(_) = self.phase {
            self.phase = Phase::Follow;
            self.must_look = true;
            self.look_at = now;
            self.retry_at = self.retry_at.max(now);
        }
    }

    /// The term that is held, until it is lost or its work has ended.
    #[must_use]
    pub fn tenure(&self) -> Option<Tenure> {
        match self.phase {
            Phase::Lead(tenure) => Some(tenure),
            _ => None,
        }
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

    /// Until when nobody else can lead; the work is not polled from then on.
    #[must_use]
    pub fn valid_until(&self) -> Option<u64> {
        match self.phase {
            Phase::Lead(tenure) | Phase::Lost { tenure, .. } => Some(self.end_of(tenure)),
            _ => None,
        }
    }

    fn lost_at(&self, tenure: Tenure) -> u64 {
        tenure.sent.saturating_add(self.timing.deadline_nanos())
    }

    fn end_of(&self, tenure: Tenure) -> u64 {
        tenure.sent.saturating_add(self.timing.valid_nanos())
    }

    /// What the clock alone decides.
    fn settle(&mut self, now: u64) {
        match self.phase {
            Phase::Lead(tenure) if now >= self.lost_at(tenure) => {
                self.lose(tenure, Loss::Deadline, self.lost_at(tenure));
            }
            Phase::Release { until, .. } if now >= until => self.phase = Phase::Over(Exit::Unreleased),
            _ => {}
        }
    }

    fn lose(&mut self, tenure: Tenure, why: Loss, at: u64) {
        let drop_at = at.saturating_add(self.timing.grace_nanos()).min(self.end_of(tenure));
        self.phase = Phase::Lost { tenure, why, drop_at };
    }
}
