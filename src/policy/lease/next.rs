//! What to do next, from what is known.

use super::{Holder, Known, Lease, Phase, Record, Step, Tenure, Write};

impl Lease {
    /// A candidate's next step.
    pub(super) fn follow(&self, now: u64) -> Step {
        if now < self.retry_at {
            return Step::Wait(self.retry_at);
        }
        let Some(known) = self.known.filter(|_| !self.must_look && now < self.look_at) else { return Step::Look };
        let free_at = self.free_at(known);
        match known.record {
            _ if now < free_at => Step::Wait(free_at.min(self.look_at)),
            Some(record) => Step::Write(Write::Acquire { over: record.version }),
            None => Step::Write(Write::Create),
        }
    }

    /// When the lock may be written. What the record says of its lease may have been shortened by hand, or be missing: a
    /// holder with this candidate's own times is waited for in any case.
    pub(super) fn free_at(&self, known: Known) -> u64 {
        match known.record {
            _ if known.ours => 0,
            Some(Record { holder: Holder::Nobody, .. }) => 0,
            Some(record) => known.since.saturating_add(record.lease.max(self.timing.lease_nanos())),
            None => known.since,
        }
    }

    /// A leader's next step.
    pub(super) fn lead(&self, tenure: Tenure, now: u64) -> Step {
        if now < self.retry_at {
            return Step::Wait(self.retry_at.min(self.lost_at(tenure)));
        }
        if self.must_look {
            return Step::Look;
        }
        let renew_at = tenure.sent.saturating_add(self.timing.retry_nanos());
        let over = match self.known {
            Some(Known { record: None, .. }) => None,
            _ => Some(tenure.version),
        };
        // After a failure the renewal is due already, or else the version in the lock is not the one we know.
        if now < renew_at && self.failures == 0 && over.is_some() {
            return Step::Wait(renew_at.min(self.lost_at(tenure)));
        }
        Step::Write(Write::Renew { over })
    }

    /// The next step of one whose work has ended.
    pub(super) fn release(&self, tenure: Tenure, now: u64) -> Step {
        match self.phase {
            Phase::Release { until, .. } if now < self.retry_at => Step::Wait(self.retry_at.min(until)),
            _ if self.must_look => Step::Look,
            _ => Step::Write(Write::Release { over: tenure.version }),
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
