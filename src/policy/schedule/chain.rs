//! The schedules of a backoff with what comes `then`, and the delays of each.

use std::iter::once;

use crate::policy::{
    nanos::FOREVER,
    ratio::Ratio,
    schedule::{
        backoff::{Backoff, BackoffState, Plain, Schedule, Shape},
        jitter::{Jitter, Kind, pick},
    },
};

impl Plain {
    /// Whether, if nothing else is set, [`next_simple`](Self::next_simple) is all there is to it, as in nearly all
    /// runs.
    #[inline]
    pub(super) const fn is_simple(&self) -> bool {
        matches!(self.shape, Shape::Fixed | Shape::Exponential)
    }

    /// The next delay of a fixed or exponential schedule that stands alone. Its step is not counted: a `current` of
    /// zero is the beginning, or has begun with zero and stays there.
    #[inline]
    pub(super) fn next_simple(&self, current: &mut u64, random: impl FnOnce() -> u64) -> u64 {
        let mut nominal = self.base;
        if self.shape == Shape::Exponential {
            if *current != 0 {
                nominal = current.saturating_mul(2);
            }
            *current = nominal.min(self.cap);
        }
        let highest = nominal.min(self.cap);
        // Nothing spreads zero.
        if self.jitter == Kind::None || highest == 0 { highest } else { self.spread_at_random(nominal, random()) }
    }

    #[inline(never)]
    fn spread_at_random(&self, nominal: u64, random: u64) -> u64 {
        Schedule { plain: self, more: None }.spread(nominal, || random)
    }
}

impl<'a> Schedule<'a> {
    /// What an exponential delay grows by.
    #[inline]
    pub(in crate::policy) fn factor(self) -> Ratio {
        self.more.and_then(|more| more.factor).unwrap_or(Ratio::whole(2))
    }

    /// How delays are spread.
    #[inline]
    pub(in crate::policy) fn jitter(self) -> Jitter {
        let ratio = || self.more.and_then(|more| more.jitter).unwrap_or(Ratio::ZERO);
        match self.plain.jitter {
            Kind::None => Jitter::None,
            Kind::Full => Jitter::Full,
            Kind::Equal => Jitter::Equal,
            Kind::Plus => Jitter::Plus(ratio()),
            Kind::PlusMinus => Jitter::PlusMinus(ratio()),
        }
    }

    /// The seed, if one was set.
    pub(in crate::policy) fn seed(self) -> Option<u64> {
        self.more.and_then(|more| more.seed)
    }

    /// How long an attempt runs to be healthy.
    #[inline]
    pub(in crate::policy) fn healthy(self) -> Option<u64> {
        self.more.and_then(|more| more.reset_after)
    }

    /// The schedules of the chain.
    fn chain(self) -> impl Iterator<Item = Self> {
        once(self).chain(self.followers())
    }

    /// What comes `then`.
    pub(in crate::policy) fn followers(self) -> impl Iterator<Item = Self> {
        self.more.into_iter().flat_map(|more| &more.then).map(Backoff::schedule)
    }

    /// No delay of the chain is longer.
    pub(in crate::policy) fn highest(self) -> u64 {
        let highest = self.chain().map(|schedule| match schedule.plain.shape {
            Shape::Fixed => schedule.longest(schedule.plain.base),
            Shape::Steps => schedule.steps().iter().map(|&step| schedule.longest(step)).max().unwrap_or(0),
            _ => schedule.plain.cap,
        });
        highest.max().unwrap_or(0)
    }

    /// The longest delay for a nominal one.
    fn longest(self, nominal: u64) -> u64 {
        self.jitter().range(nominal, self.plain.cap).1
    }

    /// Its delays, where they are listed.
    pub(in crate::policy) fn steps(self) -> &'a [u64] {
        self.more.map_or(&[], |more| &more.steps)
    }

    /// How many delays the chain has; `None` is no end.
    pub(in crate::policy) fn count(self) -> Option<u64> {
        self.chain().try_fold(0_u64, |count, schedule| Some(count.saturating_add(schedule.length()?)))
    }

    /// Whether a schedule without an end is followed by another.
    pub(in crate::policy) fn has_unreachable(self) -> bool {
        let followers = self.followers().count();
        self.chain().take(followers).any(|schedule| schedule.length().is_none())
    }

    /// The first delay and the cap of a schedule whose cap is below it.
    pub(in crate::policy) fn capped_below_base(self) -> Option<(u64, u64)> {
        self.chain().map(|schedule| (schedule.plain.base, schedule.plain.cap)).find(|(base, cap)| cap < base)
    }

    /// The next delay in nanoseconds; `None` at the end. `random` is asked once at most.
    pub(in crate::policy) fn next(self, state: &mut BackoffState, random: impl FnOnce() -> u64) -> Option<u64> {
        if self.is_simple() {
            Some(self.plain.next_simple(&mut state.current, random))
        } else {
            self.next_of_chain(&mut state.current, &mut state.step, random())
        }
    }

    /// The delay that [`next`](Self::next) gave by the last step to this state, with the same random number; `None`:
    /// the end had come.
    #[inline(never)]
    pub(in crate::policy) fn last(self, state: BackoffState, random: impl FnOnce() -> u64) -> Option<u64> {
        let step = state.step.checked_sub(1)?;
        let (at, begins) = self.in_turn(step, (0, 0))?;
        let index = u64::from(step).saturating_sub(begins);
        Some(self.nth(at)?.delay(index, state.current, random))
    }

    /// Whether it is one that [`Plain::next_simple`] goes through.
    fn is_simple(self) -> bool {
        self.more.is_none() && self.plain.is_simple()
    }

    /// The delay for a nominal one.
    #[inline]
    fn spread(self, nominal: u64, random: impl FnOnce() -> u64) -> u64 {
        self.jitter().spread(nominal, self.plain.cap, random)
    }

    /// The next delay of the chain.
    #[inline(never)]
    pub(super) fn next_of_chain(self, current: &mut u64, step: &mut u32, random: u64) -> Option<u64> {
        let (at, begins) = self.in_turn(*step, (0, 0))?;
        Some(self.nth(at)?.next_of(begins, current, step, || random))
    }

    /// Which schedule of the chain a step belongs to, and at which step it began. Searched from `known` on.
    pub(in crate::policy) fn in_turn(self, step: u32, known: (usize, u64)) -> Option<(usize, u64)> {
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
    pub(in crate::policy) fn nth(self, at: usize) -> Option<Self> {
        match at.checked_sub(1) {
            None => Some(self),
            Some(behind) => self.more?.then.get(behind).map(Backoff::schedule),
        }
    }

    /// How many delays the schedule has, its followers apart; `None` is no end.
    fn length(self) -> Option<u64> {
        let steps = || u64::try_from(self.steps().len()).unwrap_or(u64::MAX);
        let steps = (self.plain.shape == Shape::Steps).then(steps);
        let take = self.more.and_then(|more| more.take).map(u64::from);
        steps.into_iter().chain(take).min()
    }

    /// The next delay of this schedule, which began at step `begins`.
    pub(in crate::policy) fn next_of(
        self,
        begins: u64,
        current: &mut u64,
        step: &mut u32,
        random: impl FnOnce() -> u64,
    ) -> u64 {
        let index = u64::from(*step).saturating_sub(begins);
        *step = step.saturating_add(1);
        match self.plain.shape {
            Shape::Exponential => {
                let grown = if index == 0 { self.plain.base } else { self.factor().of(*current) };
                *current = grown.min(self.plain.cap);
            }
            Shape::Decorrelated => {
                let before = if index == 0 { self.plain.base } else { *current };
                let high = before.saturating_mul(3).max(self.plain.base).min(self.plain.cap);
                *current = pick(self.plain.base.min(self.plain.cap), high, random());
                return *current;
            }
            Shape::Fixed | Shape::Linear | Shape::Fibonacci | Shape::Steps => {}
        }
        self.delay(index, *current, random)
    }

    /// The delay at an index of this schedule, which has come to `current` by it.
    #[inline]
    fn delay(self, index: u64, current: u64, random: impl FnOnce() -> u64) -> u64 {
        let nominal = match self.plain.shape {
            Shape::Fixed => self.plain.base,
            Shape::Exponential => current,
            Shape::Decorrelated => return current,
            Shape::Linear | Shape::Fibonacci | Shape::Steps => self.nth_nominal(index),
        };
        self.spread(nominal, random)
    }

    /// The delay at an index, where it does not follow from the one before.
    #[inline(never)]
    fn nth_nominal(self, index: u64) -> u64 {
        match self.plain.shape {
            Shape::Linear => self.plain.base.saturating_mul(index.saturating_add(1)),
            Shape::Fibonacci => self.plain.base.saturating_mul(fibonacci(index)),
            _ => self.steps().get(usize::try_from(index).unwrap_or(usize::MAX)).map_or(FOREVER, |&step| step),
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
