//! One candidate's part in an election: what it has seen and what time it is goes in, what to do next comes out.
//!
//! What keeps two terms apart:
//! - Every write is conditional on the version that was read. Versions never come back, even when the lock is deleted.
//! - A term is valid for `lease * (1 - 2 * drift)` from the moment at which its last confirmed renewal was sent.
//! - A record is left alone for a full lease from the moment at which this candidate saw it change.
//! - A lock that is missing may have been deleted under a leader that still is one. So creating the record only starts
//!   that same wait; the term begins with a conditional write over it.
//! - The record of another life of this identity is another's record.

pub mod timing;

pub use timing::{Explained, Timing};

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Holder {
    /// It was released.
    Nobody,
    /// It bears the identity of this candidate.
    Me,
    /// It bears another identity.
    Other,
}

/// The record in the lock, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Record {
    /// Grows with every change of the lock, over its deletion as well.
    pub version: u128,
    /// Changes with every renewal, and need not change with anything else.
    pub beat: u128,
    /// Whose it is.
    pub holder: Holder,
    /// How long others have to leave it alone, in nanoseconds.
    pub lease: u64,
}

/// A write to the lock. `over` is the version that it must replace; without one the lock must be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Write {
    /// Lay down a record that bears this identity; nobody leads by it yet.
    Create,
    /// Begin a term.
    Acquire {
        /// The version that was read.
        over: u128,
    },
    /// Go on leading.
    Renew {
        /// The version that was read; `None` lays a missing lock down again.
        over: Option<u128>,
    },
    /// Nobody holds it any more.
    Release {
        /// The version that was read.
        over: u128,
    },
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wrote {
    /// It is done; the lock has this version now.
    Done {
        /// That version.
        version: u128,
    },
    /// The version was another one: nothing was written.
    Refused,
    /// No answer, or an error: it may have been written, or may yet be.
    Unknown,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Read the lock; the answer goes to [`Lease::looked`].
    Look,
    /// Write; the answer goes to [`Lease::wrote`].
    Write(Write),
    /// Nothing before this time, unless a call ends, or something is [`seen`](Lease::seen).
    Wait(u64),
}

/// The term that this candidate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tenure {
    /// The version of the write that began it: grows from term to term, whoever holds them.
    pub fence: u128,
    /// When the last confirmed renewal was sent.
    pub sent: u64,
    /// What that renewal left in the lock.
    pub version: u128,
}

/// Why a term was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// No renewal was confirmed in time.
    Deadline,
    /// The lock bears another identity.
    TakenOver,
    /// Somebody released the lock in this candidate's stead.
    Cleared,
}

/// How a candidacy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// The lock was given back, or was not there to give back.
    Released,
    /// The lock was not, or no longer, this candidate's to give back.
    NotHeld,
    /// The lock could not be given back in time; it lapses after a lease.
    Unreleased,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Follow,
    Lead(Tenure),
    /// The work was told; it is dropped at `drop_at`.
    Lost {
        tenure: Tenure,
        why: Loss,
        drop_at: u64,
    },
    Release {
        tenure: Tenure,
        until: u64,
        tries: u32,
    },
    Over(Exit),
}

/// The record that was last seen, and since when it has been like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    record: Option<Record>,
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
    /// Read before the next write.
    stale: bool,
    /// When the call that is under way began.
    calling: Option<u64>,
    /// Failures in a row: the first is followed up at once, later ones after a retry period.
    trouble: u32,
    retry_at: u64,
    look_at: u64,
    random: Option<u64>,
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
            stale: true,
            calling: None,
            trouble: 0,
            retry_at: 0,
            look_at: 0,
            random: seed,
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
            (step, _) if self.calling.is_none() => {
                if !matches!(step, Step::Wait(_)) {
                    self.calling = Some(now);
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
        let began = self.calling.take().unwrap_or(now);
        match answer {
            None => self.failed(began, now),
            Some(record) => {
                self.stale = false;
                self.saw(record, now);
            }
        }
    }

    /// A write has ended. `sent` is when it was begun: the time at which [`next`](Self::next) asked for it.
    pub fn wrote(&mut self, write: Write, sent: u64, now: u64, answer: Wrote) {
        self.settle(now);
        let began = self.calling.take().unwrap_or(sent);
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

    /// Somebody reports the record, unasked: perhaps an old state of it.
    pub fn seen(&mut self, now: u64, record: Option<Record>) {
        self.settle(now);
        match (self.phase, record) {
            (Phase::Follow, Some(record)) => {
                let latest = self.known.and_then(|known| known.record).map_or(0, |known| known.version);
                if record.version > latest {
                    self.stale = false;
                    self.saw(Some(record), now);
                }
            }
            (Phase::Lead(tenure), Some(record)) => {
                self.stale |= record.version > tenure.version && record.holder != Holder::Me;
            }
            (Phase::Follow | Phase::Lead(_), None) => self.stale = true,
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
        self.stale = true;
        self.trouble = 0;
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
            self.stale = true;
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

    fn follow(&self, now: u64) -> Step {
        if now < self.retry_at {
            return Step::Wait(self.retry_at);
        }
        let Some(known) = self.known.filter(|_| !self.stale && now < self.look_at) else { return Step::Look };
        let free_at = Self::free_at(known);
        match known.record {
            _ if now < free_at => Step::Wait(free_at.min(self.look_at)),
            Some(record) => Step::Write(Write::Acquire { over: record.version }),
            None => Step::Write(Write::Create),
        }
    }

    /// When the lock may be written.
    fn free_at(known: Known) -> u64 {
        match known.record {
            _ if known.ours => 0,
            Some(Record { holder: Holder::Nobody, .. }) => 0,
            Some(record) => known.since.saturating_add(record.lease),
            None => known.since,
        }
    }

    fn lead(&self, tenure: Tenure, now: u64) -> Step {
        if now < self.retry_at {
            return Step::Wait(self.retry_at.min(self.lost_at(tenure)));
        }
        if self.stale {
            return Step::Look;
        }
        let renew_at = tenure.sent.saturating_add(self.timing.retry_nanos());
        let over = match self.known {
            Some(Known { record: None, .. }) => None,
            _ => Some(tenure.version),
        };
        // After a failure the renewal is due already, or else the version in the lock is not the one we know.
        if now < renew_at && self.trouble == 0 && over.is_some() {
            return Step::Wait(renew_at.min(self.lost_at(tenure)));
        }
        Step::Write(Write::Renew { over })
    }

    fn release(&self, tenure: Tenure, now: u64) -> Step {
        match self.phase {
            Phase::Release { until, .. } if now < self.retry_at => Step::Wait(self.retry_at.min(until)),
            _ if self.stale => Step::Look,
            _ => Step::Write(Write::Release { over: tenure.version }),
        }
    }

    /// A state of the lock, read or reported.
    fn saw(&mut self, record: Option<Record>, now: u64) {
        match self.phase {
            Phase::Follow => self.saw_following(record, now),
            Phase::Lead(tenure) => match record.map(|record| (record.holder, record.version)) {
                Some((Holder::Me, version)) => {
                    self.phase = Phase::Lead(Tenure { version, ..tenure });
                    self.remember(record, now, true);
                }
                Some((Holder::Other, _)) => self.lose(tenure, Loss::TakenOver, now),
                Some((Holder::Nobody, _)) => self.lose(tenure, Loss::Cleared, now),
                None => self.remember(None, now, false),
            },
            Phase::Release { tenure, until, tries } => match record.map(|record| (record.holder, record.version)) {
                Some((Holder::Me, version)) if self.may_release(tenure, version, now) => {
                    self.phase = Phase::Release { tenure: Tenure { version, ..tenure }, until, tries };
                }
                Some((Holder::Nobody, _)) | None => self.phase = Phase::Over(Exit::Released),
                Some(_) => self.phase = Phase::Over(Exit::NotHeld),
            },
            Phase::Lost { .. } | Phase::Over(_) => {}
        }
    }

    /// A record that bears this identity is this term's, unless a forgotten creation of this candidate has landed after
    /// the lock was deleted, and another leads.
    fn may_release(&self, tenure: Tenure, version: u128, now: u64) -> bool {
        version == tenure.version || !self.created || now < self.end_of(tenure)
    }

    fn saw_following(&mut self, record: Option<Record>, now: u64) {
        let before = self.known;
        let same_version =
            |record: Record| before.and_then(|known| known.record).is_some_and(|known| known.version == record.version);
        let ours = record.filter(|record| record.holder == Holder::Me).is_some_and(|record| {
            let untouched = before.is_some_and(|known| known.ours) && same_version(record);
            let landed = self.claim.is_some_and(|over| over != record.version) && !self.created;
            untouched || landed
        });
        match record {
            Some(record) if record.holder == Holder::Me || self.claim == Some(record.version) => {}
            _ => self.claim = None,
        }
        self.remember(record, now, ours);
        if self.known.is_some_and(|known| Self::free_at(known) > now) {
            self.trouble = 0;
        }
    }

    /// Keeps a record, with the time since when it has borne this holder and this beat.
    fn remember(&mut self, record: Option<Record>, now: u64, ours: bool) {
        let since = match (self.known, record) {
            (Some(Known { record: Some(before), since, .. }), Some(record))
                if before.version == record.version
                    || (before.beat == record.beat && before.holder == record.holder) =>
            {
                since
            }
            (Some(Known { record: None, since, .. }), None) => since,
            // A leader that is alive will lay the lock down again.
            (Some(Known { record: Some(Record { holder: Holder::Other, .. }), .. }), None) => {
                now.saturating_add(self.pause())
            }
            _ => now,
        };
        self.known = Some(Known { record, since, ours });
        self.look_at = now.saturating_add(self.pause());
    }

    /// Our write is in the lock.
    fn done(&mut self, write: Write, version: u128, sent: u64, now: u64) {
        self.trouble = 0;
        self.stale = false;
        self.retry_at = now;
        self.claim = None;
        let record = Record { version, beat: 0, holder: Holder::Me, lease: self.timing.lease_nanos() };
        match (self.phase, write) {
            (Phase::Follow, Write::Create) if !self.lead_on_create => {
                self.known = Some(Known { record: Some(record), since: now, ours: false });
                self.look_at = now.saturating_add(self.pause());
            }
            (Phase::Follow, Write::Create | Write::Acquire { .. }) => {
                self.known = Some(Known { record: Some(record), since: now, ours: true });
                let tenure = Tenure { fence: version, sent, version };
                if now < self.lost_at(tenure) {
                    self.phase = Phase::Lead(tenure);
                } else {
                    // Too late to begin a term by it: write once more, a little later.
                    self.failed(sent, now);
                }
            }
            (Phase::Lead(tenure), Write::Renew { .. }) => {
                self.known = Some(Known { record: Some(record), since: now, ours: true });
                self.phase = Phase::Lead(Tenure { fence: tenure.fence, sent, version });
            }
            (Phase::Lost { tenure, why, drop_at }, Write::Renew { .. }) => {
                // It came too late for this term. What it left is ours all the same.
                self.phase = Phase::Lost { tenure: Tenure { version, ..tenure }, why, drop_at };
            }
            (Phase::Release { .. }, Write::Release { .. }) => self.phase = Phase::Over(Exit::Released),
            _ => {}
        }
    }

    /// A call has failed: look at once the first time, then after a retry period from its beginning.
    fn failed(&mut self, began: u64, now: u64) {
        self.stale = true;
        let pause = match self.phase {
            Phase::Release { .. } => self.timing.retry_nanos().div_ceil(4),
            Phase::Lead(_) => self.timing.retry_nanos(),
            _ => self.pause(),
        };
        self.retry_at = if self.trouble == 0 { now } else { began.saturating_add(pause).max(now) };
        self.trouble = self.trouble.saturating_add(1);
    }

    /// From 1 to 2.2 retry periods.
    fn pause(&mut self) -> u64 {
        let least = self.timing.retry_nanos();
        let spread = self.timing.longest_pause().saturating_sub(least);
        least.saturating_add(self.draw(spread))
    }

    /// A random number below `bound`; 0 without a seed. SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self, bound: u64) -> u64 {
        let Some(state) = self.random else { return 0 };
        let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random = Some(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let product = u128::from(mixed ^ (mixed >> 31)).saturating_mul(bound.into());
        u64::try_from(product >> 64).unwrap_or(0)
    }
}

impl Record {
    /// A record of this version and this beat.
    #[must_use]
    pub fn new(version: u128, beat: u128, holder: Holder, lease: u64) -> Self {
        Self { version, beat, holder, lease }
    }
}

impl Write {
    /// The version that it must replace.
    #[must_use]
    pub fn over(self) -> Option<u128> {
        match self {
            Self::Create => None,
            Self::Acquire { over } | Self::Release { over } => Some(over),
            Self::Renew { over } => over,
        }
    }
}
