//! What to do next, from what was observed.

use super::{HeldTerm, Holder, Lease, Observed, Phase, RecordView, Step, WriteStep};

impl Lease {
    /// A candidate's next step.
    pub(super) fn next_as_follower(&self, now: u64) -> Step {
        if now < self.retry_at {
            return Step::Wait(self.retry_at);
        }
        let Some(observed) = self.observed.filter(|_| !self.must_read && now < self.reread_at) else {
            return Step::Read;
        };
        let free_at = self.free_at(observed);
        match observed.record {
            _ if now < free_at => Step::Wait(free_at.min(self.reread_at)),
            Some(record) => Step::Write(WriteStep::Acquire { over: record.version }),
            None => Step::Write(WriteStep::Create),
        }
    }

    /// When the lock may be written. What the record says of its lease may have been shortened by hand, or be missing:
    /// a holder with this candidate's own times is waited for in any case.
    pub(super) fn free_at(&self, observed: Observed) -> u64 {
        match observed.record {
            _ if observed.written_by_us => 0,
            Some(RecordView { holder: Holder::Released, .. }) => 0,
            Some(record) => observed.since.saturating_add(record.lease.max(self.timing.lease_nanos())),
            None => observed.since,
        }
    }

    /// A leader's next step.
    pub(super) fn next_as_leader(&self, term: HeldTerm, now: u64) -> Step {
        if now < self.retry_at {
            return Step::Wait(self.retry_at.min(self.lost_at(term)));
        }
        if self.must_read {
            return Step::Read;
        }
        let renew_at = term.sent.saturating_add(self.timing.retry_nanos());
        let over = match self.observed {
            Some(Observed { record: None, .. }) => None,
            _ => Some(term.version),
        };
        // After a failure the renewal is due already, or else the version in the lock is not the one that is known.
        if now < renew_at && self.failures == 0 && over.is_some() {
            return Step::Wait(renew_at.min(self.lost_at(term)));
        }
        Step::Write(WriteStep::Renew { over })
    }

    /// The next step after the work has ended.
    pub(super) fn next_release(&self, term: HeldTerm, now: u64) -> Step {
        match self.phase {
            Phase::Releasing { until, .. } if now < self.retry_at => Step::Wait(self.retry_at.min(until)),
            _ if self.must_read => Step::Read,
            _ => Step::Write(WriteStep::Release { over: term.version }),
        }
    }

    /// From 1 to 2.2 retry periods.
    pub(super) fn pause(&mut self) -> u64 {
        let least = self.timing.retry_nanos();
        let spread = self.timing.longest_pause().saturating_sub(least);
        least.saturating_add(self.draw(spread))
    }

    /// A random number below `bound`; 0 without a seed. SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self, bound: u64) -> u64 {
        let Some(state) = self.jitter else { return 0 };
        let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.jitter = Some(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let product = u128::from(mixed ^ (mixed >> 31)).saturating_mul(bound.into());
        u64::try_from(product >> 64).unwrap_or(0)
    }
}
