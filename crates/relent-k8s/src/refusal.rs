//! Refusals that pass: a server that has just started refuses for a moment what it will allow, to every user.

use std::time::Duration;

use crate::time::Instant;

/// A refusal that has lasted so long is what the server means. After its start a kube-apiserver refuses for 0.03 to
/// 0.46 s those whose rights it has not read yet.
pub(crate) const LASTS: Duration = Duration::from_secs(2);

/// What is waited after the first refusal.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Whether one kind of call is being refused, and since when. Another answer, or none, begins a new one: what was
/// before proves nothing any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    since: Option<Instant>,
}

impl Refusal {
    /// The call was refused at `now`: how long it has been by now, without another answer in between.
    pub(crate) fn refused(&mut self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.since.get_or_insert(now))
    }
}

/// What is waited before the call is tried again that has been refused for so long; `None`: it will not pass. As long
/// again as it has lasted, so that few calls are made, and the last one at [`LASTS`].
pub(crate) fn pause(lasted: Duration) -> Option<Duration> {
    let left = LASTS.saturating_sub(lasted);
    (!left.is_zero()).then(|| lasted.max(FIRST_PAUSE).min(left))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seven_calls_tell_and_the_last_of_them_comes_after_two_seconds() {
        let (mut lasted, mut calls) = (Duration::ZERO, vec![0]);
        while let Some(pause) = pause(lasted) {
            lasted += pause;
            calls.push(lasted.as_millis());
        }
        assert_eq!(calls, [0, 100, 200, 400, 800, 1600, 2000]);
    }

    proptest! {
        #[test]
        fn no_pause_is_empty_and_none_goes_beyond_the_end(lasted: u64) {
            let lasted = Duration::from_nanos(lasted);
            if let Some(pause) = pause(lasted) {
                prop_assert!(!pause.is_zero() && lasted + pause <= LASTS);
            } else {
                prop_assert!(lasted >= LASTS);
            }
        }

        /// The naive rule looks back over the whole history.
        #[test]
        fn it_is_final_if_every_answer_of_the_last_two_seconds_was_a_refusal(history in prop::collection::vec((0..3_000_000_000_u64, any::<bool>()), 1..12)) {
            let (mut refusal, mut now, mut told) = (Refusal::default(), crate::time::now(), Vec::new());
            for (later, refused) in history {
                now += Duration::from_nanos(later);
                told.push((now, refused));
                if !refused {
                    refusal = Refusal::default();
                    continue;
                }
                let unbroken = told.iter().rev().take_while(|(_, refused)| *refused);
                let first = unbroken.last().unwrap().0;
                let lasted = refusal.refused(now);
                prop_assert_eq!(lasted, now - first);
                prop_assert_eq!(pause(lasted).is_none(), first + LASTS <= now);
            }
        }
    }
}
