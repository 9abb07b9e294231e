//! A bucket that is held for a time only: a share of a rate that many keep together.

use crate::policy::{
    limit::{
        rate::Rate,
        wait_list::{
            WaitList, WaiterId,
            lease::{Lease, Usage},
        },
    },
    nanos::FOREVER,
};

impl<W> WaitList<W> {
    /// Since when nothing is granted because the lease has run out.
    #[must_use]
    pub fn lapsed_since(&self) -> Option<u64> {
        self.lease.as_ref().and_then(|lease| lease.lapsed)
    }

    pub(super) fn is_lapsed(&self) -> bool {
        self.lapsed_since().is_some()
    }

    /// Permits of grants before this instant are gone; never comes while it is closed.
    pub(super) fn opened(&self) -> u64 {
        self.lease.as_ref().map_or(0, |lease| if lease.lapsed.is_some() { FOREVER } else { lease.opened })
    }

    /// Whether the lease has run out by `now`. Then grants that were not collected are none, and time passes without
    /// filling.
    pub(super) fn lapse(&mut self, now: u64) -> bool {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.until <= now) else { return false };
        if lease.lapsed.is_none() {
            lease.lapsed = Some(lease.until);
            self.revoke_grants(WaiterId(0));
        }
        self.bucket.drain();
        self.bucket.rewind(self.bucket.updated_at().max(now));
        true
    }

    /// From now on, and until then, the bucket fills at `rate` and holds `burst`, all at once; what is above is gone.
    /// Every waiter has a new `ready_at`. With an end that has come the bucket is closed; rate and burst are kept for
    /// what asks meanwhile.
    pub fn set_share(&mut self, rate: Rate, burst: u32, until: u64, wakes: &mut impl Extend<W>) {
        self.forget_late_grants();
        let now = self.bucket.updated_at();
        let Some(lease) = &mut self.lease else { return };
        lease.until = until;
        if until > now {
            if lease.lapsed.take().is_some() {
                lease.opened = now;
            }
            self.bucket.set_rate(rate);
            self.bucket.set_burst(burst);
            self.clamp();
        } else {
            // It may be closed before its time.
            lease.lapsed = lease.lapsed.or(Some(now));
            self.revoke_grants(WaiterId(0));
            self.bucket.drain();
        }
        self.replan(wakes);
    }

    pub(super) fn note_use(&mut self, permits: u32, granted: bool) {
        if let Some(Lease { usage, .. }) = &mut self.lease {
            usage.asked = usage.asked.saturating_add(permits.into());
            usage.pressed |= !granted;
        }
    }

    /// What was asked so far.
    pub fn take_usage(&mut self) -> Usage {
        let waits = self.waiting() > 0;
        let Some(Lease { usage, .. }) = &mut self.lease else { return Usage::default() };
        let taken = *usage;
        usage.pressed = waits;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::limit::wait_list::{Admission, CATCH_UP, Polled, WakeList};

    const MS: u64 = 1_000_000;
    const PERMIT: u128 = 1_000_000_000;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        /// So many permits a second, so large a burst, for so many milliseconds.
        Share(u32, u32, u64),
        Take,
        Wait,
        Poll(usize),
        Leave(usize),
        /// What was collected then and not used comes back.
        Refund(usize),
        Pause(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let waiter = 0_usize..6;
        prop_oneof![
            3 => (1_u32..200, 1_u32..20, prop_oneof![Just(0), 1_u64..400]).prop_map(|(rate, burst, length)| Op::Share(rate, burst, length)),
            4 => Just(Op::Take),
            3 => Just(Op::Wait),
            4 => waiter.clone().prop_map(Op::Poll),
            1 => waiter.clone().prop_map(Op::Leave),
            2 => waiter.prop_map(Op::Refund),
            1 => (0_u64..100).prop_map(Op::Pause),
        ]
    }

    /// The naive bucket: filled while the share is valid, cut when it changes, empty when it has lapsed. What timers
    /// need is on top.
    #[derive(Default)]
    struct Naive {
        level: u128,
        at: u64,
        rate: u32,
        burst: u32,
        until: u64,
    }

    impl Naive {
        fn pass(&mut self, now: u64) {
            let valid = now.min(self.until).saturating_sub(self.at);
            self.level = self.full().min(self.level + u128::from(valid) * u128::from(self.rate));
            if now >= self.until {
                self.level = 0;
            }
            self.at = now;
        }

        fn full(&self) -> u128 {
            u128::from(self.burst) * PERMIT + u128::from(self.rate) * u128::from(CATCH_UP)
        }

        fn share(&mut self, rate: u32, burst: u32, until: u64) {
            // Grants of the share before may still be collected.
            let late = u128::from(self.rate) * u128::from(CATCH_UP);
            (self.rate, self.burst, self.until) = (rate, burst, until);
            self.level = self.level.min(self.full() + late);
            self.pass(self.at);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        /// Nothing comes out without a valid share, and no more than a bucket with that share would yield.
        #[test]
        fn nothing_comes_out_beyond_the_share(ops in prop::collection::vec((op(), 0_u64..60), 1..80)) {
            let mut list = WaitList::<()>::leased(10, CATCH_UP);
            let (mut naive, mut now, mut wakes) = (Naive::default(), 0, WakeList::new());
            let (mut waiters, mut collected) = (Vec::new(), Vec::new());
            for (op, pause) in ops {
                now += pause * MS;
                naive.pass(now);
                let mut taken = None;
                while list.refill_and_grant(now, &mut wakes) {
                    while wakes.pop().is_some() {}
                }
                prop_assert_eq!(list.lapsed_since().is_some(), now >= naive.until);
                match op {
                    Op::Share(rate, burst, length) => {
                        let until = now + length * MS;
                        let rate_ = Rate::new(rate, Duration::from_secs(1)).unwrap();
                        list.set_share(rate_, burst, until, &mut Vec::new());
                        if length > 0 { naive.share(rate, burst, until) } else { naive.until = now; naive.level = 0 }
                    }
                    Op::Take => taken = (list.enqueue(now, 1, 0) == Admission::Granted).then_some(now),
                    Op::Wait => {
                        if let Admission::Waiting(id) = list.reserve(now, 1, FOREVER) {
                            waiters.push(id);
                        }
                    }
                    Op::Poll(index) if index < waiters.len() => {
                        if let Polled::Granted(at) = list.poll(now, waiters[index], 1, &mut wakes) {
                            waiters.remove(index);
                            taken = Some(at);
                        }
                    }
                    Op::Leave(index) if index < waiters.len() => drop(list.remove(now, waiters.remove(index), &mut wakes)),
                    Op::Refund(index) if index < collected.len() => {
                        let (at, level) = (collected.remove(index), list.bucket().available());
                        list.refund_permits(now, 1, at, &mut wakes);
                        if now >= naive.until {
                            prop_assert_eq!(list.bucket().available(), 0, "nothing comes back to a share that has lapsed");
                        } else {
                            prop_assert!(list.bucket().available() <= level.max(naive.burst));
                        }
                        naive.level += PERMIT;
                    }
                    Op::Pause(length) => list.pause(now + length * MS, &mut Vec::new()),
                    _ => {}
                }
                if let Some(at) = taken {
                    prop_assert!(now < naive.until, "a permit at {now}, and the share has lapsed at {}", naive.until);
                    let left = naive.level.checked_sub(PERMIT);
                    prop_assert!(left.is_some(), "a permit at {now}, and the share has yielded none");
                    naive.level = left.unwrap_or(0);
                    collected.push(at);
                }
                while wakes.pop().is_some() {}
            }
        }
    }
}
