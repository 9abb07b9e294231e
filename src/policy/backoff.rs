//! Delays between attempts.

use std::{collections::VecDeque, iter::once, mem, sync::Arc, time::Duration};

pub use super::delays::Delays;
use super::{
    jitter::{Jitter, Kind, pick},
    nanos::{FOREVER, nanos},
};
use crate::Ratio;

/// A schedule of pauses: plain data, integers only, cheap to clone.
///
/// No delay exceeds the cap, neither the first nor a jittered one; reaching the cap never ends the schedule. Schedules
/// that grow are spread with [`Jitter::Full`] unless told otherwise; [`fixed`](Self::fixed) and
/// [`steps`](Self::steps) are exact unless told otherwise.
///
/// Every run draws random numbers of its own: two runs of one cloned backoff never share a series, unless a
/// [`seed`](Self::seed) asks for it.
///
/// Delays of 584 years and more are forever.
///
/// ```
/// use std::time::Duration;
/// use relent::{Backoff, Jitter};
///
/// let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(3)).jitter(Jitter::None).take(4);
/// let seconds: Vec<u64> = backoff.into_iter().map(|delay| delay.as_secs()).collect();
/// assert_eq!(seconds, [1, 2, 3, 3]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    pub(super) base: u64,
    pub(super) cap: u64,
    /// What few schedules have.
    pub(super) more: Option<Arc<More>>,
    pub(super) jitter: Kind,
    pub(super) shape: Shape,
}

// As wide as its neighbours: without gaps the whole is moved in fewer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(super) enum Shape {
    Fixed,
    Exponential,
    Linear,
    Fibonacci,
    Decorrelated,
    Steps,
}

impl Shape {
    /// How its delays are spread unless told otherwise.
    pub(super) const fn usual_jitter(self) -> Kind {
        match self {
            Self::Exponential | Self::Linear | Self::Fibonacci => Kind::Full,
            Self::Fixed | Self::Decorrelated | Self::Steps => Kind::None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct More {
    pub(super) steps: Vec<u64>,
    pub(super) take: Option<u32>,
    /// What follows, in a row: none of them has followers, or anything that is set for a whole run.
    then: VecDeque<Backoff>,
    pub(super) reset_after: Option<u64>,
    pub(super) seed: Option<u64>,
    /// The ratio of the jitter, if it has one.
    pub(super) jitter: Option<Ratio>,
    /// What an exponential delay grows by, if not by 2.
    pub(super) factor: Option<Ratio>,
    /// What few policies have; here, so that a run is no larger for it.
    pub(super) policy: Rare,
}

/// Settings of the policy that are rare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rare {
    /// The pause after a cut.
    pub(super) after_cut: u64,
    /// The most that is waited of what a server asks for.
    pub(super) max_retry_after: Option<u64>,
    /// The latest end that a default window may be moved to.
    pub(super) window_moves_to: Option<u64>,
    /// How long before the hard bound there is a last look.
    pub(super) last_look: Option<u64>,
}

/// How far a run has come in its backoff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last nominal delay (exponential) or the last delay (decorrelated).
    pub(super) current: u64,
    /// Delays given so far.
    pub(super) step: u32,
}

impl Progress {
    /// The next delay in nanoseconds; `None` at the end. `random` is asked for only if it is needed.
    pub fn next(&mut self, backoff: &Backoff, random: impl FnOnce() -> u64) -> Option<u64> {
        backoff.next(self, random)
    }
}

impl Backoff {
    /// The same pause every time.
    #[inline]
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self::new(Shape::Fixed, nanos(delay), FOREVER)
    }

    /// `base`, then each delay [`factor`](Self::factor) times the one before (2 unless set), rounded down, at most `cap`.
    #[must_use]
    pub const fn exponential(base: Duration, cap: Duration) -> Self {
        Self::new(Shape::Exponential, nanos(base), nanos(cap))
    }

    /// `base`, 2 `base`, 3 `base`, .., at most `cap`.
    #[must_use]
    pub const fn linear(base: Duration, cap: Duration) -> Self {
        Self::new(Shape::Linear, nanos(base), nanos(cap))
    }

    /// `base` times 1, 1, 2, 3, 5, 8, .., at most `cap`.
    #[must_use]
    pub const fn fibonacci(base: Duration, cap: Duration) -> Self {
        Self::new(Shape::Fibonacci, nanos(base), nanos(cap))
    }

    /// Each delay a random one between `base` and three times the delay before, at most `cap` ("decorrelated jitter",
    /// M. Brooker, "Exponential Backoff And Jitter", 2015). It is random as it is: [`jitter`](Self::jitter) does not
    /// apply. At the cap it goes on between `base` and `cap`.
    #[must_use]
    pub const fn decorrelated(base: Duration, cap: Duration) -> Self {
        Self::new(Shape::Decorrelated, nanos(base), nanos(cap))
    }

    /// These delays, and then no more. An empty list allows no retry.
    #[must_use]
    pub fn steps(delays: impl IntoIterator<Item = Duration>) -> Self {
        let mut this = Self::new(Shape::Steps, 0, FOREVER);
        this.change(|more| more.steps = delays.into_iter().map(nanos).collect());
        this
    }

    const fn new(shape: Shape, base: u64, cap: u64) -> Self {
        Self { base, cap, more: None, jitter: shape.usual_jitter(), shape }
    }

    /// How each exponential delay follows from the one before. Other schedules ignore it. A factor below one shrinks.
    #[must_use]
    pub fn factor(mut self, factor: impl Into<Ratio>) -> Self {
        let factor = Some(factor.into()).filter(|&factor| factor != Ratio::whole(2));
        self.change(|more| more.factor = factor);
        self
    }

    /// How delays are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        let (kind, ratio) = match jitter {
            Jitter::None => (Kind::None, None),
            Jitter::Full => (Kind::Full, None),
            Jitter::Equal => (Kind::Equal, None),
            Jitter::Plus(ratio) => (Kind::Plus, Some(ratio)),
            Jitter::PlusMinus(ratio) => (Kind::PlusMinus, Some(ratio)),
        };
        self.jitter = kind;
        self.change(|more| more.jitter = ratio);
        self
    }

    /// What an exponential delay grows by.
    #[inline]
    pub(super) fn grows_by(&self) -> Ratio {
        self.more.as_ref().and_then(|more| more.factor).unwrap_or(Ratio::whole(2))
    }

    /// How delays are spread.
    #[inline]
    pub(super) fn spread(&self) -> Jitter {
        let ratio = || self.more.as_ref().and_then(|more| more.jitter).unwrap_or(Ratio::ZERO);
        match self.jitter {
            Kind::None => Jitter::None,
            Kind::Full => Jitter::Full,
            Kind::Equal => Jitter::Equal,
            Kind::Plus => Jitter::Plus(ratio()),
            Kind::PlusMinus => Jitter::PlusMinus(ratio()),
        }
    }

    /// At most `n` delays of this schedule; then it ends, or goes on with [`then`](Self::then).
    #[must_use]
    pub fn take(mut self, n: u32) -> Self {
        self.change(|more| more.take = Some(more.take.map_or(n, |before| before.min(n))));
        self
    }

    /// What follows when this schedule has ended. It has an end if it is [`steps`](Self::steps) or
    /// [`take`](Self::take) limits it. Called twice, the second goes behind the first. What is set for a whole run, the
    /// [`seed`](Self::seed) and [`reset_after`](Self::reset_after), is taken over from `next` where `self` has none.
    #[must_use]
    pub fn then(mut self, mut next: Self) -> Self {
        let (mut reset_after, mut seed, mut behind) = (None, None, VecDeque::new());
        next.change(|more| {
            (reset_after, seed, behind) = (more.reset_after.take(), more.seed.take(), mem::take(&mut more.then));
        });
        self.change(|more| {
            more.reset_after = more.reset_after.or(reset_after);
            more.seed = more.seed.or(seed);
            if more.then.is_empty() {
                // So that a chain is as quickly built from its end as from its beginning.
                behind.push_front(next);
                more.then = behind;
            } else {
                more.then.push_back(next);
                more.then.append(&mut behind);
            }
        });
        self
    }

    /// Starts over from the first delay of the whole chain when an attempt has run for at least `healthy`: for loops
    /// that live long, such as one that keeps a connection open.
    #[must_use]
    pub fn reset_after(mut self, healthy: Duration) -> Self {
        self.change(|more| more.reset_after = Some(nanos(healthy)));
        self
    }

    /// Makes every run draw this one series of random numbers: for tests, and to replay a run. The iterator, a run, its plan
    /// and each key of a [`KeyedBackoff`](crate::KeyedBackoff) draw the same.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.change(|more| more.seed = Some(seed));
        self
    }

    /// Changes what few schedules have; nothing allocates where nothing is set, and equal schedules stay equal.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut More)) {
        let mut more = self.more.take().map_or_else(More::default, Arc::unwrap_or_clone);
        change(&mut more);
        self.more = (more != More::default()).then(|| Arc::new(more));
    }

    /// The delays of one run, with a random series of their own.
    pub fn iter(&self) -> Delays {
        self.clone().into_iter()
    }

    /// The seed, if one was set.
    #[must_use]
    pub(crate) fn seeded(&self) -> Option<u64> {
        self.more.as_ref().and_then(|more| more.seed)
    }

    /// How long an attempt runs to be healthy.
    #[inline]
    pub(super) fn healthy(&self) -> Option<u64> {
        self.more.as_ref().and_then(|more| more.reset_after)
    }

    /// The next delay in nanoseconds; `None` at the end. `random` is asked for only if it is needed.
    #[inline]
    pub(crate) fn next(&self, progress: &mut Progress, random: impl FnOnce() -> u64) -> Option<u64> {
        if self.more.is_some() || self.shape == Shape::Steps {
            self.next_of_chain(progress, random)
        } else {
            Some(self.next_of(0, progress, random))
        }
    }

    /// The schedules of the chain.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        once(self).chain(self.followers())
    }

    /// What comes `then`.
    pub(super) fn followers(&self) -> impl Iterator<Item = &Self> {
        self.more.iter().flat_map(|more| &more.then)
    }

    /// No delay of the chain is longer.
    pub(super) fn highest(&self) -> u64 {
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
    pub(super) fn count(&self) -> Option<u64> {
        self.chain().try_fold(0_u64, |count, schedule| Some(count.saturating_add(schedule.length()?)))
    }

    /// Whether a schedule without an end is followed by another.
    pub(super) fn has_unreachable(&self) -> bool {
        let followers = self.followers().count();
        self.chain().take(followers).any(|schedule| schedule.length().is_none())
    }

    /// The first delay and the cap of a schedule whose cap is below it.
    pub(super) fn capped_below_base(&self) -> Option<(u64, u64)> {
        self.chain().find(|schedule| schedule.cap < schedule.base).map(|schedule| (schedule.base, schedule.cap))
    }

    /// The next delay of the chain.
    fn next_of_chain(&self, progress: &mut Progress, random: impl FnOnce() -> u64) -> Option<u64> {
        let (at, begins) = self.in_turn(progress.step, (0, 0))?;
        Some(self.nth(at)?.next_of(begins, progress, random))
    }

    /// Which schedule of the chain is in turn at a step, and at which step it began. Looks from `known` on.
    pub(super) fn in_turn(&self, step: u32, known: (usize, u64)) -> Option<(usize, u64)> {
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
    pub(super) fn nth(&self, at: usize) -> Option<&Self> {
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
    #[inline]
    pub(super) fn next_of(&self, begins: u64, progress: &mut Progress, random: impl FnOnce() -> u64) -> u64 {
        let index = u64::from(progress.step).saturating_sub(begins);
        progress.step = progress.step.saturating_add(1);
        let nominal = match self.shape {
            Shape::Fixed => self.base,
            Shape::Exponential => {
                let grown = if index == 0 { self.base } else { self.grows_by().of(progress.current) };
                progress.current = grown.min(self.cap);
                progress.current
            }
            Shape::Linear => self.base.saturating_mul(index.saturating_add(1)),
            Shape::Fibonacci => self.base.saturating_mul(fibonacci(index)),
            Shape::Decorrelated => {
                let before = if index == 0 { self.base } else { progress.current };
                let high = before.saturating_mul(3).max(self.base).min(self.cap);
                progress.current = pick(self.base.min(self.cap), high, random());
                return progress.current;
            }
            Shape::Steps => self
                .more
                .as_ref()
                .and_then(|more| more.steps.get(usize::try_from(index).unwrap_or(usize::MAX)))
                .map_or(FOREVER, |&step| step),
        };
        self.spread().spread(nominal, self.cap, random)
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

/// Exponential from 100 ms to 10 s, with full jitter.
impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100), Duration::from_secs(10))
    }
}
