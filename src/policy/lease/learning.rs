//! What an answer or a report changes.

use super::{Exit, Holder, Known, Lease, Loss, Phase, Record, Tenure, Write};

impl Lease {
    /// A state of the lock, read or reported.
    pub(super) fn saw(&mut self, record: Option<Record>, now: u64) {
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

    /// Our write is in the lock.
    pub(super) fn done(&mut self, write: Write, version: u128, sent: u64, now: u64) {
        self.failures = 0;
        self.must_look = false;
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
    pub(super) fn failed(&mut self, began: u64, now: u64) {
        self.must_look = true;
        let pause = match self.phase {
            Phase::Release { .. } => self.timing.retry_nanos().div_ceil(4),
            Phase::Lead(_) => self.timing.retry_nanos(),
            _ => self.pause(),
        };
        self.retry_at = if self.failures == 0 { now } else { began.saturating_add(pause).max(now) };
        self.failures = self.failures.saturating_add(1);
    }
}
