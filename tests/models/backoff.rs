//! The delays of a backoff, each computed from the start.

use std::time::Duration;

use relent::{
    Backoff, Jitter, Ratio,
    policy::schedule::{backoff::BackoffState, jitter::series},
};

use super::{FOREVER, source::Source};

#[derive(Clone, Debug)]
pub enum Shape {
    Fixed(Duration),
    Exponential(Duration, Duration),
    Linear(Duration, Duration),
    Fibonacci(Duration, Duration),
    Decorrelated(Duration, Duration),
    Steps(Vec<Duration>),
}

/// A backoff, written down.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub shape: Shape,
    pub factor: Option<Ratio>,
    pub jitter: Option<Jitter>,
    pub take: Option<u32>,
    pub reset_after: Option<Duration>,
    pub seed: Option<u64>,
    pub then: Option<Box<Schedule>>,
}

/// What reaches 584 years is forever.
pub fn nanos(time: Duration) -> u128 {
    time.as_nanos().min(FOREVER)
}

impl Schedule {
    pub fn of(shape: Shape) -> Self {
        Self { shape, factor: None, jitter: None, take: None, reset_after: None, seed: None, then: None }
    }

    /// The real thing.
    pub fn build(&self) -> Backoff {
        let mut backoff = match self.shape.clone() {
            Shape::Fixed(delay) => Backoff::fixed(delay),
            Shape::Exponential(base, cap) => Backoff::exponential(base, cap),
            Shape::Linear(base, cap) => Backoff::linear(base, cap),
            Shape::Fibonacci(base, cap) => Backoff::fibonacci(base, cap),
            Shape::Decorrelated(base, cap) => Backoff::decorrelated(base, cap),
            Shape::Steps(steps) => Backoff::steps(steps),
        };
        if let Some(factor) = self.factor {
            backoff = backoff.factor(factor);
        }
        if let Some(jitter) = self.jitter {
            backoff = backoff.jitter(jitter);
        }
        if let Some(take) = self.take {
            backoff = backoff.take(take);
        }
        if let Some(healthy) = self.reset_after {
            backoff = backoff.reset_after(healthy);
        }
        if let Some(seed) = self.seed {
            backoff = backoff.seed(seed);
        }
        match &self.then {
            Some(next) => backoff.then(next.build()),
            None => backoff,
        }
    }

    /// How long an attempt runs to be healthy: the first of the chain that has it says so for all.
    pub fn reset_after(&self) -> Option<Duration> {
        self.reset_after.or_else(|| self.then.as_ref()?.reset_after())
    }

    /// The seed: the first of the chain that has it says so for all.
    pub fn seed(&self) -> Option<u64> {
        self.seed.or_else(|| self.then.as_ref()?.seed())
    }

    /// The last of the delays that come when these are the random numbers drawn, one for each; `None` if it has ended.
    pub fn last_of(&self, randoms: &[u64]) -> Option<u128> {
        let taken = self.take.map_or(usize::MAX, |take| take as usize);
        let length = match &self.shape {
            Shape::Steps(steps) => taken.min(steps.len()),
            _ => taken,
        };
        if randoms.len() > length {
            return self.then.as_ref()?.last_of(&randoms[length..]);
        }
        let (low, high) = self.range_of(randoms);
        Some(picked(low, high, *randoms.last().unwrap()))
    }

    /// The cap of every delay of this schedule.
    pub fn cap(&self) -> u128 {
        match &self.shape {
            Shape::Fixed(_) | Shape::Steps(_) => FOREVER,
            Shape::Exponential(_, cap)
            | Shape::Linear(_, cap)
            | Shape::Fibonacci(_, cap)
            | Shape::Decorrelated(_, cap) => nanos(*cap),
        }
    }

    fn range_of(&self, randoms: &[u64]) -> (u128, u128) {
        let (count, cap) = (randoms.len() as u128, self.cap());
        let (nominal, usual) = match &self.shape {
            Shape::Fixed(delay) => (nanos(*delay), Jitter::None),
            Shape::Steps(steps) => (nanos(steps[randoms.len() - 1]), Jitter::None),
            Shape::Linear(base, _) => (nanos(*base) * count, Jitter::Full),
            Shape::Exponential(base, _) => {
                let factor = self.factor.unwrap_or(Ratio::whole(2));
                let grow =
                    |delay: u128| delay * u128::from(factor.numerator()) / u128::from(factor.denominator().get());
                let first = nanos(*base).min(cap);
                ((1..count).fold(first, |delay, _| grow(delay).min(cap)), Jitter::Full)
            }
            Shape::Fibonacci(base, _) => {
                let (now, _) = (1..count).fold((1_u128, 1_u128), |(now, next), _| (next, (now + next).min(FOREVER)));
                (nanos(*base) * now, Jitter::Full)
            }
            Shape::Decorrelated(base, _) => {
                let base = nanos(*base);
                let Some((_, before)) = randoms.split_last() else { return (0, 0) };
                let last = match before {
                    [] => base,
                    before => {
                        let (low, high) = self.range_of(before);
                        picked(low, high, before[before.len() - 1])
                    }
                };
                return (base.min(cap), (last * 3).max(base).min(cap));
            }
        };
        let nominal = nominal.min(cap);
        let share = |ratio: Ratio| nominal * u128::from(ratio.numerator()) / u128::from(ratio.denominator().get());
        let (low, high) = match self.jitter.unwrap_or(usual) {
            Jitter::Full => (0, nominal),
            Jitter::Equal => (nominal / 2, nominal),
            Jitter::Plus(ratio) => (nominal, nominal + share(ratio)),
            Jitter::PlusMinus(ratio) => (nominal.saturating_sub(share(ratio)), nominal + share(ratio)),
            _ => (nominal, nominal),
        };
        // A range that would pass the cap slides down until its top is the cap.
        (low.saturating_sub(high.saturating_sub(cap)), high.min(cap))
    }
}

fn picked(low: u128, high: u128, random: u64) -> u128 {
    low + (((high - low + 1) * u128::from(random)) >> 64)
}

/// The delays of the real thing are those of the model, bit for bit, and none exceeds the cap.
pub fn check(source: &mut Source<'_>) {
    let schedule = source.schedule();
    let backoff = schedule.build();
    let (mut progress, mut randoms) = (BackoffState::default(), Vec::new());
    for _ in 0..32 {
        randoms.push(source.random());
        let delay = progress.next(&backoff, || randoms[randoms.len() - 1]);
        let expected = schedule.last_of(&randoms);
        assert_eq!(delay.map(u128::from), expected, "delay {} of {backoff}", randoms.len());
        let Some(delay) = delay else { break };
        let highest =
            std::iter::successors(Some(&schedule), |schedule| schedule.then.as_deref()).map(Schedule::cap).max();
        assert!(Some(u128::from(delay)) <= highest, "{backoff}");
    }
    // The iterator gives the same for the series that it draws.
    let seed = source.word();
    let delays: Vec<Duration> = backoff.clone().seed(seed).iter().take(8).collect();
    let series: Vec<u64> = (0..8).map(|n| series(seed, n)).collect();
    for (index, delay) in delays.iter().enumerate() {
        assert_eq!(Some(nanos(*delay)), schedule.last_of(&series[..=index]), "delay {index} of {backoff}");
    }
}
