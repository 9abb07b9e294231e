//! When an operation that is watched has settled, stalls, or cannot be watched any longer: the rules of `settle`, as data.

use crate::policy::nanos::FOREVER;

/// What an observation says about movement. Texts are compared, not kept: `Same` is one equal to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed {
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
pub enum Settling {
    /// It has settled.
    Settled,
    /// Look again.
    GoOn,
    /// Nothing has moved for too long.
    Stalled,
    /// It could not be observed for too long.
    Unobservable,
}

/// The rules: nanoseconds, `u64::MAX` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Rules {
    /// How long it may be without movement.
    pub stall_after: u64,
    /// How many observations in a row must say done. 0 is 1.
    pub stable_for: u32,
    /// How long observations may fail in a row.
    pub tolerate: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { stall_after: FOREVER, stable_for: 1, tolerate: FOREVER }
    }
}

/// The progress of what is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Movement {
    /// When it last moved; at first, when watching began.
    moved: u64,
    done: u32,
    failing: Option<u64>,
}

impl Movement {
    /// How long it has been without movement.
    #[must_use]
    pub fn unchanged_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.moved)
    }

    /// An observation has ended at `now`, nanoseconds since watching began.
    #[must_use]
    pub fn observe(&mut self, rules: &Rules, now: u64, observed: Observed) -> Settling {
        match observed {
            Observed::Done => self.done = self.done.saturating_add(1),
            // Also where nothing was seen: what was seen before proves nothing any more.
            Observed::Moved | Observed::Same | Observed::Waiting | Observed::Failed => self.done = 0,
        }
        if observed == Observed::Failed {
            let since = *self.failing.get_or_insert(now);
            if now.saturating_sub(since) >= rules.tolerate {
                return Settling::Unobservable;
            }
        } else {
            self.failing = None;
        }
        if self.done >= rules.stable_for.max(1) {
            return Settling::Settled;
        }
        // The first of several Done in a row is movement; so is a new text.
        if observed == Observed::Moved || (observed == Observed::Done && self.done == 1) {
            self.moved = now;
        }
        if rules.stall_after != FOREVER && self.unchanged_for(now) >= rules.stall_after && observed != Observed::Done {
            return Settling::Stalled;
        }
        Settling::GoOn
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observed() -> impl Strategy<Value = Observed> {
        prop_oneof![
            Just(Observed::Done),
            Just(Observed::Moved),
            Just(Observed::Same),
            Just(Observed::Waiting),
            Just(Observed::Failed),
        ]
    }

    /// The same rules, read off a whole history instead of kept up.
    fn reference(rules: &Rules, history: &[(u64, Observed)]) -> Settling {
        let &(now, last) = history.last().unwrap();
        let in_a_row = |of: Observed| history.iter().rev().take_while(move |(_, observed)| *observed == of);
        if in_a_row(Observed::Done).count() >= rules.stable_for.max(1) as usize {
            return Settling::Settled;
        }
        let failing = in_a_row(Observed::Failed).last();
        if failing.is_some_and(|(since, _)| now - since >= rules.tolerate) {
            return Settling::Unobservable;
        }
        let movement = |at: &usize| match history[*at].1 {
            Observed::Moved => true,
            Observed::Done => *at == 0 || history[*at - 1].1 != Observed::Done,
            _ => false,
        };
        let moved = (0..history.len()).rev().find(movement).map_or(0, |at| history[at].0);
        if last != Observed::Done && rules.stall_after != FOREVER && now - moved >= rules.stall_after {
            return Settling::Stalled;
        }
        Settling::GoOn
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
            let rules = Rules { stall_after: stall, stable_for, tolerate };
            let (mut movement, mut history, mut now) = (Movement::default(), Vec::new(), 0);
            for (takes, observed) in steps {
                now += takes;
                history.push((now, observed));
                let settling = movement.observe(&rules, now, observed);
                prop_assert_eq!(settling, reference(&rules, &history), "{:?}", history);
                if settling != Settling::GoOn {
                    break;
                }
            }
        }
    }

    #[test]
    fn waiting_and_the_same_text_are_no_movement() {
        let rules = Rules { stall_after: 10, ..Rules::default() };
        for still in [Observed::Waiting, Observed::Same] {
            let mut movement = Movement::default();
            assert_eq!(movement.observe(&rules, 1, Observed::Moved), Settling::GoOn);
            assert_eq!(movement.observe(&rules, 10, still), Settling::GoOn);
            assert_eq!(movement.observe(&rules, 11, still), Settling::Stalled);
            assert_eq!(movement.unchanged_for(11), 10);
        }
    }
}
