//! When a refusal is the last word.

/// What the lock has answered in a run.
///
/// A server that has just started refuses for a moment what it will allow; so may one whose rights are being changed. A
/// refusal ends a campaign only where the lock has never answered anything else in this run, and has refused for a
/// whole lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Refusals {
    answered: bool,
    since: Option<u64>,
}

impl Refusals {
    /// A call was answered: it succeeded, or lost against another's.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// A call had no answer, or one that says nothing of rights.
    pub fn unanswered(&mut self) {
        self.since = None;
    }

    /// A call was refused. Says whether that is the last word.
    pub fn refused(&mut self, now: u64, lease: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        !self.answered && now.saturating_sub(since) >= lease
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Fine,
        Nothing,
        Refused,
    }

    proptest! {
        /// Against the whole history: final if all of it is refusals without an answer, and those at its end, which
        /// nothing interrupts, have lasted a lease.
        #[test]
        fn a_refusal_is_final_only_where_nothing_was_ever_answered(
            history in proptest::collection::vec(
                (0_u64..20, prop_oneof![1 => Just(Answer::Fine), 4 => Just(Answer::Nothing), 20 => Just(Answer::Refused)]),
                1..40,
            ),
            lease in 0_u64..100,
        ) {
            let (mut refusals, mut now) = (Refusals::default(), 0);
            let mut before: Vec<(u64, Answer)> = Vec::new();
            for (pause, answer) in history {
                now += pause;
                before.push((now, answer));
                match answer {
                    Answer::Fine => refusals.answered(),
                    Answer::Nothing => refusals.unanswered(),
                    Answer::Refused => {
                        let ever = before.iter().any(|(_, answer)| matches!(answer, Answer::Fine));
                        let row = before.iter().rev().take_while(|(_, answer)| matches!(answer, Answer::Refused));
                        let first = row.map(|(at, _)| *at).last().unwrap();
                        prop_assert_eq!(refusals.refused(now, lease), !ever && now - first >= lease);
                    }
                }
            }
        }
    }
}
