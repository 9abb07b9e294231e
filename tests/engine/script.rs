//! A run written down: its settings, and what each of its attempts does.

use std::time::Duration;

use proptest::prelude::*;
use relent::{Backoff, Jitter, Policy, Ratio};

/// Longer than anything that runs.
pub const FOREVER: u128 = u64::MAX as u128;
pub const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Value,
    Fails,
    FailsAndAsksFor(Duration),
    Fatal,
    Hangs,
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub latency: Duration,
    pub answer: Answer,
}

#[derive(Clone, Debug)]
pub enum Delays {
    Unset,
    Fixed(Duration),
    Doubling(Duration, Duration),
    HalfAgain(Duration, Duration),
    Steps(Vec<Duration>),
}

#[derive(Clone, Copy, Debug)]
pub enum OnCut {
    Retry,
    After(Duration),
    Fatal,
}

#[derive(Clone, Debug)]
pub struct Script {
    pub delays: Delays,
    pub every: Option<Duration>,
    pub attempt_timeout: Option<Duration>,
    pub start_within: Option<Duration>,
    pub finish_within: Option<Duration>,
    pub max_attempts: Option<u32>,
    pub max_retry_after: Option<Duration>,
    pub reset_after: Option<Duration>,
    pub on_cut: OnCut,
    pub final_try: bool,
    pub delay_first: bool,
    /// Cancelled from outside at this instant.
    pub cancel_at: Option<Duration>,
    /// Cancelled by the operation itself, at the end of this attempt.
    pub cancel_in: Option<u32>,
    pub steps: Vec<Step>,
}

impl Script {
    /// What the attempt of this number does; once the script is over, it gives the value.
    pub fn step(&self, number: u32) -> Step {
        let value = Step { latency: Duration::ZERO, answer: Answer::Value };
        self.steps.get(number as usize - 1).copied().unwrap_or(value)
    }

    pub fn policy(&self) -> Policy {
        let exponential = |base, cap| Backoff::exponential(base, cap).jitter(Jitter::None);
        let backoff = match &self.delays {
            Delays::Unset => None,
            Delays::Fixed(delay) => Some(Backoff::fixed(*delay)),
            Delays::Doubling(base, cap) => Some(exponential(*base, *cap)),
            Delays::HalfAgain(base, cap) => Some(exponential(*base, *cap).factor(Ratio::new(3, 2).unwrap())),
            Delays::Steps(steps) => Some(Backoff::steps(steps.iter().copied())),
        };
        let mut policy = Policy::new();
        if let Some(backoff) = backoff {
            policy = policy.backoff(match self.reset_after {
                Some(healthy) => backoff.reset_after(healthy),
                None => backoff,
            });
        }
        policy = self.every.map_or(policy.clone(), |every| policy.every(every));
        policy = self.attempt_timeout.map_or(policy.clone(), |timeout| policy.attempt_timeout(timeout));
        policy = self.start_within.map_or(policy.clone(), |window| policy.start_within(window));
        policy = self.finish_within.map_or(policy.clone(), |bound| policy.finish_within(bound));
        policy = self.max_attempts.map_or(policy.clone(), |attempts| policy.max_attempts(attempts));
        policy = self.max_retry_after.map_or(policy.clone(), |most| policy.max_retry_after(most));
        policy = match self.on_cut {
            OnCut::Retry => policy,
            OnCut::After(pause) => policy.on_cut(relent::Decision::RetryAfter(pause)),
            OnCut::Fatal => policy.on_cut(false),
        };
        policy = if self.final_try { policy.final_try() } else { policy };
        if self.delay_first { policy.delay_first() } else { policy }
    }
}

/// Durations that meet each other often, and the awkward ones.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => (0_u64..8).prop_map(|n| Duration::from_millis(50 * n)),
        2 => (0_u64..12).prop_map(Duration::from_millis),
        1 => Just(Duration::ZERO),
        1 => Just(Duration::from_nanos(1)),
        1 => (0_u64..3 * MS).prop_map(Duration::from_nanos),
        1 => (0_u64..4).prop_map(Duration::from_secs),
        1 => Just(Duration::MAX),
    ]
}

fn finite() -> impl Strategy<Value = Duration> {
    duration().prop_map(|duration| if duration == Duration::MAX { Duration::from_millis(350) } else { duration })
}

fn delays() -> impl Strategy<Value = Delays> {
    prop_oneof![
        Just(Delays::Unset),
        duration().prop_map(Delays::Fixed),
        (duration(), duration()).prop_map(|(base, cap)| Delays::Doubling(base, cap)),
        (duration(), duration()).prop_map(|(base, cap)| Delays::HalfAgain(base, cap)),
        proptest::collection::vec(duration(), 0..5).prop_map(Delays::Steps),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        1 => Just(Answer::Value),
        10 => Just(Answer::Fails),
        2 => duration().prop_map(Answer::FailsAndAsksFor),
        1 => Just(Answer::Fatal),
        3 => Just(Answer::Hangs),
    ];
    (finite(), answer).prop_map(|(latency, answer)| Step { latency, answer })
}

fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone + std::fmt::Debug,
{
    proptest::option::of(strategy)
}

pub fn script() -> impl Strategy<Value = Script> {
    let cadence = (delays(), maybe(duration()), maybe(finite()));
    let bounds = (maybe(duration()), maybe(duration()), maybe(duration()), maybe(0_u32..6), maybe(duration()));
    let on_cut = prop_oneof![3 => Just(OnCut::Retry), 1 => duration().prop_map(OnCut::After), 1 => Just(OnCut::Fatal)];
    let rest = (on_cut, any::<bool>(), proptest::bool::weighted(0.2));
    let cancels = (proptest::option::weighted(0.3, finite()), proptest::option::weighted(0.1, 1_u32..5));
    let steps = proptest::collection::vec(step(), 0..9);
    (cadence, bounds, rest, cancels, steps).prop_map(|(cadence, bounds, rest, cancels, steps)| {
        let mut script = Script {
            delays: cadence.0,
            every: cadence.1,
            reset_after: cadence.2,
            attempt_timeout: bounds.0,
            start_within: bounds.1,
            finish_within: bounds.2,
            max_attempts: bounds.3,
            max_retry_after: bounds.4,
            on_cut: rest.0,
            final_try: rest.1,
            delay_first: rest.2,
            cancel_at: cancels.0,
            cancel_in: cancels.1,
            steps,
        };
        // Its delays would be random.
        if matches!(script.delays, Delays::Unset) && script.every.is_none() {
            script.every = Some(Duration::from_millis(50));
        }
        script
    })
}
