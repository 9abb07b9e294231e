//! What an answer or a report changes.

use super::{Exit, Holder, Known, Lease, Loss, Phase, Record, Tenure, Write};

impl Lease {
    /// A state of the lock, read or reported.
    pub(super) fn saw(&mut self, record: Option<Record>, now: u64) {
        match self.phase {
            Phase::Follow => self.saw_following(record, now),
            Phase::Lead(tenure) => {
                let Some(record) = record else { return self.remember(None, now, false) };
                match record.holder {
                    Holder::Me if self.wrote_it(tenure, record) => {
                        self.phase = Phase::Lead(Tenure { version: record.version, mark: record.mark, ..tenure });
                        self.doubt.settle();
                        self.remember(Some(record), now, true);
                    }
                    Holder::Me => self.lose(tenure, Loss::SameIdentity, now),
                    Holder::Other => self.lose(tenure, Loss::TakenOver, now),
                    Holder::Nobody | Holder::Emptied => self.lose(tenure, Loss::Cleared, now),
                }
            }
            Phase::Release { tenure, until, tries } => match record {
                Some(record) if record.holder == Holder::Me && self.may_release(tenure, record, now) => {
                    let tenure = Tenure { version: record.version, mark: record.mark, ..tenure };
                    self.phase = Phase::Release { tenure, until, tries };
                }
                Some(Record { holder: Holder::Nobody | Holder::Emptied, .. }) | None => {
                    self.phase = Phase::Over(Exit::Released);
                }
                Some(_) => self.phase = Phase::Over(Exit::NotHeld),
            },
            Phase::Lost { .. } | Phase::Over(_) => {}
        }
    }

    /// Whether this record, which bears this identity, is what this term has left in the lock.
    fn wrote_it(&self, tenure: Tenure, record: Record) -> bool {
        let known = |mark| tenure.mark == Some(mark) || self.doubt.has(mark);
        record.version == tenure.version || record.mark.is_some_and(known)
    }

    /// Once the term is over, what bears its mark may also be a forgotten creation that has landed again after the lock was
    /// deleted, while another leads.
    fn may_release(&self, tenure: Tenure, record: Record, now: u64) -> bool {
        record.version == tenure.version
            || (self.wrote_it(tenure, record) && (!self.created || now < self.end_of(tenure)))
    }

    fn saw_following(&mut self, record: Option<Record>, now: u64) {
        let before = self.known.and_then(|known| known.record);
        let ours = record.filter(|record| record.holder == Holder::Me).is_some_and(|record| {
            let same_version = before.is_some_and(|before| before.version == record.version);
            let untouched = same_version && self.known.is_some_and(|known| known.ours);
            untouched || record.mark.is_some_and(|mark| self.doubt.has(mark))
        });
        self.doubt.saw(record.map(|record| record.version));
        let taken_by_another = record.filter(|record| match record.holder {
            Holder::Me => !ours && (record.mark.is_none() || record.mark != self.call_mark),
            Holder::Other => true,
            Holder::Nobody | Holder::Emptied => false,
        });
        self.held = match (before, taken_by_another) {
            (_, None) => false,
            (Some(before), Some(record)) if before.version != record.version => {
                self.held || (before.beat, before.holder) != (record.beat, record.holder)
            }
            _ => self.held,
        };
        self.remember(record, now, ours);
        if self.known.is_some_and(|known| self.free_at(known) > now) {
            self.failures = 0;
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

    /// Our write is in the lock, and has left this version and this mark there.
    pub(super) fn done(&mut self, write: Write, (version, mark): (u128, Option<u64>), sent: u64, now: u64) {
        self.failures = 0;
        self.must_look = false;
        self.retry_at = now;
        self.doubt.settle();
        let lease = self.timing.lease_nanos();
        let record = Record { version, beat: 0, holder: Holder::Me, lease, mark };
        match (self.phase, write) {
            (Phase::Follow, _) if self.later_than(record).is_some_and(|later| !same_write(later, record)) => {}
            (Phase::Follow, Write::Create) if !self.lead_on_create => {
                self.known = Some(Known { record: Some(record), since: now, ours: false });
                self.look_at = now.saturating_add(self.pause());
            }
            (Phase::Follow, Write::Create | Write::Acquire { .. }) => {
                let record = self.later_than(record).unwrap_or(record);
                self.known = Some(Known { record: Some(record), since: now, ours: true });
                let tenure = Tenure { fence: version, sent, version: record.version, mark };
                if now < self.lost_at(tenure) {
                    self.phase = Phase::Lead(tenure);
                } else {
                    // Too late to begin a term by it: write once more, a little later.
                    self.failed(sent, now);
                }
            }
            (Phase::Lead(tenure), Write::Renew { .. }) => {
                self.known = Some(Known { record: Some(record), since: now, ours: true });
                self.phase = Phase::Lead(Tenure { fence: tenure.fence, sent, version, mark });
            }
            (Phase::Lost { tenure, why, drop_at }, Write::Renew { .. }) => {
                // It came too late for this term. What it left is ours all the same.
                self.phase = Phase::Lost { tenure: Tenure { version, mark, ..tenure }, why, drop_at };
            }
            (Phase::Release { .. }, Write::Release { .. }) => self.phase = Phase::Over(Exit::Released),
            _ => {}
        }
    }

    /// What a report has told meanwhile, if it is newer than this answer: an answer that comes late begins no term over it.
    fn later_than(&self, answer: Record) -> Option<Record> {
        let known = self.known.and_then(|known| known.record).filter(|_| self.overtaken);
        known.filter(|known| known.version > answer.version)
    }

    /// A call has failed: look at once the first time, then after a retry period from its beginning.
    pub(super) fn failed(&mut self, began: u64, now: u64) {
        self.must_look = true;
        let pause = match self.phase {
            Phase::Release { .. } => self.timing.retry_nanos().div_ceil(4),
            Phase::Lead(_) => self.timing.retry_nanos(),
            _ => self.pause(),
        };
        self.retry_at = if self.failures == 0 { now } else { began.saturating_add(pause).max(now) };
        if let Phase::Lead(tenure) = self.phase {
            self.retry_at = self.retry_at.min(self.one_more_try_at(tenure, now));
        }
        self.failures = self.failures.saturating_add(1);
    }
}

/// Whether only what is not the election's has changed from one to the other.
fn same_write(one: Record, other: Record) -> bool {
    one.holder == other.holder && one.mark.is_some() && one.mark == other.mark
}
