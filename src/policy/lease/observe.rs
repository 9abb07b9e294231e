//! What an answer or a report changes.

use super::{Exit, HeldTerm, Holder, Lease, Loss, Observed, Phase, RecordView, WriteStep};

impl Lease {
    /// A state of the lock, read or reported.
    pub(super) fn observe(&mut self, record: Option<RecordView>, now: u64) {
        match self.phase {
            Phase::Follower => self.observe_as_candidate(record, now),
            Phase::Leader(term) => {
                let Some(record) = record else { return self.remember(None, now, false) };
                match record.holder {
                    Holder::Own if self.is_own_write(term, record) => {
                        self.phase = Phase::Leader(HeldTerm { version: record.version, mark: record.mark, ..term });
                        // Where the version is still the one before them, writes in doubt may take effect yet.
                        self.in_doubt.observe_version(Some(record.version));
                        self.remember(Some(record), now, true);
                    }
                    Holder::Own => self.lose(term, Loss::SameIdentity, now),
                    Holder::Other => self.lose(term, Loss::TakenOver, now),
                    Holder::Released | Holder::Emptied => self.lose(term, Loss::Cleared, now),
                }
            }
            Phase::Releasing { term, until, tries } => match record {
                Some(record) if record.holder == Holder::Own && self.may_release(term, record, now) => {
                    let term = HeldTerm { version: record.version, mark: record.mark, ..term };
                    self.phase = Phase::Releasing { term, until, tries };
                }
                Some(RecordView { holder: Holder::Released | Holder::Emptied, .. }) | None => {
                    self.phase = Phase::Over(Exit::Released);
                }
                Some(_) => self.phase = Phase::Over(Exit::NotHeld),
            },
            Phase::Lost { .. } | Phase::Over(_) => {}
        }
    }

    /// Whether this record, which bears this identity, is what this term has left in the lock.
    fn is_own_write(&self, term: HeldTerm, record: RecordView) -> bool {
        let observed = |mark| term.mark == Some(mark) || self.in_doubt.contains(mark);
        record.version == term.version || record.mark.is_some_and(observed)
    }

    /// Once the term is over, what bears its mark may also be a forgotten creation that took effect again after the
    /// lock was deleted, while another leads.
    fn may_release(&self, term: HeldTerm, record: RecordView, now: u64) -> bool {
        record.version == term.version
            || (self.is_own_write(term, record) && (!self.created || now < self.end_of(term)))
    }

    fn observe_as_candidate(&mut self, record: Option<RecordView>, now: u64) {
        let before = self.observed.and_then(|observed| observed.record);
        let written_by_us = record.filter(|record| record.holder == Holder::Own).is_some_and(|record| {
            let same_version = before.is_some_and(|before| before.version == record.version);
            let untouched = same_version && self.observed.is_some_and(|observed| observed.written_by_us);
            untouched || record.mark.is_some_and(|mark| self.in_doubt.contains(mark))
        });
        self.in_doubt.observe_version(record.map(|record| record.version));
        let taken_by_another = record.filter(|record| match record.holder {
            Holder::Own => !written_by_us && (record.mark.is_none() || record.mark != self.call_mark),
            Holder::Other => true,
            Holder::Released | Holder::Emptied => false,
        });
        self.held_by_other = match (before, taken_by_another) {
            (_, None) => false,
            (Some(before), Some(record)) if before.version != record.version => {
                self.held_by_other || (before.heartbeat, before.holder) != (record.heartbeat, record.holder)
            }
            _ => self.held_by_other,
        };
        self.remember(record, now, written_by_us);
        if self.observed.is_some_and(|observed| self.free_at(observed) > now) {
            self.failures = 0;
        }
    }

    /// Keeps a record, with the time since when it has borne this holder and this heartbeat.
    fn remember(&mut self, record: Option<RecordView>, now: u64, written_by_us: bool) {
        let since = match (self.observed, record) {
            (Some(Observed { record: Some(before), since, .. }), Some(record))
                if before.version == record.version
                    || (before.heartbeat == record.heartbeat && before.holder == record.holder) =>
            {
                since
            }
            (Some(Observed { record: None, since, .. }), None) => since,
            // A leader that is alive will lay the lock down again.
            (Some(Observed { record: Some(RecordView { holder: Holder::Other, .. }), .. }), None) => {
                now.saturating_add(self.pause())
            }
            _ => now,
        };
        self.observed = Some(Observed { record, since, written_by_us });
        self.reread_at = now.saturating_add(self.pause());
    }

    /// A write of this candidate is in the lock, and has left this version and this mark there.
    pub(super) fn on_confirmed(&mut self, write: WriteStep, (version, mark): (u128, Option<u64>), sent: u64, now: u64) {
        self.failures = 0;
        self.must_read = false;
        self.retry_at = now;
        self.in_doubt.clear();
        let lease = self.timing.lease_nanos();
        let record = RecordView { version, heartbeat: 0, holder: Holder::Own, lease, mark };
        match (self.phase, write) {
            (Phase::Follower, _) if self.newer_than(record).is_some_and(|later| !same_write(later, record)) => {}
            (Phase::Follower, WriteStep::Create) if !self.lead_on_create => {
                self.observed = Some(Observed { record: Some(record), since: now, written_by_us: false });
                self.reread_at = now.saturating_add(self.pause());
            }
            (Phase::Follower, WriteStep::Create | WriteStep::Acquire { .. }) => {
                let record = self.newer_than(record).unwrap_or(record);
                self.observed = Some(Observed { record: Some(record), since: now, written_by_us: true });
                let term = HeldTerm { fence: version, sent, version: record.version, mark };
                if now < self.lost_at(term) {
                    self.phase = Phase::Leader(term);
                } else {
                    // Too late to begin a term by it: write once more, a little later.
                    self.on_failed(sent, now);
                }
            }
            (Phase::Leader(term), WriteStep::Renew { .. }) => {
                self.observed = Some(Observed { record: Some(record), since: now, written_by_us: true });
                self.phase = Phase::Leader(HeldTerm { fence: term.fence, sent, version, mark });
            }
            (Phase::Lost { term, why, drop_at }, WriteStep::Renew { .. }) => {
                // It came too late for this term. What it left is this candidate's all the same.
                self.phase = Phase::Lost { term: HeldTerm { version, mark, ..term }, why, drop_at };
            }
            (Phase::Releasing { .. }, WriteStep::Release { .. }) => self.phase = Phase::Over(Exit::Released),
            _ => {}
        }
    }

    /// What a report has told meanwhile, if it is newer than this answer: an answer that comes late begins no term over
    /// it.
    fn newer_than(&self, answer: RecordView) -> Option<RecordView> {
        let observed = self.observed.and_then(|observed| observed.record).filter(|_| self.overtaken);
        observed.filter(|observed| observed.version > answer.version)
    }

    /// A call has failed: read at once the first time, then after a retry period from its beginning.
    pub(super) fn on_failed(&mut self, began: u64, now: u64) {
        self.must_read = true;
        let pause = match self.phase {
            Phase::Releasing { .. } => self.timing.retry_nanos().div_ceil(4),
            Phase::Leader(_) => self.timing.retry_nanos(),
            _ => self.pause(),
        };
        self.retry_at = if self.failures == 0 { now } else { began.saturating_add(pause).max(now) };
        if let Phase::Leader(term) = self.phase {
            self.retry_at = self.retry_at.min(self.one_more_try_at(term, now));
        }
        self.failures = self.failures.saturating_add(1);
    }
}

/// Whether only what is not the election's has changed from one to the other.
fn same_write(one: RecordView, other: RecordView) -> bool {
    one.holder == other.holder && one.mark.is_some() && one.mark == other.mark
}
