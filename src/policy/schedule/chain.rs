//! The schedules of a [`Backoff`] with what comes `then`, and the delays of each.

use std::iter::once;

use crate::policy::{
    nanos::FOREVER,
    schedule::{
        backoff::{Backoff, Shape},
        jitter::pick,
    },
};

impl Backoff {
    /// The schedules of the chain.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        once(self).chain(self.followers())
    }

    /// What comes `then`.
    pub(in crate::policy) fn followers(&self) -> impl Iterator<Item = &Self> {
        self.more.iter().flat_map(|more| &more.then)
    }

    /// No delay of the chain is longer.
    pub(in crate::policy) fn highest(&self) -> u64 {
        let highest = self.chain().map(|schedule| match schedule.shape {
            Shape::Fixed => schedule.spread().range(schedule.base, schedule.cap).1,
            Shape::Steps => {
                let steps = schedule.more.iter().flat_map(|more| &more.steps);
                steps.map(|&step| schedule.spread().range(step, schedule.cap).1).max().unwrap_or(0)
            }
            _ => schedule.cap,
        });
        highest.max().unwrap_or(0)
    }

    /// How many delays the chain has; `None` is no end.
    pub(in crate::policy) fn count(&self) -> Option<u64> {
        self.chain().try_fold(0_u64, |count, schedule| Some(count.saturating_add(schedule.length()?)))
    }

    /// Whether a schedule without an end is followed by another.
    pub(in crate::policy) fn has_unreachable(&self) -> bool {
        let followers = self.followers().count();
        self.chain().take(followers).any(|schedule| schedule.length().is_none())
    }

    /// The first delay and the cap of a schedule whose cap is below it.
    pub(in crate::policy) fn capped_below_base(&self) -> Option<(u64, u64)> {
        self.chain().find(|schedule| schedule.cap < schedule.base).map(|schedule| (schedule.base, schedule.cap))
    }

    /// The next delay of the chain.
    #[inline(never)]
    pub(super) fn next_of_chain(&self, current: &mut u64, step: &mut u32, random: u64) -> Option<u64> {
        let (at, begins) = self.in_turn(*step, (0, 0))?;
        Some(self.nth(at)?.next_of(begins, current, step, || random))
    }

    /// Which schedule of the chain is in turn at a step, and at which step it began. Looks from `known` on.
    pub(in crate::policy) fn in_turn(&self, step: u32, known: (usize, u64)) -> Option<(usize, u64)> {
        let (mut at, mut begins) = known;
        while let Some(length) = self.nth(at)?.length() {
            let ends = begins.saturating_add(length);
            if u64::from(step) < ends {
                break;
            }
            (at, begins) = (at.saturating_add(1), ends);
        }
        Some((at, begins))
    }

    /// A schedule of the chain.
    pub(in crate::policy) fn nth(&self, at: usize) -> Option<&Self> {
        match at.checked_sub(1) {
            None => Some(self),
            Some(behind) => self.more.as_ref()?.then.get(behind),
        }
    }

    /// How many delays the schedule has, its followers apart; `None` is no end.
    fn length(&self) -> Option<u64> {
        let more = self.more.as_ref();
        let steps = || more.map_or(0, |more| u64::try_from(more.steps.len()).unwrap_or(u64::MAX));
        let steps = (self.shape == Shape::Steps).then(steps);
        let take = more.and_then(|more| more.take).map(u64::from);
        steps.into_iter().chain(take).min()
    }

    /// The next delay of this schedule, which began at step `begins`.
    pub(in crate::policy) fn next_of(
        &self,
        begins: u64,
        current: &mut u64,
        step: &mut u32,
        random: impl FnOnce() -> u64,
    ) -> u64 {
        let index = u64::from(*step).saturating_sub(begins);
        *step = step.saturating_add(1);
        let nominal = match self.shape {
            Shape::Fixed => self.base,
            Shape::Exponential => {
                let grown = if index == 0 { self.base } else { self.grows_by().of(*current) };
                *current = grown.min(self.cap);
                *current
            }
            Shape::Decorrelated => {
                let before = if index == 0 { self.base } else { *current };
                let high = before.saturating_mul(3).max(self.base).min(self.cap);
                *current = pick(self.base.min(self.cap), high, random());
                return *current;
            }
            Shape::Linear | Shape::Fibonacci | Shape::Steps => self.nth_nominal(index),
        };
        self.spread_delay(nominal, random)
    }

    /// The delay at an index, where it does not follow from the one before.
    #[inline(never)]
    fn nth_nominal(&self, index: u64) -> u64 {
        match self.shape {
            Shape::Linear => self.base.saturating_mul(index.saturating_add(1)),
            Shape::Fibonacci => self.base.saturating_mul(fibonacci(index)),
            _ => {
                let steps = self.more.as_ref().map_or(&[][..], |more| &more.steps);
                steps.get(usize::try_from(index).unwrap_or(usize::MAX)).map_or(FOREVER, |&step| step)
            }
        }
    }
}

/// 1, 1, 2, 3, 5, ..
fn fibonacci(index: u64) -> u64 {
    let (mut now, mut next) = (1_u64, 1_u64);
    // The 94th no longer fits.
    for _ in 0..index.min(94) {
        (now, next) = (next, now.saturating_add(next));
    }
    now
}
