//! A refresh: what is written over the record that was read.

use super::{
    Call, DOUBTS, Entry, Fresh, MOST_MEMBERS, Member, Notes, Pending, Phase, Record, Share, Step, Unsettled, Written,
    timing::Timing,
};

impl Member {
    /// The write over what was just read.
    pub(super) fn write(&mut self, now: u64, fresh: Fresh) -> Step {
        let Fresh { over, restored, mut record } = fresh;
        record.writes = record.writes.saturating_add(1);
        if over.is_none() || restored {
            record.generation = self.draw(now);
            record.settled = false;
        } else if self.unsettled_until().is_some_and(|until| until <= now) {
            // What is not in it by now has lapsed.
            record.settled = true;
        }
        if record.settled {
            self.remove_lapsed(now, &mut record);
        }
        let is_full = self.phase == Phase::Member && self.finds_no_place(now, &record);
        let pending = match self.phase {
            Phase::Leaving { .. } => self.remove(now, &mut record),
            _ if is_full => return Step::Wait(self.refresh_at),
            _ => Some(self.refresh(now, &mut record)),
        };
        let Some(pending) = pending else {
            self.phase = Phase::Gone;
            return Step::Wait(u64::MAX);
        };
        // A decrease takes effect before it is written, be it of the share or of its life.
        self.in_use = self.in_use.min(pending.share);
        self.valid_until = self.valid_until.min(now.saturating_add(self.timing.valid(pending.ttl)));
        self.doubts.rotate_right(1);
        let [latest, ..] = &mut self.doubts;
        *latest = pending.beat;
        self.call = Some(Call { began: now, write: Some(pending) });
        Step::Write { over, record }
    }

    /// Others whose beats have stood still for their ttls.
    fn remove_lapsed(&self, now: u64, record: &mut Record) {
        // They are where they were seen.
        let mut seen = self.others.iter();
        record.members.retain(|member| {
            if member.id == self.id {
                return true;
            }
            let other = seen.next().filter(|other| other.id == member.id);
            let other = other.or_else(|| self.others.iter().find(|other| other.id == member.id));
            !other.is_some_and(|other| other.beat == member.beat && other.since.saturating_add(member.ttl) <= now)
        });
    }

    /// Whether a newcomer has to wait for another to leave. It looks again after a period.
    fn finds_no_place(&mut self, now: u64, record: &Record) -> bool {
        let full = record.members.len() >= MOST_MEMBERS && record.member(&self.id).is_none();
        self.notes.full = full;
        if full {
            self.limit = record.limit();
            self.members = count(&record.members);
            self.ttl = self.timing.stretched(self.members.into(), self.round_trip).0;
            self.lose_share();
            let early = self.below(self.period() / 5);
            self.refresh_at = now.saturating_add(self.period()).saturating_sub(early);
        }
        full
    }

    fn refresh(&mut self, now: u64, record: &mut Record) -> Pending {
        let known = record.members.iter().position(|member| member.id == self.id);
        let index = known.unwrap_or_else(|| {
            let (id, none) = (self.id.clone(), Share::NONE);
            record.members.push(Entry { id, share: none, want: 0, ttl: 0, states: none, beat: 0 });
            record.members.len().saturating_sub(1)
        });
        let members = count(&record.members);
        let (ttl, crowded) = self.timing.stretched(members.into(), self.round_trip);
        let beat = self.draw(now) | 1;
        if let Some(entry) = record.members.get_mut(index) {
            (entry.want, entry.ttl, entry.states, entry.beat) = (self.want, ttl, self.states, beat);
        }
        let target = record.target(index);
        let held = if now < self.valid_until { self.in_use } else { Share::NONE };
        // Unsettled, all that is brought in fits, unless the limit has been lowered: an operator's word is lost with
        // the record.
        let share = target.min(record.left_for(index));
        let share = if record.settled { share } else { share.min(held) };
        if let Some(entry) = record.members.get_mut(index) {
            entry.share = share;
        }
        self.limit = record.limit();
        self.members = members;
        self.notes = Notes { crowded, over_burst: members > self.limit.burst, ..self.notes };
        Self::pending(record, beat, share, ttl, target)
    }

    /// `None`: it is not there.
    fn remove(&mut self, now: u64, record: &mut Record) -> Option<Pending> {
        let before = record.members.len();
        record.members.retain(|member| member.id != self.id);
        let beat = self.draw(now) | 1;
        let pending = Pending { leaves: true, ..Self::pending(record, beat, Share::NONE, self.ttl, Share::NONE) };
        (record.members.len() < before).then_some(pending)
    }

    fn pending(record: &Record, beat: u64, share: Share, ttl: u64, target: Share) -> Pending {
        let Record { settled, generation, writes, .. } = *record;
        Pending { beat, share, ttl, target, leaves: false, settled, generation, writes }
    }

    /// A write has ended.
    pub fn on_written(&mut self, now: u64, written: Written) {
        let Some(Call { began, write: Some(pending) }) = self.call.take() else { return };
        match written {
            Written::Done(version) => {
                self.answered(began, now);
                // It went back where the store was restored from a backup.
                self.version = version;
                self.failures = 0;
                let Pending { generation, writes, .. } = pending;
                let before = self.unsettled.filter(|before| before.generation == generation);
                let since = before.map_or(now, |before| before.since);
                self.unsettled = (!pending.settled).then_some(Unsettled { generation, version, writes, since });
                self.beat = Some(pending.beat);
                self.doubts = [0; DOUBTS];
                if pending.leaves {
                    self.phase = Phase::Gone;
                    return;
                }
                if self.phase == Phase::Member {
                    (self.in_use, self.ttl, self.target) = (pending.share, pending.ttl, pending.target);
                    self.valid_until = began.saturating_add(self.timing.valid(pending.ttl));
                    self.refreshed = began;
                    self.plan_refresh(began);
                }
            }
            Written::Conflict => {
                self.answered(began, now);
                self.failed(now);
            }
            Written::Unknown => self.unanswered(now),
        }
    }

    /// The next refresh: after 0.8 to 1 periods; after a third where it has less than it should.
    fn plan_refresh(&mut self, sent: u64) {
        let period = self.period();
        let below = self.in_use.rate < self.target.rate || self.in_use.burst < self.target.burst;
        let whole = if below && self.unsettled.is_none() { period / 3 } else { period };
        let early = self.below(whole / 5);
        let at = sent.saturating_add(whole.saturating_sub(early));
        // It is settled as soon as that may be.
        let settles = self.unsettled_until().unwrap_or(u64::MAX).max(sent.saturating_add(period / 3));
        self.refresh_at = at.min(settles);
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, began: u64, now: u64) {
        let took = now.saturating_sub(began);
        let longer = self.round_trip.saturating_mul(3).saturating_add(took);
        self.round_trip = if self.round_trip == 0 { took } else { longer / 4 };
        self.gone_since = None;
    }

    pub(super) fn unanswered(&mut self, now: u64) {
        self.gone_since.get_or_insert(now);
        self.failed(now);
    }

    /// Tries again after a random pause that grows with each failure up to a third of the period, so that many that
    /// fail at once come one after the other.
    pub(super) fn failed(&mut self, now: u64) {
        if let Phase::Leaving { tries } = &mut self.phase {
            *tries = tries.saturating_sub(1);
            if *tries == 0 {
                self.phase = Phase::Gone;
            }
        }
        let most = self.period() / 3;
        let least = self.round_trip.max(Timing::period(self.timing.ttl_nanos()) / 1_000).max(1);
        let pause =
            least.saturating_mul(1_u64.checked_shl(self.failures.saturating_add(1)).unwrap_or(u64::MAX)).min(most);
        self.failures = self.failures.saturating_add(1).min(32);
        let pause = self.below(pause);
        self.refresh_at = now.saturating_add(pause).saturating_add(least / 2);
    }
}

fn count(members: &[Entry]) -> u32 {
    u32::try_from(members.len()).unwrap_or(u32::MAX)
}
