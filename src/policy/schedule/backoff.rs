//! Delays between attempts.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

pub use super::delays::Delays;
use crate::policy::{
    nanos::nanos,
    ratio::Ratio,
    schedule::jitter::{Jitter, Kind},
};

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
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Backoff {
    pub(super) plain: Plain,
    /// What few schedules have.
    pub(super) more: Option<Arc<Extras>>,
}

/// What every schedule has. A policy holds it in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Plain {
    pub(in crate::policy) base: u64,
    pub(in crate::policy) cap: u64,
    pub(in crate::policy) jitter: Kind,
    pub(in crate::policy) shape: Shape,
}

impl Plain {
    /// Exponential from 100 ms to 10 s, with full jitter.
    pub(super) const DEFAULT: Self = Self::new(Shape::Exponential, Duration::from_millis(100), Duration::from_secs(10));

    const fn new(shape: Shape, base: Duration, cap: Duration) -> Self {
        Self { base: nanos(base), cap: nanos(cap), jitter: shape.usual_jitter(), shape }
    }
}

// As wide as its neighbours: without gaps the whole is moved in fewer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(in crate::policy) enum Shape {
    Fixed,
    Exponential,
    Linear,
    Fibonacci,
    Decorrelated,
    Steps,
}

impl Shape {
    /// How its delays are spread unless told otherwise.
    pub(in crate::policy) const fn usual_jitter(self) -> Kind {
        match self {
            Self::Exponential | Self::Linear | Self::Fibonacci => Kind::Full,
            Self::Fixed | Self::Decorrelated | Self::Steps => Kind::None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Extras {
    pub(in crate::policy) steps: Vec<u64>,
    pub(in crate::policy) take: Option<u32>,
    /// What follows, in a row: none of them has followers, or anything that is set for a whole run.
    pub(in crate::policy) then: VecDeque<Backoff>,
    pub(in crate::policy) reset_after: Option<u64>,
    pub(in crate::policy) seed: Option<u64>,
    /// The ratio of the jitter, if it has one.
    pub(in crate::policy) jitter: Option<Ratio>,
    /// What an exponential delay grows by, if not by 2.
    pub(in crate::policy) factor: Option<Ratio>,
}

/// How far a run has come in its backoff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackoffState {
    /// The last nominal delay (exponential) or the last delay (decorrelated).
    pub(in crate::policy) current: u64,
    /// Delays given so far.
    pub(in crate::policy) step: u32,
}

impl BackoffState {
    /// After so many delays, the last of which left this as [`current`](Self::current).
    #[must_use]
    pub(crate) fn after(step: u32, current: u64) -> Self {
        Self { current, step }
    }

    /// What the next delay is made from, besides the number of those before.
    #[must_use]
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    /// The next delay in nanoseconds; `None` at the end. `random` is asked once at most.
    pub fn next(&mut self, backoff: &Backoff, random: impl FnOnce() -> u64) -> Option<u64> {
        backoff.schedule().next(self, random)
    }

    /// The delay that [`next`](Self::next) gave by the last step to this state, with the same random number; `None`:
    /// the end had come.
    pub(crate) fn last(self, backoff: &Backoff, random: impl FnOnce() -> u64) -> Option<u64> {
        backoff.schedule().last(self, random)
    }
}

/// A backoff that is read, wherever it is: a [`Backoff`] by itself, or the one of a policy.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Schedule<'a> {
    pub(in crate::policy) plain: &'a Plain,
    pub(in crate::policy) more: Option<&'a Extras>,
}

impl Backoff {
    /// The same pause every time.
    #[inline]
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self::of(Plain::new(Shape::Fixed, delay, Duration::MAX))
    }

    /// `base`, then each delay [`factor`](Self::factor) times the one before (2 unless set), rounded down, at most
    /// `cap`.
    #[must_use]
    pub const fn exponential(base: Duration, cap: Duration) -> Self {
        Self::of(Plain::new(Shape::Exponential, base, cap))
    }

    /// `base`, 2 `base`, 3 `base`, .., at most `cap`.
    #[must_use]
    pub const fn linear(base: Duration, cap: Duration) -> Self {
        Self::of(Plain::new(Shape::Linear, base, cap))
    }

    /// `base` times 1, 1, 2, 3, 5, 8, .., at most `cap`.
    #[must_use]
    pub const fn fibonacci(base: Duration, cap: Duration) -> Self {
        Self::of(Plain::new(Shape::Fibonacci, base, cap))
    }

    /// Each delay a random one between `base` and three times the delay before, at most `cap` ("decorrelated jitter",
    /// M. Brooker, "Exponential Backoff And Jitter", 2015). It is random as it is: [`jitter`](Self::jitter) does not
    /// apply. At the cap it goes on between `base` and `cap`.
    #[must_use]
    pub const fn decorrelated(base: Duration, cap: Duration) -> Self {
        Self::of(Plain::new(Shape::Decorrelated, base, cap))
    }

    /// These delays, and then no more. An empty list allows no retry.
    #[must_use]
    pub fn steps(delays: impl IntoIterator<Item = Duration>) -> Self {
        let mut this = Self::of(Plain::new(Shape::Steps, Duration::ZERO, Duration::MAX));
        this.change(|more| more.steps = delays.into_iter().map(nanos).collect());
        this
    }

    const fn of(plain: Plain) -> Self {
        Self { plain, more: None }
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
        self.plain.jitter = kind;
        self.change(|more| more.jitter = ratio);
        self
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

    /// Makes every run draw this one series of random numbers: for tests, and to replay a run. The iterator, a run, its
    /// plan and each key of a [`KeyedBackoff`](crate::KeyedBackoff) draw the same.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.change(|more| more.seed = Some(seed));
        self
    }

    /// Changes what few schedules have; nothing allocates where nothing is set, and equal schedules stay equal.
    fn change(&mut self, change: impl FnOnce(&mut Extras)) {
        let mut more = self.more.take().map_or_else(Extras::default, Arc::unwrap_or_clone);
        change(&mut more);
        self.more = (more != Extras::default()).then(|| Arc::new(more));
    }

    /// The delays of one run, with a random series of their own.
    pub fn iter(&self) -> Delays {
        self.clone().into_iter()
    }

    /// The seed, if one was set.
    #[must_use]
    pub(crate) fn seeded(&self) -> Option<u64> {
        self.schedule().seed()
    }

    /// To be read.
    #[inline]
    pub(in crate::policy) fn schedule(&self) -> Schedule<'_> {
        Schedule { plain: &self.plain, more: self.more.as_deref() }
    }
}

/// Exponential from 100 ms to 10 s, with full jitter.
impl Default for Backoff {
    fn default() -> Self {
        Self::of(Plain::DEFAULT)
    }
}
