//! When an operation that is watched has settled, stalls, or cannot be watched any longer: the rules of `settle`, as
//! data.

use crate::policy::nanos::FOREVER;

/// What an observation says about movement. Texts are compared, not kept: `Same` is one equal to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sample {
    /// It is done.
    Done,
    /// It moves, and has not the same text as before.
    Moved,
    /// It moves, it says, with the same text as before.
    Same,
    /// It waits for something else.
    Waiting,
    /// It could not be observed.
    Failed,
}

/// What follows an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettleStep {
    /// It has settled.
    Settled,
    /// Observe again.
    GoOn,
    /// Nothing has moved for too long.
    Stalled,
    /// It could not be observed for too long.
    Unobservable,
}

/// The rules: nanoseconds, `u64::MAX` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SettleRules {
    /// How long it may be without movement.
    pub stall_after: u64,
    /// How many observations in a row must say done. 0 is 1.
    pub stable_for: u32,
    /// How long observations may fail in a row.
    pub tolerate: u64,
}

impl Default for SettleRules {
    fn default() -> Self {
        Self { stall_after: FOREVER, stable_for: 1, tolerate: FOREVER }
    }
}

/// The progress of what is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallDetector {
    /// When it last moved; at first, when watching began.
    moved: u64,
    done: u32,
    failing: Option<u64>,
}

impl StallDetector {
    /// How long it has been without movement.
    #[must_use]
    pub fn unchanged_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.moved)
    }

    /// An observation has ended at `now`, nanoseconds since watching began.
    #[must_use]
    pub fn observe(&mut self, rules: &SettleRules, now: u64, observed: Sample) -> SettleStep {
        match observed {
            Sample::Done => self.done = self.done.saturating_add(1),
            // Also where nothing was seen: what was seen before proves nothing any more.
            Sample::Moved | Sample::Same | Sample::Waiting | Sample::Failed => self.done = 0,
        }
        if observed == Sample::Failed {
            let since = *self.failing.get_or_insert(now);
            if now.saturating_sub(since) >= rules.tolerate {
                return SettleStep::Unobservable;
            }
        } else {
            self.failing = None;
        }
        if self.done >= rules.stable_for.max(1) {
            return SettleStep::Settled;
        }
        // The first of several Done in a row is movement; so is a new text.
        if observed == Sample::Moved || (observed == Sample::Done && self.done == 1) {
            self.moved = now;
        }
        if rules.stall_after != FOREVER && self.unchanged_for(now) >= rules.stall_after && observed != Sample::Done {
            return SettleStep::Stalled;
        }
        SettleStep::GoOn
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observed() -> impl Strategy<Value = Sample> {
        prop_oneof![
            Just(Sample::Done),
            Just(Sample::Moved),
            Just(Sample::Same),
            Just(Sample::Waiting),
            Just(Sample::Failed),
        ]
    }

    /// The same rules, read off a whole history instead of kept up.
    fn reference(rules: &SettleRules, history: &[(u64, Sample)]) -> SettleStep {
        let &(now, last) = history.last().unwrap();
        let in_a_row = |of: Sample| history.iter().rev().take_while(move |(_, observed)| *observed == of);
        if in_a_row(Sample::Done).count() >= rules.stable_for.max(1) as usize {
            return SettleStep::Settled;
        }
        let failing = in_a_row(Sample::Failed).last();
        if failing.is_some_and(|(since, _)| now - since >= rules.tolerate) {
            return SettleStep::Unobservable;
        }
        let movement = |at: &usize| match history[*at].1 {
            Sample::Moved => true,
            Sample::Done => *at == 0 || history[*at - 1].1 != Sample::Done,
            _ => false,
        };
        let moved = (0..history.len()).rev().find(movement).map_or(0, |at| history[at].0);
        if last != Sample::Done && rules.stall_after != FOREVER && now - moved >= rules.stall_after {
            return SettleStep::Stalled;
        }
        SettleStep::GoOn
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn as_read_off_the_history(
            stall in prop_oneof![0_u64..12, Just(FOREVER)],
            stable_for in 0_u32..4,
            tolerate in prop_oneof![0_u64..12, Just(FOREVER)],
            steps in prop::collection::vec((0_u64..5, observed()), 1..40),
        ) {
            let rules = SettleRules { stall_after: stall, stable_for, tolerate };
            let (mut movement, mut history, mut now) = (StallDetector::default(), Vec::new(), 0);
            for (takes, observed) in steps {
                now += takes;
                history.push((now, observed));
                let settling = movement.observe(&rules, now, observed);
                prop_assert_eq!(settling, reference(&rules, &history), "{:?}", history);
                if settling != SettleStep::GoOn {
                    break;
                }
            }
        }
    }

    #[test]
    fn waiting_and_the_same_text_are_no_movement() {
        let rules = SettleRules { stall_after: 10, ..SettleRules::default() };
        for still in [Sample::Waiting, Sample::Same] {
            let mut movement = StallDetector::default();
            assert_eq!(movement.observe(&rules, 1, Sample::Moved), SettleStep::GoOn);
            assert_eq!(movement.observe(&rules, 10, still), SettleStep::GoOn);
            assert_eq!(movement.observe(&rules, 11, still), SettleStep::Stalled);
            assert_eq!(movement.unchanged_for(11), 10);
        }
    }
}
