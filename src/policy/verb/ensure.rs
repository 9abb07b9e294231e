//! When to observe, when to act, when to observe again: the rules of `ensure`, as data.
//!
//! A round is: observe; if it is not as wanted, act; whatever the act answered, observe again. The cadence plans
//! rounds.

use crate::policy::{
    nanos::FOREVER,
    schedule::{
        attempts::{Decision, PolicyStop},
        bounds::{Bounds, CutBy},
    },
};

/// How it came to be as it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// It was so when it was first observed.
    AlreadySo,
    /// An act answered that it had done it, and it was then seen.
    Applied,
    /// It was seen after an act that failed or was cut: the act did it all the same, or another caller.
    AppliedDespiteError,
}

/// What an observation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sample {
    /// It is as wanted.
    AsWanted,
    /// It is not, and an act is due.
    Differs,
    /// It is not, and there is nothing to do but wait.
    NotYet,
    /// The observation failed or was cut, and this is what follows.
    Failed(Decision),
}

/// What to do next within a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnsureStep {
    /// It is done.
    Done(Change),
    /// Act; cut at this instant.
    Act(u64, CutBy),
    /// The round is over: plan the next one.
    NextRound(Decision),
    /// The run is over.
    Stop(PolicyStop),
}

/// The progress of one `ensure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnsureState {
    /// How often it may act.
    allowed: u32,
    /// How often it has.
    count: u32,
    /// Whether it has acted, and no observation that saw anything has come after the act and all other ones.
    unseen: bool,
    /// Whether this round has acted.
    acted: bool,
    /// Whether the last act answered that it had done it.
    fine: bool,
    /// What follows the last act's answer, if it was an error.
    after: Decision,
}

impl EnsureState {
    /// None yet, and so many at most.
    #[must_use]
    pub fn new(allowed: u32) -> Self {
        Self { allowed, count: 0, unseen: false, acted: false, fine: false, after: Decision::Retry }
    }

    /// How often it has acted.
    #[must_use]
    pub fn acts(&self) -> u32 {
        self.count
    }

    /// Whether an act may have been applied without an observation to tell: the last call was an act, or an observation
    /// that failed. (An act that was not seen to be applied at first may be later: the more reason to know that no
    /// observation was made.)
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        self.unseen
    }

    /// A round begins: it observes first.
    pub fn begin_round(&mut self) {
        self.acted = false;
        self.after = Decision::Retry;
    }

    /// An observation has ended at `now`, nanoseconds since the run began.
    #[must_use]
    pub fn observed(&mut self, bounds: &Bounds, now: u64, found: Sample) -> EnsureStep {
        self.unseen = self.count > 0 && matches!(found, Sample::Failed(_));
        match found {
            Sample::AsWanted => EnsureStep::Done(match (self.count, self.fine) {
                (0, _) => Change::AlreadySo,
                (_, true) => Change::Applied,
                (_, false) => Change::AppliedDespiteError,
            }),
            Sample::Failed(Decision::Fatal) => EnsureStep::Stop(PolicyStop::Fatal),
            // The act was refused for good, and the observation that might have known better failed.
            Sample::Failed(_) if self.after == Decision::Fatal => EnsureStep::Stop(PolicyStop::Fatal),
            Sample::Failed(decision) => EnsureStep::NextRound(decision),
            Sample::NotYet | Sample::Differs => {
                if self.after == Decision::Fatal {
                    return EnsureStep::Stop(PolicyStop::Fatal);
                }
                if found == Sample::NotYet {
                    return EnsureStep::NextRound(Decision::Retry);
                }
                if self.count >= self.allowed {
                    return EnsureStep::Stop(PolicyStop::Attempts);
                }
                if self.acted {
                    return EnsureStep::NextRound(self.after);
                }
                let (until, by) = act_until(bounds, now);
                // Cut by its own deadline, however short, it has been begun: only the bound keeps it from that.
                if by == CutBy::Deadline && now >= until {
                    return EnsureStep::Stop(PolicyStop::Deadline);
                }
                self.count = self.count.saturating_add(1);
                (self.acted, self.unseen, self.fine) = (true, true, false);
                EnsureStep::Act(until, by)
            }
        }
    }

    /// An act has ended: `None` if it answered that it has done it, else what follows. An observation comes next in any
    /// case.
    pub fn acted(&mut self, failed: Option<Decision>) {
        self.fine = failed.is_none();
        self.after = failed.unwrap_or(Decision::Retry);
    }
}

/// When an act that starts at `start` is cut. What `attempt_timeout` says of a call is kept free of acts before the
/// hard bound, so that the observation that closes the run has its time; never more than half of all the time there is.
#[must_use]
pub fn act_until(bounds: &Bounds, start: u64) -> (u64, CutBy) {
    let own = start.saturating_add(bounds.attempt_timeout);
    if bounds.finish_within == FOREVER {
        return (own, CutBy::AttemptTimeout);
    }
    let half = bounds.finish_within.checked_div(2).unwrap_or(0);
    let reserve = if bounds.attempt_timeout == FOREVER { 0 } else { bounds.attempt_timeout.min(half) };
    let last = bounds.finish_within.saturating_sub(reserve);
    if own < last { (own, CutBy::AttemptTimeout) } else { (last, CutBy::Deadline) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::schedule::Policy;

    fn found() -> impl Strategy<Value = Sample> {
        prop_oneof![
            1 => Just(Sample::AsWanted),
            4 => Just(Sample::Differs),
            2 => Just(Sample::NotYet),
            3 => Just(Sample::Failed(Decision::Retry)),
            1 => Just(Sample::Failed(Decision::Fatal)),
        ]
    }

    fn answer() -> impl Strategy<Value = Option<Decision>> {
        prop_oneof![3 => Just(None), 3 => Just(Some(Decision::Retry)), 1 => Just(Some(Decision::Fatal))]
    }

    prop_compose! {
        fn policies()(max in 0_u32..5, timeout in prop_oneof![0_u64..20, Just(u64::MAX)], bound in prop_oneof![0_u64..60, Just(u64::MAX)]) -> Policy {
            Policy::new()
                .max_attempts(max)
                .attempt_timeout(Duration::from_nanos(timeout))
                .finish_within(if bound == u64::MAX { Duration::MAX } else { Duration::from_nanos(bound) })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever is seen and answered: it never acts but on an observation of the same round that said so, never
        /// twice in a round, never more often than allowed, never into the time of the closing observation, and it is
        /// done only when seen.
        #[test]
        fn acts_only_on_what_it_has_seen(policy in policies(), history in prop::collection::vec((found(), answer(), 0_u64..7), 1..40)) {
            let mut steps = EnsureState::new(policy.max_attempts);
            let (mut now, mut acts, mut last_answer) = (0_u64, 0_u32, None);
            let mut fatal = false;
            steps.begin_round();
            let mut acted_in_round = false;
            for (found, answer, takes) in history {
                now += takes;
                match steps.observed(policy.bounds(), now, found) {
                    EnsureStep::Done(change) => {
                        prop_assert_eq!(found, Sample::AsWanted);
                        prop_assert!(!steps.outcome_unknown());
                        prop_assert_eq!(change == Change::AlreadySo, acts == 0);
                        prop_assert_eq!(change == Change::Applied, acts > 0 && last_answer == Some(None));
                        return Ok(());
                    }
                    EnsureStep::Act(until, by) => {
                        prop_assert!(found == Sample::Differs && !acted_in_round && !fatal);
                        acts += 1;
                        acted_in_round = true;
                        prop_assert!(acts <= policy.max_attempts);
                        prop_assert!(steps.outcome_unknown());
                        let bounds = *policy.bounds();
                        prop_assert!(until > now || (until == now && bounds.attempt_timeout == 0 && now < bounds.finish_within));
                        prop_assert!(until <= bounds.finish_within);
                        prop_assert!(until - now <= bounds.attempt_timeout);
                        prop_assert!(by == CutBy::Deadline || until == now.saturating_add(bounds.attempt_timeout));
                        prop_assert!(by == CutBy::AttemptTimeout || until == act_until(policy.bounds(), u64::MAX).0);
                        if bounds.finish_within != FOREVER && bounds.attempt_timeout != FOREVER {
                            prop_assert!(bounds.finish_within - until >= bounds.attempt_timeout.min(bounds.finish_within / 2));
                        }
                        steps.acted(answer);
                        last_answer = Some(answer);
                        fatal = answer == Some(Decision::Fatal);
                    }
                    EnsureStep::NextRound(decision) => {
                        prop_assert!(found != Sample::AsWanted && decision != Decision::Fatal && !fatal);
                        prop_assert!(found != Sample::Differs || acted_in_round);
                        prop_assert_eq!(steps.outcome_unknown(), matches!(found, Sample::Failed(_)) && acts > 0);
                        steps.begin_round();
                        acted_in_round = false;
                    }
                    EnsureStep::Stop(PolicyStop::Attempts) => {
                        prop_assert_eq!(acts, policy.max_attempts);
                        return Ok(());
                    }
                    EnsureStep::Stop(PolicyStop::Fatal) => {
                        prop_assert!(fatal || found == Sample::Failed(Decision::Fatal));
                        return Ok(());
                    }
                    EnsureStep::Stop(ended) => {
                        prop_assert_eq!(ended, PolicyStop::Deadline);
                        prop_assert!(now >= act_until(policy.bounds(), now).0 && policy.bounds().finish_within != FOREVER);
                        return Ok(());
                    }
                }
                prop_assert_eq!(steps.acts(), acts);
            }
        }
    }
}
