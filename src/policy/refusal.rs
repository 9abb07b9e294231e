//! Refusals that pass: a server that has just started refuses for a moment what it will allow, to everybody.

/// A refusal that has lasted so long, in nanoseconds, is what the server means: 2 s. After its start a kube-apiserver refuses
/// for 0.03 to 0.46 s those whose rights it has not read yet.
pub const LASTS: u64 = 2_000_000_000;

/// Whether one kind of call is being refused, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    since: Option<u64>,
}

impl Refusal {
    /// The call was refused at `now`: how long it has been by now, without another answer in between.
    #[must_use]
    pub fn refused(&mut self, now: u64) -> u64 {
        now.saturating_sub(*self.since.get_or_insert(now))
    }

    /// The call was not refused, or not answered: what was before proves nothing any more.
    pub fn passed(&mut self) {
        self.since = None;
    }
}

/// Whether a refusal that has lasted so long will pass.
#[must_use]
pub fn is_final(lasted: u64) -> bool {
    lasted >= LASTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The naive rule looks back over the whole history.
        #[test]
        fn it_is_final_if_every_answer_of_the_last_two_seconds_was_a_refusal(history in prop::collection::vec((0_u64..3 * LASTS / 2, any::<bool>()), 1..12)) {
            let (mut refusal, mut now, mut told) = (Refusal::default(), 0, Vec::new());
            for (pause, refused) in history {
                now += pause;
                told.push((now, refused));
                if !refused {
                    refusal.passed();
                    continue;
                }
                let unbroken = told.iter().rev().take_while(|(_, refused)| *refused);
                let first = unbroken.last().unwrap().0;
                let lasted = refusal.refused(now);
                prop_assert_eq!(lasted, now - first);
                prop_assert_eq!(is_final(lasted), first + LASTS <= now);
            }
        }
    }
}
