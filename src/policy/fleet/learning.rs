//! What a member learns from the record.

use std::mem;

use super::{Call, Fresh, Member, Other, ReadResult, Record, Share, Unsettled};

impl Member {
    /// A read has ended.
    pub fn on_read(&mut self, now: u64, answer: ReadResult) {
        let Some(Call { began, write: None }) = self.call.take() else { return };
        if matches!(answer, ReadResult::Failed) {
            return self.unanswered(now);
        }
        self.answered(began, now);
        let gap = self.is_gap(now);
        self.read_at = Some(now);
        match answer {
            ReadResult::Failed => {}
            ReadResult::Missing => {
                self.others.clear();
                self.unsettled = None;
                self.fresh = Some(Fresh { over: None, restored: false, record: Record::default() });
            }
            ReadResult::Found(version, record) => {
                let restored = version < self.version;
                if !restored {
                    self.saw(now, version, &record, gap);
                }
                self.fresh = Some(Fresh { over: Some(version), restored, record });
            }
        }
    }

    /// The record is reported, unasked; perhaps an old state of it. It shows earlier which beats stand still, and when
    /// a refresh would do good: this member is to give up a part, or can have more.
    pub fn on_report(&mut self, now: u64, version: u128, record: &Record) {
        if version <= self.version || self.call.is_some() || self.fresh.is_some() {
            return;
        }
        let gap = self.is_gap(now);
        self.read_at = Some(now);
        self.saw(now, version, record, gap);
        let Some(index) = record.members.iter().position(|member| member.id == self.id) else { return };
        let target = record.target(index);
        let gives = target.min(self.in_use) != self.in_use;
        let gains = record.settled && target.min(record.left_for(index)).rate > self.in_use.rate;
        if (gives || gains) && self.failures == 0 {
            let soon = self.period() / 3;
            let early = self.below(soon / 4);
            self.refresh_at = self.refresh_at.min(self.refreshed.saturating_add(soon).saturating_sub(early));
        }
    }

    /// Whether nothing was seen for so long that what happened meanwhile is unknown. By the ttl as it is stretched: in
    /// large fleets the period is longer than the least ttl.
    fn is_gap(&self, now: u64) -> bool {
        self.read_at.is_none_or(|at| at.saturating_add(self.ttl) <= now)
    }

    /// The record as it is, or was a moment ago; not older than what was seen before. After a gap the others are timed
    /// anew: they may have been without the store as well.
    fn saw(&mut self, now: u64, version: u128, record: &Record, gap: bool) {
        self.observe(now, record, gap);
        self.unsettled = match self.unsettled {
            _ if record.settled => None,
            // A record that was laid down again looks like the first one, but for its version.
            Some(before)
                if before.generation == record.generation
                    && (before.version == version || before.writes < record.writes) =>
            {
                Some(Unsettled { version, writes: record.writes, ..before })
            }
            _ => Some(Unsettled { generation: record.generation, version, writes: record.writes, since: now }),
        };
        self.version = version;
        match record.member(&self.id) {
            Some(entry) if self.beat == Some(entry.beat) || self.doubts.contains(&entry.beat) => {
                self.in_use = self.in_use.min(entry.share);
                // It was done after all, and may stay so for longer than doubts are remembered.
                self.beat = Some(entry.beat);
            }
            Some(_) => {
                // Another process has the same id: it may be counted with what is in the record, this one is not.
                self.lose_share();
                self.notes.same_id = true;
                self.draw_id(now);
            }
            None if record.settled => self.lose_share(),
            None => {}
        }
    }

    pub(super) fn lose_share(&mut self) {
        (self.in_use, self.valid_until) = (Share::NONE, 0);
    }

    fn observe(&mut self, now: u64, record: &Record, gap: bool) {
        let before = mem::take(&mut self.others);
        let others = record.members.iter().filter(|member| member.id != self.id);
        self.others.extend(others.enumerate().map(|(index, member)| {
            // They mostly are where they were.
            let known = before.get(index).filter(|known| known.id == member.id);
            let known = known.or_else(|| before.iter().find(|known| known.id == member.id));
            let since = known.filter(|known| !gap && known.beat == member.beat).map_or(now, |known| known.since);
            Other { id: member.id.clone(), beat: member.beat, since }
        }));
    }
}
